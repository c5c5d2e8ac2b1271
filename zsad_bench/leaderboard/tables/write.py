"""A suite's leaderboard on disk: its page and one CSV a table."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

from zsad_bench.atomic import file_name, write_whole
from zsad_bench.errors import RowError
from zsad_bench.leaderboard.tables.leaderboard_tables import Board, build
from zsad_bench.leaderboard.tables.markdown import linked, render
from zsad_bench.leaderboard.tables.summary import Summary
from zsad_bench.locks import locked
from zsad_bench.results import rows as store


def write_leaderboard(rows_folder: str | Path, out_folder: str | Path, board: Board) -> list[Path]:
    """The files written: README.md and one CSV a table, generated from the row files and nothing else.

    The same rows give the same bytes, and the CSV files of tables that are gone go too, if the README there names them.
    Under a lock: of two runs that end together, the later one sees all rows.

    Raises:
        RowError: rows that cannot be read, or an output folder that cannot be written.
    """
    out = Path(out_folder)
    names = [path.name for path in store.row_files(rows_folder)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / "README.md.lock"):
            found = store.read(rows_folder)
            report = build(found.rows, board, found.torn)
            pages = {f"{file_name(table.name)}.csv": _csv(table.summary) for table in report.tables}
            pages["README.md"] = render(report, names)
            stale = _written_before(out) - pages.keys()
            for one in found.torn:
                warnings.warn(str(one), store.RowWarning, stacklevel=2)
            written = [write_whole(out / name, text.encode()) for name, text in pages.items()]
            for name in stale:
                (out / name).unlink(missing_ok=True)
            return written
    except OSError as error:
        raise RowError(f"{out}: cannot write the leaderboard ({error}); free or unlock that folder") from error


def _written_before(out: Path) -> set[str]:
    """The CSV files that the README there was generated with: those it links to that have the header of such a file."""
    readme = out / "README.md"
    names = linked(readme.read_text(encoding="utf-8", errors="replace")) if readme.is_file() else set()
    head = ",".join(Summary.columns()[:-1]).encode()  # what every version's files begin with
    return {name for name in names if (out / name).is_file() and (out / name).read_bytes().startswith(head)}


def _csv(summary: Sequence[Summary]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Summary.columns())
    table.writerows(line[: len(Summary.columns())] for line in summary)
    return text.getvalue()
