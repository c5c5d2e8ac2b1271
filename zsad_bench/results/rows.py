"""Rows on disk: JSON lines that are appended as soon as a number exists, and survive a kill at any moment.

A killed writer can only leave its last line half-written; that line is left out when loading and cut off before the
next append. A line further up that is not JSON (a damaged disk, an incomplete copy) is left out too; both are reported
with file and line. JSON that is not a row is an error.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from msgspec.structs import replace

from zsad_bench.atomic import file_name
from zsad_bench.conditions import of_options
from zsad_bench.errors import RowError
from zsad_bench.locks import locked
from zsad_bench.results.row import SCHEMA, Row, cell_key, digest, from_line, now, parse

__all__ = [
    "CONFLICT", "SCHEMA", "Conflict", "Current", "Loaded", "Row", "RowWarning", "Torn", "age", "ahead", "append",
    "cell_key", "current", "digest", "file_of", "is_complete", "latest", "load", "lock_of", "now", "read", "read_lines",
    "row_files", "seniority", "split_lines", "standard", "try_append",
]  # fmt: skip
CONFLICT = "two values in one run"  # why a contradicted number is undefined
SLACK = timedelta(minutes=10)  # that clocks of machines may differ
_LOCK_SECONDS = 60  # for whoever appends
_READ_SECONDS = 5  # for whoever reads: an append takes milliseconds
_PLACE = attrgetter("key", "category", "metric")
_STARTED = attrgetter("started")


class RowWarning(UserWarning):
    """A line was met that is not a whole line of JSON: that row is lost, nothing else."""


class Torn(NamedTuple):
    """A line that is not a whole line of JSON. last: the end of its file, as a killed run leaves it."""

    path: Path
    number: int
    last: bool

    def __str__(self) -> str:
        return self.message(self.path)

    def message(self, name: object) -> str:
        """What happened to it, under another name of the file."""
        what = "the last line is half-written (a killed run)" if self.last else "damaged or half-written, not JSON"
        return f"{name}:{self.number}: {what} and was ignored; that number will be missing"


class Loaded(NamedTuple):
    """rows: in file order, superseded ones included. torn: the lines that were left out."""

    rows: list[Row]
    torn: list[Torn]


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

    def with_gaps(self) -> list[Row]:
        """The rows, and an undefined one for each contradicted number: it counts as missing wherever it belongs."""
        gone = {"value": None, "reason": CONFLICT, "error_bound": None}
        gone |= dict.fromkeys(("ci_low", "ci_high", "ci_level"))
        return [*self.rows, *(replace(conflict.rows[-1], **gone) for conflict in self.conflicts)]


@contextmanager
def lock_of(path: str | Path) -> Iterator[None]:
    """Holds the lock of a row file: nobody else appends to it or replaces it meanwhile.

    Raises:
        RowError: it is locked for a minute, or its folder cannot be written.
    """
    with ExitStack() as held:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(f"{path}.lock", _LOCK_SECONDS))
        except OSError as error:
            raise RowError(f"{path}: cannot be written ({error}); free or unlock it, then run again") from error
        yield


def append(path: str | Path, rows: Iterable[Row]) -> None:
    """Add rows to the end of a file in one write under a lock, on disk when this returns.

    Raises:
        RowError: the file cannot be written (read-only, disk full, locked for a minute); it is left as it was.
    """
    path = Path(path)
    data = "".join(f"{row.to_json()}\n" for row in rows).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(f"{path}.lock", _LOCK_SECONDS), path.open("a+b") as file:
            start = _trim_torn_end(path, file)
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, start)
                raise
    except OSError as error:
        raise RowError(f"{path}: cannot append rows ({error}); free or unlock it, then run again") from error


def file_of(board: str | Path, method: str) -> Path:
    """Where the rows of a method go; one that is no file of ours ("external:My method") gets a name that can be one."""
    return Path(board) / "rows" / f"{file_name(method) if ':' in method else method}.jsonl"


def try_append(path: str | Path) -> None:
    """Takes the lock of a file and opens it as `append` would, so that what hinders it is known before the rows are.

    Raises:
        RowError: as `append`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(f"{path}.lock", _LOCK_SECONDS):
            if os.path.lexists(path):
                path.open("r+b").close()
    except OSError as error:
        raise RowError(f"{path}: rows could not be appended ({error}); free or unlock it, then run again") from error


def row_files(folder: str | Path) -> list[Path]:
    """The row files of a folder, sorted by name.

    Raises:
        RowError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RowError(f"{folder}: no such folder of rows; run `zsad-bench bench` first")
    return sorted(folder.glob("*.jsonl"))


def read(paths: str | Path | Iterable[str | Path]) -> Loaded:
    """Every row of a file, a folder or several of them, and the damaged lines among them.

    Raises:
        RowError: naming file and line, for JSON that is not a row; a file that cannot be read.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    found = Loaded([], [])
    with no_collecting():
        for path in map(Path, paths):
            for file in row_files(path) if path.is_dir() else [path]:
                _read_file(file, found)
    return found


