"""Pixels of one category taken apart and sorted once: the shared state of the pixel metrics.

All pixels of all images of the category, normal images included, are pooled: split into normal pixels (values
only) and anomalous pixels (value and area of their region), and sorted. Sorting bare values is vectorised, so the
99 % of normal pixels cost little; O(pixels) memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.ranking import Ranking, group_ends, rank
from zsad_bench.metrics.functional.regions import region_areas


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

    negatives: (N,) ascending. thresholds: (K,) descending. ranking: counts at them.
    pro: (K,) float64, mean share of a region with score >= threshold; ends at 1.
    """

    negatives: NDArray
    thresholds: NDArray
    ranking: Ranking
    pro: NDArray


def split_pixels(maps_BHW: NDArray, masks_BHW: NDArray, connectivity: int = 8) -> Pixels:
    """Checked maps and bool masks of one batch taken apart; regions are labelled per image. Copies every score."""
    areas, counts = [], 0
    for mask in masks_BHW:
        area, n_regions = region_areas(mask, connectivity)
        areas.append(area)
        counts += n_regions
    normal = ~masks_BHW
    return Pixels(maps_BHW[normal], maps_BHW[masks_BHW], np.concatenate([*areas, np.zeros(0, np.int32)]), counts)


def sort_pixels(pixels: Pixels, overwrite: bool = False) -> SortedPixels:
    """The one sort. overwrite: sort `pixels.negatives` in place, which saves a copy of the whole category."""
    negatives = pixels.negatives
    if overwrite:
        negatives.sort()
    else:
        negatives = np.sort(negatives)
    order = np.argsort(pixels.positives)[::-1]
    positives = pixels.positives[order]
    ends = group_ends(positives)
    # each region weighs 1 in all, so the total is the number of regions but for rounding: end at exactly 1
    pro = np.cumsum(1.0 / pixels.areas[order])[ends]
    thresholds = positives[ends]
    return SortedPixels(negatives, thresholds, rank(thresholds, ends + 1, negatives), pro / pro[-1:])
