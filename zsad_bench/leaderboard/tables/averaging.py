"""Means over rows, the same for every table: category -> dataset -> datasets -> runs.

A dataset's value is the plain mean over its categories, a table's the plain mean over its datasets, and both are taken
within a run, which is a training seed and a draw of the auxiliary data; only then come mean and deviation over runs.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables.partial import Partial, Partials, union
from zsad_bench.results.row import Row

# What may not differ between rows of one table unless asked, and within what.
_EQUAL = (
    ("backbone", "", "backbone"),
    ("weights hash", "backbone", "weights_hash"),
    ("data hash", "target", "data_hash"),
    ("metric version", "metric", "metric_version"),
)


class Measured(NamedTuple):
    """A mean in [0, 1], or None where nothing is defined.

    sd: standard deviation over runs, None for one run. n_runs: seeds and draws averaged; n_runs_found: with any row.
    datasets: that entered the mean. n_categories: averaged in a run, n_expected: seen in any row of these datasets.
    parts: what of the data behind it is not whole.
    """

    mean: float | None
    sd: float | None
    n_runs: int
    n_runs_found: int
    datasets: tuple[str, ...]
    n_categories: int
    n_expected: int
    parts: tuple[Partial, ...] = ()


NOTHING = Measured(None, None, 0, 0, (), 0, 0)
Mean = dict[tuple[int, int], dict[str, dict[str, float | None]]]  # run -> dataset -> category -> value


class Pool:
    """Values collected for one cell of a table, and their mean."""

    def __init__(self) -> None:
        self.runs: Mean = {}
        self.lines: set[Hashable] = set()
        self.parts: dict[str, dict[Partial, None]] = {}  # by target

    def add(self, row: Row, line: Hashable = None, parts: Sequence[Partial] = ()) -> None:
        """line: what must be the same for all rows of the cell. parts: what is not whole about the row."""
        self.put((row.seed, row.draw), row.target, row.category, row.value)
        self.lines.add(line)
        if parts:
            self.parts.setdefault(row.target, {}).update(dict.fromkeys(parts))

    def put(self, run: tuple[int, int], target: str, category: str, value: float | None) -> None:
        self.runs.setdefault(run, {}).setdefault(target, {})[category] = value

    def mean(self, targets: Collection[str] | None = None) -> Measured:
        """Over these targets, all by default, without runs that cover fewer categories than the best covered one."""
        means: list[tuple[int, tuple[str, ...], float]] = []
        seen = {
            (target, category)
            for run in self.runs.values()
            for target, values in run.items()
            if targets is None or target in targets
            for category in values
        }
        found = 0
        for _, run in sorted(self.runs.items()):
            names, values, count, rows = [], [], 0, 0
            for target in sorted(run) if targets is None else [name for name in targets if name in run]:
                rows += len(run[target])
                defined = [value for value in run[target].values() if value is not None]
                if defined:
                    names.append(target)
                    values.append(math.fsum(defined) / len(defined))
                    count += len(defined)
            found += rows > 0
            if values:
                means.append((count, tuple(names), math.fsum(values) / len(values)))
        if not means:
            return NOTHING._replace(n_runs_found=found, n_expected=len(seen))
        most = max(count for count, _, _ in means)
        whole = [(names, value) for count, names, value in means if count == most]
        values = [value for _, value in whole]
        sd = statistics.stdev(values) if len(values) > 1 else None
        parts = union(of for target, of in sorted(self.parts.items()) if targets is None or target in targets)
        return Measured(math.fsum(values) / len(values), sd, len(whole), found, whole[0][0], most, len(seen), parts)


def pools(rows: Iterable[Row], place: Callable[[Row], Hashable | None], line: Callable[[Row], Hashable]) -> dict:
    """A pool for each place that rows have; rows whose place is None are in none."""
    rows = list(rows)
    parts = Partials(rows)
    found: dict[Hashable, Pool] = defaultdict(Pool)
    for row in rows:
        where = place(row)
        if where is not None:
            found[where].add(row, line(row), parts.of(row) if parts else ())
    return dict(found)


def refuse_mixed(rows: Sequence[Row], what_to_do: str) -> None:
    """Returns when the rows may stand in one table.

    Raises:
        RowError: they mix schemas, backbones, or hashes of weights or data; says which, and what to do.
    """
    fields = sorted({field for _, scope, setting in _EQUAL for field in (scope, setting) if field})
    kinds = [
        (dict(zip(fields, values, strict=True)), n) for values, n in Counter(map(attrgetter(*fields), rows)).items()
    ]
    for name, scope, setting in _EQUAL:
        found: dict[str, Counter] = {}
        for kind, n in kinds:
            if (setting, kind[setting]) != ("backbone", "none"):  # sanity methods have none
                found.setdefault(kind[scope] if scope else "", Counter())[kind[setting]] += n
        for where, counts in found.items():
            if len(counts) > 1:
                shown = ", ".join(f"{str(v)[:16]} ({n} rows)" for v, n in sorted(counts.items(), key=str))
                of = f" of {where}" if where else ""
                raise RowError(f"rows of more than one {name}{of}: {shown}; {what_to_do}")
