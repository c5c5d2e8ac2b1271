"""Image-level metrics of one category by their keys, from one ranking of its images."""

from __future__ import annotations

import math
from collections.abc import Callable

from numpy.typing import NDArray

from zsad_bench.metrics import IMAGE_KEYS
from zsad_bench.metrics.functional.ranking import Ranking, auroc_of, average_precision_of, f1max_of, rank_scores
from zsad_bench.metrics.values import MetricValue, by_key, undefined


def auroc_value(ranking: Ranking) -> MetricValue:
    """AUROC, or the reason why it is undefined."""
    return MetricValue(auroc_of(ranking)) if ranking.n_neg else undefined("no normal image")


# Key -> function of a ranking with an anomalous image, to a number or a `MetricValue` that may have a reason.
OF_RANKING: dict[str, Callable[[Ranking], MetricValue | float]] = {
    "image_auroc": auroc_value,
    "image_ap": average_precision_of,
    "image_f1max": f1max_of,
}


def image_values(scores: NDArray, labels: NDArray) -> dict[str, MetricValue]:
    """The values by key of scores (N,) under labels (N,) bool, undefined ones with their reason."""
    if not labels.any():
        return dict.fromkeys(IMAGE_KEYS, undefined("no anomalous image" if labels.size else "no image"))
    ranking = rank_scores(scores, labels, "image metrics")
    return by_key(IMAGE_KEYS, {key: metric(ranking) for key, metric in OF_RANKING.items()})


def statistic(key: str) -> Callable[[NDArray, NDArray], float]:
    """One of the metrics as a function of scores (N,) and labels (N,) bool; nan where it is undefined."""
    metric = OF_RANKING[key]

    def value(scores: NDArray, labels: NDArray) -> float:
        if not labels.any():
            return math.nan
        result = metric(rank_scores(scores, labels, key))
        return result.value if isinstance(result, MetricValue) else float(result)

    return value
