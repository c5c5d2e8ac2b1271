"""All metrics of one method on one category: what a test run keeps, and what its rows are written from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, zeros_like

from zsad_bench.errors import DatasetError
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS, SAMPLE_KEYS
from zsad_bench.metrics.functional.bootstrap import image_intervals
from zsad_bench.metrics.functional.checks import as_array, as_bool, score_vector
from zsad_bench.metrics.functional.image import image_values
from zsad_bench.metrics.functional.views import largest_of_each, sample_intervals, sample_values
from zsad_bench.metrics.image import ImageMetrics
from zsad_bench.metrics.operating import IMAGE_POINTS, PIXEL_POINTS, OperatingCounts, Thresholds
from zsad_bench.metrics.pixel_state import PixelMetrics
from zsad_bench.metrics.values import Interval, MetricValue, undefined
from zsad_bench.types import UNKNOWN, Level


@dataclass(frozen=True)
class CategoryResult:
    """values: by metric key. n_regions: None for an image-level category.

    n_vanished: anomalous images whose mask has no pixel at the size of the maps; 0 where there are no masks.

    scores: (n_images,) float64 and labels: (n_images,) bool, in the order they came (rank after rank); labels that are
    unknown are (n_images,) int64, all `types.UNKNOWN`, and n_anomalous is 0.
    error_bounds: by key, how far a value may be from the exact one; only of values that are not exact.
    intervals: by key, bootstrap confidence intervals; only of values that have one.
    """

    values: dict[str, MetricValue]
    n_images: int
    n_anomalous: int
    n_regions: int | None
    scores: NDArray
    labels: NDArray
    error_bounds: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    n_vanished: int = 0


class CategoryMetrics:
    """The metric state of one (method, category).

    level: "image", "pixel" or "both": which keys are computed. Scores and labels are kept at every level.
    check_finite: raise ValueError at `update` when a score is nan or infinite.
    intervals: give the image metrics their bootstrap intervals; `result` then costs tens of milliseconds more.
    thresholds: give the optional metrics too, at these; in one process.
    unlabelled: why nobody says which images are anomalous: every metric is then undefined for this reason, and scores
    are kept without labels (-1).
    grouped: give the sample metrics too, of the objects that several images show; `update` then needs `groups`.
    pixel_options: of `PixelMetrics` (mode, budget, bins, score_range, intervals, pool…).
    """

    def __init__(
        self,
        level: Level,
        check_finite: bool = True,
        intervals: bool = True,
        thresholds: Thresholds | None = None,
        unlabelled: str = "",
        grouped: bool = False,
        **pixel_options: Any,
    ) -> None:
        if level not in get_args(Level):
            raise ValueError(f"level must be one of {', '.join(get_args(Level))}, found {level!r}")
        self.level, self.intervals = level, intervals
        self.image = ImageMetrics(check_finite=check_finite, grouped=grouped)
        self.pixel = None if level == "image" else PixelMetrics(check_finite=check_finite, **pixel_options)
        self.thresholds, self.unlabelled = thresholds, unlabelled
        self.operating = None if thresholds is None else OperatingCounts(thresholds)

    def update(
        self,
        scores: Tensor,
        labels: Tensor,
        maps: Tensor | None = None,
        masks: Tensor | None = None,
        groups: ArrayLike | None = None,
    ) -> None:
        """Add a batch of this category. scores, labels: (B,). maps, masks: (B,H,W), needed unless level is "image".

        groups: (B,) integers, equal for images of one object. Nothing is kept of a batch that raises.

        Raises:
            ValueError: a score is not finite, shapes differ, or maps or masks are missing.
            DatasetError: a normal image (label 0) with a non-empty mask.
        """
        if self.pixel is not None and (maps is None or masks is None):
            missing = "maps (did the method return a map?)" if maps is None else "masks"
            raise ValueError(f"pixel metrics: level '{self.level}' needs maps and masks, found no {missing}")
        if self.unlabelled:
            labels = zeros_like(labels)
        score_array, label_array = score_vector(scores, labels, "image metrics", finite=self.image.check_finite)
        self.image.check_groups(score_array, groups)
        if self.unlabelled:  # no pixel is kept, as nothing can be computed of it
            self.image.update(score_array, label_array, groups)
            return
        mask_array = None if masks is None else as_bool(as_array(masks))
        if mask_array is not None:
            self._check_labels(label_array, mask_array)
        if self.pixel is not None and maps is not None and mask_array is not None:
            self.pixel.update(maps, mask_array, label_array)
            if self.operating is not None:
                self.operating.update(as_array(maps), mask_array)
        self.image.update(score_array, label_array, groups)

    def compute(self) -> dict[str, MetricValue]:
        """The values by key; undefined ones are nan with a reason. Called on every rank."""
        return self.result().values

    def result(self) -> CategoryResult:
        """Values, counts and per-image scores over all ranks. Called on every rank; the state stays as it is."""
        with self.image.sync_context():
            scores, labels = self.image.kept()
            groups = self.image.vector("groups") if self.image.grouped else None
        if self.unlabelled:
            return self._without_labels(scores)
        values: dict[str, MetricValue] = {}
        bounds: dict[str, float] = {}
        intervals: dict[str, Interval] = {}
        n_regions, n_vanished = None, 0
        if self.level != "pixel":
            values = image_values(scores, labels)
            intervals = image_intervals(scores, labels) if self.intervals else {}
            if groups is not None:
                objects = largest_of_each(scores, labels, groups)
                values |= sample_values(*objects)
                intervals |= sample_intervals(*objects) if self.intervals else {}
        if self.pixel is not None:
            with self.pixel.sync_context():
                n_regions, n_vanished = int(self.pixel.n_regions), int(self.pixel.n_vanished)
                pixel = self.pixel.kept_result()
            values, bounds, intervals = values | pixel.values, pixel.error_bounds, intervals | pixel.intervals
        if self.operating is not None:
            values |= self.operating.values(scores, labels, self.level)
        n_anomalous = int(labels.sum())
        return CategoryResult(
            values, scores.size, n_anomalous, n_regions, scores, labels, bounds, intervals, n_vanished
        )

    def _without_labels(self, scores: NDArray) -> CategoryResult:
        """What is left where labels are unknown: the scores, and the reason for each metric that the level has."""
        keys = [*(() if self.level == "pixel" else IMAGE_KEYS), *(() if self.pixel is None else PIXEL_KEYS)]
        keys += SAMPLE_KEYS if self.image.grouped and self.level != "pixel" else ()
        keys += [] if self.pixel is None else self.pixel.further
        if self.thresholds is not None:
            keys += [*(() if self.level == "pixel" else IMAGE_POINTS), *(() if self.pixel is None else PIXEL_POINTS)]
        values = dict.fromkeys(keys, undefined(self.unlabelled))
        return CategoryResult(values, scores.size, 0, None, scores, np.full(scores.size, UNKNOWN))

    def settle(self) -> None:
        """Waits for what a `pool` still computes of the images so far. Raises what that raised."""
        if self.pixel is not None:
            self.pixel.settle()

    def reset(self) -> None:
        """Forget all images."""
        self.image.reset()
        if self.pixel is not None:
            self.pixel.reset()
        self.operating = None if self.thresholds is None else OperatingCounts(self.thresholds)

    def _check_labels(self, labels: NDArray, masks: NDArray) -> None:
        if labels.shape != masks.shape[:1]:
            raise ValueError(f"found labels {labels.shape} for masks {masks.shape}; both need one entry per image")
        marked = masks.reshape(len(masks), -1).any(axis=1)
        wrong = np.flatnonzero(marked & ~labels)
        if wrong.size:
            raise DatasetError(
                f"image {wrong[0]} of this batch is labelled normal but its mask marks anomalous pixels; "
                "correct the label or the mask"
            )
