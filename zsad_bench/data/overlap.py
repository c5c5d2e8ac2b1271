"""The leak guard: what a method learned from is never what it is tested on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from zsad_bench.errors import OverlapError
from zsad_bench.types import Sample


class Table(Protocol):
    """What is needed of a data module."""

    name: str
    root: Path

    def samples(self) -> list[Sample]: ...


def check_overlap(auxiliary: Sequence[Table], targets: Sequence[Table]) -> None:
    """Nothing, when auxiliary and target data share neither a dataset nor an image.

    Images are compared by the sha256 of their files; only files whose size occurs on both sides are read.

    Raises:
        OverlapError: names the dataset, or the first image they share and how many more there are.
    """
    for name in sorted({a.name for a in auxiliary} & {t.name for t in targets}):
        raise OverlapError(f"dataset '{name}' is both auxiliary and target; take another prior or another target")
    shared = shared_images(auxiliary, targets)
    if shared:
        (aux, target), more = shared[0], len(shared) - 1
        raise OverlapError(
            f"auxiliary image {aux} and target image {target} are the same file content"
            f"{f' ({more} more such pairs)' if more else ''}; take another prior or another target"
        )


def shared_images(some: Sequence[Table], others: Sequence[Table]) -> list[tuple[str, str]]:
    """Pairs `(dataset/path, dataset/path)` of images with the same content, one a file of `others`."""
    first, second = _by_size(some), _by_size(others)
    shared: list[tuple[str, str]] = []
    for size in sorted(first.keys() & second.keys()):
        digests = {sha256(path): label for label, path in first[size].items()}
        shared += [(digests[d], label) for label, path in second[size].items() if (d := sha256(path)) in digests]
    return shared


def sha256(path: Path) -> str:
    """Of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_size(modules: Sequence[Table]) -> dict[int, dict[str, Path]]:
    """Size -> `dataset/path` -> file, each file once even where it is read in crops."""
    files: dict[int, dict[str, Path]] = defaultdict(dict)
    for module in modules:
        for sample in module.samples():
            path = module.root / sample.image
            files[path.stat().st_size][f"{module.name}/{sample.image}"] = path
    return files
