# pytest tests/tracking/test_run_summary.py
"""Means and table of a few rows, computed by hand."""

from __future__ import annotations

import pytest

from zsad_bench.tracking.run_summary import newest, summary, table


def rows(record, *told):
    names = ("target", "category", "metric", "value", "started")
    return [{**record, **dict(zip(names, each, strict=False))} for each in told]


def test_categories_make_a_target_and_targets_a_mean(record):
    found = rows(record, ("a", "x", "m", 0.2), ("a", "y", "m", 0.4), ("b", "x", "m", 0.9), ("elpv", "x", "m", 0.1))
    shown = summary(found, averaged=("a", "b", "c"))
    expected = {"a/m": 0.3, "b/m": 0.9, "elpv/m": 0.1, "mean/m": 0.6, "targets/m": 2}
    assert shown == pytest.approx(expected), "elpv is in no mean, c has no rows"


def test_an_undefined_value_is_left_out_of_means_and_empty_in_the_table(record):
    found = rows(record, ("a", "x", "m", None), ("a", "y", "m", 0.4), ("b", "x", "m", None), ("b", "x", "n", 1.0))
    assert summary(found, averaged=("a", "b")) == {
        "a/m": 0.4, "mean/m": 0.4, "targets/m": 1, "b/n": 1.0, "mean/n": 1.0, "targets/n": 1,
    }  # fmt: skip
    columns, lines = table(found)
    at = [columns.index(name) for name in ("target", "category", "m", "n")]
    assert [[line[i] for i in at] for line in lines] == [
        ["a", "x", None, None], ["a", "y", 0.4, None], ["b", "x", None, 1.0],
    ]  # fmt: skip


def test_the_newest_run_stands(record):
    old, new = "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.5Z"
    found = rows(record, ("a", "x", "m", 0.7, new), ("a", "x", "m", 0.2, old))
    assert [each["value"] for each in newest(found)] == [0.7], "without its Z a whole second sorts before its parts"
    assert newest(reversed(found)) == newest(found), "the order of rows decided"
