# pytest tests/results/test_image_scores.py
"""Per-image scores come back exactly and are whole or not there."""

from __future__ import annotations

import gzip

import pytest

from zsad_bench import atomic
from zsad_bench.errors import RowError
from zsad_bench.results.image_scores import Scores, read_scores, scores_path, write_scores

IDS, LABELS, SCORES = ["a/1.png", 'b,"2".png', "ü.png"], [0, 1, 1], [0.1 + 0.2, -5e-324, 30.0]


def test_round_trip_is_exact_and_byte_stable(tmp_path):
    path = write_scores(tmp_path, "key1", "pipe/fryum 1", IDS, LABELS, SCORES)
    assert read_scores(tmp_path, "key1", "pipe/fryum 1") == Scores(IDS, LABELS, SCORES)
    before = path.read_bytes()
    assert write_scores(tmp_path, "key1", "pipe/fryum 1", IDS, LABELS, SCORES).read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path], "a temporary file was left behind"


def test_bad_scores_are_refused(tmp_path):
    with pytest.raises(RowError, match="3 ids, 2 labels, 3 scores"):
        write_scores(tmp_path, "key1", "cat", IDS, LABELS[:2], SCORES)
    with pytest.raises(RowError, match="cannot read scores"):
        read_scores(tmp_path, "key1", "cat")
    path = write_scores(tmp_path, "key1", "cat", IDS, LABELS, SCORES)
    whole = path.read_bytes()
    for damaged in (whole[:-12], whole[:20] + b"xxxx" + whole[24:], b""):
        path.write_bytes(damaged)
        with pytest.raises(RowError, match="cannot read scores"):
            read_scores(tmp_path, "key1", "cat")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_scores(tmp_path, "key1", "cat", IDS, LABELS, SCORES)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(RowError, match="No space left on device"):
        write_scores(tmp_path, "key1", "cat", IDS, LABELS, [0.0, 0.0, 0.0])
    assert read_scores(tmp_path, "key1", "cat").scores == SCORES, "a failed write damaged the old file"
    assert list(tmp_path.rglob("*.tmp")) == [], "a temporary file was left behind"
    assert scores_path(tmp_path, "key1", "cat").is_file()


def test_types_are_optional_and_come_back(tmp_path):
    types = ["good", "cut, hole", 'a "b"']
    write_scores(tmp_path, "key1", "cat", IDS, LABELS, SCORES, types)
    assert read_scores(tmp_path, "key1", "cat") == Scores(IDS, LABELS, SCORES, types)
    with pytest.raises(RowError, match="3 scores, 2 types"):
        write_scores(tmp_path, "key1", "cat", IDS, LABELS, SCORES, types[:2])
    path = scores_path(tmp_path, "key1", "cat")
    path.write_bytes(gzip.compress(b"id,label,score,type\na,0,1.5\n"))
    with pytest.raises(RowError, match="a line without all of"):
        read_scores(tmp_path, "key1", "cat")
