"""Operating points of one method: a threshold from normal images of another dataset, and what it does on a category."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zsad_bench import metric_keys
from zsad_bench.metrics.functional.checks import as_array
from zsad_bench.metrics.functional.operating import (
    RATE,
    Moments,
    conformal_threshold,
    f1_of,
    image_points,
    smallest_rate,
)
from zsad_bench.metrics.values import MetricValue, undefined
from zsad_bench.types import Level

IMAGE_POINTS = metric_keys.keys("image", optional=True)
PIXEL_POINTS = metric_keys.keys("pixel", optional=True)


@dataclass(frozen=True)
class Thresholds:
    """image, pixel: nan where there is none. why: the reason for that, for images and for pixels."""

    image: float
    pixel: float
    why_image: str = ""
    why_pixel: str = ""

    @classmethod
    def none(cls, why: str) -> Thresholds:
        """Neither of them."""
        return cls(math.nan, math.nan, why, why)


class NormalScores:
    """Scores and pixels of normal images as they come, in one process; no pixel is kept."""

    def __init__(self) -> None:
        self.scores: list[NDArray] = []
        self.pixels = Moments()

    def update(self, scores: Tensor, maps: Tensor | None) -> None:
        """Adds images. scores: (B,). maps: (B,H,W), or None of a method without maps."""
        self.scores.append(as_array(scores).astype(np.float64))
        if maps is not None:
            for map_HW in as_array(maps):
                self.pixels = self.pixels.add(map_HW)

    def thresholds(self, rate: float = RATE) -> Thresholds:
        """Those of all images so far."""
        scores = np.concatenate([np.zeros(0), *self.scores])
        image, why = conformal_threshold(scores, rate), ""
        if math.isnan(image):
            why = f"{scores.size} normal images allow no rate of false alarms below {smallest_rate(scores.size):.1%}"
        pixel = self.pixels.threshold()
        return Thresholds(image, pixel, why, "no map of a normal image" if math.isnan(pixel) else "")


class OperatingCounts:
    """What thresholds do on one category; pixels are counted as they come, in one process."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.hits = self.false = self.positives = 0

    def update(self, maps: NDArray, masks: NDArray) -> None:
        """Adds images. maps: (B,H,W). masks: (B,H,W) bool."""
        if math.isnan(self.thresholds.pixel):
            return
        marked = maps.reshape(masks.shape) >= self.thresholds.pixel  # (B,1,H,W) is taken too
        self.hits += int((marked & masks).sum())
        self.false += int((marked & ~masks).sum())
        self.positives += int(masks.sum())

    def values(self, scores: NDArray, labels: NDArray, level: Level) -> dict[str, MetricValue]:
        """The values by key, of what the level has. scores, labels: (N,) of all images of the category."""
        found: dict[str, MetricValue] = {}
        if level != "pixel":
            found |= (
                dict.fromkeys(IMAGE_POINTS, undefined(self.thresholds.why_image))
                if math.isnan(self.thresholds.image)
                else image_points(scores, labels, self.thresholds.image)
            )
        if level != "image":
            found["pixel_f1_cal"] = (
                undefined(self.thresholds.why_pixel)
                if math.isnan(self.thresholds.pixel)
                else f1_of(self.hits, self.false, self.positives)
            )
        return found
