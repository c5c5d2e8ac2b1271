"""Write the rows that stand as one CSV file, for a spreadsheet or a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsad_bench.atomic import write_whole
from zsad_bench.options import Argument, Option
from zsad_bench.printable import say
from zsad_bench.results import rows as store


@dataclass(frozen=True, kw_only=True)
class Options:
    folder: Annotated[str, Argument("FOLDER", "a leaderboard, or a folder of row files")]
    out: Annotated[str, Option("FILE", "with a line of names and every field", writes="file")]


def run(options: Options) -> int:
    """Writes the rows that stand, one line each.

    Raises:
        RowError: no such folder, rows that cannot be read, or a file that cannot be written.
    """
    from zsad_bench.results.dataframe import frame

    folder = Path(options.folder)
    rows = store.load(folder / "rows" if (folder / "rows").is_dir() else folder)
    current = store.current(rows)
    write_whole(options.out, frame(current.rows).to_csv(index=False).encode())
    for conflict in current.conflicts:
        say(f"zsad-bench: left out: {conflict}", error=True)
    for sentence in store.ahead(rows):
        say(f"zsad-bench: {sentence}", error=True)
    say(f"{len(current.rows)} rows: {options.out}")
    return 0
