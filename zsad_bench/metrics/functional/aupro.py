"""Area under the per-region-overlap (PRO) curve from sorted pixels: exact, and as the papers' routine has it.

PRO(t): mean over the ground-truth regions of the category of the share of the region with score >= t; every region
counts once, whatever its size. FPR(t): share of the normal pixels of all images with score >= t.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.checks import maps_and_masks
from zsad_bench.metrics.functional.sorted_pixels import SortedPixels, sort_pixels, split_pixels
from zsad_bench.metrics.values import MetricValue, undefined

LEGACY_FPR = 0.3  # of the evaluation routine shared by the AnomalyCLIP family of code


def aupro(maps_BHW: ArrayLike, masks_BHW: ArrayLike, fpr_limit: float = 0.3, connectivity: int = 8) -> float:
    """Area under the per-region-overlap curve up to `fpr_limit`, divided by `fpr_limit`; in [0, 1].

    maps_BHW: float, any range, higher is more anomalous. masks_BHW: bool. Images of one category.
    connectivity: 8 or 4, of the regions. nan without a region or without a normal pixel.

    Raises:
        ValueError: a score is not finite, shapes differ, `fpr_limit` outside (0, 1].
    """
    return aupro_of(_sorted("aupro", maps_BHW, masks_BHW, connectivity), fpr_limit).value


def aupro_legacy200(maps_BHW: ArrayLike, masks_BHW: ArrayLike, connectivity: int = 8) -> float:
    """AUPRO as the papers' 200-step routine prints it (`aupro_legacy200_of`); nan where that routine fails.

    For comparing with printed tables only. Arguments and errors as for `aupro`; warns, with the reason, when nan.
    """
    value, reason = aupro_legacy200_of(_sorted("aupro_legacy200", maps_BHW, masks_BHW, connectivity))
    if reason:
        warnings.warn(f"aupro_legacy200 is undefined: {reason}", stacklevel=2)
    return value


def aupro_of(pixels: SortedPixels, fpr_limit: float = 0.3) -> MetricValue:
    """(1/L) times the integral of PRO over FPR in [0, L], every distinct score a vertex; in [0, 1].

    The curve starts at (0, 0) and ends at (1, 1); pixels of one score enter together, as a straight segment; the
    vertex at FPR = L is interpolated. Raises ValueError unless `fpr_limit` (L) is in (0, 1].
    """
    check_fpr_limit(fpr_limit)
    missing = _undefined(pixels)
    if missing:
        return missing
    fpr, pro = pro_curve(pixels)
    cut = int(np.searchsorted(fpr, fpr_limit, side="right"))  # the first vertex beyond the limit, if any
    if cut < fpr.size:
        share = (fpr_limit - fpr[cut - 1]) / (fpr[cut] - fpr[cut - 1])
        end = pro[cut - 1] + share * (pro[cut] - pro[cut - 1])
        fpr, pro = np.append(fpr[:cut], fpr_limit), np.append(pro[:cut], end)
    return MetricValue(float(min(1.0, _trapezoid(fpr, pro) / fpr_limit)))


def pro_curve(pixels: SortedPixels) -> tuple[NDArray, NDArray]:
    """FPR and PRO (2K+2,) float64, ascending: before and after each distinct anomalous score enters."""
    _, fp, fp_above, _, n_neg = pixels.ranking
    fpr, pro = np.zeros(2 * fp.size + 2), np.zeros(2 * fp.size + 2)
    fpr[1:-1:2], fpr[2:-1:2], fpr[-1] = fp_above / n_neg, fp / n_neg, 1.0
    pro[3:-1:2], pro[2:-1:2], pro[-1] = pixels.pro[:-1], pixels.pro, 1.0
    return fpr, pro


def aupro_legacy200_of(pixels: SortedPixels) -> MetricValue:
    """The number that the papers' 200-step routine gives: for comparing with printed tables, not for ranking.

    Thresholds are 200 equal steps from the lowest to the highest score of the category, prediction is score > t;
    points with FPR < 0.3 are kept, their FPRs stretched to [0, 1], and the trapezoid taken. Undefined where the
    routine fails: all scores equal, fewer than two points kept, or all of them at one FPR.
    """
    missing = _undefined(pixels)
    if missing:
        return missing
    if not pixels.steps.size:
        return undefined("no room for 200 thresholds between the lowest and the highest score")
    fpr = pixels.above_steps / pixels.ranking.n_neg
    # how many distinct anomalous scores are > t
    reached = np.searchsorted(-pixels.thresholds, -pixels.steps, side="left")
    pro = np.append(0.0, pixels.pro)[reached]
    low_fpr = fpr < LEGACY_FPR
    if low_fpr.sum() < 2:
        return undefined("fewer than two of the 200 thresholds have FPR < 0.3")
    fpr, pro = fpr[low_fpr][::-1], pro[low_fpr][::-1]
    if fpr[0] == fpr[-1]:
        return undefined("all of the 200 thresholds with FPR < 0.3 have one FPR")
    return MetricValue(float(_trapezoid((fpr - fpr[0]) / (fpr[-1] - fpr[0]), pro)))


def check_fpr_limit(fpr_limit: float) -> None:
    """Raises ValueError unless `fpr_limit` is in (0, 1]."""
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], found {fpr_limit!r}")


def _sorted(metric: str, maps: ArrayLike, masks: ArrayLike, connectivity: int) -> SortedPixels:
    return sort_pixels(split_pixels(*maps_and_masks(maps, masks, metric), connectivity))


def _undefined(pixels: SortedPixels) -> MetricValue | None:
    if not pixels.ranking.n_pos:
        return undefined("no anomalous pixel")
    return None if pixels.ranking.n_neg else undefined("no normal pixel")


def _trapezoid(x: NDArray, y: NDArray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) * 0.5))
