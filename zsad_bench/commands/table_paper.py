"""A table of a paper, as printed and as measured; without a name, the leaderboard of the suite `paper`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from zsad_bench.commands._row_selection import RowsOptions, all_facts, chosen_rows
from zsad_bench.commands._shared import check_name
from zsad_bench.commands._table_files import say_where, write_table
from zsad_bench.commands.table import regenerate
from zsad_bench.console import Console
from zsad_bench.leaderboard.tables import render
from zsad_bench.leaderboard.tables.papers import TABLES, Number, numbers
from zsad_bench.leaderboard.tables.published import Facts, fidelity, read_published
from zsad_bench.options import Argument, Option


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str | None, Argument("TABLE|all", "faprompt_1 … faprompt_5, dive_rich, …, visualad, musc, …")] = (
        None
    )
    source: RowsOptions = field(default_factory=RowsOptions)
    out: Annotated[
        str | None, Option("FOLDER", "default: tables; of the leaderboard: leaderboards", writes="folder")
    ] = None


def run(options: Options) -> int:
    """Writes the paper tables of that name and prints them.

    Raises:
        UnknownNameError: no such table. RowError: rows that cannot be read or should not be mixed.
    """
    name, out = options.name, options.out
    if name is None:
        regenerate("paper", out or "leaderboards")
        return 0
    check_name("paper table", name, ["all", *TABLES])
    out = out or "tables"
    console, facts, published = Console(), all_facts(), read_published()
    remarks: list[str] = []
    rows = chosen_rows(options.source, console, "paper", optional=True, remarks=remarks, backbones_apart=True)
    for one in TABLES if name == "all" else [name]:
        grids, cells = numbers(one, published, rows, facts)
        command = f"zsad-bench table paper {one}"
        records = [_record(one, number, facts) for number in cells]
        write_table(Path(out), one, TABLES[one].title, grids, records, command, remarks)
        render.terminal(grids, console)
    say_where(console, out)
    return 0


def _record(table: str, number: Number, facts: Facts) -> dict[str, Any]:
    preset = fidelity(number.variant, number.entry.method, facts) if number.variant is not None else ""
    return {
        "table": table, "method": number.entry.method, "line": number.entry.label, "variant": number.variant or "",
        **{name: getattr(number.track, name, "") for name in ("backbone", "image_size", "precision")},
        "fidelity": preset, "scope": number.scope,
        "metric": number.metric, **number.measured.record(),
        "n_datasets_expected": len(number.targets), "published": number.published, "printed_scored": number.scored,
        "difference": number.difference, "why_not": number.why_not,
    }  # fmt: skip
