"""Rows on disk: JSON lines that are appended as soon as a number exists, and survive a kill at any moment.

A killed writer can only leave its last line half-written; that line is ignored when loading and cut off before the
next append. Anything else that is not a row is an error with file and line.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.reading import no_collecting, parse, read_lines, split_lines
from zsad_bench.leaderboard.row import SCHEMA, Row, cell_key, digest, now

__all__ = [
    "SCHEMA", "Conflict", "Current", "Row", "RowWarning", "age", "append", "cell_key", "current", "digest",
    "is_complete", "load", "now", "row_files",
]  # fmt: skip
_LOCK_SECONDS = 60


class RowWarning(UserWarning):
    """A half-written last line was met: one row of a killed run is lost, nothing else."""


class Conflict(NamedTuple):
    """Rows of one run that give one key, category and metric different values."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        row = self.rows[0]
        values = " and ".join(dict.fromkeys("undefined" if r.value is None else repr(r.value) for r in self.rows))
        return (
            f"{row.method} (prior {row.prior}, seed {row.seed}) on {row.target}/{row.category}, {row.metric}: "
            f"{values} in run {row.run_id}, key {row.key}"
        )


class Current(NamedTuple):
    """rows: one for each key, category and metric, of its newest run. conflicts: what contradicts itself there.

    A contradicted number is in `conflicts` only: neither of its values can be trusted.
    """

    rows: list[Row]
    conflicts: list[Conflict]


def append(path: str | Path, rows: Iterable[Row]) -> None:
    """Add rows to the end of a file in one write under a lock, on disk when this returns.

    Raises:
        RowError: the file cannot be written (read-only, disk full, locked for a minute); it is left as it was.
    """
    from filelock import FileLock

    path = Path(path)
    data = "".join(f"{row.to_json()}\n" for row in rows).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS), path.open("a+b") as file:
            start = _mend(path, file)
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, start)
                raise
    except OSError as error:
        raise RowError(f"{path}: cannot append rows ({error}); free or unlock it, then run again") from error


def row_files(folder: str | Path) -> list[Path]:
    """The row files of a folder, sorted by name.

    Raises:
        RowError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RowError(f"{folder}: no such folder of rows; run `zsad-bench bench` first")
    return sorted(folder.glob("*.jsonl"))


def load(paths: str | Path | Iterable[str | Path]) -> list[Row]:
    """Every row of a file, a folder or several of them, in file order, superseded ones included.

    Raises:
        RowError: naming file and line, for anything but rows; a half-written last line is a RowWarning.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    found: list[Row] = []
    with no_collecting():
        for path in map(Path, paths):
            for file in row_files(path) if path.is_dir() else [path]:
                found += _load_file(file)
    return found


def current(rows: Iterable[Row]) -> Current:
    """What stands: for each key, category and metric the newest run's row, ties going to the later in `rows`."""
    first: dict[tuple[str, str, str], Row] = {}
    several: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        place = (row.key, row.category, row.metric)
        before = first.setdefault(place, row)
        if before is not row:
            several.setdefault(place, [before]).append(row)
    conflicts = []
    for place, same in several.items():
        newest = same[0]
        for row in same:
            if age(row) >= age(newest):
                newest = row
        run = tuple(row for row in same if row.run_id == newest.run_id)
        if len({row.value for row in run}) > 1:
            conflicts.append(Conflict(run))
            del first[place]
        else:
            first[place] = newest
    return Current(list(first.values()), conflicts)


def age(row: Row) -> str:
    """Sorts rows by the start of their run; without the Z, "12:00:00" comes before "12:00:00.5"."""
    return row.started.removesuffix("Z")


def is_complete(rows: Iterable[Row], key: str, categories: Collection[str], metrics: Collection[str]) -> bool:
    """Whether a cell has a row, defined or not, for every category and metric."""
    found = {(row.category, row.metric) for row in rows if row.key == key}
    return all((category, metric) in found for category in categories for metric in metrics)


def _load_file(path: Path) -> list[Row]:
    lines, torn = split_lines(path)
    rows = []
    for number, row in read_lines(lines):
        if isinstance(row, Row):
            rows.append(row)
        elif isinstance(row, RowError):
            raise RowError(f"{path}:{number}: {row}")
        elif torn and number == len(lines):
            warnings.warn(_torn(path, "ignored", number), RowWarning, stacklevel=3)
        else:
            raise RowError(f"{path}:{number}: not a line of JSON; restore or remove that line")
    return rows


def _mend(path: Path, file: BinaryIO) -> int:
    """The length of the file once its last line is whole: a torn one is cut off, a missing line end is added."""
    end = file.seek(0, os.SEEK_END)
    start, tail = end, b""
    while start and b"\n" not in tail:
        start = max(0, start - 65536)
        file.seek(start)
        tail = file.read(end - start)
    tail = tail.rpartition(b"\n")[2]
    if not tail:
        return end
    if parse(tail) is None:
        warnings.warn(_torn(path, "cut off"), RowWarning, stacklevel=3)
        file.truncate(end - len(tail))
        return end - len(tail)
    file.write(b"\n")
    file.flush()
    return end + 1


def _torn(path: Path, what: str, number: int | None = None) -> str:
    place = path if number is None else f"{path}:{number}"
    return f"{place}: the last line is half-written (a killed run) and was {what}; that number will be missing"
