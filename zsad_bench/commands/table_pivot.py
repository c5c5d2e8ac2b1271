"""Any table of rows: what its lines and columns are is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows, groups, listed, suite_with_rows
from zsad_bench.commands._shared import OnlyOptions, SuiteOfRows
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import UnknownNameError
from zsad_bench.leaderboard.tables import pivot as pivots
from zsad_bench.leaderboard.tables import render
from zsad_bench.options import Option
from zsad_bench.registry import did_you_mean

FIELDS = {"metric": "metric", "prior": "prior", "method": "method", "dataset": "target", "backbone": "backbone"}


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    rows: Annotated[str, Option("AXIS[,AXIS…]", "dataset, method, prior, metric, seed, …")] = "dataset"
    cols: Annotated[str, Option("AXIS[,AXIS…]", "as --rows")] = "method"
    only: OnlyOptions = field(default_factory=OnlyOptions)
    out: Annotated[str | None, Option("FOLDER", "write it there too, in three formats", writes="folder")] = None


def run(options: Options) -> int:
    """Prints any table of a suite's rows, and writes it where `--out` is given.

    Raises:
        UsageError: an unknown axis. RowError: nothing to show, or what should not be averaged.
    """
    console, facts = Console(), all_facts()
    lines, columns = _axes(options.rows, "--rows"), _axes(options.cols, "--cols")
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, suite, remarks=remarks)
    asked = {**vars(options.only), "backbone": options.source.backbone}
    only = {axis: listed(names, {getattr(row, FIELDS[axis]) for row in rows}) for axis, names in asked.items() if names}
    shown, records = pivots.pivot(rows, lines, columns, only, facts, groups(suite))
    render.terminal([shown], console)
    if options.out:
        write_table(Path(options.out), "pivot", shown.title, [shown], records, "zsad-bench table pivot", remarks)
        say_where(console, options.out)
    return 0


def _axes(text: str, option: str) -> list[str]:
    names = listed(text)
    for name in names:
        if name not in pivots.AXES:
            raise UnknownNameError(f"{option}: {did_you_mean('axis', name, pivots.AXES)}")
    return names
