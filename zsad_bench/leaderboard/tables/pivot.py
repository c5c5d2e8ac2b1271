"""Any table from rows: some axes are lines, some are columns, and the rest is averaged or has to be chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from zsad_bench import metric_keys
from zsad_bench.errors import RowError, UsageError
from zsad_bench.leaderboard.tables import grid, marks
from zsad_bench.leaderboard.tables.averaging import (
    NOTHING,
    SPREAD,
    Categories,
    Measured,
    Place,
    Pool,
    pools,
    runs_counted,
    usual,
)
from zsad_bench.leaderboard.tables.grid import UNDEFINED, Column, Grid, GridCell
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.row import Row

AXES = ("dataset", "category", "method", "prior", "metric", "seed", "draw", "backbone", "image_size", "precision")
_FIELD = {"dataset": "target"}
_FIELDS = {"dataset": ("target",), "category": ("target", "category"), "method": ("method", "variant")}
_CHOSEN = (
    "method",
    "variant",
    "prior",
    "metric",
    "backbone",
    "image_size",
    "precision",
)  # averaging over these would mean nothing
Groups = Sequence[tuple[str, str, tuple[str, ...]]]  # title, "image" or "pixel" or "", datasets


def pivot(
    rows: Sequence[Row],
    lines: Sequence[str],
    columns: Sequence[str],
    only: Mapping[str, Sequence[str]],
    facts: Facts,
    groups: Groups = (),
) -> tuple[Grid, list[dict[str, Any]]]:
    """The table, and its exact numbers as records.

    rows: current ones. lines, columns: names of AXES. only: axis -> what to keep of it; a method without training
    ("none") stays under any prior. groups: where datasets are lines or columns, means over those of the metric's level.

    Raises:
        UsageError: an axis twice. RowError: nothing is left, or a cell or mean would average over one of _CHOSEN.
    """
    _check(lines, columns)
    kept = rows
    for axis, values in only.items():
        get, wanted = attrgetter(_FIELD.get(axis, axis)), {*values, *(("none",) if axis == "prior" else ())}
        kept = [row for row in kept if get(row) in wanted]
    if not kept:
        asked = ", ".join(f"{axis} {'/'.join(values)}" for axis, values in only.items()) or "anything"
        raise RowError(f"none of {len(rows)} rows has {asked}; leave these options out to see all")
    line_of, column_of, rest_of = _getter(lines, facts), _getter(columns, facts), attrgetter(*_CHOSEN)
    by_place: dict[tuple, Pool] = pools(kept, lambda row: (line_of(row), column_of(row), rest_of(row)))
    _refuse_blurred(by_place, lines, columns)
    if groups and list(lines) == ["dataset"]:  # the means over them are cells as well
        _refuse_blurred({((), *key[1:]) for key in by_place}, lines, columns)
    cells = {key[:2]: pool for key, pool in by_place.items()}
    metric_of = {key[:2]: key[2][_CHOSEN.index("metric")] for key in by_place}
    line_keys = sorted({line for line, _ in cells}, key=_order)
    column_keys = sorted({column for _, column in cells}, key=_order)
    expected = _expected(cells, metric_of, lines, columns, usual(kept, facts.categories))
    means = {key: pool.mean(expected=expected[key]) for key, pool in cells.items()}
    records = [_record(lines, columns, line, column, mean) for (line, column), mean in sorted(means.items(), key=str)]
    body = [(_label(line), [_cell(means.get((line, column), NOTHING)) for column in column_keys]) for line in line_keys]
    rules = frozenset({len(body)}) if groups else frozenset()
    if list(lines) == ["dataset"]:
        level = {row.metric.split("_")[0] for row in kept}
        for title, n, numbers in _means_over(kept, groups, level, column_keys, column_of, facts):
            body.append((title, [_cell(mean, n) for mean in numbers]))
            pairs = zip(column_keys, numbers, strict=True)
            records += [_record(lines, columns, (title,), column, mean) for column, mean in pairs]
    across = "method" in columns or "method" not in lines
    title = " · ".join(f"{axis} {'/'.join(values)}" for axis, values in only.items())
    heads = [Column(_label(key)) for key in column_keys]
    by_method: dict[str, list[Measured]] = {}
    signs = {_printed("method", (row.method, row.variant), facts): facts.sign(row.method) for row in kept}
    sign_of: dict[str, str] = {}
    for (line, column), mean in means.items():
        key = column if across else line
        by_method.setdefault(_label(key), []).append(mean)
        sign_of[_label(key)] = "".join(signs.get(part, "") for part in key)
    numbering = marks.numbered(row.remark for row in kept)
    labels = {name: name + sign_of[name] + marks.raised(of, numbering) for name, of in by_method.items()}
    if across:
        heads = [replace(head, title=labels[head.title]) for head in heads]
    else:
        body = [(labels.get(label, label), cells) for label, cells in body]
    n_categories = len({(row.target, row.category) for row in kept})
    notes = [
        *_notes(kept, means.values(), facts),
        *marks.notes(by_method, title=facts.title, numbering=numbering, n_categories=n_categories),
        *facts.unverified_notes({row.method for row in kept}),
    ]
    return Grid(title or "All rows", " · ".join(lines), heads, _ranked(body, across), notes, rules), records


def _check(lines: Sequence[str], columns: Sequence[str]) -> None:
    twice = [axis for axis in {*lines, *columns} if [*lines, *columns].count(axis) > 1]
    if twice:
        raise UsageError(
            f"{twice[0]} is given twice in --rows {','.join(lines)} and --cols {','.join(columns)}; keep one"
        )


def _getter(axes: Sequence[str], facts: Facts) -> Callable[[Row], tuple]:
    """The place of a row on some axes; names as printed. Looks each value up once."""
    getters = [attrgetter(*_FIELDS.get(axis, (axis,))) for axis in axes]
    places: dict[tuple, tuple] = {}

    def place(row: Row) -> tuple:
        raw = tuple([get(row) for get in getters])
        printed = places.get(raw)
        if printed is None:
            printed = places[raw] = tuple(_printed(axis, value, facts) for axis, value in zip(axes, raw, strict=True))
        return printed

    return place


def _printed(axis: str, value: Any, facts: Facts) -> Any:
    if axis == "dataset":
        return facts.title(value)
    if axis == "category":
        return f"{facts.title(value[0])}/{value[1]}"
    if axis == "method":
        return facts.title(value[0]) + (f" ({value[1]})" if value[1] else "")
    return value


def _refuse_blurred(places: Iterable[tuple], lines: Sequence[str], columns: Sequence[str]) -> None:
    """places: line, column and the values of _CHOSEN, which have to be the same for all rows of a cell."""
    by_cell: dict[tuple, list[tuple]] = defaultdict(list)
    for line, column, rest in places:
        by_cell[line, column].append(rest)
    for found in by_cell.values():
        for axis, several in zip(_CHOSEN, zip(*found, strict=True), strict=True):
            values = sorted({str(value) for value in several})
            if len(values) > 1:
                name = "method" if axis == "variant" else axis
                shown = ", ".join(values[:6]) + (", …" if len(values) > 6 else "")
                choose = "" if name in ("image_size", "precision") else f"choose one with --{name}, or "
                raise RowError(
                    f"a cell of this table would average over {axis}s ({shown}); {choose}put {name} on --rows or "
                    f"--cols (now {','.join(lines)} and {','.join(columns)})"
                )


def _expected(
    cells: Mapping[tuple, Pool],
    metric_of: Mapping[tuple, str],
    lines: Sequence[str],
    columns: Sequence[str],
    cards: Mapping[str, Iterable[str]],
) -> dict[tuple, set[Place]]:
    """Cell -> the categories that any cell of the same data and metric has; whole datasets, unless categories are an
    axis."""
    known = Categories((), {} if "category" in (*lines, *columns) else cards)
    by_data: dict[tuple, set[Place]] = defaultdict(set)
    data_of = {}
    for key, pool in cells.items():
        parts = zip([*lines, *columns], [*key[0], *key[1]], strict=True)
        data_of[key] = (metric_of[key], *(part for axis, part in parts if axis in ("dataset", "category")))
        found = pool.categories()
        by_data[data_of[key]] |= found | known.of({target for target, _ in found})
    return {key: by_data[data] for key, data in data_of.items()}


def _means_over(
    rows: Sequence[Row],
    groups: Groups,
    level: set[str],
    column_keys: Sequence[tuple],
    column_of: Callable[[Row], tuple],
    facts: Facts,
) -> list[tuple[str, int, list[Measured]]]:
    """Title, number of datasets it should have and one mean per column, of each group that has any row."""
    made = []
    by_column = pools(rows, column_of)
    categories = Categories(rows, facts.categories)
    for title, metric_level, targets in groups:
        if metric_level and {metric_level} != level:
            continue
        means = [by_column[column].mean(targets, categories.of(targets)) for column in column_keys]
        if any(mean.mean is not None for mean in means):
            made.append((title, len(targets), means))
    return made


def _cell(mean: Measured, n_datasets: int | None = None) -> GridCell:
    return GridCell() if mean is NOTHING else grid.cell(mean, n_datasets)


def _ranked(body: Sequence[tuple[str, list[GridCell]]], across: bool) -> list[tuple[str, list[GridCell]]]:
    """Best and second of each line, or of each column where methods are lines."""
    cells = [line for _, line in body]
    if across:
        cells = [grid.ranked(line) for line in cells]
    else:
        columns = [grid.ranked(column) for column in zip(*cells, strict=True)]
        cells = [list(line) for line in zip(*columns, strict=True)]
    return [(label, line) for (label, _), line in zip(body, cells, strict=True)]


def _record(lines: Sequence[str], columns: Sequence[str], line: tuple, column: tuple, mean: Measured) -> dict[str, Any]:
    return {
        **dict(zip([*lines, *columns], [*line, *column], strict=True)),
        **mean.record(),
    }


def _label(key: tuple) -> str:
    return " · ".join(str(part) for part in key)


def _order(key: tuple) -> tuple:
    return tuple((isinstance(part, str), part.casefold() if isinstance(part, str) else part) for part in key)


def _notes(rows: Sequence[Row], means: Iterable[Measured], facts: Facts) -> list[str]:
    metrics, targets = {row.metric for row in rows}, {row.target for row in rows}
    notes = [
        f"Percent, {SPREAD}; here {runs_counted(mean.n_runs for mean in means)}. {UNDEFINED} is undefined. Bold is the "
        "best, underlined the second best of those that cover the most, on all of their data.",
    ]
    notes += metric_keys.notes(metrics)
    return notes + list(dict.fromkeys(text for name, text in facts.footnotes.items() if name in targets))
