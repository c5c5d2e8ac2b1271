"""AUROC, average precision and best F1 of scores, exact and tie-safe, from one sort of the normal ones.

K distinct scores of anomalous items, in descending order, are all the thresholds that matter: between two of them
only false positives are added, which lowers precision and F1 and moves the ROC curve sideways.
All counts are int64, so AUROC is one exact integer ratio, whatever the order of the items.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.checks import score_vector


class Ranking(NamedTuple):
    """Counts at the K distinct anomalous scores u, descending; all (K,) int64.

    tp: anomalous items with score >= u. fp: normal items with score >= u. fp_above: normal items with score > u.
    """

    tp: NDArray
    fp: NDArray
    fp_above: NDArray
    n_pos: int
    n_neg: int


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Chance that an anomalous item scores above a normal one, ties counting half; in [0, 1].

    scores: (N,) finite, any range. labels: (N,) 0 or 1. nan without an anomalous or without a normal item.
    """
    return auroc_of(rank_scores(scores, labels, "auroc"))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Sum over distinct thresholds of the gain in recall times the precision (step rule); in [0, 1].

    scores, labels: as for `auroc`. nan without an anomalous item.
    """
    return average_precision_of(rank_scores(scores, labels, "average_precision"))


def f1max(scores: ArrayLike, labels: ArrayLike) -> float:
    """The largest F1 over all distinct thresholds; in [0, 1]. nan without an anomalous item."""
    return f1max_of(rank_scores(scores, labels, "f1max"))


def rank_scores(scores: ArrayLike, labels: ArrayLike, metric: str) -> Ranking:
    """The ranking of a score vector (N,) under labels (N,). Raises ValueError as `checks.score_vector`."""
    scores, labels = score_vector(scores, labels, metric)
    positives = np.sort(scores[labels])
    ends = group_ends(positives[::-1])
    return rank(positives[::-1][ends], ends + 1, np.sort(scores[~labels]))


def rank(thresholds: NDArray, tp: NDArray, negatives: NDArray) -> Ranking:
    """The ranking at `thresholds` (K,) descending with `tp` (K,) anomalous items at or above each.

    negatives: (N,) ascending, same dtype; found by binary search, O(K log N).
    """
    n_pos = int(tp[-1]) if tp.size else 0
    fp = negatives.size - np.searchsorted(negatives, thresholds, side="left")
    fp_above = negatives.size - np.searchsorted(negatives, thresholds, side="right")
    return Ranking(tp.astype(np.int64), fp.astype(np.int64), fp_above.astype(np.int64), n_pos, negatives.size)


def group_ends(values: NDArray) -> NDArray:
    """Index of the last member of each group of equal neighbours in a sorted vector; empty for an empty one."""
    if not values.size:
        return np.zeros(0, np.int64)
    return np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)


def auroc_of(ranking: Ranking) -> float:
    """AUROC of a ranking; nan without an anomalous or without a normal item."""
    tp, fp, fp_above, n_pos, n_neg = ranking
    if not n_pos or not n_neg:
        return math.nan
    # twice the Mann-Whitney count, so that ties stay integers; below 2^63 for any category that fits in memory
    twice = np.sum(np.diff(tp, prepend=0) * (2 * n_neg - fp - fp_above))
    return int(twice) / (2 * n_pos * n_neg)


def average_precision_of(ranking: Ranking) -> float:
    """Average precision of a ranking; nan without an anomalous item."""
    if not ranking.n_pos:
        return math.nan
    gain = np.diff(ranking.tp, prepend=0)
    return float(np.sum(gain * (ranking.tp / (ranking.tp + ranking.fp))) / ranking.n_pos)


def f1max_of(ranking: Ranking) -> float:
    """Best F1 of a ranking; nan without an anomalous item."""
    if not ranking.n_pos:
        return math.nan
    return float(np.max(2 * ranking.tp / (ranking.tp + ranking.fp + ranking.n_pos)))
