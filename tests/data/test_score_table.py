# pytest tests/data/test_score_table.py
"""Scores of others: which columns are read, and what is refused with its line."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from zsad_bench.data.score_table import read_scores
from zsad_bench.errors import DatasetError


@pytest.mark.parametrize("header", ["id,score", "Path,Score", "label,score,image", "file,note,score,name"])
def test_the_columns_are_found_by_name(tmp_path, header):
    columns = [column.lower() for column in header.split(",")]
    values = {"score": "-1.5e3", "label": "1", "note": "x", "name": "other"}
    line = ",".join(values.get(column, "a/1.png") for column in columns)
    path = tmp_path / "s.csv"
    path.write_bytes(f"\ufeff{header}\r\n{line}\r\n\r\n".encode())
    found = read_scores(path)
    assert found.scores == {"a/1.png": -1500.0}
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_scores_come_back_exactly_and_gzipped_ones_too(tmp_path):
    text = f'id,label,score,type\n"a,1.png",0,{0.1 + 0.2!r},good\nb\\2.png,1,5e-324,hole\n'
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_scores(tmp_path / "s.csv.gz").scores == {"a,1.png": 0.1 + 0.2, "b/2.png": 5e-324}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,score\na,1\na,2\n", r"s\.csv:3: a has a score already"),
        (b"id,score\na,1\nb,nan\n", r"s\.csv:3: the score 'nan' is not a finite number"),
        (b"id,score\na,inf\n", "'inf' is not a finite number"),
        (b"id,score\na,high\n", "'high' is not a finite number"),
        (b"id,score\na,\n", "'' is not a finite number"),
        (b"id,score\na\n", r"s\.csv:2: expected 2 columns, found 1"),
        (b"a,1\nb,2\n", "expected a header with the columns id,score"),
        (b"id,value\na,1\n", "found id,value"),
        (b"", "found nothing"),
        (b"id,score\n", "no score below its header"),
        (b"id,score\n\xff\xfe,1\n", "save them as CSV in UTF-8"),
        (b"\x1f\x8bjunk", "cannot read scores"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(tmp_path, content, said):
    if content is not None:
        (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=said) as caught:
        read_scores(tmp_path / "s.csv")
    assert "\n" not in str(caught.value)
    assert "s.csv" in str(caught.value)
