"""Two methods on the same images: how far apart they are, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics import LEVEL, RESAMPLES, SEED
from zsad_bench.results.image_scores import Scores, read_scores
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

Statistic = Callable[["NDArray", "NDArray"], float]  # scores, labels -> [0, 1], nan where undefined
Place = tuple[str, str]  # dataset, category


class Difference(NamedTuple):
    """Mean of the first method minus the second, in fractions, with a percentile interval over resampled images.

    below_zero: share of resamples in which the first is not better. n_left_out: categories that only one of them has.
    """

    value: float
    low: float
    high: float
    level: float
    below_zero: float
    n_categories: int
    n_images: int
    n_left_out: int


def paired_bootstrap(
    first: Mapping[Place, Sequence[Scores]], second: Mapping[Place, Sequence[Scores]], statistic: Statistic,
    resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED,
) -> Difference:  # fmt: skip
    """first, second: of each category the scores of each run. A resample draws images for both at once.

    Anomalous and normal images are drawn apart, with replacement, in each category; then the mean over runs,
    categories and datasets, as tables have it, and the difference of the two. Images are taken in the order of their
    names, and every category has a generator of its own, so that the order of anything changes nothing.

    Raises:
        RowError: no category in common, or one where they saw other images or labels.
    """
    import numpy as np

    common = sorted(first.keys() & second.keys())
    if not common:
        raise RowError("the two methods have no category in common with per-image scores; run both on the same targets")
    weights = _weights(common)
    total, n_images, used = np.zeros(resamples + 1), 0, 0
    for place, weight in zip(common, weights, strict=True):
        runs = [[_aligned(run, first[place][0], place) for run in side[place]] for side in (first, second)]
        labels = runs[0][0][1]
        n_images += labels.size
        used += 1
        generator = np.random.default_rng([seed, *map(ord, "/".join(place))])
        strata = [np.flatnonzero(labels), np.flatnonzero(~labels)]
        total[0] += weight * _gap(runs, np.arange(labels.size), statistic)
        for i in range(1, resamples + 1):
            drawn = np.concatenate([generator.choice(s, s.size) if s.size else s for s in strata])
            total[i] += weight * _gap(runs, drawn, statistic)
    if np.isnan(total).any():
        raise RowError("a category has no normal or no anomalous image, so the metric is undefined there; leave it out")
    low, high = np.quantile(total[1:], [(1 - level) / 2, (1 + level) / 2])
    below = float(np.mean(total[1:] <= 0))
    left_out = len(first.keys() ^ second.keys())
    return Difference(float(total[0]), float(low), float(high), level, below, used, n_images, left_out)


def scores_of(rows: Sequence[Row], folder: str | Path) -> dict[Place, list[Scores]]:
    """The per-image scores behind rows of one method: of each category those of each run.

    Raises:
        RowError: a score file that is missing or damaged.
    """
    by_place: dict[Place, list[Scores]] = {}
    cells = dict.fromkeys((row.target, row.category, row.key) for row in rows if row.value is not None)
    for target, category, key in sorted(cells):
        by_place.setdefault((target, category), []).append(read_scores(folder, key, category))
    return by_place


def _weights(places: Sequence[Place]) -> list[float]:
    """Of categories in the mean over datasets of means over categories."""
    sizes: dict[str, int] = {}
    for target, _ in places:
        sizes[target] = sizes.get(target, 0) + 1
    return [1 / len(sizes) / sizes[target] for target, _ in places]


def _aligned(run: Scores, like: Scores, place: Place) -> tuple[NDArray, NDArray]:
    """Scores and labels by the names of images.

    Raises:
        RowError: other images or labels than the first run's.
    """
    import numpy as np

    if sorted(zip(run.ids, run.labels, strict=True)) != sorted(zip(like.ids, like.labels, strict=True)):
        raise RowError(f"{'/'.join(place)}: the two methods saw other images or labels; run both on the same data")
    order = sorted(range(len(run.ids)), key=lambda i: run.ids[i])
    return np.array([run.scores[i] for i in order]), np.array([run.labels[i] == 1 for i in order])


def _gap(runs: Sequence[Sequence[tuple]], images: NDArray, statistic: Statistic) -> float:
    sides = [[statistic(scores[images], labels[images]) for scores, labels in side] for side in runs]
    return sum(sides[0]) / len(sides[0]) - sum(sides[1]) / len(sides[1])
