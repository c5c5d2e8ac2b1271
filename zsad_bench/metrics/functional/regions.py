"""Ground-truth regions: connected parts of a mask, one image at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# 8 as in the official MVTec evaluation; scipy's own default would be 4, which splits diagonal neighbours
_STRUCTURES = {8: np.ones((3, 3), np.int8), 4: None}


class Regions(NamedTuple):
    """The n regions of one mask, labelled once for all metrics that need them.

    top, left: the first row and column with an anomalous pixel. labels: (h,w) int32 of the box from there to the last
    ones, 0 outside of regions, then 1..n. sizes: (n,) int64, in pixels. Without a region the box is empty.
    """

    top: int
    left: int
    labels: NDArray
    sizes: NDArray

    def areas(self) -> NDArray:
        """For each anomalous pixel, in row-major order, the area of its region, (P,) int32."""
        return self.sizes.astype(np.int32)[self.labels[self.labels > 0] - 1]


def find_regions(mask_HW: NDArray, connectivity: int = 8) -> Regions:
    """The regions of a bool mask. Raises ValueError unless connectivity is 4 or 8."""
    check_connectivity(connectivity)
    rows = np.flatnonzero(mask_HW.any(axis=1))
    if not rows.size:
        return Regions(0, 0, np.zeros((0, 0), np.int32), np.zeros(0, np.int64))
    columns = np.flatnonzero(mask_HW[rows[0] : rows[-1] + 1].any(axis=0))
    # labelling only the bounding box gives the same regions and keeps row-major order
    box = mask_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, n_regions = label_regions(box, connectivity)
    sizes = np.bincount(labels.ravel(), minlength=n_regions + 1)[1:].astype(np.int64, copy=False)
    return Regions(int(rows[0]), int(columns[0]), labels, sizes)


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
    regions = find_regions(mask_HW, connectivity)
    return regions.areas(), regions.sizes.size
