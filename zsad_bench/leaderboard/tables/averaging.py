"""Means over rows, the same for every table and figure: category -> dataset -> datasets -> runs.

A dataset's value is the plain mean over its categories, a table's the plain mean over its datasets, and both are taken
within a run, which is a training seed and a draw of the auxiliary data; only then come mean and deviation over runs.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables.marks import Partial, Partials, Remark, describe, texts, union
from zsad_bench.results.row import Row

Run = tuple[int, int]  # training seed, draw of the auxiliary data
Place = tuple[str, str]  # dataset, category
SPREAD = (
    "mean ± standard deviation over runs (training seeds and draws of the auxiliary data; sample form, n - 1): how far "
    "one run lies from the mean, not how well the mean is known. A single run has no ±"
)


class Measured(NamedTuple):
    """A mean in [0, 1], or None where nothing is defined.

    sd: `deviation` over runs. n_runs: seeds and draws averaged; n_runs_found: with any row. datasets: that entered the
    mean. n_categories: averaged in a run, n_expected: that the mean should be over. parts: what of the data behind it
    is not whole. transductive: of a method that sees all test images of a category before it scores one. remarks: of
    the method on categories of these datasets. external: of saved maps, whose method was not run here. places: dataset
    and category of what is averaged; means over different places are not compared. runs: that were averaged.
    """

    mean: float | None
    sd: float | None
    n_runs: int
    n_runs_found: int
    datasets: tuple[str, ...]
    n_categories: int
    n_expected: int
    parts: tuple[Partial, ...] = ()
    transductive: bool = False
    remarks: tuple[Remark, ...] = ()
    external: bool = False
    places: frozenset[Hashable] = frozenset()
    runs: tuple[Run, ...] = ()

    @property
    def ranked(self) -> bool:
        """Whether it may be the best of anything, and be compared with a printed number."""
        return self.mean is not None and not self.parts and not self.transductive and not self.external

    @property
    def complete(self) -> bool:
        """Whether it is over every category that it should be over."""
        return self.mean is not None and self.n_categories == self.n_expected

    @property
    def error(self) -> float | None:
        """The deviation where runs differ, beyond the rounding of a mean of equal numbers; else None."""
        return self.sd if self.sd is not None and self.sd > 1e-12 else None

    @property
    def percent(self) -> float:
        """The mean as figures draw it; nan where nothing is defined."""
        return math.nan if self.mean is None else 100 * self.mean

    @property
    def percent_sd(self) -> float | None:
        """The deviation as figures draw it; None for one run."""
        return None if self.sd is None else 100 * self.sd

    def record(self) -> dict[str, Any]:
        """The columns of a CSV file, unrounded."""
        return {
            "mean": self.mean, "sd": self.sd, "n_runs": self.n_runs, "n_runs_found": self.n_runs_found,
            "n_categories": self.n_categories, "n_datasets": len(self.datasets),
            "n_categories_expected": self.n_expected, "partial": describe(self.parts),
            "transductive": self.transductive, "external": self.external, "remark": texts([self]),
        }  # fmt: skip


NOTHING = Measured(None, None, 0, 0, (), 0, 0)


class RunMean(NamedTuple):
    """The mean of one run, None where nothing is defined, and what it is over."""

    mean: float | None
    datasets: tuple[str, ...]
    places: frozenset[Place]


class Pool:
    """Values collected for one cell of a table, and their mean."""

    def __init__(self) -> None:
        self.runs: dict[Run, dict[str, dict[str, float | None]]] = {}  # run -> dataset -> category -> value
        self.parts: dict[str, dict[Partial, None]] = {}  # by dataset
        self.transductive = False
        self.external = False
        self.remarks: dict[str, dict[Remark, None]] = {}  # by dataset

    def add(self, row: Row, parts: Sequence[Partial] = ()) -> None:
        """parts: what is not whole about the row."""
        self.put((row.seed, row.draw), row.target, row.category, row.value, row)
        if parts:
            self.parts.setdefault(row.target, {}).update(dict.fromkeys(parts))
        if row.transductive:
            self.transductive = True
        if row.maps_hash:
            self.external = True
        if row.remark:
            remark = Remark(row.target, row.category, row.remark)
            self.remarks.setdefault(row.target, {})[remark] = None

    def put(self, run: Run, target: str, category: str, value: float | None, row: Row | None = None) -> None:
        """One value. row: that it is of.

        Raises:
            RowError: the run has another value there, as rows of two keys have.
        """
        values = self.runs.setdefault(run, {}).setdefault(target, {})
        if category in values and values[category] != value:
            whose = f"{row.method} {row.variant or 'as it is'}, prior {row.prior}, {row.metric}, " if row else ""
            raise RowError(
                f"{whose}seed {run[0]}, draw {run[1]}, {target}/{category}: two values for one place of a table, "
                f"{values[category]} and {value}; choose with --backbone, or read one set of rows with --from"
            )
        values[category] = value

    def categories(self, targets: Collection[str] | None = None) -> set[Place]:
        """Dataset and category of everything that any run has a row of, defined or not."""
        return {
            (target, category)
            for datasets in self.runs.values()
            for target, values in datasets.items()
            if targets is None or target in targets
            for category in values
        }

    def by_run(self, targets: Collection[str] | None = None) -> dict[Run, RunMean]:
        """The mean of each run with any row of these datasets, all by default; runs in order."""
        means = {}
        for run, datasets in sorted(self.runs.items()):
            here = sorted(datasets) if targets is None else [name for name in targets if name in datasets]
            values = {name: [v for v in datasets[name].values() if v is not None] for name in here}
            places = frozenset(
                (name, category) for name in here for category, v in datasets[name].items() if v is not None
            )
            values = {name: defined for name, defined in values.items() if defined}
            mean = _mean([_mean(defined) for defined in values.values()]) if values else None
            if here:
                means[run] = RunMean(mean, tuple(values), places)
        return means

    def mean(self, targets: Collection[str] | None = None, expected: Collection[Place] = ()) -> Measured:
        """Over these datasets, all by default, of the runs that cover the same categories as the best covered one.

        expected: that it should be over, beside those that the pool has itself, as `Categories` has them.
        """
        by_run = self.by_run(targets)
        places = widest(run.places for run in by_run.values())
        averaged = {at: run for at, run in by_run.items() if run.mean is not None and run.places == places}
        values = [run.mean for run in averaged.values() if run.mean is not None]
        n_expected = len(self.categories(targets).union(expected))
        if not values:
            return NOTHING._replace(n_runs_found=len(by_run), n_expected=n_expected)
        datasets = next(iter(averaged.values())).datasets
        return Measured(
            _mean(values), deviation(values), len(values), len(by_run), datasets, len(places), n_expected,
            _of(self.parts, targets), self.transductive, _of(self.remarks, targets), self.external,
            places, tuple(averaged),
        )  # fmt: skip


def _of(by_target: Mapping[str, Iterable[Any]], targets: Collection[str] | None) -> tuple:
    """Everything of these datasets, all by default, once."""
    return union(found for target, found in sorted(by_target.items()) if targets is None or target in targets)


def widest(covered: Iterable[frozenset]) -> frozenset:
    """The set that covers the most, whose numbers may be averaged and compared with each other.

    Of several as large it is the one that occurs most often, and of these the first by name.
    """
    counts = Counter(covered)
    return min(counts, key=lambda places: (-len(places), -counts[places], sorted(places)), default=frozenset())


class Categories:
    """The categories that each dataset has, as far as is known: those of its card, and any that a row has.

    rows: of the whole table. cards: dataset -> categories; a user's own data has none, and of a published variant of a
    dataset, which may have fewer, those of the rows are all.
    """

    def __init__(self, rows: Iterable[Row], cards: Mapping[str, Iterable[str]] | None = None) -> None:
        rows = list(rows)
        self._of: dict[str, set[Place]] = defaultdict(set)
        for place in set(map(_PLACE, rows)):
            self._of[place[0]].add(place)
        for target, names in usual(rows, cards or {}).items():
            self._of[target].update((target, name) for name in names)

    def of(self, targets: Iterable[str]) -> set[Place]:
        """Those of these datasets."""
        return set().union(*(self._of.get(target, ()) for target in targets))


_PLACE = attrgetter("target", "category")


def usual(rows: Iterable[Row], cards: Mapping[str, Iterable[str]]) -> dict[str, Iterable[str]]:
    """The cards of datasets that no row has a published variant of (`dagm.variant=prepared1350` has seven classes)."""
    varied = {row.target for row in rows if any(o.startswith("variant=") for o in row.data_options.split(","))}
    return {target: names for target, names in cards.items() if target not in varied}


def deviation(values: Sequence[float]) -> float | None:
    """What stands behind every ±: the sample standard deviation (n - 1); None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def pools(rows: Iterable[Row], place: Callable[[Row], Hashable | None]) -> dict[Any, Pool]:
    """A pool for each place that rows have; rows whose place is None are in none.

    Raises:
        RowError: as `Pool.put`.
    """
    rows = list(rows)
    parts = Partials(rows)
    by_place: dict[Hashable, Pool] = defaultdict(Pool)
    for row in rows:
        where = place(row)
        if where is not None:
            by_place[where].add(row, parts.of(row) if parts else ())
    return dict(by_place)


def runs_counted(counts: Iterable[int]) -> str:
    """How many runs were averaged: "5 runs", "1 to 5 runs"."""
    numbers = sorted({*counts} - {0})
    if not numbers:
        return "no run"
    return (f"{numbers[0]} to " if len(numbers) > 1 else "") + f"{numbers[-1]} run{'s' * (numbers[-1] > 1)}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
