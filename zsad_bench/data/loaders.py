"""Batches from a table of samples: decoding, collating, and who reads what when several processes share the work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, DistributedSampler, Sampler

from zsad_bench.data import decode, image_cache, transforms
from zsad_bench.data.augment import Augmentation
from zsad_bench.data.content import index_of
from zsad_bench.data.corruptions import Corruptor
from zsad_bench.data.image_cache import ImageCache
from zsad_bench.data.mosaic import Mosaics, tiled
from zsad_bench.data.synthetic import Painter
from zsad_bench.errors import DatasetError, UsageError, ZsadError
from zsad_bench.types import Batch, Category, Normalisation, Sample, SampleInfo

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

# Below this many images starting worker processes costs more than it saves.
_FEW = 256
_MOST_WORKERS = 8

# So many bytes of decoded training images stay in memory from one epoch to the next, which then has nothing to decode.
_KEPT = 2**26

# Share of a dataset's masks that may have another size than their images; more is a broken copy.
MOST_RESIZED = 0.01


_FILES = ("image_files", "mask_files")

Done = tuple[tuple[str, str], ...]  # (what decoding did, with which file)
Arrays = tuple[np.ndarray, "np.ndarray | None", tuple[str, ...], Done]  # pixels, mask, lines on resized masks, done


class Item(NamedTuple):
    """A sample as arrays. resized: one line per mask that had another size than its image. done: for `decode.said`."""

    image: np.ndarray  # (3,S,S) uint8
    label: int
    mask: np.ndarray | None  # (S,S) bool
    info: SampleInfo
    resized: tuple[str, ...] = ()
    done: Done = ()


class Picture(NamedTuple):
    """A sample decoded, cropped and augmented, at its own size; mask: L of 0 and 255. The rest as in an Item."""

    image: Image.Image
    mask: Image.Image | None
    resized: tuple[str, ...]
    done: Done


class UnreadableSample(NamedTuple):
    """A sample that could not be read and is passed over. reason: one line that names the file."""

    info: SampleInfo
    reason: str


class WorkerBatch(NamedTuple):
    """What a worker sends: the fields of a `Batch`, None where every sample was bad, and what there is to count."""

    images: torch.Tensor | None
    labels: torch.Tensor | None
    masks: torch.Tensor | None
    samples: list[SampleInfo]
    bad: list[UnreadableSample]
    resized: list[str]
    done: Done


@dataclass
class ImageTable(Dataset):
    """Samples as arrays: `table[i]` is an Item, or an UnreadableSample where a file is broken and `skip_bad` is set.

    masks: whether the dataset has them; normal samples then get an empty one. strict_mask_size: a mask of another size
    than its image is an error; else it is resized to the image by nearest neighbour, and the Item says so.
    augment: applied to the decoded image and its mask before the resize. corrupt: as well, the same in every pass; for
    tests alone, and never cached. painter: of the defects of generated samples, behind a crop and before all else.
    mosaics: replace samples by four others as one, whose label is the largest of the four: that of the mosaic's mask.
    cache: keeps resized images on disk; kept:
    keeps them in memory, where `keeps` says so. Neither is used when augmenting, nor for mosaics; what is generated
    is not kept on disk.

    Raises:
        DatasetError: from `table[i]`, when a file is unreadable or a mask has a size that it must not have.
    """

    dataset: str
    root: Path
    samples: Sequence[Sample]
    categories: Mapping[str, Category]
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    masks: bool
    mask_threshold: int | None = 0
    strict_mask_size: bool = False
    skip_bad: bool = False
    augment: Augmentation | None = None
    cache: ImageCache | None = None
    mosaics: Mosaics | None = None
    kept: dict[tuple[int, str], Arrays] | None = None
    corrupt: Corruptor | None = None
    painter: Painter | None = None

    def __post_init__(self) -> None:
        # Counts the passes begun, for augmentation to differ between them; shared, as workers outlive a pass.
        # Trainer.predict makes its loaders in inference mode, whose tensors could not be counted up elsewhere.
        with torch.inference_mode(False):
            self.epoch = torch.zeros((), dtype=torch.int64)
        if self.augment is not None or self.mosaics is not None:
            self.epoch.share_memory_()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def mask_count(self) -> int:
        """How many mask files there are to read."""
        return sum(len(sample.masks) for sample in self.samples) if self.masks else 0

    @property
    def image_files(self) -> set[Path]:
        return {self.root / sample.image for sample in self.samples}

    @property
    def mask_files(self) -> set[Path]:
        return {self.root / mask for sample in self.samples for mask in sample.masks} if self.masks else set()

    def __getitem__(self, index: int) -> Item | UnreadableSample:
        sample = self.samples[index]
        info = SampleInfo(f"{self.dataset}/{sample.id}", self.categories[sample.category])
        parts = self.mosaics.parts(sample, f"{int(self.epoch)}|{sample.id}") if self.mosaics is not None else []
        try:
            pixels, mask, resized, done = self._mosaic(parts) if parts else self._remembered(sample)
        except transforms.UnreadableError as error:
            if not self.skip_bad:
                raise
            return UnreadableSample(info, str(error))
        if self.masks and mask is None:
            mask = np.zeros((self.image_size, self.image_size), bool)
        label = max((part.label for part in parts), default=sample.label)
        if self.augment is None and not parts:  # else the pixels are others in each pass
            info = replace(info, content=transforms.content_of(pixels))
        return Item(transforms.channels_first(pixels), label, mask, info, resized, done)

    def __getitems__(self, indices: Sequence[int]) -> list[Item | UnreadableSample] | ZsadError:
        # How a DataLoader asks for a batch. An error travels as a value, see `ValueLoader`.
        try:
            return [self[index] for index in indices]
        except ZsadError as error:
            return error

    @property
    def keeps(self) -> bool:
        """Whether its images stay in memory once they were read."""
        changing = self.augment is not None or self.mosaics is not None
        size = len(self.samples) * self.image_size**2 * (4 if self.masks else 3)
        return self.kept is not None and not changing and size <= _KEPT

    def _remembered(self, sample: Sample) -> Arrays:
        if self.kept is None or not self.keeps:
            return self._arrays(sample)
        key = (self.image_size, sample.id)
        if key not in self.kept:
            self.kept[key] = self._arrays(sample)
        return self.kept[key]

    def _arrays(self, sample: Sample) -> Arrays:
        """(pixels (S,S,3) uint8, mask (S,S) bool or None, lines on resized masks, what decoding did).

        From the cache where it has them.
        """
        if self.cache is None or self.augment is not None or self.corrupt is not None or sample.generated:
            return self._decoded(sample)
        files = (sample.image, *(sample.masks if self.masks else ()))
        cache, masked = self.cache, len(files) > 1
        place = self._place(cache, files, sample)
        if place is None:
            return self._decoded(sample)
        if (kept := cache.read(place, self.image_size, masked)) is not None:
            return _as_arrays(kept)
        with cache.claimed(place) as waited:
            if waited and (kept := cache.read(place, self.image_size, masked)) is not None:
                return _as_arrays(kept)
            pixels, mask, resized, done = self._decoded(sample)
            # A resized mask is counted in every pass, so its image is not kept; nor is one that was replaced meanwhile.
            if not resized and place == self._place(cache, files, sample):
                cache.write(place, pixels, mask, done)
        return pixels, mask, resized, done

    def _place(self, cache: ImageCache, files: Sequence[str], sample: Sample) -> Path | None:
        contents = [index_of(self.root).digest(path) for path in files]
        return cache.place(contents, sample.crop, self.image_size, self.mask_threshold)

    def _decoded(self, sample: Sample) -> Arrays:
        return self._resized(self._picture(sample))

    def _mosaic(self, parts: Sequence[Sample]) -> Arrays:
        pictures = [self._picture(part) for part in parts]
        image, mask = tiled([picture.image for picture in pictures], [picture.mask for picture in pictures])
        resized, done = (tuple(dict.fromkeys(chain(*found))) for found in
                         ([p.resized for p in pictures], [p.done for p in pictures]))  # fmt: skip
        return self._resized(Picture(image, mask, resized, done))

    def _resized(self, picture: Picture) -> Arrays:
        image, mask, resized, done = picture
        pixels = transforms.image_pixels(image, self.image_size)
        return pixels, None if mask is None else transforms.mask_array(mask, self.image_size), resized, done

    def _picture(self, sample: Sample) -> Picture:
        path = self.root / sample.image
        image, stored, _, _, found = decode.read_image(path)
        done = tuple((key, str(path)) for key in found)
        mask: Image.Image | None = None
        resized: tuple[str, ...] = ()
        if self.masks and sample.masks:
            mask, resized, of_mask = self._mask(sample, image.size, stored)
            done += of_mask
        if sample.crop is not None:
            image = image.crop(sample.crop)
            mask = None if mask is None else mask.crop(sample.crop)
        if sample.generated:
            image, mask = painted(self.painter, image, sample)
        if self.augment is not None:
            image, mask = changed(self.augment, image, mask, f"{int(self.epoch)}|{sample.id}")
        if self.corrupt is not None:
            image, mask = changed(self.corrupt, image, mask, f"{self.dataset}/{sample.id}")
        return Picture(image, mask, resized, done)

    def _mask(
        self, sample: Sample, native: decode.Size, stored: decode.Size
    ) -> tuple[Image.Image, tuple[str, ...], Done]:
        paths = [self.root / path for path in sample.masks]
        mask, other, done = transforms.open_masks(paths, self.mask_threshold, native, stored)
        lines = tuple(
            f"mask {path} is {_size(size)} but its image {sample.image} is {_size(native)}"
            for path, size in other.items()
        )
        if lines and self.strict_mask_size:
            raise DatasetError(
                f"{lines[0]}; they must have the same size: restore the files or fetch the dataset again"
            )
        return mask, lines, done


def _as_arrays(kept: image_cache.Arrays) -> Arrays:
    pixels, mask, done = kept
    return pixels, mask, (), done


class Tables(ConcatDataset):
    """Tables one after the other, as one."""

    def __init__(self, tables: Sequence[ImageTable]) -> None:
        super().__init__(tables)
        self.tables = list(tables)

    def __getitems__(self, indices: Sequence[int]) -> list[Item | UnreadableSample] | ZsadError:
        # As a table's own: ConcatDataset asks for items one by one, and lets errors through.
        try:
            return [self[index] for index in indices]
        except ZsadError as error:
            return error


class ValueLoader(DataLoader):
    """A DataLoader whose dataset may give an error in the place of a batch; it is raised here as it was.

    Raised inside a worker process it would reach the user wrapped in a traceback instead of as its one line.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its private iterator
        for item in super().__iter__():
            if isinstance(item, ZsadError):
                try:
                    raise item
                finally:
                    del item  # error, traceback, frame, error: a cycle that would keep the workers for seconds more
            yield item


