"""Pixel-level metrics of one category as a torchmetrics class: exact, one state and one sort for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zsad_bench.metrics import PIXEL_KEYS
from zsad_bench.metrics.functional.checks import maps_and_masks
from zsad_bench.metrics.functional.overlap import check_fpr_limit
from zsad_bench.metrics.functional.pixel import Pixels, pixel_values, sort_pixels, split_pixels
from zsad_bench.metrics.functional.regions import check_connectivity
from zsad_bench.metrics.state import ListStateMetric
from zsad_bench.metrics.values import MetricValue, undefined


class PixelMetrics(ListStateMetric):
    """`pixel_auroc`, `pixel_ap`, `pixel_f1max`, `pixel_aupro` and `pixel_aupro_legacy200` of raw maps.

    fpr_limit: of AUPRO, in (0, 1]. connectivity: of the ground-truth regions, 8 or 4.
    check_finite: raise ValueError at `update` when a score is nan or infinite.
    dtype: torch.float32, or torch.float64 to keep float64 maps as they are.
    Memory: 4 bytes a pixel (8 for float64), and as much again while computing.
    """

    def __init__(
        self,
        fpr_limit: float = 0.3,
        connectivity: int = 8,
        check_finite: bool = True,
        dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fpr_limit(fpr_limit)
        check_connectivity(connectivity)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, found {dtype}")
        self.fpr_limit, self.connectivity, self.check_finite = fpr_limit, connectivity, check_finite
        self._map_dtype = np.float32 if dtype == torch.float32 else np.float64
        self.add_vector("negatives", dtype)
        self.add_vector("positives", dtype)
        self.add_vector("areas", torch.int32)
        self.add_state("n_regions", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Add images. maps: (B,H,W) or (B,1,H,W) float, any range. masks: the same size, > 0 (floats: > 0.5)."""
        maps, masks = maps_and_masks(maps, masks, "pixel metrics", finite=self.check_finite, dtype=self._map_dtype)
        pixels = split_pixels(maps, masks, self.connectivity)
        self.append("negatives", pixels.negatives)
        self.append("positives", pixels.positives)
        self.append("areas", pixels.areas)
        self.n_regions = self.n_regions + pixels.n_regions

    def compute(self) -> dict[str, MetricValue]:
        """The five values by key, over all pixels of all images of all ranks."""
        return self.kept_values()

    def kept_values(self) -> dict[str, MetricValue]:
        """The five values by key, over what the state holds now; for use inside a `sync_context`."""
        pixels = Pixels(self.vector("negatives"), self.vector("positives"), self.vector("areas"), int(self.n_regions))
        if not pixels.negatives.size and not pixels.positives.size:
            return dict.fromkeys(PIXEL_KEYS, undefined("no image"))
        return pixel_values(sort_pixels(pixels, overwrite=True), self.fpr_limit)
