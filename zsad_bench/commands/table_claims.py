"""The papers' headline gains, as claimed, as printed and as measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.console import Console
from zsad_bench.leaderboard.tables import claims, render
from zsad_bench.leaderboard.tables.published import read_published
from zsad_bench.options import Option


@dataclass(frozen=True, kw_only=True)
class Options:
    source: RowsOptions = field(default_factory=RowsOptions)
    out: Annotated[str, Option("FOLDER", "where it goes, in three formats", writes="folder")] = "tables"


def run(options: Options) -> int:
    """Prints the papers' headline gains, as claimed, as printed and as measured; writes them to `--out`."""
    console = Console()
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, "paper", optional=True, remarks=remarks)
    shown, records = claims.table(read_published(), rows, all_facts())
    render.terminal([shown], console)
    title, command = "Headline gains of the papers", "zsad-bench table claims"
    write_table(Path(options.out), "claims", title, [shown], records, command, remarks)
    say_where(console, options.out)
    return 0
