"""From lines of a row file to rows, quickly: a big sweep has hundreds of thousands of them.

Rows are written with their fields in one order, so the lines of a category begin and end alike: what decides the cell
stands in front of the metric, counts and provenance behind its value. Such ends are parsed once and shared. A line of
another shape is parsed as a whole, with the same result.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.row import ALL_FIELDS, DEFAULTS, SCHEMA, Row, from_record, is_plain, of_fields

# A quote inside a JSON string is escaped, so these can only be found between two fields.
_MIDDLE, _END = b', "metric": ', b', "n_images": '
_CATEGORY, _RUN, _TIME = b', "category": ', b', "image_size": ', b', "seconds": '
_NUMBER = re.compile(rb'"(\w+)", "value": (\d\.\d+(?:e-?\d+)?), (.*)')
_USUAL = (b'"reason": null', b'"reason": null, "error_bound": null, "ci_low": null, "ci_high": null, "ci_level": null')


class Reader:
    """Reads lines; keeps the ends of the ones before."""

    def __init__(self) -> None:
        self._start = self._end = b"\n"  # no line begins or ends like that
        self._ends: dict[bytes, dict[str, Any]] = {}
        self._parts: dict[bytes, dict[str, Any]] = {}
        self._names: dict[bytes, str] = {}

    def row(self, line: bytes) -> Row | None:
        """The row of one line, None when it is no JSON.

        Raises:
            RowError: JSON that is no row. The caller adds file and line.
        """
        if not line.startswith(self._start):
            self._start, self._end, self._ends = line[: line.find(_MIDDLE)] + _MIDDLE, b"\n", {}
        if not line.endswith(self._end):
            known = [end for end in self._ends if line.endswith(end)]
            self._end = known[0] if known else self._remember(line)
        end, around = self._end, self._ends[self._end]
        if around:
            found = _NUMBER.fullmatch(line, len(self._start), len(line) - len(end))
            if found is not None:
                row = self._quick(around, *found.groups())
                if row is not None:
                    return row
        record = parse(line)
        return None if record is None else from_record(record)

    def _remember(self, line: bytes) -> bytes:
        """The end of a line, from the counts on, once the fields around its number are kept with all defaults.

        {} is kept where there is something unusual in them.
        """
        end = line[line.rfind(_END) :]
        cell, category = _cut(self._start.removesuffix(_MIDDLE), _CATEGORY)
        counts, run = _cut(end, _RUN)
        run, cost = _cut(run, _TIME)
        parts = [self._part(cell[1:]), _fields(category), _fields(counts[2:]), self._part(run), _fields(cost)]
        values = {**DEFAULTS, "metric": "", "value": 0.0}
        for part in parts:
            values.update(part)
        closed = line.startswith(b"{") and line.endswith(b"}")  # a torn line is not
        whole = closed and all(parts) and "schema" in parts[0] and len(values) == len(ALL_FIELDS)
        self._ends[end] = values if whole and values["schema"] == SCHEMA and is_plain(values) else {}
        return end

    def _part(self, text: bytes) -> dict[str, Any]:
        """The fields of a part that many categories share."""
        if text not in self._parts:
            self._parts[text] = _fields(text)
        return self._parts[text]

    def _quick(self, around: dict[str, Any], metric: bytes, value: bytes, remarks: bytes) -> Row | None:
        """The row, None unless it is one with a defined value and nothing wrong."""
        number, values = float(value), around.copy()
        if remarks not in _USUAL:
            said = _fields(remarks)
            values.update(said)
            if not said or not is_plain(values):
                return None
        if number > 1:
            return None
        name = self._names.get(metric)
        if name is None:
            name = self._names[metric] = metric.decode()
        values["metric"], values["value"] = name, number
        return of_fields(values)


def split_lines(path: str | Path) -> tuple[list[bytes], bool]:
    """The lines of a file, and whether the last one lacks its line end, as a killed writer may leave it.

    Raises:
        RowError: the file cannot be read.
    """
    try:
        *lines, tail = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise RowError(f"{path}: cannot read rows ({error.strerror})") from error
    return ([*lines, tail], True) if tail else (lines, False)


def read_lines(lines: Sequence[bytes]) -> Iterator[tuple[int, Row | RowError | None]]:
    """The number, from 1, and the row of each line; None for what is no JSON, the error for what is no row."""
    reader = Reader()
    for number, line in enumerate(lines, start=1):
        try:
            yield number, reader.row(line)
        except RowError as error:
            yield number, error


def parse(line: bytes) -> Any:
    """What a line of JSON says, None for anything else (also `null`, which is no row either)."""
    try:
        return json.loads(line)
    except ValueError:  # also what is not UTF-8
        return None


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


def _cut(text: bytes, before: bytes) -> tuple[bytes, bytes]:
    """What stands before a field and from it on; nothing from it on where it is missing."""
    first, found, rest = text.partition(before)
    return first, found[2:] + rest


def _fields(text: bytes) -> dict[str, Any]:
    """Fields without their braces; {} where that is no JSON, or there is a field that this version does not know."""
    found = parse(b"{" + text.removesuffix(b"}") + b"}")
    return found if isinstance(found, dict) and found.keys() <= ALL_FIELDS else {}
