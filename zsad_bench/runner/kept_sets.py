"""What transductive methods need of a category: enough images, all of them, and room until its last one was seen.

Features wait in memory, and on disk where memory ends, if the method takes them from the host (`host_features`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zsad_bench.backbones.feature_store import size_of
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.methods._prediction import check_count
from zsad_bench.process import free_memory
from zsad_bench.runner.feature_room import SHARE, UNSAID, readable
from zsad_bench.runner.run_spec import FeatureOptions
from zsad_bench.types import Features

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.methods.base import ZeroShotMethod


@dataclass
class SetRoom:
    """Where features of sets wait. memory: bytes, of all sets together; None is a quarter of what is free.

    folder: where the files of those go that find no room in memory; None is the system's folder for temporary files.
    Files are gone with their set.
    """

    memory: int | None = None
    folder: Path | None = None

    in_memory: int = field(default=0, init=False)  # bytes

    @cached_property
    def budget(self) -> int:
        """Bytes, decided when it is first asked for."""
        return free_memory() // SHARE if self.memory is None else self.memory

    @classmethod
    def of(cls, options: FeatureOptions) -> SetRoom:
        """As `--features` and `--feature-budget` say it."""
        return cls(options.budget, Path(options.where).expanduser() if options.keeps_on_disk else None)

    @property
    def place(self) -> str:
        return tempfile.gettempdir() if self.folder is None else str(self.folder)


class KeptSet:
    """The features of one category for one method, batch by batch, then all at once.

    bounded: they are on the host, and go to disk where `room` ends; else they stay where they are.
    """

    def __init__(self, room: SetRoom, bounded: bool = True) -> None:
        self.room, self.bounded = room, bounded
        self.parts: list[Features] = []
        self.in_memory = 0  # bytes
        self._files: _Files | None = None

    def add(self, features: Features) -> None:
        """Takes in the features of a batch.

        Raises:
            ZsadError: the disk cannot be written.
        """
        if not self.bounded:
            self.parts.append(features)
            return
        size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(features))
        if self._files is None and self.room.in_memory + size > self.room.budget:
            self._files = _Files(self.room)
            for part in self.parts:
                self._files.append(part)
            self._forget()
        if self._files is not None:
            self._files.append(features)
        else:
            self.parts.append(features)
            self.in_memory += size
            self.room.in_memory += size

    def whole(self) -> Features:
        """The features of all batches, once: in memory, or mapped from files that are gone when these are."""
        if self._files is not None:
            return self._files.mapped()
        joined = Features.joined(self.parts)
        self._forget()
        return joined

    def _forget(self) -> None:
        self.room.in_memory -= self.in_memory
        self.parts, self.in_memory = [], 0


class _Files:
    """A file per tensor of the features, to which each batch is appended."""

    def __init__(self, room: SetRoom) -> None:
        self.place = room.place
        self.first: Features | None = None
        self.n_images = 0
        try:
            if room.folder is not None:
                room.folder.mkdir(parents=True, exist_ok=True)
            self.folder = tempfile.TemporaryDirectory(prefix="zsad-bench-set-", dir=room.folder)
        except OSError as error:
            raise self._full(error) from None

    def append(self, features: Features) -> None:
        tensors = _tensors(features)
        try:
            for number, tensor in enumerate(tensors):
                with self._file(number).open("ab") as file:
                    file.write(tensor.contiguous().view(torch.uint8).numpy().data)
        except OSError as error:
            raise self._full(error) from None
        self.first = features.select(slice(0, 1)) if self.first is None else self.first
        self.n_images += len(tensors[0])

    def mapped(self) -> Features:
        assert self.first is not None  # a set begins with a batch
        tensors = [self._map(number, tensor) for number, tensor in enumerate(_tensors(self.first))]
        self.folder.cleanup()  # what is mapped stays until nobody reads it
        return _like(self.first, tensors)

    def _map(self, number: int, one: Tensor) -> Tensor:
        shape = (self.n_images, *one.shape[1:])
        count = self.n_images * one[0].numel()
        return torch.from_file(str(self._file(number)), shared=False, size=count, dtype=one.dtype).view(shape)

    def _file(self, number: int) -> Path:
        return Path(self.folder.name) / str(number)

    def _full(self, error: OSError) -> ZsadError:
        return ZsadError(
            f"{self.place}: features of a category cannot be kept there until all its images were seen "
            f"({error.strerror}); give another folder with --features FOLDER, or more memory with --feature-budget"
        )


def check(method: ZeroShotMethod, data: ZeroShotDataModule, categories: Collection[str] | None = None) -> None:
    """Nothing, when a method can score these categories of a target, by default all of them.

    Raises:
        UsageError: it scores whole categories, and one has too few images, or images may be left out on the way.
    """
    if not method.transductive:
        return
    if data.on_bad_image == "skip":
        raise UsageError(
            f"{method.title} scores all images of a category together, and without those that are skipped it would "
            f"score another set of {data.name}; leave out --on-bad-image skip, and repair or remove what `zsad-bench "
            "data check` names"
        )
    for category, count in data.image_counts().items():
        if categories is None or category.name in categories:
            check_count(method, f"{category.dataset}/{category.name}", count)


def said(
    options: FeatureOptions, methods: Sequence[ZeroShotMethod], targets: Sequence[ZeroShotDataModule],
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Says how much of the largest category will wait for its last image, and where; not what is hardly anything."""
    waiting = {method.title: method for method in methods if method.transductive and method.host_features}
    counts = [(count, category) for data in targets for category, count in data.image_counts().items()]
    if not waiting or not counts:
        return
    each = sum(
        size_of(method.backbone, method.encoder_spec, method.host_features or "float32") for method in waiting.values()
    )
    count, category = max(counts, key=lambda one: one[0])
    room = SetRoom.of(options)
    if each * count < UNSAID and each * count <= room.budget:
        return
    where = "in memory" if each * count <= room.budget else f"in {room.place}"
    say(
        f"{', '.join(waiting)}: features of a category wait for its last image, {readable(each)} per image; of the "
        f"largest, {category.dataset}/{category.name}, {count} images take {readable(each * count)} {where} (memory "
        f"for them: {readable(room.budget)}, more with --feature-budget; half of it with --set kept_as=float16)"
    )


def _tensors(features: Features) -> list[Tensor]:
    """All tensors of features, in an order that follows from their names."""
    extra_rows = [] if features.extra_rows is None else [features.extra_rows]
    return [*features.rows.values(), *features.vectors.values(), *extra_rows, *_leaves(features.extra)]


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Mapping):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [value]


def _like(features: Features, tensors: Sequence[Tensor]) -> Features:
    """The same features with other tensors, in the order of `_tensors`."""
    rest = iter(tensors)
    rows = {tap: next(rest) for tap in features.rows}
    vectors = {name: next(rest) for name in features.vectors}
    extra_rows = None if features.extra_rows is None else next(rest)
    return replace(features, rows=rows, vectors=vectors, extra_rows=extra_rows, extra=_refilled(features.extra, rest))


def _refilled(value: Any, rest: Any) -> Any:
    return {key: _refilled(inner, rest) for key, inner in value.items()} if isinstance(value, Mapping) else next(rest)
