"""The papers' own numbers, and what each line of their tables is called here.

`leaderboards/published/sources.yaml` says of every source which table, protocol and kind it is of. A source that it
does not name is refused, so nothing is compared by accident.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from zsad_bench import protocol as protocols
from zsad_bench import yaml12
from zsad_bench.assets import data_folder
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables.grid import title_of
from zsad_bench.leaderboard.tables.marks import UNVERIFIED, unverified_note
from zsad_bench.protocol import OwnBackbone
from zsad_bench.variant import UNPARSED, Variant

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
    "VisualAD without SCA": ("visualad", {"sca": False}),
    "VisualAD without SAF": ("visualad", {"saf": False}),
    "VisualAD without SCA and SAF": ("visualad", {"sca": False, "saf": False}),
    "MRAD-FT": ("mrad", None),
    "MRAD-CLIP": ("mrad", None),
}


# What the papers ran under the plain name of a method where our default is another.
_AS_PRINTED: dict[str, dict[str, Any]] = {"filo": {"boxes": "grounding_dino"}}
_DEFAULT = ("prior_from", "patches")


class Entry(NamedTuple):
    """A line of a paper's table. label: as the paper calls it, "" for a method as it is.

    settings: what differs from the method's defaults, fidelity apart; None where it is not built or not known.
    backbone: where it is another one than the protocol's. tag: which of several sources of a table prints it.
    """

    method: str
    label: str
    settings: Variant | None
    backbone: str = ""
    tag: str = ""

    def meant(self, variant: Variant) -> bool:
        """Whether rows of this variant are this line, under whatever fidelity."""
        # `patches` is FAPrompt's default: named or not, it is the same method.
        own = {key: value for key, value in variant.items() if key != "fidelity" and (key, value) != _DEFAULT}
        return self.settings is not None and own == dict(self.settings)


class Published(NamedTuple):
    """One printed number, as a fraction. scope: a dataset, "industrial", "medical", or "all" of DIVE's eight.

    note: why it is compared with nothing, "" where it may be. protocol: that it was obtained under. image_size: where
    it is another one than the protocol's. counts: (normal, anomalous) test images, where they are other ones than those
    of the dataset's usual composition. scored: with what of the test set an image is scored; "" where it is by itself.
    second_hand: read from somebody else's summary or table, not from the authors' own.
    """

    table: str
    source: str
    entry: Entry
    scope: str
    domain: str
    prior: str
    metric: str
    value: float
    note: str = ""
    protocol: str = "faprompt"
    image_size: int | None = None
    counts: tuple[int, int] | None = None
    scored: str = ""
    second_hand: bool = False

    @property
    def runs_on(self) -> OwnBackbone:
        """What it was measured on, as the source says or else its protocol."""
        usual = protocols.find(self.protocol).runs_on(self.entry.method)
        if not self.entry.backbone and self.image_size is None:
            return usual
        return OwnBackbone(self.entry.backbone or usual.backbone, None, self.image_size or usual.image_size)

    def auxiliary(self, target: str) -> str:
        """The dataset that was learned from for a target; "" where nothing was, or its protocol does not say."""
        prior = protocols.find(self.protocol).priors.get(self.prior)
        return "" if prior is None else prior.for_target(target)


@dataclass(frozen=True)
class Facts:
    """What the caller passes in, since the leaderboard reads rows only.

    titles: of methods and datasets. built: methods that can be run. official: those with a preset of released code.
    unverified: method -> why it was never compared with its official code.
    counts: dataset -> (normal, anomalous) test images in its usual composition. categories: dataset -> those of its
    card; none of a user's own data. footnotes: dataset -> a sentence.
    datasets: that are registered; None where the caller does not care.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    built: frozenset[str] = frozenset()
    official: frozenset[str] = frozenset()
    unverified: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    footnotes: Mapping[str, str] = field(default_factory=dict)
    datasets: frozenset[str] | None = None

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

    def name(self, entry: Entry, *more: str) -> str:
        """An entry as printed: the label where there is one, with its backbone and source where there are several.

        more: what else tells it from other lines; "" says nothing.
        """
        name = entry.label or self.title(entry.method)
        beside = ", ".join(filter(None, (entry.backbone, entry.tag, *more)))
        return f"{name} ({beside})" if beside else name


