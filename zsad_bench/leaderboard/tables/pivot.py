"""Any table from rows: what stands in lines, what in columns, and the rest is averaged or has to be chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from zsad_bench import metric_keys
from zsad_bench.errors import RowError, UsageError
from zsad_bench.leaderboard.tables import grid
from zsad_bench.leaderboard.tables.averaging import NOTHING, Measured, Pool, pools
from zsad_bench.leaderboard.tables.grid import UNDEFINED, Column, Grid, Shown
from zsad_bench.leaderboard.tables.partial import note, told, union
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.row import Row

AXES = ("dataset", "category", "method", "prior", "metric", "seed", "draw", "backbone")
_FIELD = {"dataset": "target"}
_FIELDS = {"dataset": ("target",), "category": ("target", "category"), "method": ("method", "variant")}
_CHOSEN = ("method", "variant", "prior", "metric", "backbone")  # averaging over these would mean nothing
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
        UsageError: an axis twice. RowError: nothing is left, or a cell would average over methods, priors or metrics.
    """
    _check(lines, columns)
    kept = rows
    for axis, values in only.items():
        get, wanted = attrgetter(_FIELD.get(axis, axis)), {*values, *(("none",) if axis == "prior" else ())}
        kept = [row for row in kept if get(row) in wanted]
    if not kept:
        asked = ", ".join(f"{axis} {'/'.join(values)}" for axis, values in only.items()) or "anything"
        raise RowError(f"none of {len(rows)} rows has {asked}; see what there is without these options")
    of_line, of_column, of_rest = _getter(lines, facts), _getter(columns, facts), attrgetter(*_CHOSEN)
    cells: dict[tuple, Pool] = pools(kept, lambda row: (of_line(row), of_column(row)), of_rest)
    _refuse_blurred(cells, lines, columns)
    line_keys = sorted({line for line, _ in cells}, key=_order)
    column_keys = sorted({column for _, column in cells}, key=_order)
    means = {key: pool.mean() for key, pool in cells.items()}
    table = {line: [means.get((line, column), NOTHING) for column in column_keys] for line in line_keys}
    records = [_record(lines, columns, line, column, mean) for (line, column), mean in sorted(means.items(), key=str)]
    shown = [(_label(line), [Shown(_text(m)) for m in found], _full(found)) for line, found in table.items()]
    rules = frozenset({len(shown)}) if groups else frozenset()
    if list(lines) == ["dataset"]:
        level = {row.metric.split("_")[0] for row in kept}
        extra = _means_of(rows=kept, groups=groups, level=level, column_keys=column_keys, of=of_column)
        shown += [(title, [Shown(_text(m, n)) for m in found], _full(found, n)) for title, n, found in extra]
        records += [
            _record(lines, columns, (title,), column, mean)
            for title, _, found in extra
            for column, mean in zip(column_keys, found, strict=True)
        ]
    across = "method" in columns or "method" not in lines
    body = [(label, cells) for label, cells, _ in shown]
    ranked = _rank([values for *_, values in shown], across)
    body = [
        (label, [cell._replace(rank=rank) for cell, rank in zip(cells, of, strict=True)])
        for (label, cells), of in zip(body, ranked, strict=True)
    ]
    title = " · ".join(f"{axis} {'/'.join(values)}" for axis, values in only.items())
    heads = [Column(_label(key)) for key in column_keys]
    notes = [*_notes(kept, facts), *_partial(means, across, facts)]
    return Grid(title or "All rows", " · ".join(lines), heads, body, notes, rules), records


def _partial(means: Mapping[tuple, Measured], across: bool, facts: Facts) -> list[str]:
    """What is said of the marked numbers, by the methods: by column where those are in columns."""
    marked: dict[str, tuple] = {}
    for (line, column), mean in means.items():
        if mean.parts:
            name = _label(column if across else line)
            marked[name] = union((marked.get(name, ()), mean.parts))
    said = note(marked, 0, facts.title)
    return [said] if said else []


def _check(lines: Sequence[str], columns: Sequence[str]) -> None:
    twice = [axis for axis in {*lines, *columns} if [*lines, *columns].count(axis) > 1]
    if twice:
        raise UsageError(f"{twice[0]} stands twice among --rows {','.join(lines)} and --cols {','.join(columns)}")


