"""The statistics of the two recipes that are new to the field: prior curves, and the falsifiers of a claim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zsad_bench.commands._row_selection import (
    RowsOptions,
    all_facts,
    averaged,
    chosen_rows,
    listed,
    rows_folder,
    suite_with_rows,
)
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics import dive_claim
from zsad_bench.leaderboard.tables import dive_claim as dive_claim_table
from zsad_bench.leaderboard.tables import prior_curve, render
from zsad_bench.leaderboard.tables.marks import Partials, describe
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from zsad_bench.commands.table_dive_claims import Options as ClaimsOptions
    from zsad_bench.commands.table_prior_curve import Options as CurveOptions


def curve(options: CurveOptions) -> None:
    """Prints quality against the number of anomaly types and of shots, and writes it to `--out`.

    Raises:
        RowError: rows that cannot be read or should not be mixed, or no prior with two numbers among them.
    """
    console, facts = Console(), all_facts()
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    rows = _rows(options.source, console, suite, {"metric": options.metric, "method": options.method}, remarks)
    found = prior_curve.curves(rows, averaged(suite))
    if not found:
        recipe = "prior_curve_demo" if suite == "demo" else "prior_curve"
        raise RowError(
            f"none of {len(rows)} rows of suite {suite} is of a prior with two numbers of types or shots; "
            f"run `zsad-bench sweep {recipe}`"
        )
    grids, records = prior_curve.table(found, facts)
    render.terminal(grids, console)
    title = "Quality against the prior"
    write_table(Path(options.out), "prior_curve", title, grids, records, _command("prior_curve", suite), remarks)
    say_where(console, options.out)


def claims(options: ClaimsOptions) -> None:
    """Prints what rows say about DIVE's claim, question by question, and writes it to `--out`.

    Raises:
        RowError: no rows of DIVE or AnomalyCLIP, none on all of their data, rows that should not be mixed, or scores
            that cannot be read.
    """
    console = Console()
    suite = options.suite or suite_with_rows(options.source)
    remarks: list[str] = []
    rows = _whole(_rows(options.source, console, suite, {"prior": options.prior}, remarks), console, remarks)
    folder = rows_folder(options.source, suite)
    folder = folder if (folder / "rows").is_dir() else folder.parent
    data = dive_claim.ClaimData(rows, folder, averaged(suite)["image"])
    grids, records = dive_claim_table.table(dive_claim.answers(data))
    render.terminal(grids, console)
    title = "DIVE, the falsifiers of its claim"
    write_table(Path(options.out), "dive_claims", title, grids, records, _command("dive_claims", suite), remarks)
    say_where(console, options.out)


def _rows(
    options: RowsOptions, console: Console, suite: str, only: Mapping[str, str | None], remarks: list[str]
) -> list[Row]:
    """The rows that the options want. only: field -> names with commas, or None; remarks: gets what was left out.

    Raises:
        RowError: none are left, or a run has a number twice, of two configurations, versions or auxiliary sets.
    """
    rows = chosen_rows(options, console, suite, remarks=remarks)
    for field, names in only.items():
        if names:
            wanted = listed(names, {getattr(row, field) for row in rows})
            kept = [row for row in rows if getattr(row, field) in wanted]
            if not kept:
                there = ", ".join(sorted({getattr(row, field) for row in rows})) or "none"
                raise RowError(f"no rows with {field} {names}; there are {there}")
            rows = kept
    keys: dict[tuple, str] = {}
    for row in rows:
        run = (row.method, row.variant, row.prior, row.seed, row.draw, row.target)
        if keys.setdefault(run, row.key) != row.key:
            raise RowError(
                f"{row.method} {row.variant or 'as it is'}, prior {row.prior}, seed {row.seed}, draw {row.draw}, on "
                f"{row.target}: rows of two configurations, versions or auxiliary sets; take the newest with --mixed"
            )
    return rows


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
            raise RowError(f"every row is on part of the data, of which nothing can be claimed: {lacking}")
        remarks.append(f"Left out: {len(rows) - len(kept)} rows on part of the data: {lacking}.")
        console.print(remarks[-1], style="yellow")
    return kept


def _command(name: str, suite: str) -> str:
    return f"zsad-bench table {name} --suite {suite}"
