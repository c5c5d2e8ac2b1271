"""How tables leave a command: in three formats under one name, and a line that says where."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zsad_bench.atomic import write_whole
from zsad_bench.console import Console
from zsad_bench.leaderboard.tables import render
from zsad_bench.leaderboard.tables.grid import Grid

_FORMATS = ("csv", "md", "tex")


def write_table(
    out: Path,
    name: str,
    title: str,
    grids: Sequence[Grid],
    records: Iterable[Mapping],
    command: str,
    told: Sequence[str] = (),
) -> None:
    """Writes a table in three formats; told: what belongs under it, as `chosen_rows` says it."""
    grids = [*grids[:-1], replace(grids[-1], notes=[*grids[-1].notes, *told])]
    pages = (as_csv(records), render.markdown(grids, title, command), render.latex(grids, command))
    for ending, text in zip(_FORMATS, pages, strict=True):
        write_whole(out / f"{name}.{ending}", text.encode())


def as_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Records of equal fields as CSV, with a line of names."""
    records, text = list(records), io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(records[0]) if records else [], lineterminator="\n")
    table.writeheader()
    table.writerows(records)
    return text.getvalue()


def say_where(console: Console, out: str | Path) -> None:
    """Prints the folder that tables were written to."""
    console.print(f"\ntables: {out}")
