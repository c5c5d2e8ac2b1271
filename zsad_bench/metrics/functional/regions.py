"""Ground-truth regions: connected parts of a mask, one image at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# 8 as in the official MVTec evaluation; scipy's own default would be 4, which splits diagonal neighbours
_STRUCTURES = {8: np.ones((3, 3), np.int8), 4: None}


def label_regions(mask_HW: NDArray, connectivity: int = 8) -> tuple[NDArray, int]:
    """Region numbers (H,W) int32 (0 outside, then 1..n) and n. Raises ValueError unless connectivity is 4 or 8."""
    check_connectivity(connectivity)
    labels, n_regions = ndimage.label(mask_HW, structure=_STRUCTURES[connectivity])
    return labels, int(n_regions)


def check_connectivity(connectivity: int) -> None:
    """Raises ValueError unless `connectivity` is 4 or 8."""
    if connectivity not in _STRUCTURES:
        raise ValueError(f"connectivity must be 4 or 8, found {connectivity!r}")


def region_areas(mask_HW: NDArray, connectivity: int = 8) -> tuple[NDArray, int]:
    """For each anomalous pixel, in row-major order, the area of its region, (P,) int32; and the number of regions."""
    check_connectivity(connectivity)
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not rows.size:
        return np.zeros(0, np.int32), 0
    # labelling only the bounding box gives the same regions and keeps row-major order
    box = mask_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, n_regions = label_regions(box, connectivity)
    inside = labels[box]
    return np.bincount(inside)[inside].astype(np.int32), n_regions
