"""From a photo to what is scored: the whole photo as one square, or tiles of it. Runs in worker processes.

A photo that cannot be read travels as the reason, so that all others are scored.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from zsad_bench.data import decode, loaders, transforms
from zsad_bench.errors import DatasetError
from zsad_bench.inspection.photos import Photo
from zsad_bench.inspection.tiles import Box, Tiling

THUMBNAIL = 768  # pixels of the longer side, at most


class ReadPhoto(NamedTuple):
    """A photo as it is scored.

    views: (V,3,S,S) uint8, of the boxes, in their order; one view of the whole photo where there are no tiles.
    width, height: of the photo, upright. thumbnail: (h,w,3) uint8, at most `THUMBNAIL` per side. done: what decoding
    did, as keys of `decode.SAID`.
    """

    photo: Photo
    views: NDArray[np.uint8]
    boxes: list[Box]
    width: int
    height: int
    thumbnail: NDArray[np.uint8]
    done: tuple[str, ...]


class Unread(NamedTuple):
    """reason: one line, which names the file."""

    photo: Photo
    reason: str


class Reader(Dataset):
    """`reader[i]` is photo i, read; views are of side `size`. tiling: None scores each photo as a whole."""

    def __init__(self, photos: Sequence[Photo], size: int, tiling: Tiling | None) -> None:
        self.photos, self.size, self.tiling = photos, size, tiling

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> ReadPhoto | Unread:
        photo = self.photos[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large photograph is not an attack
                image, _, _, _, done = decode.read_image(photo.path)
        except DatasetError as error:
            return Unread(photo, str(error))
        width, height = image.size
        boxes = [Box(0, 0, width, height)] if self.tiling is None else self.tiling.boxes(width, height)
        views = [transforms.image_pixels(image if len(boxes) == 1 else image.crop(box), self.size) for box in boxes]
        return ReadPhoto(
            photo, np.stack([transforms.channels_first(view) for view in views]), boxes, width, height,
            np.asarray(_thumbnail(image)), done,
        )  # fmt: skip


def read(
    photos: Sequence[Photo], size: int, tiling: Tiling | None, workers: int | None
) -> Iterator[ReadPhoto | Unread]:
    """The photos in their order. workers: processes that read ahead; None decides by the number of photos."""
    reader = Reader(photos, size, tiling)
    count = loaders.default_workers(len(photos)) if workers is None else workers
    yield from DataLoader(reader, batch_size=None, num_workers=count, collate_fn=_as_it_is)


def _as_it_is(item: Any) -> Any:
    """Instead of torch's own, which makes tensors of arrays."""
    return item


def _thumbnail(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return small
