"""The region of interest: the part of each photo where an anomaly counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsad_bench.data import decode
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.path_lists import home

_ASPECT = 0.01  # by how much width : height of a photo may differ from the mask's, relative; rounded sizes differ


class Region:
    """A mask for all photos, white where anomalies count; scaled to photos of another size and the same shape."""

    def __init__(self, mask: Image.Image) -> None:
        self.mask = mask
        self.width, self.height = mask.size
        self.share = float(np.mean(np.asarray(mask) > 0))

    def fits(self, width: int, height: int) -> bool:
        """Whether a photo has the mask's shape."""
        return abs(width * self.height / (height * self.width) - 1) <= _ASPECT

    def at(self, width: int, height: int) -> NDArray[np.bool_]:
        """(height,width) bool: a pixel counts where at least half of it is in the region."""
        return np.asarray(self.mask.resize((width, height), Image.Resampling.BOX)) > 127


def read_region(text: str) -> Region:
    """The region of a mask's file: every pixel above 0 is in it.

    Raises:
        UsageError: no such file, or a mask that marks nothing. DatasetError: it cannot be read.
    """
    path: Path = home(text)
    if not path.is_file():
        raise UsageError(f"--roi {text}: no such file; give an image that is white where anomalies count")
    region = Region(decode.read_mask(path, threshold=None).image)
    if not region.share:
        raise UsageError(f"--roi {text}: every pixel of it is black; it has to be white where anomalies count")
    return region


def require_fit(region: Region, name: str, width: int, height: int) -> None:
    """Raises DatasetError for a photo of another shape: nobody can say which part of it is meant."""
    if not region.fits(width, height):
        raise DatasetError(
            f"{name} is {width} x {height} (width x height) and the region's mask is {region.width} x {region.height}, "
            "of another shape; predict it by itself, with a mask of its own"
        )
