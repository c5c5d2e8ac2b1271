"""The papers' own numbers, and what each line of their tables is called here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from zsad_bench.assets import data_folder
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables.grid import title_of
from zsad_bench.leaderboard.tables.marks import UNVERIFIED, unverified_note
from zsad_bench.variant import UNPARSED, Variant

_FILES = ("faprompt_tables_1_2.csv", "faprompt_ablations.csv", "dive_averages.csv", "dive_ablations.csv")
_TABLES = {
    "FAPrompt (ICCV 2025) Table 1": "faprompt_1",
    "FAPrompt (ICCV 2025) Table 2": "faprompt_2",
    "FAPrompt (ICCV 2025) Table 3": "faprompt_3",
    "FAPrompt (ICCV 2025) Table 4": "faprompt_4",
    "FAPrompt (ICCV 2025) Table 5": "faprompt_5",
    "DIVE (ECCV 2026) average over 8 datasets": "dive_",  # followed by the prior
    "DIVE (ECCV 2026) ablation, prior=limited": "dive_ablation",
}
# Without compound prompts: one pair of twelve tokens each, as in the recipes.
_NO_CAP = {"compound": False, "n_prompts": 1, "n_normal": 12, "n_abnormal": 12}
_UNCERTAIN = "faprompt prior=image, one of CAP/prior-loss"
# What a line of an ablation is as a method and its settings; None: not built, or not known well enough to be built.
_LINES: dict[str, tuple[str, dict[str, Any] | None]] = {
    "+cap": ("faprompt", {"prior_from": "none"}),
    "+cap w/o orthogonal loss": ("faprompt", {"prior_from": "none", "ortho_weight": 0.0}),
    "+dap": ("faprompt", _NO_CAP),
    "+dap w/o prior loss": ("faprompt", {**_NO_CAP, "prior_weight": 0.0}),
    "cocoop (prior=image)": ("cocoop", {}),
    _UNCERTAIN: ("faprompt", {**_NO_CAP, "prior_from": "image"}),
    "faprompt prior=image, full": ("faprompt", {"prior_from": "image"}),
    "faprompt prior=patch, full": ("faprompt", {}),
    "anomalyclip ensemble (seeds)": ("anomalyclip", {"ensemble": "seeds"}),
    "anomalyclip ensemble* (orthogonal prompts)": ("anomalyclip", {"ensemble": "orthogonal"}),
    "faprompt best-matched prompts": ("faprompt", {"match": "best"}),
    "faprompt weighted prompts": ("faprompt", None),
    "w/o disentanglement": ("dive", {"disentangle": False}),
    "w/o shallow injection": ("dive", {"shallow": False}),
    "w/o deep injection": ("dive", {"deep": False}),
    "w/o all text injection": ("dive", {"shallow": False, "deep": False}),
}


# What the papers ran under the plain name of a method where our default is another.
_AS_PRINTED: dict[str, dict[str, Any]] = {"filo": {"boxes": "grounding_dino"}}
_DEFAULT = ("prior_from", "patches")


class Entry(NamedTuple):
    """A line of a paper's table. label: as the paper calls it, "" for a method as it is.

    settings: what differs from the method's defaults, fidelity apart; None where it is not built or not known.
    """

    method: str
    label: str
    settings: Variant | None

    def meant(self, variant: Variant) -> bool:
        """Whether rows of this variant are this line, under whatever fidelity."""
        # `patches` is FAPrompt's default: named or not, it is the same method.
        own = {key: value for key, value in variant.items() if key != "fidelity" and (key, value) != _DEFAULT}
        return self.settings is not None and own == dict(self.settings)


class Published(NamedTuple):
    """One printed number, as a fraction. scope: a dataset, "industrial", "medical", or "all" of DIVE's eight."""

    table: str
    source: str
    entry: Entry
    scope: str
    domain: str
    prior: str
    metric: str
    value: float
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """What the caller passes in, since the leaderboard reads rows only.

    titles: of methods and datasets. built: methods that can be run. official: those with a preset of released code.
    own_backbones: methods that run on another backbone than the others, which no paper states. unverified: method ->
    why it was never compared with its official code.
    counts: dataset -> (normal, anomalous) test images in the paper's composition. footnotes: dataset -> a sentence.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    built: frozenset[str] = frozenset()
    official: frozenset[str] = frozenset()
    own_backbones: frozenset[str] = frozenset()
    unverified: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    footnotes: Mapping[str, str] = field(default_factory=dict)

    def title(self, name: str) -> str:
        """A method or dataset as printed."""
        return title_of(name, self.titles, _NOT_BUILT)

    def sign(self, method: str) -> str:
        """What stands behind the name of a method that was never compared with its official code; "" for any other."""
        return UNVERIFIED * (method in self.unverified)

    def unverified_notes(self, methods: Iterable[str]) -> list[str]:
        """The sentence under a table on those of its methods that carry this sign; [] where none does."""
        return unverified_note({self.title(name): self.unverified[name] for name in methods if name in self.unverified})

    def why_not_built(self, method: str) -> str:
        """Why a method of the papers' tables cannot be built; "" for one that is, or that nothing keeps from it."""
        return "" if method in self.built else _CANNOT_BE_BUILT.get(method, "")

    def name(self, entry: Entry) -> str:
        """An entry as printed: the label where there is one."""
        return entry.label or self.title(entry.method)


