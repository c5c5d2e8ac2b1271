"""How much image AUROC one method gains over another on the same images, whole or by anomaly type, resampled in pairs.

The AUROC of a type is over the images of that type against all normal images of the category. Gains are averaged over
types within a category, then categories, datasets and runs. Everything is linear in the pairs of an anomalous and a
normal image that a method puts in the right order, so one matrix per category serves all runs and resamples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics import LEVEL, RESAMPLES, SEED
from zsad_bench.results.image_scores import Scores

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

Place = tuple[str, str]  # dataset, category
Run = tuple[int, int]  # seed, draw
Part = Callable[[Run, Place, str], bool]  # whether an anomaly type, as its label says it, is in


class Pair(NamedTuple):
    """One category of one run, as two methods score it after learning from the same data."""

    run: Run
    place: Place
    first: Scores
    second: Scores


@dataclass(frozen=True)
class Resampled:
    """A gain in fractions, and what it is in each resample. samples: (resamples,) or None where the part is empty."""

    value: float | None
    samples: NDArray | None
    n_runs: int = 0
    n_datasets: int = 0
    n_categories: int = 0
    n_types: int = 0
    n_images: int = 0

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """The percentile interval."""
        import numpy as np

        if self.samples is None:
            return None
        low, high = np.quantile(self.samples, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def gains(
    pairs: Iterable[Pair], parts: Mapping[str, Part] | None = None, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Resampled]:
    """The gain of the first method over the second by name of part; resamples are of the same images for all.

    parts: None is one part, "all", with the anomalous images of a category as one kind; else by type. A resample draws
    the normal images of a category and those of each kind apart, with replacement, alike for both methods, all runs
    and all parts. Categories without normal images have no AUROC and are left out.

    Raises:
        RowError: scores of other images, or without types where parts ask for them.
    """
    import numpy as np

    chosen = {"all": lambda run, place, kind: True} if parts is None else parts
    tables: dict[Place, _Table] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.place, pair.run)):
        tables.setdefault(pair.place, _Table(pair, typed=parts is not None)).add(pair)
    tables = {place: table for place, table in tables.items() if table.normal.size}
    gain_of = {}
    weights = {name: _weights(tables, part) for name, part in chosen.items()}
    totals = {name: np.zeros(resamples + 1) for name in chosen}
    for place, table in tables.items():
        of = {name: {key[1:]: w for key, w in given.items() if key[0] == place} for name, given in weights.items()}
        if any(of.values()):
            for name, values in table.resampled(of, place, resamples, seed).items():
                totals[name] += values
    for name, given in weights.items():
        kinds = {(place, kind) for place, _, kind in given}
        images = sum(tables[place].strata[kind].size for place, kind in kinds)
        images += sum(tables[place].normal.size for place in {place for place, _ in kinds})
        gain_of[name] = Resampled(
            float(totals[name][0]) if given else None,
            totals[name][1:] if given else None,
            n_runs=len({run for _, run, _ in given}),
            n_datasets=len({place[0] for place, _ in kinds}),
            n_categories=len({place for place, _ in kinds}),
            n_types=len(kinds),
            n_images=images,
        )
    return gain_of


class _Table:
    """One category: its images in the order of their names, and both methods' scores of each run."""

    def __init__(self, pair: Pair, typed: bool) -> None:
        import numpy as np

        self.like, self.typed = pair.first, typed
        self.images = self._key(pair.first, pair.place)
        kinds = np.array([kind for _, _, kind in self.images])
        labels = np.array([label for _, label, _ in self.images])
        self.normal = np.flatnonzero(labels == 0)
        bad = labels == 1
        self.strata = {str(kind): np.flatnonzero(bad & (kinds == kind)) for kind in np.unique(kinds[bad])}
        self.runs: dict[Run, tuple[NDArray, NDArray]] = {}

    def add(self, pair: Pair) -> None:
        import numpy as np

        sides = []
        for side in (pair.first, pair.second):
            if self._key(side, pair.place) != self.images:
                where = "/".join(pair.place)
                raise RowError(f"{where}: two methods or runs saw other images or labels; run both on the same data")
            order = sorted(range(len(side.ids)), key=lambda i: side.ids[i])
            sides.append(np.array([side.scores[i] for i in order]))
        self.runs[pair.run] = sides[0], sides[1]

    def _key(self, scores: Scores, place: Place) -> list[tuple[str, int, str]]:
        """What has to be equal: names, labels and kinds of images, by name."""
        if not self.typed:
            return sorted((name, label, "") for name, label in zip(scores.ids, scores.labels, strict=True))
        if scores.types is None:
            raise RowError(
                f"{'/'.join(place)}: per-image scores without anomaly types, written before these were kept; compute "
                "that cell again with `zsad-bench bench`"
            )
        return sorted(zip(scores.ids, scores.labels, scores.types, strict=True))

    def resampled(
        self, weights: Mapping[str, Mapping[tuple[Run, str], float]], place: Place, resamples: int, seed: int
    ) -> dict[str, NDArray]:
        """(1 + resamples,) of each part: the share of its gain from this category, as it is and resampled."""
        import numpy as np

        found = {name: np.zeros(resamples + 1) for name in weights}
        generator = np.random.default_rng([seed, *map(ord, "/".join(place))])
        normal = _counts(self.normal.size, resamples, generator)
        for kind, images in self.strata.items():
            drawn = _counts(images.size, resamples, generator)  # also of kinds in no part: the others stay as they are
            for name, given in weights.items():
                gap = np.zeros((images.size, self.normal.size))
                for (run, of), weight in given.items():
                    if of == kind:
                        first, second = (_order(side[images], side[self.normal]) for side in self.runs[run])
                        gap += weight * (first - second)
                if gap.any():
                    found[name] += ((drawn @ gap) * normal).sum(1) / gap.size
        return found


def _weights(tables: Mapping[Place, _Table], part: Part) -> dict[tuple[Place, Run, str], float]:
    """Of each type of a run in the mean over runs of means over datasets, categories and types."""
    tree: dict[Run, dict[str, dict[Place, list[str]]]] = defaultdict(lambda: defaultdict(dict))
    for place, table in tables.items():
        for run in table.runs:
            kinds = [kind for kind in table.strata if part(run, place, kind)]
            if kinds:
                tree[run][place[0]][place] = kinds
    return {
        (place, run, kind): 1 / len(tree) / len(datasets) / len(places) / len(kinds)
        for run, datasets in tree.items()
        for places in datasets.values()
        for place, kinds in places.items()
        for kind in kinds
    }


def _counts(size: int, resamples: int, generator: Generator) -> NDArray:
    """(1 + resamples, size) float: each image once, then how often it was drawn."""
    import numpy as np

    drawn = generator.multinomial(size, np.full(size, 1 / size), size=resamples)
    return np.concatenate([np.ones((1, size)), drawn])


def _order(positive: NDArray, negative: NDArray) -> NDArray:
    """(A, N) 1 where the anomalous image has the higher score, half where they are equal."""
    in_order: NDArray = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return in_order
