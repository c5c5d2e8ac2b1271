"""How tables leave a command: in three formats under one name, and a line that says where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zsad_bench.atomic import write_whole
from zsad_bench.console import Console
from zsad_bench.leaderboard.tables import render
from zsad_bench.leaderboard.tables.grid import Grid


def write_table(
    out: Path,
    name: str,
    title: str,
    grids: Sequence[Grid],
    records: Iterable[Mapping],
    command: str,
    remarks: Sequence[str] = (),
) -> None:
    """Writes `name`.csv, .md and .tex. remarks: what belongs under the table, as `chosen_rows` says it."""
    grids = [*grids[:-1], replace(grids[-1], notes=[*grids[-1].notes, *remarks])]
    pages = {
        "csv": render.as_csv(records),
        "md": render.markdown_page(grids, title, command),
        "tex": render.latex(grids, command),
    }
    for ending, text in pages.items():
        write_whole(out / f"{name}.{ending}", text.encode())


def say_where(console: Console, out: str | Path) -> None:
    """Prints the folder that tables were written to."""
    console.print(f"\ntables: {out}")
