"""The result of a metric: a number, or the reason why it is undefined, and its uncertainty where that is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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


def by_key(keys: Iterable[str], computed: Mapping[str, MetricValue | float]) -> dict[str, MetricValue]:
    """The values of these keys in their order. A bare number is a value; a nan without a reason is "undefined here".

    Raises:
        KeyError: a key that nothing was computed for: `metric_keys.py` declares it, and no function is named for it.
    """
    values = {}
    for key in keys:
        if key not in computed:
            raise KeyError(f"metric {key} is declared in metric_keys.py, and nothing computes it; see CONTRIBUTING.md")
        result = computed[key]
        result = result if isinstance(result, MetricValue) else MetricValue(float(result))
        values[key] = undefined("undefined here") if math.isnan(result.value) and not result.reason else result
    return values
