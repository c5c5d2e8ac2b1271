"""What rows say about DIVE's claim, question by question."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from zsad_bench.commands._row_selection import (
    RowsOptions,
    averaged,
    refuse_two_settings,
    rows_folder,
    suite_with_rows,
    wanted_rows,
)
from zsad_bench.commands._shared import SuiteOfRows
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics import dive_claim
from zsad_bench.leaderboard.tables import dive_claim as dive_claim_table
from zsad_bench.leaderboard.tables import render
from zsad_bench.leaderboard.tables.marks import Partials, describe
from zsad_bench.options import Option
from zsad_bench.results.row import Row


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    suite: SuiteOfRows = None
    prior: Annotated[str | None, Option("NAME[,NAME…]", "keep only these")] = None
    out: Annotated[str, Option("FOLDER", "where it goes, in three formats", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints what rows say about DIVE's claim, question by question, and writes it to `--out`.

    Raises:
        RowError: no rows of DIVE or AnomalyCLIP, none on all of their data, rows that should not be mixed, or scores
            that cannot be read.
    """
    console = Console()
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    chosen = wanted_rows(options.source, console, suite, {"prior": options.prior}, remarks)
    refuse_two_settings(row for row in chosen if row.metric == dive_claim.METRIC)
    rows = _whole(chosen, console, remarks)
    folder = rows_folder(options.source, suite)
    folder = folder if (folder / "rows").is_dir() else folder.parent
    data = dive_claim.ClaimData(rows, folder, averaged(suite)["image"])
    grids, records = dive_claim_table.table(dive_claim.answers(data))
    render.terminal(grids, console)
    title, command = "DIVE, the falsifiers of its claim", f"zsad-bench table dive_claims --suite {suite}"
    write_table(Path(options.out), "dive_claims", title, grids, records, command, remarks)
    say_where(console, options.out)
    return 0


def _whole(rows: list[Row], console: Console, remarks: list[str]) -> list[Row]:
    """The rows on all of their data; remarks: gets what the others are, which are compared with nothing.

    Raises:
        RowError: there are others alone.
    """
    parts = Partials(rows)
    kept = [row for row in rows if not parts.of(row)]
    if len(kept) < len(rows):
        lacking = describe(one for row in rows for one in parts.of(row))
        if not kept:
            raise RowError(f"every row is on part of the data, which supports no claim: {lacking}")
        remarks.append(f"Left out: {len(rows) - len(kept)} rows on part of the data: {lacking}.")
        console.print(remarks[-1], style="yellow")
    return kept