def _getter(axes: Sequence[str], facts: Facts) -> Callable[[Row], tuple]:
    """The place of a row on some axes; names as printed. Looks each value up once."""
    getters = [attrgetter(*_FIELDS.get(axis, (axis,))) for axis in axes]
    known: dict[tuple, tuple] = {}

    def place(row: Row) -> tuple:
        raw = tuple([get(row) for get in getters])
        found = known.get(raw)
        if found is None:
            found = known[raw] = tuple(_printed(axis, value, facts) for axis, value in zip(axes, raw, strict=True))
        return found

    return place


def _printed(axis: str, value: Any, facts: Facts) -> Any:
    if axis == "dataset":
        return facts.title(value)
    if axis == "category":
        return f"{facts.title(value[0])}/{value[1]}"
    if axis == "method":
        return facts.title(value[0]) + (f" ({value[1]})" if value[1] else "")
    return value


def _refuse_blurred(cells: Mapping[tuple, Pool], lines: Sequence[str], columns: Sequence[str]) -> None:
    for pool in cells.values():
        if len(pool.lines) > 1:
            for i, axis in enumerate(_CHOSEN):
                found = sorted({str(line[i]) for line in pool.lines} - ({"none"} if axis == "backbone" else set()))
                if len(found) > 1:
                    name = "method" if axis == "variant" else axis
                    shown = ", ".join(found[:6]) + (", …" if len(found) > 6 else "")
                    raise RowError(
                        f"a cell of this table would average over {axis}s ({shown}); choose one with --{name}, or put "
                        f"{name} on --rows or --cols (now {','.join(lines)} and {','.join(columns)})"
                    )


def _means_of(
    rows: Sequence[Row], groups: Groups, level: set[str], column_keys: Sequence[tuple], of: Callable[[Row], tuple]
) -> list[tuple[str, int, list[Measured]]]:
    """Title, number of datasets it should have and one mean a column, of each group that has any row."""
    found = []
    by_column = pools(rows, of, lambda row: None)
    for title, metric_level, targets in groups:
        if metric_level and {metric_level} != level:
            continue
        means = [by_column[column].mean(targets) for column in column_keys]
        if any(mean.mean is not None for mean in means):
            found.append((title, len(targets), means))
    return found


def _text(mean: Measured, n: int | None = None) -> str:
    return "" if mean is NOTHING else grid.measured(mean, n)


def _full(found: Sequence[Measured], n: int | None = None) -> list[float | None]:
    """The means that may be ranked: those that cover the most."""

    def size(mean: Measured) -> int:
        return mean.n_categories if n is None else len(mean.datasets)

    most = max(map(size, found), default=0)
    return [mean.mean if size(mean) == most and not mean.parts else None for mean in found]


def _rank(values: Sequence[Sequence[float | None]], across: bool) -> list[list[int]]:
    """Best and second of each line, or of each column where methods are lines."""
    if across:
        return [grid.ranks(line) for line in values]
    columns = [grid.ranks(column) for column in zip(*values, strict=True)]
    return [list(line) for line in zip(*columns, strict=True)]


def _record(lines: Sequence[str], columns: Sequence[str], line: tuple, column: tuple, mean: Measured) -> dict[str, Any]:
    return {
        **dict(zip([*lines, *columns], [*line, *column], strict=True)),
        "mean": mean.mean,
        "sd": mean.sd,
        "n_runs": mean.n_runs,
        "n_runs_found": mean.n_runs_found,
        "n_datasets": len(mean.datasets),
        "n_categories": mean.n_categories,
        "n_categories_expected": mean.n_expected,
        "partial": told(mean.parts),
    }


def _label(key: tuple) -> str:
    return " · ".join(str(part) for part in key)


def _order(key: tuple) -> tuple:
    return tuple((isinstance(part, str), part.casefold() if isinstance(part, str) else part) for part in key)


def _notes(rows: Sequence[Row], facts: Facts) -> list[str]:
    metrics, targets = {row.metric for row in rows}, {row.target for row in rows}
    notes = [
        f"Percent, mean ± standard deviation over seeds and draws; {UNDEFINED} is undefined. Bold is the best, "
        "underlined the second best of those that cover the most, on all of their data.",
    ]
    notes += metric_keys.notes(metrics)
    return notes + list(dict.fromkeys(text for name, text in facts.footnotes.items() if name in targets))
