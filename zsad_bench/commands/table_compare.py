"""Printed numbers of all sources beside every measured line of the same method and data: Δ, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows, listed
from zsad_bench.commands._shared import OnlyOptions, check_name
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables import compare, render
from zsad_bench.leaderboard.tables.published import read_published
from zsad_bench.options import Option
from zsad_bench.protocol import names


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    protocol: Annotated[
        str | None, Option("NAME", "printed numbers of this one alone, see `ls protocols`", names="protocols")
    ] = None
    only: OnlyOptions = field(default_factory=OnlyOptions)
    out: Annotated[str, Option("FOLDER", "where it goes, in three formats", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints each pair of a printed number and a measured line, and writes them to `--out`.

    Raises:
        UnknownNameError: no such protocol. RowError: rows that cannot be read or should not be mixed; or no row of a
            method and a dataset that any source prints a number of.
    """
    console, facts, only = Console(), all_facts(), options.only
    if options.protocol:
        check_name("protocol", options.protocol, names())
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, "paper", remarks=remarks, backbones_apart=True)
    if only.prior:
        rows = [row for row in rows if row.prior in listed(only.prior, {row.prior for row in rows})]
    chosen = [
        p for p in read_published()
        if (not options.protocol or p.protocol == options.protocol)
        and (not only.method or p.entry.method in listed(only.method))
        and (not only.dataset or p.scope in listed(only.dataset))
        and (not only.metric or p.metric in listed(only.metric))
    ]  # fmt: skip
    found = compare.comparisons(chosen, rows, facts)
    if not found:
        raise RowError(
            f"none of {len(rows)} rows is of a method and data that any of {len(chosen)} printed numbers is of; "
            "`zsad-bench table status` has the command of each"
        )
    made, records = compare.table(found, facts)
    render.terminal([made], console)
    write_table(Path(options.out), "compare", made.title, [made], records, "zsad-bench table compare", remarks)
    say_where(console, options.out)
    return 0
