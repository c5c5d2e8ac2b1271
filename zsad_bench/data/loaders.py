"""Batches from a table of samples: decoding, collating, and who reads what when several processes share the work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from zsad_bench.data import transforms
from zsad_bench.errors import DatasetError, ZsadError
from zsad_bench.types import Batch, Category, Sample, SampleInfo

# Below this many images starting worker processes costs more than it saves.
_FEW = 256
_MOST_WORKERS = 8

Item = tuple[np.ndarray, int, "np.ndarray | None", SampleInfo]


@dataclass
class ImageTable(Dataset):
    """Samples as arrays: item i is (image (3,S,S) float32, label, mask (S,S) bool or None, SampleInfo).

    masks: whether the dataset has them; normal samples then get an empty one.

    Raises:
        DatasetError: from `table[i]`, when a file is unreadable or a mask has another size than its image.
    """

    dataset: str
    root: Path
    samples: Sequence[Sample]
    categories: Mapping[str, Category]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    masks: bool
    mask_threshold: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        image = transforms.open_rgb(self.root / sample.image)
        mask = self._mask(sample, image.size) if self.masks else None
        info = SampleInfo(f"{self.dataset}/{sample.image}", self.categories[sample.category])
        return transforms.image_array(image, self.image_size, self.mean, self.std), sample.label, mask, info

    def __getitems__(self, indices: Sequence[int]) -> list[Item] | ZsadError:
        # How a DataLoader asks for a batch. An error travels as a value: raised inside a worker process it would
        # reach the user wrapped in a traceback instead of as its one line.
        try:
            return [self[index] for index in indices]
        except ZsadError as error:
            return error

    def _mask(self, sample: Sample, image_size: tuple[int, int]) -> np.ndarray:
        if sample.mask is None:
            return np.zeros((self.image_size, self.image_size), bool)
        path = self.root / sample.mask
        mask = transforms.open_mask(path, self.mask_threshold)
        if mask.size != image_size:
            raise DatasetError(
                f"mask {path} is {_size(mask.size)} but its image {sample.image} is {_size(image_size)}; "
                "they must have the same size: restore the files or fetch the dataset again"
            )
        return transforms.mask_array(mask, self.image_size)


class BatchLoader(DataLoader):
    """A DataLoader that yields `types.Batch` and raises a worker's DatasetError as it was.

    The Batch is put together here, in the main process: workers send plain tensors, which can be pinned.
    """

    def __iter__(self) -> Iterator[Batch]:
        for item in super().__iter__():
            if isinstance(item, ZsadError):
                try:
                    raise item
                finally:
                    del item  # error, traceback, frame, error: a cycle that would keep the workers for seconds more
            yield Batch(*item)


def collate(items: Sequence[Item] | ZsadError) -> Any:
    """(images (B,3,S,S) float32, labels (B,) int64, masks (B,S,S) bool or None, infos), or the error passed on."""
    if isinstance(items, ZsadError):
        return items
    images, labels, masks, infos = zip(*items, strict=True)
    return (
        torch.from_numpy(np.stack(images)),
        torch.tensor(labels, dtype=torch.int64),
        None if masks[0] is None else torch.from_numpy(np.stack(masks)),
        list(infos),
    )


class InOrder(Sampler[int]):
    """Rank r of W gets r, r+W, …: every sample once, none padded or repeated, whatever W is."""

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        if world > count:
            raise DatasetError(
                f"{world} processes share {count} samples, so some have none; use at most {count} processes"
            )
        self.indices = range(rank, count, world)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class Shuffled(Sampler[int]):
    """A new permutation each epoch from a generator of its own, the same on every rank, shared out by rank.

    With several ranks it wraps around to a multiple of W: training ranks must take equally many steps.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.rank, self.world = count, rank, world
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count, generator=self.generator)
        padded = order[torch.arange(len(self) * self.world) % self.count]
        return iter(padded[self.rank :: self.world].tolist())

    def __len__(self) -> int:
        return -(-self.count // self.world)


def default_workers(count: int) -> int:
    """Worker processes for `count` images: none for a small set, else one less than the cores, at most eight."""
    if count < _FEW:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores - 1)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (width x height)"
