"""Large images cut into samples: where the parts lie, and which of them a mask marks.

Only masks are decoded, once each and cached for the life of the process; of images only the header is read.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsad_bench.data.content import Stamp
from zsad_bench.data.decode import Size, size_of, stored_size_of
from zsad_bench.data.transforms import open_masks
from zsad_bench.errors import DatasetError

__all__ = ["size_of"]

Crop = tuple[int, int, int, int]  # left, top, right, bottom, as `Sample.crop`


def marked(
    image: Path,
    size: Size,
    masks: Sequence[Path],
    crops: Sequence[Crop],
    threshold: int | None = 0,
    strict: bool = False,
) -> list[bool]:
    """Whether the union of the masks has a pixel above the threshold in each crop.

    size: of the image. A mask of another size is brought to it, as when its image is loaded; strict: that is an error.

    Raises:
        DatasetError: a mask cannot be read, or has another size and must not.
    """
    state = tuple((path, Stamp.of(path)) for path in masks)
    answer, resized = _marked(state, size, stored_size_of(image), tuple(crops), threshold)
    if strict and resized:
        (path, (width, height)), *_ = resized
        raise DatasetError(
            f"mask {path} is {width} x {height} (width x height) but its image {image} is {size[0]} x {size[1]}; "
            "they must have the same size: restore the files or fetch the dataset again"
        )
    return list(answer)


@functools.lru_cache(maxsize=8192)
def _marked(
    state: tuple[tuple[Path, Stamp], ...], size: Size, stored: Size, crops: tuple[Crop, ...], threshold: int | None
) -> tuple[tuple[bool, ...], tuple[tuple[Path, Size], ...]]:
    """(an answer a crop, masks of another size); files that changed since have another state."""
    mask, resized, _ = open_masks([path for path, *_ in state], threshold, size, stored)
    pixels = np.asarray(mask)
    answer = (bool(pixels[top:bottom, left:right].any()) for left, top, right, bottom in crops)
    return tuple(answer), tuple(resized.items())
