"""A threshold that was known before: from scores of normal images, and what it does to others.

Images: the split-conformal threshold (Vovk et al., 2005; Papadopoulos et al., 2002). Pixels: mean plus three standard
deviations of normal images' pixels, the usual rule for the SegF1 of MVTec AD 2 (arXiv 2503.21622).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.values import MetricValue, undefined

RATE = 0.05  # nominal rate of false alarms: 1 % would need 99 normal images, and be known to half of itself from 467
DEVIATIONS = 3.0  # of pixels above their mean


@dataclass(frozen=True)
class Moments:
    """Of numbers that were seen: how many, their mean, and the sum of squared differences from it."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray) -> Moments:
        """With more numbers, in float64 (Chan et al., 1979); in which parts they came moves the result by rounding."""
        if not values.size:
            return self
        values = values.astype(np.float64, copy=False)
        mean = float(values.mean())
        squares = float(((values - mean) ** 2).sum())
        n, apart = self.n + values.size, mean - self.mean
        return Moments(
            n,
            self.mean + apart * values.size / n,
            self.squares + squares + apart * apart * self.n * values.size / n,
        )

    def threshold(self, deviations: float = DEVIATIONS) -> float:
        """Mean plus so many standard deviations of all numbers (n, not n - 1); nan without any."""
        return self.mean + deviations * math.sqrt(self.squares / self.n) if self.n else math.nan


def smallest_rate(n_normals: int) -> float:
    """The lowest rate of false alarms that a threshold from so many normal scores can have."""
    return 1 / (n_normals + 1)


def allowed_alarms(n_normals: int, rate: float) -> int:
    """k: a score is an alarm where fewer than k of n normal scores are as high; 0 where so few allow no such rate.

    The largest k with k / (n + 1) at most the rate.
    """
    # Rounded, so that 0.05 * 20 is 1 and not a little less.
    return math.floor(round(rate * (n_normals + 1), 9))


def conformal_threshold(normals: NDArray, rate: float = RATE) -> float:
    """The lowest threshold t at which a further normal score is >= t with a probability of at most `rate`; nan where
    so few normals allow no such rate.

    normals: (n,) finite. The promise is for a score that is exchangeable with them, ties included: t lies just above
    the k-th largest, k of `allowed_alarms`.

    Raises:
        ValueError: a rate that is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate of false alarms: expected a number between 0 and 1, found {rate}")
    alarms = allowed_alarms(normals.size, rate)
    if not alarms:
        return math.nan
    place = normals.size + 1 - alarms
    return float(np.nextafter(np.partition(normals.astype(np.float64), place - 1)[place - 1], math.inf))


def image_points(scores: NDArray, labels: NDArray, threshold: float) -> dict[str, MetricValue]:
    """F1, recall (1 - miss rate) and specificity (1 - false-alarm rate) of scores (N,) >= threshold, by key.

    labels: (N,) bool, of anomalous images.
    """
    alarm = scores >= threshold
    hits, false = int((alarm & labels).sum()), int((alarm & ~labels).sum())
    n_anomalous, n_normal = int(labels.sum()), int((~labels).sum())
    no_anomalous = undefined("no anomalous image")
    return {
        "image_f1_cal": f1_of(hits, false, n_anomalous) if n_anomalous else no_anomalous,
        "image_recall_cal": MetricValue(hits / n_anomalous) if n_anomalous else no_anomalous,
        "image_specificity_cal": MetricValue(1 - false / n_normal) if n_normal else undefined("no normal image"),
    }


def f1_of(hits: int, false: int, positives: int) -> MetricValue:
    """2 TP / (2 TP + FP + FN), of counts; undefined without a positive."""
    return MetricValue(2 * hits / (hits + false + positives)) if positives else undefined("no anomalous pixel")
