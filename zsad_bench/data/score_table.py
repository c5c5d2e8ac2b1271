"""Scores of images that others saved: a CSV file of names and numbers, as it is or gzipped."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import zlib
from pathlib import Path
from typing import NamedTuple

from zsad_bench.errors import DatasetError

NAMES = ("id", "path", "image", "file", "name")  # of the column that says which image


class ScoreTable(NamedTuple):
    """scores: name as it is written -> score, in the order of the file. sha256: of the file, hex."""

    scores: dict[str, float]
    sha256: str


def read_scores(path: Path) -> ScoreTable:
    """The columns `id` (or `path`, `image`, `file`, `name`) and `score` of a CSV file with a header; others are passed
    over.

    Raises:
        DatasetError: missing, no such columns, no line, a name twice, or a score that is not a finite number; one line
            that names file and line.
    """
    try:
        data = path.read_bytes()
        plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        text = plain.decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"cannot read scores {path} ({error.strerror or error}); name a CSV file") from None
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read scores {path} ({error}); save them as CSV in UTF-8") from None
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [column.strip().lower() for column in next(lines, [])]
    named = [column for column in NAMES if column in header]
    if not named or "score" not in header:
        found = ",".join(header) or "nothing"
        raise DatasetError(f"{path}: expected a header with the columns id,score (or path,score), found {found}")
    of_name, of_score = header.index(named[0]), header.index("score")
    scores: dict[str, float] = {}
    for line in lines:
        if not line:
            continue
        place = f"{path}:{lines.line_num}"
        if len(line) != len(header):
            raise DatasetError(f"{place}: expected {len(header)} columns, found {len(line)}; mend that line")
        name, score = line[of_name].strip().replace("\\", "/"), _number(line[of_score], place)
        if name in scores:
            raise DatasetError(f"{place}: {name} has a score already; keep one of them")
        scores[name] = score
    if not scores:
        raise DatasetError(f"{path}: no score below its header; expected one line per image")
    return ScoreTable(scores, hashlib.sha256(data).hexdigest())


def _number(text: str, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DatasetError(f"{place}: the score '{text}' is not a finite number; every image needs one")
    return number
