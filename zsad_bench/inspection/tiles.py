"""Large images as overlapping tiles, and one map again from the maps of the tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsad_bench.errors import UsageError


class Box(NamedTuple):
    """left, top: of the first pixel. right, bottom: of the first pixel that is no longer inside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


class Tiling(NamedTuple):
    """side: of the square tiles, in pixels of the image. overlap: the smallest share of a side that neighbours have in
    common."""

    side: int
    overlap: float = 0.25

    def boxes(self, width: int, height: int) -> list[Box]:
        """Tiles that cover an image, row by row, all of one size; one tile where the image is no larger.

        They are spread evenly from border to border, so neighbours overlap by the share asked for or more. An image
        whose shorter side is less than a tile has tiles of that shorter side.
        """
        side = min(self.side, width, height)
        return [
            Box(left, top, left + side, top + side)
            for top in _starts(height, side, self.overlap)
            for left in _starts(width, side, self.overlap)
        ]


def tiling(side: int, overlap: float) -> Tiling:
    """The tiling, checked.

    Raises:
        UsageError: a side below 16 pixels, an overlap outside [0, 0.9].
    """
    if side < 16:
        raise UsageError(f"--tile-size {side}: expected 16 pixels or more")
    if not 0 <= overlap <= 0.9:
        raise UsageError(f"tiles that overlap by {overlap} of a side: expected a share from 0 to 0.9")
    return Tiling(side, overlap)


def blend(maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], width: int, height: int) -> NDArray[np.float32]:
    """(height,width) float32: the map of an image from those of its tiles, each of its box's size.

    A weighted mean where tiles overlap. A tile's weight falls linearly from its middle to its border, where a method
    sees only half of what surrounds a pixel, and is above zero everywhere. So a constant stays constant, and the map
    has no steps where tiles end. Memory: two arrays of the image's size.
    """
    total: NDArray[np.float32] = np.zeros((height, width), np.float32)
    weights: NDArray[np.float32] = np.zeros((height, width), np.float32)
    for map_, box in zip(maps, boxes, strict=True):
        weight = np.minimum.outer(_ramp(box.height), _ramp(box.width))
        part = np.s_[box.top : box.bottom, box.left : box.right]
        total[part] += weight * map_
        weights[part] += weight
    total /= weights
    return total


def resized(map_: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """(height,width) float32 of a map of any size: bilinear, antialiased where it shrinks."""
    if map_.shape == (height, width):
        return map_
    return np.asarray(Image.fromarray(map_).resize((width, height), Image.Resampling.BILINEAR))


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    count = 1 + -(-(length - side) // step)
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _ramp(length: int) -> NDArray[np.float32]:
    """(length,) in (0, 1]: 1 in the middle, near 0 at both ends."""
    place = np.abs((np.arange(length, dtype=np.float32) + 0.5) / length * 2 - 1)
    ramp: NDArray[np.float32] = np.maximum(1 - place, 1e-3, dtype=np.float32)
    return ramp
