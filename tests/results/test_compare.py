# pytest tests/results/test_compare.py
"""Two boards value by value: equal things are found whatever keys and provenance say, and no difference is missed."""

from __future__ import annotations

import pytest

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError
from zsad_bench.results.compare import compare
from zsad_bench.results.rows import append, file_of


def board(folder, *rows):
    for row in rows:
        append(file_of(folder, row.method), [row])
    return folder


def test_the_same_numbers_of_another_run_are_equal(tmp_path):
    first = board(tmp_path / "a", make_row(value=0.5), make_row(value=0.25, metric="pixel_ap"))
    second = board(tmp_path / "b", make_row(value=0.5 + 1e-9, key="k", commit="other", torch="3", data_hash="d2"),
                   make_row(value=0.25, metric="pixel_ap"))  # fmt: skip
    found = compare(first, second)
    assert (len(found.pairs), found.only_first, found.only_second) == (2, [], [])
    assert found.apart(1e-6) == []
    assert found.pairs[0].distance == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"method": "dive"}, {"variant": {"lr": 0.1}}, {"prior": "rich"}, {"auxiliary": "x"}, {"draw": 1}, {"seed": 3},
     {"target": "wood"}, {"category": "tile"}, {"metric": "image_ap"}, {"image_size": 64},
     {"data_options": "mask_rule=legacy"}, {"target_partial": "1 of 2"}, {"auxiliary_partial": "x 1 of 2"}],
    ids=str,
)  # fmt: skip
def test_what_was_measured_tells_values_apart(tmp_path, change):
    found = compare(board(tmp_path / "a", make_row()), board(tmp_path / "b", make_row(**change)))
    assert found.pairs == []
    assert len(found.only_first) == len(found.only_second) == 1


def test_the_furthest_apart_come_first_and_undefined_is_far_from_any_number(tmp_path):
    undefined = {"value": None, "reason": "one class"}
    first = board(tmp_path / "a", make_row(value=0.5), make_row(metric="image_ap", value=0.5),
                  make_row(metric="pixel_ap", **undefined))  # fmt: skip
    second = board(tmp_path / "b", make_row(value=0.75), make_row(metric="image_ap", **undefined),
                   make_row(metric="pixel_ap", **undefined))  # fmt: skip
    pairs = compare(first, second).pairs
    assert [pair.what.metric for pair in pairs] == ["image_ap", "image_auroc", "pixel_ap"]
    assert [pair.distance for pair in pairs] == [float("inf"), 0.25, 0.0]


def test_a_newer_run_stands_for_an_older_one(tmp_path):
    newer = make_row(value=0.75, run_id="run2", started="2026-03-01T00:00:00Z")
    first = board(tmp_path / "a", make_row(value=0.5), newer)
    assert compare(first, board(tmp_path / "b", make_row(value=0.75))).pairs[0].distance == 0


def test_two_rows_of_one_thing_are_refused(tmp_path):
    first = board(tmp_path / "a", make_row(key="k1"), make_row(key="k2", data_hash="d2"))
    with pytest.raises(RowError, match="several rows of image_auroc of clip on cloth/carpet"):
        compare(first, board(tmp_path / "b", make_row()))
