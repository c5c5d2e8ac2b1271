"""What a metric returns: a number, and when there is none, why."""

from __future__ import annotations

import math
from typing import NamedTuple


class MetricValue(NamedTuple):
    """value: a fraction in [0, 1], or nan when the metric is undefined. reason: why it is, in a few words, or None."""

    value: float
    reason: str | None = None


def undefined(reason: str) -> MetricValue:
    """A nan that knows its reason; rows store null with it, tables print a dash."""
    return MetricValue(math.nan, reason)
