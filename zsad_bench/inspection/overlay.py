"""Maps as colours on photos. Colours of one run mean the same on all of its photos."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.inspection.tiles import resized
from zsad_bench.results.pictures import SCALE

_OPACITY = 0.75  # of the highest value
_FIRST = 0.3  # of the colour scale; what is before it is so dark that it would look like a shadow on the photo
_DIMMED = 0.35  # brightness of what is outside the region


class ColourRange(NamedTuple):
    """low: the value from which a map begins to colour a photo. high: the value of the brightest colour."""

    low: float
    high: float


def colour_range(ranges: Iterable[tuple[float, float]]) -> ColourRange:
    """From the median to the highest value: of all maps, given as (median, maximum) of each.

    At least half of most photos is usual, and stays as it is.
    """
    medians, highest = zip(*ranges, strict=True)
    return ColourRange(float(np.median(medians)), float(max(highest)))


def reduced(map_HW: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """(height,width) float32: each pixel is the highest value that falls on it, so that a small defect stays visible.

    Bilinear along an axis that grows.
    """
    for axis, size in enumerate((height, width)):
        if map_HW.shape[axis] > size:
            starts = np.arange(size) * map_HW.shape[axis] // size
            map_HW = np.maximum.reduceat(map_HW, starts, axis=axis)
    return resized(map_HW, width, height)


def overlay(
    photo_HW3: NDArray[np.uint8],
    map_HW: NDArray[np.float32],
    colours: ColourRange,
    region_HW: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """(H,W,3) uint8: the photo under the colours of its map, which is of its size; dim outside the region."""
    span = colours.high - colours.low
    place = np.clip((map_HW - colours.low) / span, 0, 1) if span > 0 else np.zeros_like(map_HW)
    if region_HW is not None:
        place = np.where(region_HW, place, 0)
    anchors = np.linspace(0, 1, len(SCALE))
    on_scale = _FIRST + (1 - _FIRST) * place
    colour = np.stack([np.interp(on_scale, anchors, SCALE[:, channel]) for channel in range(3)], -1)
    opacity = (_OPACITY * place)[..., None]
    mixed = photo_HW3 * (1 - opacity) + colour * opacity
    if region_HW is not None:
        mixed = np.where(region_HW[..., None], mixed, mixed * _DIMMED)
    pixels: NDArray[np.uint8] = mixed.round().astype(np.uint8)
    return pixels
