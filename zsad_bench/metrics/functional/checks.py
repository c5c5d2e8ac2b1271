"""Input of metrics made plain: numpy arrays of agreeing shapes, finite scores, boolean masks.

Every ValueError here is one line: the metric asked for, what was found, what is needed.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_array(values: Any) -> NDArray:
    """`values` as a numpy array: zero copy for arrays and CPU tensors; half precision becomes float32."""
    if hasattr(values, "detach"):  # a tensor: asked by its method, so that this file needs no torch
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.element_size() < 4 else values
        values = values.numpy()
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def check_finite(scores: NDArray, metric: str) -> None:
    """Raises ValueError with the count and the first flat index when a score is nan or infinite."""
    # the extremes of numbers are numbers, and nan is passed on: two quick reductions, and no array of answers
    if scores.size and not (np.isfinite(scores.min()) and np.isfinite(scores.max())):
        finite = np.isfinite(scores)
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"{metric}: {bad.size} of {scores.size} scores are not finite, the first at flat index {bad[0]}; "
            "every score must be a finite number (they are never dropped or replaced)"
        )


def score_vector(scores: ArrayLike, labels: ArrayLike, metric: str, finite: bool = True) -> tuple[NDArray, NDArray]:
    """Scores (N,) float32 or float64 and labels (N,) bool. Raises ValueError on other shapes, labels, non-finite."""
    scores_N, labels_N = as_array(scores), as_array(labels)
    if scores_N.ndim != 1 or scores_N.shape != labels_N.shape:
        raise ValueError(
            f"{metric}: scores and labels must be two vectors of one length, "
            f"found {scores_N.shape} and {labels_N.shape}"
        )
    if labels_N.dtype != np.bool_ and not np.isin(labels_N, (0, 1)).all():
        distinct = np.unique(labels_N)[:5].tolist()
        raise ValueError(f"{metric}: labels must be 0 (normal) or 1 (anomalous), found {distinct}")
    if finite:
        check_finite(scores_N, metric)
    return _as_float(scores_N), labels_N.astype(np.bool_, copy=False)


def maps_and_masks(
    maps: ArrayLike, masks: ArrayLike, metric: str, finite: bool = True, dtype: type | None = None
) -> tuple[NDArray, NDArray]:
    """Maps (B,H,W) float and masks (B,H,W) bool; an axis of one channel, (B,1,H,W), is taken off.

    dtype: cast the maps to it; None keeps float32 and float64. An empty batch (0,H,W) is legal.
    Raises ValueError: other shapes, shapes that differ, scores that are not finite.
    """
    maps_BHW, masks_BHW = _three_axes(as_array(maps)), _three_axes(as_array(masks))
    if maps_BHW.ndim != 3 or maps_BHW.shape != masks_BHW.shape:
        raise ValueError(
            f"{metric}: maps and masks must both be (B, H, W), found {maps_BHW.shape} and {masks_BHW.shape}; "
            "bring masks to the size of the maps before (metrics never resize)"
        )
    if finite:
        check_finite(maps_BHW, metric)
    return _as_float(maps_BHW) if dtype is None else maps_BHW.astype(dtype, copy=False), as_bool(masks_BHW)


def as_bool(masks: NDArray) -> NDArray:
    """Masks as bool: > 0 for integers, > 0.5 for floats (warns when a float mask holds anything but 0 and 1)."""
    if masks.dtype == np.bool_:
        return masks
    if not np.issubdtype(masks.dtype, np.floating):
        return masks > 0
    if not ((masks == 0) | (masks == 1)).all():
        warnings.warn("a float mask has values other than 0 and 1; pixels above 0.5 count as anomalous", stacklevel=3)
    return masks > 0.5


def _three_axes(array: NDArray) -> NDArray:
    return array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array


def _as_float(scores: NDArray) -> NDArray:
    return scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
