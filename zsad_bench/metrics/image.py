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

    check_finite: raise ValueError at `update` when a score is nan or infinite. grouped: keep also which object each
    image shows, for the metrics of `functional/views.py`; they are no part of `compute`.
    """

    def __init__(self, check_finite: bool = True, grouped: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_finite, self.grouped = check_finite, grouped
        self.add_vector("scores", torch.float64)
        self.add_vector("labels", torch.uint8)
        if grouped:
            self.add_vector("groups", torch.int64)

    def update(self, scores: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> None:
        """Add images. scores: (B,) any range, higher is more anomalous. labels: (B,) 0 normal, 1 anomalous.

        groups: (B,) integers, equal for images of one object; given where the state is `grouped`, and only there.
        """
        score_array, label_array = score_vector(scores, labels, "image metrics", finite=self.check_finite)
        self.check_groups(score_array, groups)
        self.append("scores", np.array(score_array))  # copies: the caller may reuse its tensors
        self.append("labels", np.array(label_array))
        if groups is not None:
            self.append("groups", np.array(groups, np.int64))

    def check_groups(self, scores: NDArray, groups: ArrayLike | None) -> None:
        """Raises ValueError unless there is a group for each score (B,) of a `grouped` state, and none of another."""
        shape = None if groups is None else np.shape(groups)
        if shape != (scores.shape if self.grouped else None):
            found = "no groups" if shape is None else f"groups {shape}"
            wanted = f"{scores.shape}, the object of each image" if self.grouped else "none"
            raise ValueError(f"image metrics: found {found} for scores {scores.shape}; expected {wanted}")

    def compute(self) -> dict[str, MetricValue]:
        """The values by key, over all images of all ranks."""
        return image_values(*self.kept())

    def kept(self) -> tuple[NDArray, NDArray]:
        """Scores (N,) float64 and labels (N,) bool kept so far, in the order they came."""
        return self.vector("scores"), self.vector("labels").astype(np.bool_)
