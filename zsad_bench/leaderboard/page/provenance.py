"""The rows behind the numbers, packed small: fields that many rows share are written once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from zsad_bench.leaderboard.tables.mixed_rows import LINE
from zsad_bench.results.row import Row

# What the rows of one run of a cell share, what those of one category in it share, and what is a row's own.
RUN = tuple(
    "key method_version prior_hash auxiliary auxiliary_partial target target_partial seed draw data_options "
    "transductive weights_hash maps_hash calibrated_on data_hash config_hash "
    "metric_version package_version commit torch device run_id started".split()
)
CATEGORY = ("category", "n_images", "n_anomalous", "n_skipped", "n_vanished", "n_near_duplicates", "remark",
            "set_hash")  # fmt: skip
OWN = ("metric", "value", "ci_low", "ci_high", "ci_level", "error_bound", "n_regions", "reason")


def packed_rows(rows: Sequence[Row], lines: Mapping[tuple, int]) -> dict[str, Any]:
    """Three tables of columns: runs, categories (`run` points into runs) and rows (`at` points into categories).

    `line` of a run points into `lines`. Values are rounded to six decimals: the exact ones are in the row files.
    """
    runs: dict[tuple, int] = {}
    categories: dict[tuple, int] = {}
    places = []
    line_of, run_of, category_of = attrgetter(*LINE), attrgetter(*RUN), attrgetter(*CATEGORY)
    for row in rows:
        run = runs.setdefault((lines[line_of(row)], *run_of(row)), len(runs))
        places.append(categories.setdefault((run, *category_of(row)), len(categories)))
    own = {name: packed([_rounded(value) for value in map(attrgetter(name), rows)]) for name in OWN}
    return {
        "runs": _columns(("line", *RUN), runs),
        "categories": _columns(("run", *CATEGORY), categories),
        "rows": {"at": packed(places), **own},
        "n": len(rows),
    }


def packed(values: Sequence[Hashable]) -> list | dict[str, list]:
    """A column: its values, or the distinct ones ("of") and, if there are several, which stands where ("at")."""
    distinct = {value: place for place, value in enumerate(dict.fromkeys(values))}
    if len(distinct) == 1:
        return {"of": list(distinct)}
    if 2 * len(distinct) > len(values):
        return list(values)
    return {"of": list(distinct), "at": [distinct[value] for value in values]}


def _columns(names: Sequence[str], records: Iterable[tuple]) -> dict[str, Any]:
    return {name: packed(list(values)) for name, values in zip(names, zip(*records, strict=True), strict=False)}


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
