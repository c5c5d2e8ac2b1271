"""Image-level metrics of one category as a torchmetrics class: one score and one label per image, kept exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.checks import score_vector
from zsad_bench.metrics.functional.image import image_values
from zsad_bench.metrics.state import ListStateMetric
from zsad_bench.metrics.values import MetricValue


class ImageMetrics(ListStateMetric):
    """The metrics of `IMAGE_KEYS`, of raw scores: no sigmoid, no bins.

    check_finite: raise ValueError at `update` when a score is nan or infinite.
    """

    def __init__(self, check_finite: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_finite = check_finite
        self.add_vector("scores", torch.float64)
        self.add_vector("labels", torch.uint8)

    def update(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Add images. scores: (B,) any range, higher is more anomalous. labels: (B,) 0 normal, 1 anomalous."""
        score_array, label_array = score_vector(scores, labels, "image metrics", finite=self.check_finite)
        self.append("scores", np.array(score_array))  # copies: the caller may reuse its tensors
        self.append("labels", np.array(label_array))

    def compute(self) -> dict[str, MetricValue]:
        """The values by key, over all images of all ranks."""
        return image_values(*self.kept())

    def kept(self) -> tuple[NDArray, NDArray]:
        """Scores (N,) float64 and labels (N,) bool kept so far, in the order they came."""
        return self.vector("scores"), self.vector("labels").astype(np.bool_)