class BatchLoader(ValueLoader):
    """A loader that yields `types.Batch`, whose images are uint8: `Batch.normalised` is what a backbone reads.

    The Batch is put together here, in the main process: workers send plain tensors, which can be pinned. Batches of
    bad samples alone are passed over.

    Of the last pass, or so far in this one: `skipped`, the samples that could not be read, `reasons`, one line for each
    of them, `resized`, one line per mask that had another size than its image, and `said`, what decoding did, in lines
    with the number of files. Each process counts what it reads.

    Raises:
        DatasetError: while iterating; more than 1 % of the dataset's masks have another size than their images, or
            no image at all could be read.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.skipped: list[SampleInfo] = []
        self.reasons: list[str] = []
        self.resized: list[str] = []
        self._done: set[tuple[str, str]] = set()

    @property
    def said(self) -> list[str]:
        images, masks = (len(set().union(*(getattr(table, kind) for table in self._tables))) for kind in _FILES)
        return [*decode.said(self._done), *decode.doubts(self._done, images, masks).values()]

    @property
    def _normalisation(self) -> Normalisation:
        known = {(tuple(table.mean), tuple(table.std)): table.dataset for table in self._tables}
        if len(known) > 1:
            first, second, *_ = known.values()
            raise UsageError(f"{first} and {second} are read together and have another mean or std; give both the same")
        return Normalisation(*next(iter(known)))

    @property
    def _tables(self) -> list[ImageTable]:
        if isinstance(self.dataset, Tables):
            return self.dataset.tables
        return [cast(ImageTable, self.dataset)]

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # as above
        self.skipped, self.reasons, self.resized, self._done = [], [], [], set()
        for table in self._tables:
            table.epoch += 1
        masks, read, normalisation = sum(table.mask_count for table in self._tables), 0, self._normalisation
        for item in super().__iter__():
            self._count(item, masks)
            if item.images is not None:
                read += len(item.samples)
                yield Batch(item.images, item.labels, item.masks, item.samples, normalisation)
        if self.skipped and not read:
            raise DatasetError(f"none of the {len(self.skipped)} images can be read; the first: {self.reasons[0]}")

    def _count(self, item: WorkerBatch, masks: int) -> None:
        for info, reason in item.bad:
            self.skipped.append(info)
            self.reasons.append(reason)
        self.resized += [line for line in item.resized if line not in self.resized]  # mosaics read a mask again
        self._done.update(item.done)
        if len(self.resized) > MOST_RESIZED * masks:
            raise DatasetError(
                f"{self.resized[0]}; more than 1 % of the {masks} masks have another size than their images "
                f"({len(self.resized)} so far): restore the files or fetch the dataset again"
            )


def collate(items: Sequence[Item | UnreadableSample] | ZsadError) -> WorkerBatch | ZsadError:
    """Images (B,3,S,S) uint8, labels (B,) int64, masks (B,S,S) bool or None; or the error passed on."""
    if isinstance(items, ZsadError):
        return items
    good = [item for item in items if isinstance(item, Item)]
    bad = [item for item in items if isinstance(item, UnreadableSample)]
    masks = [item.mask for item in good if item.mask is not None]
    if not good:
        return WorkerBatch(None, None, None, [], bad, [], ())
    return WorkerBatch(
        torch.from_numpy(np.stack([item.image for item in good])),
        torch.tensor([item.label for item in good], dtype=torch.int64),
        torch.from_numpy(np.stack(masks, dtype=bool)) if masks else None,  # a table has them for all images or none
        [item.info for item in good],
        bad,
        [line for item in good for line in item.resized],
        tuple(pair for item in good for pair in item.done),
    )


class SequentialShard(DistributedSampler):
    """Rank r of W gets r, r+W, …: every sample once, none padded or repeated, whatever W is.

    Both samplers here are DistributedSamplers so that Lightning leaves them alone; its own repeats images to fill up
    the last batch of each rank, and they would count twice.

    Raises:
        DatasetError: more ranks than samples.
    """

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        if world > count:
            raise DatasetError(
                f"{world} processes share {count} samples, so some have none; use at most {count} processes"
            )
        super().__init__(_places(count), world, rank, shuffle=False)
        self.indices = range(rank, count, world)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class ShuffledShard(DistributedSampler):
    """A new permutation each epoch from a generator of its own, the same on every rank, shared out by rank.

    With several ranks it wraps around to a multiple of W: training ranks must take equally many steps. Rank r takes
    r, r+W, … of the permutation, so that what all ranks read in one step is what one process reads in a batch W times
    as large.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(_places(count), world, rank, seed=seed)
        self.count = count
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count, generator=self.generator)
        padded = order[torch.arange(self.total_size) % len(order)]
        return iter(padded[self.rank :: self.num_replicas].tolist())


