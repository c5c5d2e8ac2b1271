"""Spearman's rank correlation with a bootstrap interval over whole clusters of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from zsad_bench.leaderboard.statistics import LEVEL, RESAMPLES, SEED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_A_TIME = 2**18  # points ranked together: a few MiB


class Correlation(NamedTuple):
    """value: in [-1, 1], None where one side does not vary. low, high: percentile interval.

    The interval is None for a single cluster, or when one of the resamples does not vary.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n_clusters: int
    n_points: int


def spearman(
    x: Sequence[Sequence[float]], y: Sequence[Sequence[float]],
    resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED,
) -> Correlation:  # fmt: skip
    """The correlation of all points; a resample draws clusters, the lines of x and y, with replacement.

    x, y: clusters of equally many points. Points of a cluster belong together (one draw of the auxiliary data, one
    category), so they are drawn together. Ties have their mean rank.
    """
    import numpy as np

    xs, ys = np.atleast_2d(np.asarray(x, float)), np.atleast_2d(np.asarray(y, float))
    clusters, points = len(xs) if xs.size else 0, xs.size
    if points < 2 or (value := float(_correlations(xs.reshape(1, -1), ys.reshape(1, -1))[0])) != value:
        return Correlation(None, None, None, level, clusters, points)
    low = high = None
    if clusters > 1:
        generator = np.random.default_rng(seed)
        found = []
        rows = max(1, _AT_A_TIME // points)
        for start in range(0, resamples, rows):
            drawn = generator.integers(clusters, size=(min(rows, resamples - start), clusters))
            found.append(_correlations(xs[drawn].reshape(len(drawn), -1), ys[drawn].reshape(len(drawn), -1)))
        values = np.concatenate(found)
        if not np.isnan(values).any():
            low, high = map(float, np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    return Correlation(value, low, high, level, clusters, points)


def _correlations(x: NDArray, y: NDArray) -> NDArray:
    """(R,) of R sets of points (R, n); nan where a side does not vary."""
    import numpy as np
    from scipy.stats import rankdata

    a, b = rankdata(x, axis=1), rankdata(y, axis=1)
    a -= a.mean(1, keepdims=True)
    b -= b.mean(1, keepdims=True)
    spread = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    correlations: NDArray = np.divide((a * b).sum(1), spread, out=np.full(len(a), np.nan), where=spread > 0)
    return correlations
