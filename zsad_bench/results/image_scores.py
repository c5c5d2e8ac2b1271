"""Per-image scores beside the rows, so that a number can be checked and two methods compared image by image."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zsad_bench.atomic import file_name, write_whole
from zsad_bench.errors import RowError

_HEADER = ["id", "label", "score"]
_TYPED = [*_HEADER, "type"]


class Scores(NamedTuple):
    """Columns of equal length: image id, label (0 normal, 1 anomalous, -1 unknown), raw score (higher: more anomalous).

    types: of anomaly, as the dataset names them ("good" for normal images, several separated by commas); None in files
    that were written before types were kept.
    """

    ids: list[str]
    labels: list[int]
    scores: list[float]
    types: list[str] | None = None


def scores_path(folder: str | Path, key: str, category: str) -> Path:
    """Where the scores of one category of one cell lie."""
    return Path(folder) / key / f"{file_name(category)}.csv.gz"


def write_scores(
    folder: str | Path, key: str, category: str, ids: Sequence[str], labels: Sequence[int], scores: Sequence[float],
    types: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """The gzipped CSV written for one category of one cell; a newer run of the key replaces it. Floats stay exact.

    Raises:
        RowError: the columns differ in length, or the file cannot be written.
    """
    if not len(ids) == len(labels) == len(scores) == len(ids if types is None else types):
        typed = "" if types is None else f", {len(types)} types"
        raise RowError(f"scores of {key}/{category}: {len(ids)} ids, {len(labels)} labels, {len(scores)} scores{typed}")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_HEADER if types is None else _TYPED)
    columns = [ids, map(int, labels), [repr(float(score)) for score in scores]]
    table.writerows(zip(*columns, *([] if types is None else [types]), strict=True))
    # mtime=0: the same scores are the same bytes
    return write_whole(scores_path(folder, key, category), gzip.compress(text.getvalue().encode(), mtime=0))


def read_scores(folder: str | Path, key: str, category: str) -> Scores:
    """The scores that `write_scores` wrote, bit for bit.

    Raises:
        RowError: no such file, or one that is damaged.
    """
    path = scores_path(folder, key, category)
    try:
        header, *lines = csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
        if header not in (_HEADER, _TYPED):
            raise ValueError(f"columns {header}, expected {_TYPED}")
        if not all(len(line) == len(header) for line in lines):
            raise ValueError(f"a line without all of {header}")
        return Scores(
            [line[0] for line in lines],
            [int(line[1]) for line in lines],
            [float(line[2]) for line in lines],
            [line[3] for line in lines] if header == _TYPED else None,
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RowError(f"{path}: cannot read scores ({error}); run that cell again") from error