def _places(count: int) -> Dataset[int]:
    """What a sampler asks of a dataset: its length."""
    return cast("Dataset[int]", range(count))


class Ranks(NamedTuple):
    """Which process of how many this is."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, trainer: Trainer | None) -> Ranks:
        """Of the Trainer that a data module was given to; of none, one process."""
        return cls() if trainer is None else cls(trainer.global_rank, trainer.world_size)


def training_loader(
    table: ImageTable | Tables, batch_size: int, seed: int, workers: int | None, ranks: Ranks
) -> BatchLoader:
    """Batches in random order, another one each pass; the last is kept however small.

    batch_size: of a step, all processes together, so that their number changes nothing that is learned.

    Raises:
        UsageError: the batch cannot be shared out evenly.
    """
    share, rest = divmod(batch_size, ranks.world)
    if rest:
        raise UsageError(
            f"{ranks.world} processes cannot share training batches of {batch_size} images evenly; take a batch_size "
            f"that {ranks.world} divides, or another number of processes"
        )
    tables = table.tables if isinstance(table, Tables) else [table]
    if workers is None and all(each.keeps for each in tables):
        workers = 0  # what is in this process's memory need not come from another one
    return _loader(table, ShuffledShard(len(table), seed, *ranks), share, workers)


def test_loader(table: ImageTable, batch_size: int, workers: int | None, ranks: Ranks) -> BatchLoader:
    """Batches in the order of the table; nothing is repeated. batch_size: of each process."""
    return _loader(table, SequentialShard(len(table), *ranks), batch_size, workers)


def _loader(table: ImageTable | Tables, sampler: Sampler[int], batch_size: int, workers: int | None) -> BatchLoader:
    workers = default_workers(len(table)) if workers is None else workers
    return BatchLoader(
        table,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def default_workers(count: int) -> int:
    """Worker processes for `count` images: none for a small set, else one less than the cores, at most eight."""
    if count < _FEW:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores - 1)


def changed(
    by: Augmentation | Corruptor, image: Image.Image, mask: Image.Image | None, key: str
) -> tuple[Image.Image, Image.Image | None]:
    """An image and its mask, augmented or corrupted."""
    pixels, grey = by(np.asarray(image), None if mask is None else np.asarray(mask), key)
    return Image.fromarray(pixels), None if grey is None else Image.fromarray(grey)


def painted(painter: Painter | None, image: Image.Image, sample: Sample) -> tuple[Image.Image, Image.Image]:
    """The image of a generated sample with its defect, and the mask of it.

    Raises:
        UsageError: no painter, so that nothing says which draw it is of.
    """
    if painter is None:
        raise UsageError(f"sample {sample.id} has a generated defect; open its dataset with synthetic=DRAW")
    pixels, mask = painter(np.asarray(image), sample.anomaly_type, sample.id)
    return Image.fromarray(pixels), Image.fromarray(mask)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (width x height)"
