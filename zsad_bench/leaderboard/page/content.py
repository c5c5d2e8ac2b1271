"""What the page says in words and numbers: the tables of a report, cut by category too, and the rows behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zsad_bench import metric_keys
from zsad_bench.leaderboard.page.provenance import packed_rows
from zsad_bench.leaderboard.tables import costs
from zsad_bench.leaderboard.tables.grid import BEST, GridCell
from zsad_bench.leaderboard.tables.leaderboard_files import how_to_read
from zsad_bench.leaderboard.tables.leaderboard_tables import COLUMNS, Report, Table, cell, means
from zsad_bench.leaderboard.tables.mixed_rows import LINE
from zsad_bench.results.row import Row


def content(report: Report, row_files: Sequence[str]) -> dict[str, Any]:
    """Everything but the pictures, as JSON can hold it. Lines and metrics are named by their place in a list.

    A cell is [text as in the Markdown tables, mean, standard deviation, 1 if it is the best of its column], one of a
    cost [text, number].
    """
    layout = report.layout
    lines = report.places()
    metrics = _metrics(report.rows)
    categories = _by_category(report.rows)
    return {
        "suite": layout.suite,
        "page_command": f"zsad-bench page {layout.suite}",
        "how": how_to_read(report),
        "metric_notes": {metric: note for metric, note in layout.metric_notes.items() if metric in metrics},
        "metrics": [[metric, title(metric)] for metric in metrics],
        "costs": [[key, costs.COLUMNS[key]] for key in _cost_columns(report)],
        "lines": [
            {name: str(part) if name == "variant" else part for name, part in zip(LINE, line.key, strict=True)}
            | {"title": line.title, "sanity": line.sanity}
            for line in report.lines()
        ],
        "tables": [_table(table, report, lines, categories) for table in report.tables],
        "rows": packed_rows(report.rows, lines),
        "n_read": report.n_rows_read,
        "facts": [[name, ", ".join(values)] for name, values in report.provenance(row_files)],
        "conflicts": report.conflicts,
        "undefined": report.undefined,
        "left_out": report.left_out,
        "ahead": report.ahead,
    }


def title(metric: str) -> str:
    """A metric as printed."""
    return metric_keys.titles().get(metric, metric.replace("_", " "))  # a row of another version may have another


def _metrics(rows: Iterable[Row]) -> list[str]:
    """Those of the Markdown tables first, in their order."""
    present = {row.metric for row in rows}
    return [m for m in COLUMNS if m in present] + sorted(present - COLUMNS.keys())


def _table(
    table: Table, report: Report, lines: Mapping[tuple, int], categories: Mapping[tuple[str, str], list[Row]]
) -> dict[str, Any]:
    """targets: what it averages. parts: one per category of a single target, without mean over categories."""
    overall = table.name == "overall"
    present = {target for target, _ in categories}
    targets = [t for t in report.layout.groups if t in present] if overall else [table.name]
    parts = [] if overall else [(of, rows) for of, rows in categories.items() if of[0] == table.name]
    return {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "note": table.note,
        "marked": table.marked,
        "apart": not overall and table.name not in report.layout.groups,
        "targets": targets,
        "columns": table.columns,
        "extras": table.extras,
        "runs": {lines[line.key]: line.n_runs for line in table.lines},
        "remarks": {lines[line.key]: dict(line.remarks) for line in table.lines if line.remarks},
        "costs": _costs(table, lines),
        "cost_note": table.costs.note,
        "cells": _cells(table.cells(), lines),
        "parts": [
            {"category": of[1], "cells": _cells({key: cell(mean) for key, mean in means(rows).items()}, lines)}
            for of, rows in parts
        ],
    }


def _cost_columns(report: Report) -> list[str]:
    """Those of any table, in the order of the Markdown tables."""
    present = {key for table in report.tables for key in table.costs.columns}
    return [key for key in costs.COLUMNS if key in present]


def _costs(table: Table, lines: Mapping[tuple, int]) -> dict[str, dict[int, list]]:
    """column -> line -> text and number."""
    said = {line.key: (line.cost.texts(), line.cost.numbers()) for line in table.lines}
    return {
        key: {lines[line]: [texts[key], _rounded(numbers[key])] for line, (texts, numbers) in said.items()}
        for key in table.costs.columns
    }


def _rounded(number: float | None) -> float | None:
    """Six digits that count: enough to sort by."""
    return None if number is None else float(f"{number:.6g}")


def _cells(cells: Mapping[tuple, GridCell], lines: Mapping[tuple, int]) -> dict[str, dict[int, list]]:
    """metric -> line -> cell. cells: by `LINE` values and metric."""
    found: dict[str, dict[int, list]] = defaultdict(dict)
    for (*key, metric), one in cells.items():
        numbers = [None if value is None else round(value, 6) for value in (one.number.mean, one.number.error)]
        found[metric][lines[tuple(key)]] = [one.text, *numbers, int(one.rank == BEST)]
    return dict(found)


def _by_category(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.target, row.category].append(row)
    return dict(sorted(found.items(), key=lambda item: item[0]))
