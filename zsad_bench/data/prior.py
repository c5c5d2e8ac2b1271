"""The auxiliary prior: which part of which auxiliary data a method may learn anomalies from.

`resolve` turns what was asked ("rich", "limited") into a PriorSpec; `select` is a pure function of samples, spec and
draw seed; `prior_hash` of the result goes into every row. A PriorSpec names its auxiliary datasets as a tuple and
`select` sees one dataset's samples at a time, so that compositions (`mvtec:textures`, `types=2:shots=40:draw=1`,
unions with `+`) become further fields of PriorSpec and further steps of `select`, and nothing else changes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zsad_bench import registry
from zsad_bench.errors import OverlapError, UnknownNameError, UsageError
from zsad_bench.types import Sample

RULE_VERSION = 1  # of `select`; part of the hash

# suite -> prior -> auxiliary dataset. Papers train on MVTecAD (rich); DIVE's limited prior is DTD-Synthetic.
_AUXILIARY = {
    "demo": {"rich": "demo_rich", "limited": "demo_limited"},
    "paper": {"rich": "mvtec", "limited": "dtd"},
}
_INSTEAD = {("mvtec", "mvtec"): "visa"}  # (auxiliary, target): published convention, the two must differ
_SUMMARIES = {
    "rich": "the whole test split of the suite's broad auxiliary dataset",
    "limited": "the whole test split of the suite's narrow auxiliary dataset (textures, few kinds of defects)",
}


@dataclass(frozen=True)
class PriorSpec:
    """A resolved prior. name: as asked. auxiliary: registry names of the datasets it draws from, all of each."""

    name: str
    auxiliary: tuple[str, ...]


class Table(Protocol):
    """What the overlap check needs of a data module."""

    name: str
    root: Path

    def samples(self) -> list[Sample]: ...


def names() -> dict[str, str]:
    """The named priors with one line about each."""
    return dict(_SUMMARIES)


def resolve(spec: str, suite: str, target: str | None = None) -> PriorSpec:
    """The prior that `spec` means in a suite; `target` matters where a paper swaps the auxiliary dataset for it.

    Raises:
        UnknownNameError: no such prior or suite; lists the nearest names.
        UsageError: the auxiliary dataset it stands for is not registered.
    """
    if suite not in _AUXILIARY:
        raise UnknownNameError(registry.did_you_mean("suite", suite, _AUXILIARY))
    if spec not in _AUXILIARY[suite]:
        raise UnknownNameError(registry.did_you_mean("prior", spec, _AUXILIARY[suite]))
    auxiliary = _AUXILIARY[suite][spec]
    auxiliary = _INSTEAD.get((auxiliary, target or ""), auxiliary)
    known = registry.names("datasets")
    if auxiliary not in known:
        raise UsageError(
            f"prior '{spec}' of suite '{suite}' learns from dataset '{auxiliary}', which is not registered; "
            f"registered: {', '.join(known)}"
        )
    return PriorSpec(spec, (auxiliary,))


def select(samples: Sequence[Sample], spec: PriorSpec, draw: int = 0) -> list[Sample]:
    """The samples of one auxiliary dataset that the prior keeps, sorted by category and path.

    Both named priors keep the whole test split, as the published protocols do, whatever the draw.
    """
    kept = [sample for sample in samples if sample.split == "test"]
    return sorted(kept, key=lambda s: (s.category, s.image.encode()))


def prior_hash(spec: PriorSpec, manifest: Iterable[str], draw: int = 0) -> str:
    """sha256, hex, of what was selected: the auxiliary datasets, the manifest lines of the kept samples, the draw."""
    content = {
        "rule": RULE_VERSION,
        "prior": spec.name,
        "auxiliary": spec.auxiliary,
        "draw": draw,
        "manifest": sorted(manifest),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_overlap(auxiliary: Sequence[Table], targets: Sequence[Table]) -> None:
    """Nothing, when auxiliary and target data share neither a dataset nor an image.

    Images are compared by the sha256 of their files; only files whose size occurs on both sides are read.

    Raises:
        OverlapError: names the dataset, or the first image they share and how many more there are.
    """
    for name in sorted({a.name for a in auxiliary} & {t.name for t in targets}):
        raise OverlapError(f"dataset '{name}' is both auxiliary and target; take another prior or another target")
    learned, tested = _by_size(auxiliary), _by_size(targets)
    shared: list[tuple[str, str]] = []
    for size in sorted(learned.keys() & tested.keys()):
        digests = {_sha256(path): label for label, path in learned[size]}
        shared += [(digests[d], label) for label, path in tested[size] if (d := _sha256(path)) in digests]
    if shared:
        (aux, target), more = shared[0], len(shared) - 1
        raise OverlapError(
            f"auxiliary image {aux} and target image {target} are the same file content"
            f"{f' ({more} more such pairs)' if more else ''}; take another prior or another target"
        )


def _by_size(modules: Sequence[Table]) -> dict[int, list[tuple[str, Path]]]:
    files: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for module in modules:
        for sample in module.samples():
            path = module.root / sample.image
            files[path.stat().st_size].append((f"{module.name}/{sample.image}", path))
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