_NOT_BUILT = {"tps": "TPS"}
_CANNOT_BE_BUILT = {"tps": "only its abstract is public"}


def read_published(folder: str | Path | None = None) -> list[Published]:
    """Every published number, in the order of the files.

    Raises:
        RowError: a file that is missing, or a line that is not a number; names file and line.
    """
    folder = data_folder("published") if folder is None else Path(folder)
    numbers: list[Published] = []
    for name in _FILES:
        path = folder / name
        try:
            lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        except OSError as error:
            raise RowError(f"{path}: cannot read published numbers ({error.strerror})") from error
        for number, line in enumerate(lines, start=2):
            try:
                numbers.append(_published(line))
            except (KeyError, TypeError, ValueError) as error:
                raise RowError(f"{path}:{number}: not a published number ({error}); restore the file") from None
    return numbers


def fidelity(variant: Variant, method: str, facts: Facts) -> str:
    """The preset of a variant: "paper" unless it names one; "" for a method that has only one.

    "unknown" where an old row says its variant in a way that is not certain.
    """
    if method not in facts.official:
        return ""
    return "unknown" if UNPARSED in variant else str(variant.get("fidelity", "paper"))


def targets_of(published: Iterable[Published], metric: str, domain: str) -> tuple[str, ...]:
    """The datasets that FAPrompt's own means are over: those of its Tables 1 and 2 other than MVTecAD."""
    names = dict.fromkeys(
        p.scope for p in published
        if p.table in ("faprompt_1", "faprompt_2") and p.metric == metric and p.domain == domain and p.scope != "mvtec"
    )  # fmt: skip
    return tuple(names)


def _published(line: Mapping[str, str]) -> Published:
    table = _TABLES[line["source"]]
    if table == "dive_":
        table += line["prior"]
    label = line.get("variant") or ""
    if label:
        method, settings = _LINES.get(label, (label, {}))
        label = label if label in _LINES else ""
    else:
        method, settings = line["method"], _AS_PRINTED.get(line["method"], {})
    note = "which part this line switches off is not certain" if label == _UNCERTAIN else ""
    return Published(
        table=table,
        source=line["source"],
        entry=Entry(method, label, None if settings is None else Variant(settings)),
        scope=line.get("dataset") or line.get("domain") or "all",
        domain=line.get("domain") or "",
        prior=line.get("prior") or ("limited" if table == "dive_ablation" else "rich"),
        metric=line["metric"],
        value=float(line["value"]) / 100,
        note=line.get("note") or note,
    )
