"""From lines of a row file to rows, quickly: a big sweep has hundreds of thousands of them.

Rows are written with their fields in one order, so many lines have parts in common. What decides the cell and where it
ran is parsed once and shared; regular expressions read what differs: category, numbers, counts, cost. A line of another
shape is parsed as a whole, with the same result.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zsad_bench.errors import RowError
from zsad_bench.locks import locked
from zsad_bench.results.row import ALL_FIELDS, SCHEMA, Row, from_record, started_is_utc

_LOCK_SECONDS = 5  # an append takes milliseconds


def _pattern(text: bytes) -> re.Pattern[bytes]:
    """An expression in which I, X, F and S stand for an integer, a fraction below 10, a float and a string of JSON.

    They match nearly all of what is written and nothing that JSON reads otherwise; the rest is parsed as a whole.
    """
    parts = {b"I": rb"(0|[1-9]\d*)", b"X": rb"(\d\.\d+(?:e-\d+)?)", b"F": rb"((?:0|[1-9]\d*)\.\d+)"}
    parts[b"S"] = rb'"([^"\\\x00-\x1f]*)"'
    return re.compile(re.sub(rb"\b[IXFS]\b", lambda found: parts[found[0]], text))


# A line is: cell, category, numbers, counts, run, cost. A quote inside a JSON string is escaped, so the
# names of fields can only be found between two of them.
_CATEGORY = _pattern(rb', "category": S, "seed": I, "draw": I, "data_options": S')
_NUMBERS = _pattern(
    rb', "metric": "(\w+)", "value": X, "reason": null, "error_bound": (?:null|X), "ci_low": '
    rb'(?:null, "ci_high": null, "ci_level": null|X, "ci_high": X, "ci_level": X)(?=, "n_images": )'
)
_COUNTS = _pattern(
    rb', "n_images": I, "n_anomalous": I, "n_skipped": I, "n_vanished": I, "n_near_duplicates": I'
    rb', "n_regions": (?:null|I)'
)
_COST = _pattern(rb', "seconds": F, "peak_memory_mb": (?:null|F)}')
_VARYING = frozenset(
    re.findall(r'"(\w+)": ', b"".join(part.pattern for part in (_CATEGORY, _NUMBERS, _COUNTS, _COST)).decode())
)
_NOTHING = b"\n"  # no line begins or ends like that


def read_lines(lines: Iterable[bytes]) -> list[Row | RowError | None]:
    """The row of each line; None for what is no JSON, the error for what is no row."""
    rows: list[Row | RowError | None] = []
    start, end, length, around = _NOTHING, _NOTHING, 0, None
    cell, category = b"", {}
    shared: dict[tuple[bytes, bytes], dict[str, Any] | None] = {}
    names: dict[bytes, str] = {}
    match, new, put = _NUMBERS.match, object.__new__, object.__setattr__  # looked up once, not at every line
    for line in lines:
        if not line.startswith(start):
            cell, category, start, length = _beginning(line)
            end, around = _NOTHING, None
        found = match(line, length)
        if found is not None:
            rest = line[found.end() :]
            if rest != end:
                end, around = rest, _around(cell, category, rest, shared)
            if around is not None:
                metric, value, bound, low, high, level = found.groups()
                values = around.copy()
                values["value"] = fraction = float(value)
                values["metric"] = names.get(metric) or names.setdefault(metric, metric.decode())
                if bound is not None:
                    values["error_bound"] = float(bound)
                if low is not None:
                    values["ci_low"], values["ci_high"], values["ci_level"] = float(low), float(high), float(level)
                if fraction <= 1:
                    row = new(Row)  # what `of_fields` does, without the call
                    put(row, "__dict__", values)
                    rows.append(row)
                    continue
        record = parse(line)
        try:
            rows.append(None if record is None else from_record(record))
        except RowError as error:
            rows.append(error)
    return rows


def _beginning(line: bytes) -> tuple[bytes, dict[str, Any], bytes, int]:
    """Of a line: its cell, the fields of its category, all up to there, and how long that is."""
    at = line.find(b', "category": ')
    found = _CATEGORY.match(line, max(at, 0))
    try:
        category, seed, draw, options = found.groups()
        fields = {"category": category.decode(), "seed": int(seed), "draw": int(draw), "data_options": options.decode()}
        return line[:at], fields, line[: found.end()], found.end()
    except (AttributeError, ValueError):  # not of this shape, or not UTF-8
        return b"", {}, _NOTHING, len(line)


def _around(
    cell: bytes, category: dict[str, Any], rest: bytes, shared: dict[tuple[bytes, bytes], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """What all rows have whose lines begin with cell and category and end alike; None where that is unusual."""
    at = max(rest.rfind(b', "seconds": '), 0)
    counts, cost = _COUNTS.match(rest), _COST.fullmatch(rest, at)
    if counts is None or cost is None:
        return None
    of = cell, rest[counts.end() : at]
    if of not in shared:
        shared[of] = _shared(*of)
    base = shared[of]
    if base is None:
        return None
    images, anomalous, skipped, vanished, near, regions = counts.groups()
    seconds, memory = cost.groups()
    return {
        **base,
        **category,
        "n_images": int(images),
        "n_anomalous": int(anomalous),
        "n_skipped": int(skipped),
        "n_vanished": int(vanished),
        "n_near_duplicates": int(near),
        "n_regions": None if regions is None else int(regions),
        "seconds": float(seconds),
        "peak_memory_mb": None if memory is None else float(memory),
    }


def _shared(cell: bytes, run: bytes) -> dict[str, Any] | None:
    """The fields of a cell and a run, and what is usual for the others; None where there is something unusual."""
    parts = [parse(cell + b"}"), parse(b"{" + run[2:] + b"}")]
    if not all(isinstance(part, dict) for part in parts):
        return None
    values = {**parts[0], **parts[1]}
    whole = sum(map(len, parts)) == len(values) and values.keys() == ALL_FIELDS - _VARYING
    if not whole or values["schema"] != SCHEMA or not started_is_utc(values["started"]):
        return None
    return dict.fromkeys(ALL_FIELDS) | values


def split_lines(path: str | Path) -> tuple[list[bytes], bool]:
    """The lines of a file, and whether the last one lacks its line end, as a killed writer may leave it.

    Another process may just be writing that line, so its lock is waited for and the file is read again.

    Raises:
        RowError: the file cannot be read.
    """
    found = _split(path)
    if found[1]:
        with suppress(OSError), locked(f"{path}.lock", _LOCK_SECONDS):  # OSError: read-only, or too long
            return _split(path)
    return found


def _split(path: str | Path) -> tuple[list[bytes], bool]:
    try:
        *lines, tail = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise RowError(f"{path}: cannot read rows ({error.strerror})") from error
    return ([*lines, tail], True) if tail else (lines, False)


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
