"""What a metric returns: a number, and when there is none, why; how sure it is, where that can be said."""

from __future__ import annotations

import math
from typing import NamedTuple


class MetricValue(NamedTuple):
    """value: a fraction in [0, 1], or nan when the metric is undefined. reason: why it is, in a few words, or None."""

    value: float
    reason: str | None = None


class Interval(NamedTuple):
    """A confidence interval: `level` of the resampled values lie in [low, high]."""

    low: float
    high: float
    level: float


def undefined(reason: str) -> MetricValue:
    """A nan that knows its reason; rows store null with it, tables print a dash."""
    return MetricValue(math.nan, reason)