_NOT_BUILT = {
    "tps": "TPS", "anomalyvfm": "AnomalyVFM", "bayes_pfl": "Bayes-PFL", "mrad": "MRAD", "musc": "MuSc",
    "visualad": "VisualAD",
}  # fmt: skip
_CANNOT_BE_BUILT = {
    "tps": "only its abstract is public",
    "anomalyvfm": "its code has no licence; docs/methods_not_built.md says what it would take",
}


def read_published(folder: str | Path | None = None) -> list[Published]:
    """Every published number, in the order of `sources.yaml`.

    Raises:
        RowError: a file that is missing, a source that `sources.yaml` does not name, or a line that is not a number;
            names file and line.
    """
    folder = data_folder("published") if folder is None else Path(folder)
    numbers: list[Published] = []
    for name, sources in _sources(folder / "sources.yaml").items():
        path = folder / name
        try:
            lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        except OSError as error:
            raise RowError(f"{path}: cannot read published numbers ({error.strerror})") from error
        for number, line in enumerate(lines, start=2):
            source = line.get("source") or ""
            if source not in sources:
                raise RowError(
                    f"{path}:{number}: source '{source}' is not in sources.yaml; add what it is, or remove it"
                )
            try:
                numbers.append(_published(line, sources[source]))
            except (KeyError, TypeError, ValueError) as error:
                raise RowError(f"{path}:{number}: not a published number ({error}); restore the file") from None
    return numbers


class _Source(NamedTuple):
    """As `sources.yaml` explains it."""

    table: str
    protocol: str
    tag: str = ""
    prior: str = ""
    second_hand: bool = False


def _sources(path: Path) -> dict[str, dict[str, _Source]]:
    """File -> source -> what it is.

    Raises:
        RowError: the file is missing or is not what it should be.
    """
    try:
        of = {
            file: {source: _Source(**fields) for source, fields in sources.items()}
            for file, sources in yaml12.load(path.read_text(encoding="utf-8")).items()
        }
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise RowError(f"{path}: cannot read the sources of published numbers ({error}); restore the file") from None
    known = protocols.names()
    for sources in of.values():
        for source, what in sources.items():
            if what.protocol not in known:
                raise RowError(f"{path}: '{source}' is of protocol '{what.protocol}', which is not one of {known}")
    return of


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


def _published(line: Mapping[str, str], source: _Source) -> Published:
    prior = line.get("prior") or source.prior
    table = f"dive_{prior}" if source.table == "dive" else source.table
    label, method = line.get("variant") or "", line.get("method") or ""
    settings: dict[str, Any] | None = _AS_PRINTED.get(method, {})
    if label:
        method, settings = _LINES.get(label, (label, {}))
        label = label if label in _LINES else ""
    note = "which part this line switches off is not certain" if label == _UNCERTAIN else ""
    backbone, size, counts = (line.get(name) or "" for name in ("backbone", "image_size", "counts"))
    usual = protocols.find(source.protocol).runs_on(method)
    normal, plus, anomalous = counts.partition("+")
    return Published(
        table=table,
        source=line["source"],
        entry=Entry(
            method, label, None if settings is None else Variant(settings),
            "" if backbone == usual.backbone else backbone, source.tag,
        ),
        scope=line.get("dataset") or line.get("domain") or "all",
        domain=line.get("domain") or "",
        prior=prior,
        metric=line["metric"],
        value=float(line["value"]) / 100,
        note=line.get("note") or note,
        protocol=source.protocol,
        image_size=None if not size or int(size) == usual.image_size else int(size),
        counts=(int(normal), int(anomalous)) if plus else None,
        scored=line.get("scored") or "",
        second_hand=source.second_hand,
    )  # fmt: skip
