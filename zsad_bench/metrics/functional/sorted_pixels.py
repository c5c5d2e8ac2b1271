"""Pixels of one category taken apart, the anomalous ones sorted and the normal ones counted: what pixel metrics share.

All pixels of all images of the category, normal images included, are pooled: split into normal pixels (values
only) and anomalous pixels (value and area of their region). Metrics change at the distinct anomalous scores alone, so
of the 99 % of normal pixels only the number that reaches each of them is needed; O(pixels) memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.compiled import is_worth_loading
from zsad_bench.metrics.functional.ranking import Ranking, group_ends
from zsad_bench.metrics.functional.reached import Reached, reached
from zsad_bench.metrics.functional.regions import Regions, find_regions

LEGACY_STEPS = 200  # thresholds of the evaluation routine shared by the AnomalyCLIP family of code


class Pixels(NamedTuple):
    """What is kept of maps and masks, in no order that matters; parts of one category may be concatenated.

    negatives: (N,) scores of normal pixels. positives: (P,) scores of anomalous pixels.
    areas: (P,) int32, the area of each one's region. n_regions: how many regions there are.
    """

    negatives: NDArray
    positives: NDArray
    areas: NDArray
    n_regions: int


class SortedPixels(NamedTuple):
    """The shared state of all pixel metrics, at the K distinct anomalous scores.

    thresholds: (K,) descending. ranking: counts at them.
    pro: (K,) float64, mean share of a region with score >= threshold; ends at 1.
    steps: (S,) ascending, the thresholds of `aupro_legacy200_of`; none where they do not fit, or without a normal or
    an anomalous pixel. above_steps: (S,) int64, normal pixels with score > step.
    """

    thresholds: NDArray
    ranking: Ranking
    pro: NDArray
    steps: NDArray
    above_steps: NDArray


def split_pixels(
    maps_BHW: NDArray, masks_BHW: NDArray, connectivity: int = 8, regions: Sequence[Regions] | None = None
) -> Pixels:
    """Checked maps and bool masks of one batch taken apart. Copies every score.

    regions: of each mask, where they are labelled already.
    """
    if regions is None:
        regions = [find_regions(mask, connectivity) for mask in masks_BHW]
    areas = [np.zeros(0, np.int32), *(each.areas() for each in regions)]
    n_regions = sum(each.sizes.size for each in regions)
    return Pixels(*split_scores(maps_BHW, masks_BHW), np.concatenate(areas), n_regions)


def split_scores(maps_BHW: NDArray, masks_BHW: NDArray, fast: bool = True) -> tuple[NDArray, NDArray]:
    """The scores outside of masks and those inside, image by image in row-major order; copies.

    fast: in one compiled pass, where that is worth loading numba; the same either way.
    """
    if not (fast and is_worth_loading(maps_BHW.size)):
        return maps_BHW[~masks_BHW], maps_BHW[masks_BHW]
    from zsad_bench.metrics.functional import pixel_loops

    n_inside = np.count_nonzero(masks_BHW)
    outside, inside = (np.empty(n, maps_BHW.dtype) for n in (maps_BHW.size - n_inside, n_inside))
    pixel_loops.split(np.ascontiguousarray(maps_BHW).ravel(), np.ascontiguousarray(masks_BHW).ravel(), outside, inside)
    return outside, inside


def sort_pixels(pixels: Pixels) -> SortedPixels:
    """Pixels in one place, sorted and counted; they stay as they are."""
    return sort_parts([pixels.negatives], pixels.positives, pixels.areas)


def sort_parts(
    negatives: Sequence[NDArray],
    positives: NDArray,
    areas: NDArray,
    count: Callable[[Sequence[NDArray], NDArray], Reached] = reached,
) -> SortedPixels:
    """`sort_pixels` of normal pixels in parts; none of them is copied. count: as `reached`, here or on a device."""
    order = np.argsort(positives)[::-1]
    positives = positives[order]
    ends = group_ends(positives)
    # each region weighs 1 in all, so the total is the number of regions but for rounding: end at exactly 1
    pro = np.cumsum(1.0 / areas[order])[ends]
    thresholds = positives[ends]
    filled = [part for part in negatives if part.size]
    steps = np.zeros(0, thresholds.dtype)
    if filled and thresholds.size:
        low, high = min(part.min() for part in filled), max(part.max() for part in filled)
        steps = legacy_thresholds(min(low, thresholds[-1]), max(high, thresholds[0]))
    at_least, above = count(filled, np.concatenate([thresholds, steps]))
    k, tp = thresholds.size, ends + 1
    n_neg = sum(part.size for part in filled)
    ranking = Ranking(tp.astype(np.int64), at_least[:k], above[:k], int(tp[-1]) if k else 0, n_neg)
    return SortedPixels(thresholds, ranking, pro / pro[-1:], steps, above[k:])


def legacy_thresholds(low: np.floating, high: np.floating) -> NDArray:
    """The thresholds of the 200-step routine between two scores, in their dtype, ascending; empty when they do not fit.

    The routine's `arange(min, max, (max - min) / 200)` rounds its count and its first step in the dtype of the maps
    and continues in float64; that is followed here step by step, as one threshold more moves results by 5e-4.
    """
    with np.errstate(over="ignore"):
        step = (high - low) / low.dtype.type(LEGACY_STEPS)
    if not (np.isfinite(step) and step > 0):
        return np.zeros(0, low.dtype)
    exact = float(low) + np.arange(math.ceil((high - low) / step)) * (float(low + step) - float(low))
    # rounded down: decides `score > t` as the float64 threshold does, without a float64 copy of all pixels
    rounded = exact.astype(low.dtype)
    return np.where(rounded > exact, np.nextafter(rounded, low.dtype.type(-np.inf)), rounded)
