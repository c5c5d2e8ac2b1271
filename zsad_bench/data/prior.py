"""The auxiliary prior: which part of which auxiliary data a method may learn anomalies from.

A specification is `base[:item]…[+base[:item]…]…`, safe in a shell:

    rich, limited, visa2026           named priors, which protocols declare (protocol.py)
    synthetic                         such a one: generated anomalies on the normal images of what rich is
                                      (data/synthetic.py)
    visa:synthetic:shots=40           the same of another dataset, forty of them
    mvtec:textures                    only categories that are textures
    mvtec:types=2:shots=40:draw=1     two kinds of anomaly, forty anomalous images, the second draw
    mvtec:types=5:unit=name           kinds pooled over categories ("scratch" counts once)
    mvtec:shots=4:normals=matched     normal images only of categories that keep an anomalous one
    mvtec+colondb                     a union
    folder:/path/to/parts:shots=4     images of one's own, where there are masks; csv:FILE is a table of them
    @kept.jsonl                       what a written manifest lists; a path that exists is taken whole

`parse` and `resolve` turn it into a PriorSpec, `select` is a pure function of one dataset's samples and one part. Every
choice is by rank, `sha256("kind|draw|item")`, so it depends on no random generator and no order of files, and fewer
types or shots are always a subset of more.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from zsad_bench import path_lists, protocol, registry
from zsad_bench.data import manifest
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.prior_grammar import CATCH_ALL, Part, Unit, rank_of, spell, with_item
from zsad_bench.types import Kind, Sample

NONE = "none"  # what tables print of methods that do not learn
RULE_VERSION = 2  # of `select` and `prior_hash`; part of the hash

SYNTHETIC = "synthetic"  # the item by which any dataset becomes such a prior
_SUMMARIES = {
    "rich": "the whole test split of the suite's broad auxiliary dataset",
    "limited": "the whole test split of the suite's narrow auxiliary dataset (textures, few kinds of defects)",
    SYNTHETIC: "the normal images of what rich is, and as many with generated anomalies: no real one",
    NONE: "nothing: what tables print of methods that do not learn",
    "DATASET": "the whole test split of that dataset",
    "…:synthetic": "its normal images (of the train split where it has one), and as many with generated anomalies",
    "…:textures": "only its categories that are textures",
    "…:types=K": "only K kinds of anomaly (category/type; unit=name pools categories; exclude_catch_all)",
    "…:shots=N": "only N anomalous images, spread over categories and types",
    "…:normals=matched|M": "normal images of categories that keep an anomalous one, or M of them",
    "…:draw=S": "another draw of what types, shots and normals leave open; generated data is drawn anew",
    "…+…": "a union",
    "folder:PATH, csv:FILE": "images of your own, as --targets takes them",
    "@FILE": "what a manifest lists that `zsad-bench data prior SPEC --out FILE` wrote",
}


@dataclass(frozen=True)
class PriorSpec:
    """A resolved prior. name: as asked, in one spelling and without the draw. draw: shared by all parts."""

    name: str
    parts: tuple[Part, ...]

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """The datasets it draws from, as rows call them: registry names, or `folder:lotA/parts`."""
        return tuple(part.dataset for part in self.parts)

    @property
    def draw(self) -> int:
        return self.parts[0].draw if self.parts else 0


def names() -> dict[str, str]:
    """The named priors and the grammar, with one line about each."""
    protocols = map(protocol.find, protocol.names())
    declared = {name: f"of protocol {one.name}: {one.title}" for one in protocols for name in one.priors}
    return declared | _SUMMARIES


def resolve(spec: str, suite: str, target: str | None = None) -> PriorSpec:
    """The prior that `spec` means in a suite; `target` matters where a paper swaps the auxiliary dataset for it.

    Of "none" it has no parts, which is for methods that do not learn; `check_learnable` says so of others.

    Raises:
        UnknownNameError: no such prior, dataset, item or suite; lists the nearest names.
        UsageError: a value that does not fit, or an auxiliary dataset that is not registered.
    """
    if suite not in protocol.suites():
        raise UnknownNameError(registry.did_you_mean("suite", suite, protocol.suites()))
    if spec.strip() == NONE:
        return PriorSpec(NONE, ())
    known = registry.names("datasets")
    spelt, parts, draws = [], [], set()
    for base, *items in path_lists.parts(spec):
        part = _base(base, suite, target, known)
        generated = part.synthetic  # the base says it already
        for item in items:
            part = with_item(part, item, spec)
        if part.synthetic and part.listed is not None:
            raise UsageError(
                f"prior '{spec}': a manifest lists images of a test split, anomalous ones among them; generate "
                f"anomalies on those of the dataset, {part.dataset}:{SYNTHETIC}"
            )
        if part.unit == "name" and part.types is None:
            raise UsageError(f"prior '{spec}': unit=name says what a type is; give types=K with it")
        draws |= {part.draw} if any(item.startswith("draw=") for item in items) else set()
        parts.append(part)
        said = part.dataset if part.place and not base.startswith("@") else base
        named = replace(part, synthetic=False) if generated else part
        spelt.append(":".join([path_lists.spell(said), *spell(named)]))
    if len(draws) > 1:
        raise UsageError(f"prior '{spec}': its parts have different draws; give one")
    synthetic = {part.dataset for part in parts if part.synthetic}
    if both := sorted(synthetic & {part.dataset for part in parts if not part.synthetic}):
        raise UsageError(
            f"prior '{spec}' takes real and generated anomalies of dataset '{both[0]}'; take the generated ones of "
            "another dataset"
        )
    if doubled := [name for name in {p.dataset for p in parts} if sum(p.dataset == name for p in parts) > 1]:
        raise UsageError(f"prior '{spec}' names dataset '{doubled[0]}' twice; join its items with `:` in one part")
    return with_draw(PriorSpec("+".join(spelt), tuple(parts)), draws.pop() if draws else 0)


def check_learnable(spec: str, learners: Iterable[str]) -> None:
    """Nothing, unless these methods would learn from no prior.

    Raises:
        UsageError: names them, and what to do.
    """
    if spec.strip() == NONE and (names := ", ".join(learners)):
        raise UsageError(
            f"prior none is for methods that do not learn; name a prior for {names}, as in --prior limited (see "
            "`zsad-bench ls priors`), or a trained method with --checkpoint"
        )


def with_draw(spec: PriorSpec, draw: int) -> PriorSpec:
    """The same prior, another draw."""
    return replace(spec, parts=tuple(replace(part, draw=draw) for part in spec.parts))


def select(
    samples: Sequence[Sample],
    part: Part,
    kinds: Mapping[str, Kind] | None = None,
    anomaly_types: Mapping[str, Sequence[str]] | None = None,
) -> list[Sample]:
    """The samples of one auxiliary dataset that a part keeps, sorted by category and path.

    Of a test split, or of the table of generated anomalies that a synthetic part is taken from.

    kinds: category -> kind, for `textures`. anomaly_types: category -> types that the release defines, for `types`;
    without it the types that occur. Order of the steps: textures, types, shots, normals.

    Raises:
        UsageError: more types or shots asked for than there are, or nothing is left.
    """
    candidates = [sample for sample in samples if sample.split == "test" or part.synthetic]
    if part.listed is not None:
        candidates = _listed(candidates, part)
    if part.textures:
        candidates = [sample for sample in candidates if (kinds or {}).get(sample.category) == "texture"]
        anomaly_types = {c: of for c, of in (anomaly_types or {}).items() if (kinds or {}).get(c) == "texture"}
    normal, anomalous = ([s for s in candidates if s.label == label] for label in (0, 1))
    if part.types is not None:
        chosen = set(ranked("type", part.draw, universe(anomalous, part, anomaly_types))[: part.types])
        anomalous = [s for s in anomalous if {_unit(s.category, t, part.unit) for t in s.types} <= chosen]
    if part.shots is not None:
        anomalous = _round_robin(anomalous, lambda s: f"{s.category}/{s.anomaly_type}", part.shots, part, "anomalous")
    if part.normals == "matched":
        left = {sample.category for sample in anomalous}
        normal = [sample for sample in normal if sample.category in left]
    elif part.normals != "all":
        normal = _round_robin(normal, lambda s: s.category, part.normals, part, "normal")
    if not anomalous:
        raise UsageError(f"prior: of dataset '{part.dataset}' it keeps no anomalous image, nothing to learn from")
    return sorted([*normal, *anomalous], key=lambda s: (s.category, s.id.encode(errors="surrogateescape")))


def ranked(kind: Literal["type", "stratum", "image"], draw: int, items: Iterable[str]) -> list[str]:
    """The items by the sha256 of `kind|draw|item`, ties by item."""
    return sorted(items, key=lambda item: (rank_of(kind, draw, item), item))


def prior_hash(contents: Mapping[str, str]) -> str:
    """sha256, hex, of what was selected: auxiliary dataset -> manifest hash of the samples kept of it."""
    lines = [f"rule {RULE_VERSION}", *(f"{name} {content}" for name, content in sorted(contents.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# Reading a specification.


def _base(base: str, suite: str, target: str | None, known: Sequence[str]) -> Part:
    if base.startswith("@"):
        header, records = manifest.read(path_lists.home(base[1:]))
        return Part(header["dataset"], listed=tuple(record["id"] for record in records), place=header.get("place", ""))
    kind, colon, place = base.partition(":")
    if colon and kind in known:  # own data: nothing else has a colon after `path_lists.parts`
        return Part(registry.load("datasets", kind).name_of(place), place=place) if place else Part(kind)
    named = protocol.named_priors(suite)
    if base not in named and base not in known:
        raise UnknownNameError(registry.did_you_mean("prior", base, [*named, *known]))
    dataset = named[base].for_target(target) if base in named else base
    if dataset not in known:
        raise UsageError(
            f"prior '{base}' of suite '{suite}' learns from dataset '{dataset}', which is not registered; "
            f"registered: {', '.join(known)}"
        )
    return Part(dataset, synthetic=base in named and named[base].generated)


# Choosing.


def _unit(category: str, kind: str, unit: Unit) -> str:
    """What counts as one kind of anomaly; labels differ in case between copies of VisA."""
    return kind.casefold() if unit == "name" else f"{category}/{kind.casefold()}"


def universe(anomalous: Sequence[Sample], part: Part, anomaly_types: Mapping[str, Sequence[str]] | None) -> list[str]:
    """The kinds of anomaly that `types=K` chooses from, sorted: "category/type" pairs, or names.

    anomaly_types: those that a dataset declares, by category; without them the types of the samples count.
    """
    pairs = [(category, kind) for category, of in (anomaly_types or {}).items() for kind in of]
    pairs = pairs or [(sample.category, kind) for sample in anomalous for kind in sample.types]
    if part.exclude_catch_all:
        pairs = [(category, kind) for category, kind in pairs if kind.casefold() not in CATCH_ALL]
    units = sorted({_unit(category, kind, part.unit) for category, kind in pairs})
    if part.unit == "name" and len(units) == 1:
        raise UsageError(f"prior: dataset '{part.dataset}' has one type name, '{units[0]}'; use unit=pair")
    if part.types is not None and part.types > len(units):
        raise UsageError(f"prior: types={part.types}, but dataset '{part.dataset}' has {len(units)} ({part.unit})")
    return units


def _round_robin(
    samples: Sequence[Sample], stratum_of: Callable[[Sample], str], count: int, part: Part, what: str
) -> list[Sample]:
    """`count` samples, one per visit over the ranked strata, exhausted ones skipped."""
    if count > len(samples):
        raise UsageError(
            f"prior: {count} {what} images requested from dataset '{part.dataset}', which has {len(samples)} left"
        )
    strata: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        strata[stratum_of(sample)][sample.id] = sample
    queues = [
        [strata[name][item] for item in ranked("image", part.draw, strata[name])]
        for name in ranked("stratum", part.draw, strata)
    ]
    visits = (queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue))
    return [sample for sample, _ in zip(visits, range(count), strict=False)]


def _listed(samples: Sequence[Sample], part: Part) -> list[Sample]:
    by_id = {sample.id: sample for sample in samples}
    if lost := [name for name in part.listed or () if name not in by_id]:
        raise UsageError(
            f"prior: the manifest lists {lost[0]}{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}, not in the "
            f"test split of '{part.dataset}' here; take the same layout and variant of it as the manifest"
        )
    return [by_id[name] for name in part.listed or ()]