def load(paths: str | Path | Iterable[str | Path]) -> list[Row]:
    """The rows that `read` finds; each damaged line is a RowWarning.

    Raises:
        RowError: as `read`.
    """
    rows, torn = read(paths)
    for one in torn:
        warnings.warn(str(one), RowWarning, stacklevel=2)
    return rows


def current(rows: Iterable[Row], at: str | None = None) -> Current:
    """What stands: for each key, category and metric the newest run's row, ties going to the later in `rows`.

    A row from the future (its machine's clock ran ahead) supersedes no other: it counts only where there is no other.
    at: the time now, as rows have it; None asks the clock.
    """
    rows, limit = list(rows), latest(at)
    with no_collecting():
        places = list(map(_PLACE, rows))
        standing = dict(zip(places, rows, strict=True))
        if len(standing) == len(rows):
            return Current(rows, [])
        several: dict[tuple[str, str, str], list[Row]] = {}
        for place, row in zip(places, rows, strict=True):
            if standing[place] is not row:
                several.setdefault(place, []).append(row)
    conflicts = []
    for place, same in several.items():
        same.append(standing[place])
        newest = same[0]
        for row in same:
            if seniority(row, limit) >= seniority(newest, limit):
                newest = row
        run = tuple(row for row in same if row.run_id == newest.run_id)
        if len({row.value for row in run}) > 1:
            conflicts.append(Conflict(run))
            del standing[place]
        else:
            standing[place] = newest
    return Current(list(standing.values()), conflicts)


def standard(rows: Iterable[Row]) -> list[Row]:
    """The rows of standard tests: of images as they are, called as their dataset calls them (`conditions.py`)."""
    return [row for row in rows if not row.data_options or of_options(row.data_options) is None]


def age(row: Row) -> str:
    """Sorts rows by the start of their run; without the Z, "12:00:00" comes before "12:00:00.5"."""
    return row.started.removesuffix("Z")


def latest(at: str | None = None) -> str:
    """The latest `age` that is not in the future: now and ten minutes, as clocks differ. at: now; None: the clock."""
    when = datetime.fromisoformat(now() if at is None else at) + SLACK
    return when.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


def seniority(row: Row, limit: str) -> tuple[bool, str]:
    """Sorts rows by the start of their run, those beyond `limit` before all others; limit: of `latest`."""
    when = age(row)
    return when <= limit, when


def ahead(rows: Iterable[Row], at: str | None = None) -> list[str]:
    """A sentence on the rows of each run that says to have started in the future. at: as for `current`."""
    rows, limit = list(rows), latest(at)
    if max(map(_STARTED, rows), default="") <= limit:
        return []
    found = Counter((row.started, row.run_id, row.method) for row in rows if age(row) > limit)
    return [
        f"{n} {'row' if n == 1 else 'rows'} of {method}, run {run}: started {started}, which is in the future; that "
        "machine's clock ran ahead, so they supersede no other row"
        for (started, run, method), n in sorted(found.items())
    ]


def is_complete(rows: Iterable[Row], key: str, categories: Collection[str], metrics: Collection[str]) -> bool:
    """Whether a cell has a row, defined or not, for every category and metric."""
    found = {(row.category, row.metric) for row in rows if row.key == key}
    return all((category, metric) in found for category in categories for metric in metrics)


def read_lines(lines: Iterable[bytes]) -> list[Row | RowError | None]:
    """The row of each line; None where it is not JSON, the error where it is not a row."""
    return [_read_line(line) for line in lines]


def _read_line(line: bytes) -> Row | RowError | None:
    try:
        return from_line(line)
    except RowError as error:
        return error


def split_lines(path: str | Path) -> tuple[list[bytes], bool]:
    """The lines of a file, and whether the last one lacks its line end, as a killed writer may leave it.

    Another process may just be writing that line, so its lock is waited for and the file is read again.

    Raises:
        RowError: the file cannot be read.
    """
    found = _split(path)
    if found[1]:
        with suppress(OSError), locked(f"{path}.lock", _READ_SECONDS):  # OSError: read-only, or too long
            return _split(path)
    return found


def _split(path: str | Path) -> tuple[list[bytes], bool]:
    try:
        *lines, tail = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise RowError(f"{path}: cannot read rows ({error.strerror})") from error
    return ([*lines, tail], True) if tail else (lines, False)


@contextmanager
def no_collecting() -> Iterator[None]:
    """Without the garbage collector, which looks through all rows again and again while none can go."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_file(path: Path, found: Loaded) -> None:
    lines, torn = split_lines(path)
    rows = read_lines(lines)
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Row):
            found.rows.append(row)
        elif row is None:
            found.torn.append(Torn(path, number, torn and number == len(lines)))
        else:
            raise RowError(f"{path}:{number}: {row}")


def _trim_torn_end(path: Path, file: BinaryIO) -> int:
    """The length of the file once its last line is complete: half of one is cut off, a missing line end is added."""
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
        warnings.warn(
            f"{path}: the last line is half-written (a killed run) and was cut off; that number will be missing",
            RowWarning,
            stacklevel=3,
        )
        file.truncate(end - len(tail))
        return end - len(tail)
    file.write(b"\n")
    file.flush()
    return end + 1
