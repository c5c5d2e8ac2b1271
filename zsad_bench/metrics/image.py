"""Image-level metrics of one category as a torchmetrics class: one score and one label an image, kept exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsad_bench.metrics import IMAGE_KEYS
from zsad_bench.metrics.functional.checks import score_vector
from zsad_bench.metrics.functional.ranking import auroc_of, average_precision_of, f1max_of, rank_scores
from zsad_bench.metrics.state import ListStateMetric
from zsad_bench.metrics.values import MetricValue, undefined


class ImageMetrics(ListStateMetric):
    """`image_auroc`, `image_ap` and `image_f1max` of raw scores: no sigmoid, no bins.

    check_finite: raise ValueError at `update` when a score is nan or infinite.
    """

    def __init__(self, check_finite: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_finite = check_finite
        self.add_vector("scores", torch.float64)
        self.add_vector("labels", torch.uint8)

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add images. scores: (B,) any range, higher is more anomalous. labels: (B,) 0 normal, 1 anomalous."""
        scores, labels = score_vector(scores, labels, "image metrics", finite=self.check_finite)
        self.append("scores", np.array(scores))  # copies: the caller may reuse its tensors
        self.append("labels", np.array(labels))

    def compute(self) -> dict[str, MetricValue]:
        """The three values by key, over all images of all ranks."""
        return image_values(*self.kept())

    def kept(self) -> tuple[NDArray, NDArray]:
        """Scores (N,) float64 and labels (N,) bool kept so far, in the order they came."""
        return self.vector("scores"), self.vector("labels").astype(np.bool_)


def image_values(scores: NDArray, labels: NDArray) -> dict[str, MetricValue]:
    """The three values by key of scores (N,) under labels (N,) bool, undefined ones with their reason."""
    if not labels.any():
        return dict.fromkeys(IMAGE_KEYS, undefined("no anomalous image" if labels.size else "no image"))
    ranking = rank_scores(scores, labels, "image metrics")
    values = [MetricValue(of(ranking)) for of in (auroc_of, average_precision_of, f1max_of)]
    if labels.all():
        values[0] = undefined("no normal image")
    return dict(zip(IMAGE_KEYS, values, strict=True))
