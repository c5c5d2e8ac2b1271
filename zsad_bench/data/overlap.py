"""The leak guard: what a method learned from is never what it is tested on.

The same dataset or the same pixels on both sides are an error; an image that looks like one of the other side
(`data/looks.py` says how alike) is a warning, since photographs of one line may be that alike. Images of one colour
are left out of both: they are the same everywhere and show nothing. Images are compared as files: parts of a photograph
are not looked for in the whole of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from zsad_bench.data.content import UNREADABLE, index_of
from zsad_bench.data.looks import as_array, match
from zsad_bench.errors import OverlapError
from zsad_bench.types import Sample

_MANY = 300  # from this many images to decode, a line says so, since it takes a while
_MEND = "take another prior or another target"


class Named(Protocol):
    """Something with a dataset's name."""

    @property
    def name(self) -> str: ...


class Table(Protocol):
    """What is needed of a data module."""

    @property
    def name(self) -> str: ...

    @property
    def root(self) -> Path: ...

    def samples(self) -> list[Sample]: ...


class Pair(NamedTuple):
    """A target image that looks like an auxiliary one; image: its path below the target's root."""

    auxiliary: str  # "dataset/path"
    dataset: str
    image: str


@dataclass(frozen=True)
class Seen:
    """What there was to see in some images; flat ones and those that cannot be decoded are left out.

    names: N of "dataset/path". pixels: (N,16) uint8, the start of a sha256 of size and decoded pixels.
    signatures: (N,256) int8, as in `data/looks.py`.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    signatures: NDArray[np.int8]


def check_overlap(
    auxiliary: Sequence[Table], targets: Sequence[Table], say: Callable[[str], None] | None = None
) -> list[Pair]:
    """The near-duplicates between auxiliary and target data, one per target image; they share no dataset and no image.

    Files are compared first, by the hashes of their content, then decoded images.

    say: called with a line when that takes a while.

    Raises:
        OverlapError: names the dataset, or the first image they share and how many more there are.
    """
    if not auxiliary or not targets:
        return []
    check_names([table.name for table in auxiliary], targets)
    _refuse(shared_files(auxiliary, targets), "the same file content")
    return compare(see(auxiliary, say), targets, say)


def check_names(auxiliary: Sequence[str], targets: Sequence[Named]) -> None:
    """Raises OverlapError when a target is one of these datasets."""
    for name in sorted(set(auxiliary) & {target.name for target in targets}):
        raise OverlapError(f"dataset '{name}' is both auxiliary and target; {_MEND}")


def see(tables: Sequence[Table], say: Callable[[str], None] | None = None) -> Seen:
    """What there is to see in the images of some tables, each file once however many samples it has.

    Decodes an image the first time it is met, and remembers it on disk.
    """
    files = [(table.name, index_of(table.root), _files(table)) for table in tables]
    unseen = sum(index.unseen(paths) for _, index, paths in files)
    if say is not None and unseen >= _MANY:
        say(f"the leak guard looks at {unseen:,} images of {', '.join(t.name for t in tables)}, this first time only")
    signed = [
        (f"{name}/{path}", look.pixels, look.signature)
        for name, index, paths in files
        for path, look in index.looks(paths).items()
        if look is not None and look.signature is not None
    ]
    pixels = np.frombuffer(bytes.fromhex("".join(part for _, part, _ in signed)), np.uint8).reshape(len(signed), 16)
    return Seen(tuple(name for name, _, _ in signed), pixels, as_array([part for _, _, part in signed]))


def compare(auxiliary: Seen, targets: Sequence[Table], say: Callable[[str], None] | None = None) -> list[Pair]:
    """The near-duplicates of auxiliary images among the targets', one per target image.

    Raises:
        OverlapError: an image on both sides has the same pixels, whatever its file is like.
    """
    pairs: list[Pair] = []
    known = {pixels.tobytes(): name for name, pixels in zip(auxiliary.names, auxiliary.pixels, strict=True)}
    for target in targets:
        seen = see([target], say)
        same = [(known[p.tobytes()], name) for name, p in zip(seen.names, seen.pixels, strict=True)
                if p.tobytes() in known]  # fmt: skip
        _refuse(same, "the same pixels")
        if auxiliary.names and seen.names:
            matches = match(seen.signatures, auxiliary.signatures)
            pairs += [
                Pair(auxiliary.names[matches.closest[at]], target.name, seen.names[at].removeprefix(f"{target.name}/"))
                for at in np.nonzero(matches.copies)[0]
            ]
    return pairs


def shared_files(some: Sequence[Table], others: Sequence[Table]) -> list[tuple[str, str]]:
    """Pairs `(dataset/path, dataset/path)` of image files with the same content, one per file of `others`."""
    first: dict[str, str] = {}
    for _, label, digest in _contents(some):
        first.setdefault(digest, label)
    shared: dict[Path, list[tuple[str, str, str]]] = defaultdict(list)
    for table, label, digest in _contents(others):
        if digest in first and digest != UNREADABLE:
            shared[table.root].append((first[digest], label, label.removeprefix(f"{table.name}/")))
    pairs = []
    for root, pairs_here in shared.items():
        looks = index_of(root).looks([path for _, _, path in pairs_here])
        flat = {path for path, look in looks.items() if look is not None and look.signature is None}
        pairs += [(ours, theirs) for ours, theirs, path in pairs_here if path not in flat]
    return pairs


def _contents(tables: Sequence[Table]) -> Iterator[tuple[Table, str, str]]:
    for table in tables:
        for path, digest in index_of(table.root).digests(_files(table)).items():
            yield table, f"{table.name}/{path}", digest


def _files(table: Table) -> list[str]:
    """The image files of a table, each once even where it is read in crops."""
    return list(dict.fromkeys(sample.image for sample in table.samples()))


def _refuse(shared: Sequence[tuple[str, str]], what: str) -> None:
    if shared:
        (auxiliary, target), more = shared[0], len(shared) - 1
        raise OverlapError(
            f"auxiliary image {auxiliary} and target image {target} are {what}"
            f"{f' ({more} more such pairs)' if more else ''}; {_MEND}"
        )
