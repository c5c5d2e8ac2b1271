"""From rows to the lines of a suite's leaderboard: what may stand together, and the mean of each line with its error.

The means are those of `measure`, as in every other table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from zsad_bench.leaderboard.tables.averaging import pools
from zsad_bench.leaderboard.tables.partial import Partial, told
from zsad_bench.results.row import Row
from zsad_bench.results.rows import latest, seniority
from zsad_bench.variant import Variant

# What makes a line of a table.
LINE = ("method", "variant", "prior", "backbone", "image_size", "precision")
# What must be equal within a scope before numbers may stand side by side.
_EQUAL = (
    (("target",), ("data_hash",)),
    (("backbone",), ("weights_hash",)),
    (("metric",), ("metric_version",)),
    ((*LINE, "target"), ("method_version", "config_hash", "networks", "auxiliary")),
    ((*LINE, "target", "draw"), ("prior_hash",)),
)


class Summary(NamedTuple):
    """One line and metric of a table, as its CSV file has it.

    mean, se: in [0, 1], None where nothing is defined; se, the standard error over runs, is None for one run. n_runs:
    averaged; n_runs_found: with any row. A run that covers fewer categories than the best covered one (it died) is not
    averaged. n_categories, n_datasets: averaged within a run; n_categories_expected: seen in any row of the table.
    partial: what of the data behind it is not whole, in words; parts: the same, one by one, in no CSV file.
    """

    method: str
    variant: Variant
    prior: str
    backbone: str
    image_size: int
    precision: str
    metric: str
    mean: float | None
    se: float | None
    n_runs: int
    n_runs_found: int
    n_categories: int
    n_datasets: int
    n_categories_expected: int
    partial: str = ""
    parts: tuple[Partial, ...] = ()

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Those of the CSV file."""
        return cls._fields[:-1]


def comparable(rows: Sequence[Row], at: str | None = None) -> tuple[list[Row], list[str]]:
    """The rows that may stand in one table, and a sentence on every group that was left out.

    Of several data or weights hashes, metric versions, or configurations of one line, the newest run's stands;
    a run from the future counts as the oldest. at: the time now, as rows have it; None asks the clock.
    """
    rows, sentences, limit = list(rows), [], latest(at)
    for scope, settings in _EQUAL:
        place_of, setting_of = _getter(scope), _getter(settings)
        newest: dict[tuple, Row] = {}
        for row in rows:
            place = place_of(row)
            if place not in newest or seniority(row, limit) >= seniority(newest[place], limit):
                newest[place] = row
        standing = {place: setting_of(row) for place, row in newest.items()}
        kept, left_out = [], Counter()
        for row in rows:
            place, setting = place_of(row), setting_of(row)
            if setting == standing[place]:
                kept.append(row)
            else:
                pairs = zip(settings, setting, standing[place], strict=True)
                left_out[place, tuple(name for name, ours, theirs in pairs if ours != theirs)] += 1
        for (place, names), count in sorted(left_out.items()):
            where = " · ".join(str(value) for value in place if value != "")
            verb = "differs" if len(names) == 1 else "differ"
            sentences.append(f"{count} of the rows of {where}: {_and(names)} {verb} from the newest run's")
        rows = kept
    return rows, sentences


def summarise(rows: Iterable[Row], targets: Collection[str]) -> list[Summary]:
    """One a table line and metric, over `targets`, sorted. rows: current and comparable ones."""
    rows = [row for row in rows if row.target in targets]
    expected = len({(row.target, row.category) for row in rows})
    found = []
    for line, pool in sorted(pools(rows, attrgetter(*LINE, "metric"), lambda row: None).items()):
        mean = pool.mean()
        se = None if mean.sd is None else mean.sd / math.sqrt(mean.n_runs)
        counts = (mean.n_runs, mean.n_runs_found, mean.n_categories, len(mean.datasets), expected)
        found.append(Summary(*line, mean.mean, se, *counts, told(mean.parts), mean.parts))
    return found


def _getter(names: Sequence[str]) -> Callable[[Row], tuple]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda row: (get(row),)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
