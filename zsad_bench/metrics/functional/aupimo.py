"""AUPIMO: per anomalous image, how much of the defect is found while normal images stay almost silent.

F(t) is the mean over normal images of their share of pixels with score >= t. At a budget f of it the lowest threshold
within the budget is used, and TPR_i(f) is the share of image i's anomalous pixels above it. AUPIMO_i is the mean of
TPR_i over f in [L, U], f on a logarithmic axis. Source: Bertoldo et al., BMVC 2024 (arXiv 2401.01984).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.checks import maps_and_masks
from zsad_bench.metrics.values import MetricValue, undefined

FPR_BOUNDS = (1e-5, 1e-4)  # of the paper


def aupimo(
    maps_BHW: ArrayLike,
    masks_BHW: ArrayLike,
    fpr_bounds: tuple[float, float] = FPR_BOUNDS,
    labels: ArrayLike | None = None,
) -> tuple[float, NDArray]:
    """Mean AUPIMO, and that of each anomalous image in their order, (A,) float64; in [0, 1].

    maps_BHW: float, any range, higher is more anomalous. masks_BHW: bool.
    labels: (B,) 0 normal, 1 anomalous; without them an image is normal where its mask is empty. An anomalous image with
    an empty mask is in neither: it has no anomaly to detect, and a detection on it is not a false positive.
    nan without a normal or without an anomalous image. Compares each normal pixel once: O(B*H*W) time.

    Raises:
        ValueError: a score is not finite, shapes differ, not 0 < L < U <= 1, or a normal image has a mask.
    """
    check_fpr_bounds(fpr_bounds)
    maps, masks = maps_and_masks(maps_BHW, masks_BHW, "aupimo")
    anomalous = masks.any(axis=(1, 2)) if masks.size else np.zeros(len(masks), np.bool_)
    inside = [maps[i][masks[i]] for i in np.flatnonzero(anomalous)]
    normal = ~anomalous if labels is None else np.asarray(labels) == 0
    if normal.shape != anomalous.shape or (normal & anomalous).any():
        raise ValueError("aupimo: labels must be one per image, and normal images have no anomalous pixel")
    mean, per_image = aupimo_of([maps[i].ravel() for i in np.flatnonzero(normal)], inside, fpr_bounds)
    return mean.value, per_image


def aupimo_of(
    normal: Sequence[NDArray],
    inside: Sequence[NDArray],
    fpr_bounds: tuple[float, float] = FPR_BOUNDS,
    weights: NDArray | None = None,
) -> tuple[MetricValue, NDArray]:
    """Mean AUPIMO and that of each anomalous image, from scores. Warns where L allows not one false-positive pixel.

    normal: the N scores of the pixels of normal images, in parts, which stay as they are. inside: by anomalous image,
    the scores of its anomalous pixels, at least one. weights: (N,) float64, what each normal pixel adds to F, for
    images of different size: 1 / (normal images * pixels of its image); None where all are equal.
    """
    check_fpr_bounds(fpr_bounds)
    low, high = fpr_bounds
    n_normal = sum(part.size for part in normal)
    if not inside or not n_normal:
        return undefined("no normal image" if inside else "no anomalous image"), np.full(len(inside), math.nan)
    if low < 1 / n_normal:
        warnings.warn(
            f"aupimo: {n_normal} normal pixels are too few for FPR bounds from {low:g}: below {1 / n_normal:.2g} "
            "not one false-positive pixel is allowed; use more normal images or a higher lower bound",
            stacklevel=3,
        )
    # A pixel counts as found from the budget F(its score) on, so its share of the area is known at once: no curve.
    scores = np.concatenate(inside)
    budgets = np.clip(_false_positives(normal, scores, high, weights), low, high)
    gains = 1.0 - np.log(budgets / low) / math.log(high / low)
    sizes = np.array([len(image) for image in inside])
    per_image = np.bincount(np.repeat(np.arange(sizes.size), sizes), weights=gains, minlength=sizes.size) / sizes
    return MetricValue(float(per_image.mean())), per_image


def check_fpr_bounds(fpr_bounds: tuple[float, float]) -> None:
    """Raises ValueError unless 0 < L < U <= 1."""
    low, high = fpr_bounds
    if not 0 < low < high <= 1:
        raise ValueError(f"aupimo: fpr_bounds must be (L, U) with 0 < L < U <= 1, found {tuple(fpr_bounds)!r}")


def _false_positives(normal: Sequence[NDArray], scores: NDArray, high: float, weights: NDArray | None) -> NDArray:
    """F at each of `scores`; exact up to `high`, and at least `high` beyond."""
    if weights is not None:
        pooled = np.concatenate(normal)
        order = np.argsort(pooled)
        above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)  # above[k]: of all but the k lowest
        return above[np.searchsorted(pooled[order], scores, side="left")]
    n_normal = sum(part.size for part in normal)
    n_top = min(n_normal, math.ceil(high * n_normal) + 1)
    return (n_top - np.searchsorted(highest(normal, n_top), scores, side="left")) / n_normal


def highest(parts: Sequence[NDArray], n: int) -> NDArray:
    """The `n` highest scores (at least 1) of all parts, which have n or more; ascending. nan counts as the highest."""
    top = parts[0][:0]
    for part in parts:
        if top.size == n:  # and its first is its lowest
            part = part[~(part <= top[0])]  # few of a part are left once some parts were seen
        top = np.concatenate([top, part])
        if top.size >= n:
            top = np.partition(top, top.size - n)[top.size - n :]
    return np.sort(top)
