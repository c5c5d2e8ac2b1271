"""From rows to means: category -> dataset -> table -> runs, each with the number of things it averaged.

A dataset's value is the plain mean over its categories, a table's the plain mean over its datasets, and both are taken
within a run, which is a training seed and a draw of the auxiliary data; only then come mean and standard error over
runs. pandas is imported inside the functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING

from zsad_bench.leaderboard.row import Row
from zsad_bench.leaderboard.rows import age

if TYPE_CHECKING:
    from pandas import DataFrame

# What makes a line of a table.
LINE = ("method", "variant", "prior", "backbone", "image_size", "precision")
# What must be equal within a scope before numbers may stand side by side.
_EQUAL = (
    (("target",), ("data_hash",)),
    (("backbone",), ("weights_hash",)),
    (("metric",), ("metric_version",)),
    ((*LINE, "target"), ("method_version", "config_hash", "auxiliary")),
    ((*LINE, "target", "draw"), ("prior_hash",)),
)


def comparable(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows that may stand in one table, and a sentence on every group that was left out.

    Of several data or weights hashes, metric versions, or configurations of one line, the newest run's stands.
    """
    rows, sentences = list(rows), []
    for scope, settings in _EQUAL:
        place_of, setting_of = _getter(scope), _getter(settings)
        newest: dict[tuple, Row] = {}
        for row in rows:
            place = place_of(row)
            if place not in newest or age(row) >= age(newest[place]):
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


def long_table(rows: Iterable[Row]) -> DataFrame:
    """One line a row, one column a field of `Row`; undefined values are nan. Sorted, whatever the order."""
    import pandas as pd

    names = [field.name for field in fields(Row)]
    frame = pd.DataFrame.from_records(list(map(attrgetter(*names), rows)), columns=names)
    frame["value"] = frame["value"].astype("float64")
    return frame.sort_values([*LINE, "metric", "seed", "draw", "target", "category", "key"], ignore_index=True)


def summarise(rows: Iterable[Row], targets: Collection[str]) -> DataFrame:
    """One line for each table line and metric, over `targets`: mean, se and how many were averaged.

    rows: current and comparable ones. mean, se: float64 in [0, 1]; se, the standard error over runs, is nan for one
    run. n_runs: averaged; n_runs_found: with any row. A run that covers fewer categories than the best covered one (it
    died) is not averaged. n_categories, n_datasets: averaged within a run; n_categories_expected:
    seen in any row of these targets.
    """
    frame = long_table(row for row in rows if row.target in targets)
    expected = len(frame[["target", "category"]].drop_duplicates())
    by = [*LINE, "metric"]
    datasets = frame.groupby([*by, "seed", "draw", "target"], as_index=False).agg(
        value=("value", "mean"), n_categories=("value", "count")
    )
    runs = datasets.groupby([*by, "seed", "draw"], as_index=False).agg(
        value=("value", "mean"), n_categories=("n_categories", "sum"), n_datasets=("value", "count")
    )
    lines = runs.groupby(by)
    runs["n_runs_found"] = lines["seed"].transform("size")
    whole = runs[runs["n_categories"] == lines["n_categories"].transform("max")]
    summary = whole.groupby(by, as_index=False).agg(
        mean=("value", "mean"),
        se=("value", "sem"),
        n_runs=("value", "count"),
        n_runs_found=("n_runs_found", "first"),
        n_categories=("n_categories", "first"),
        n_datasets=("n_datasets", "first"),
    )
    return summary.assign(n_categories_expected=expected)


def wide_table(summary: DataFrame, value: str = "mean") -> DataFrame:
    """One line a table line, one column a metric, holding one column of `summarise`."""
    return summary.pivot(index=list(LINE), columns="metric", values=value)


def _getter(names: Sequence[str]) -> Callable[[Row], tuple]:
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda row: (get(row),)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
