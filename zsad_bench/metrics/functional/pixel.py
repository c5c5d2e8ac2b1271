"""Pixel AUROC, AP, F1-max and AUPRO of one category, exact, from one shared sort.

All pixels of all images of the category, normal images included, are pooled: split into normal pixels (values
only) and anomalous pixels (value and area of their region), sorted, and read off by binary search at the K distinct
anomalous scores. Sorting bare values is vectorised, so the 99 % of normal pixels cost little; O(pixels) memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.aupro import aupro_legacy200_of, aupro_of
from zsad_bench.metrics.functional.checks import maps_and_masks
from zsad_bench.metrics.functional.ranking import (
    Ranking,
    auroc_of,
    average_precision_of,
    f1max_of,
    group_ends,
    rank,
)
from zsad_bench.metrics.functional.regions import region_areas
from zsad_bench.metrics.values import MetricValue, by_key, undefined


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


def aupro(maps_BHW: ArrayLike, masks_BHW: ArrayLike, fpr_limit: float = 0.3, connectivity: int = 8) -> float:
    """Area under the per-region-overlap curve up to `fpr_limit`, divided by `fpr_limit`; in [0, 1].

    maps_BHW: float, any range, higher is more anomalous. masks_BHW: bool. Images of one category.
    connectivity: 8 or 4, of the regions. nan without a region or without a normal pixel.

    Raises:
        ValueError: a score is not finite, shapes differ, `fpr_limit` outside (0, 1].
    """
    return aupro_of(_sorted("aupro", maps_BHW, masks_BHW, connectivity), fpr_limit).value


def aupro_legacy200(maps_BHW: ArrayLike, masks_BHW: ArrayLike, connectivity: int = 8) -> float:
    """AUPRO as the papers' 200-step routine prints it (`overlap.aupro_legacy200_of`); nan where that routine fails.

    For comparing with printed tables only. Arguments and errors as for `aupro`; warns, with the reason, when nan.
    """
    value, reason = aupro_legacy200_of(_sorted("aupro_legacy200", maps_BHW, masks_BHW, connectivity))
    if reason:
        warnings.warn(f"aupro_legacy200 is undefined: {reason}", stacklevel=2)
    return value


def _auroc(pixels: SortedPixels, _: float) -> MetricValue:
    return MetricValue(auroc_of(pixels.ranking)) if pixels.ranking.n_neg else undefined("no normal pixel")


# Key -> function of the sorted pixels (at least one of them anomalous) and the FPR limit, to a number or a
# `MetricValue` that may have a reason: what one sort of all pixels is enough for.
OF_SORTED: dict[str, Callable[[SortedPixels, float], MetricValue | float]] = {
    "pixel_auroc": _auroc,
    "pixel_ap": lambda pixels, _: average_precision_of(pixels.ranking),
    "pixel_f1max": lambda pixels, _: f1max_of(pixels.ranking),
    "pixel_aupro": aupro_of,
    "pixel_aupro_legacy200": lambda pixels, _: aupro_legacy200_of(pixels),
}


def pixel_values(pixels: SortedPixels, fpr_limit: float = 0.3) -> dict[str, MetricValue]:
    """Every metric of `OF_SORTED` by its key, undefined ones with their reason."""
    if not pixels.ranking.n_pos:
        return dict.fromkeys(OF_SORTED, undefined("no anomalous pixel"))
    return by_key(OF_SORTED, {key: of(pixels, fpr_limit) for key, of in OF_SORTED.items()})


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


def _sorted(metric: str, maps: ArrayLike, masks: ArrayLike, connectivity: int) -> SortedPixels:
    return sort_pixels(split_pixels(*maps_and_masks(maps, masks, metric), connectivity), overwrite=True)
