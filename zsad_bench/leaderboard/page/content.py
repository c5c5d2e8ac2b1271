"""What the page says in words and numbers: the tables of a report, cut by category too, and the rows behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zsad_bench import metric_keys
from zsad_bench.leaderboard.page.lines import line_places, page_lines
from zsad_bench.leaderboard.page.provenance import facts, packed_rows
from zsad_bench.leaderboard.tables.leaderboard_tables import COLUMNS, Cell, Report, Table
from zsad_bench.leaderboard.tables.markdown import HOW_TO_READ as HOW_TO_READ
from zsad_bench.leaderboard.tables.summary import LINE, Summary, summarise
from zsad_bench.results.row import Row


def content(report: Report, row_files: Sequence[str]) -> dict[str, Any]:
    """Everything but the pictures, as JSON can hold it. Lines and metrics are named by their place in a list.

    A cell is [text as in the Markdown tables, mean, standard error, 1 if it is the best of its column].
    """
    board = report.board
    lines = line_places(report)
    metrics = _metrics(report.rows)
    categories = _by_category(report.rows)
    return {
        "suite": board.suite,
        "page_command": f"zsad-bench page {board.suite}",
        "how": HOW_TO_READ.split("\n\n"),
        "metric_notes": {metric: note for metric, note in board.metric_notes.items() if metric in metrics},
        "metrics": [[metric, title(metric)] for metric in metrics],
        "lines": [
            {name: str(part) if name == "variant" else part for name, part in zip(LINE, line.key, strict=True)}
            | {"title": line.title, "sanity": line.sanity}
            for line in page_lines(report)
        ],
        "tables": [_table(table, report, lines, categories) for table in report.tables],
        "rows": packed_rows(report.rows, lines),
        "n_read": report.n_rows_read,
        "facts": facts(report, row_files),
        "conflicts": [str(conflict) for conflict in report.conflicts],
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
    """targets: what it averages. parts: one a category of a single target, without mean over categories."""
    overall = table.name == "overall"
    present = {target for target, _ in categories}
    targets = [t for t in report.board.groups if t in present] if overall else [table.name]
    best = {(line.key, metric) for line in table.lines for metric, cell in line.cells.items() if cell.best}
    parts = [] if overall else [(of, rows) for of, rows in categories.items() if of[0] == table.name]
    return {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "note": table.note,
        "partial": table.partial,
        "apart": not overall and table.name not in report.board.groups,
        "targets": targets,
        "columns": table.columns,
        "extras": table.extras,
        "runs": {lines[line.key]: line.n_runs for line in table.lines},
        "cells": _cells(table.summary, lines, best),
        "parts": [{"category": of[1], "cells": _cells(summarise(rows, [of[0]]), lines)} for of, rows in parts],
    }


def _cells(
    summary: Iterable[Summary], lines: Mapping[tuple, int], best: frozenset | set = frozenset()
) -> dict[str, dict[int, list]]:
    """metric -> line -> cell."""
    found: dict[str, dict[int, list]] = defaultdict(dict)
    for one in summary:
        key = tuple(one[: len(LINE)])
        cell = Cell(
            one.mean, one.se, one.n_runs, one.n_runs_found, one.n_categories, one.n_categories_expected, parts=one.parts
        )
        numbers = [None if cell.mean is None else round(cell.mean, 6), round(cell.se, 6) if cell.spreads else None]
        found[one.metric][lines[key]] = [cell.text(), *numbers, int((key, one.metric) in best)]
    return dict(found)


def _by_category(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.target, row.category].append(row)
    return dict(sorted(found.items(), key=lambda item: item[0]))
