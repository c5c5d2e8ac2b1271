# pytest tests/leaderboard/test_robustness.py
"""Relative changes from rows whose changes are known, and what standard tables say of such rows."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.conditions import Condition
from zsad_bench.leaderboard.tables.leaderboard_tables import build
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.leaderboard.tables.robustness import lines, table
from zsad_bench.results.rows import append
from zsad_bench.results.verify import verify

TARGETS = {"image": ("cloth", "parts"), "pixel": ("cloth",)}
FACTS = Facts(titles={"clip": "CLIP", "dive": "DIVE", "random": "Random", "cloth": "Cloth", "parts": "Parts"})
PLACES = (("cloth", "carpet", 0.8), ("cloth", "felt", 0.6), ("parts", "nut", 0.9))  # means: 0.7 and 0.9


def rows_of(options="", factor=1.0, places=PLACES, **changes):
    """A run on two datasets, each number `factor` times what it is without a condition."""
    fields = {"data_options": options, "data_hash": f"d{options}", **changes}
    key = "-".join(map(str, (options, *changes.values())))
    return [
        make_row(target=target, category=category, value=value * factor, key=f"{key}-{target}", **fields)
        for target, category, value in places
    ]


def jpeg(severity):
    return Condition("corruption", "jpeg", severity)


def test_a_change_is_relative_and_over_both_datasets_alike():
    (line,) = lines([*rows_of(), *rows_of("corruption=jpeg:3", 0.9)], TARGETS)
    change = line.change([jpeg(3)])
    assert change.mean == pytest.approx(-0.1)
    assert line.means(jpeg(3)) == pytest.approx((0.8, 0.72))
    assert (change.n_categories, change.n_expected, change.n_runs, change.sd) == (3, 3, 1, None)
    assert line.clean.mean == pytest.approx(0.8)


def test_it_is_taken_within_runs_and_averaged_over_them():
    rows = [
        row
        for seed, factor in ((0, 0.9), (1, 0.7))
        for row in (*rows_of(seed=seed), *rows_of("corruption=jpeg:1", factor, seed=seed))
    ]
    (line,) = lines(rows, TARGETS)
    change = line.change([jpeg(1)])
    assert (change.mean, change.n_runs) == (pytest.approx(-0.2), 2)
    assert change.sd == pytest.approx(2**0.5 * 0.1), "sample standard deviation of -0.1 and -0.3"


def test_a_run_without_its_own_clean_numbers_has_no_change():
    rows = [*rows_of(seed=0), *rows_of("corruption=jpeg:1", 0.9, seed=1)]
    assert lines(rows, TARGETS) == []
    assert lines(rows_of("corruption=jpeg:1"), TARGETS) == []
    assert lines(rows_of(), TARGETS) == []


def test_severities_are_averaged_within_a_run_and_corruptions_count_alike():
    rows = [*rows_of(), *rows_of("corruption=rotation:5", 0.4)]
    for severity, factor in ((1, 0.9), (3, 0.8), (5, 0.7)):
        rows += rows_of(f"corruption=jpeg:{severity}", factor)
    (line,) = lines(rows, TARGETS)
    assert line.change([jpeg(1), jpeg(3), jpeg(5)]).mean == pytest.approx(-0.2)
    assert line.severities("jpeg") == (1, 3, 5)
    (first, second), records = table([line], FACTS)
    assert [column.title for column in first.columns] == ["clean", "jpeg", "rotation", "all corruptions"]
    assert "averaged over its severities: 1, 3, 5 of jpeg; 5 of rotation." in " ".join(first.notes)
    ((label, cells),) = first.lines
    assert (label, [cell.text for cell in cells]) == ("CLIP", ["80.0", "−20.0", "−60.0", "−40.0"])
    ((_, cells),) = second.lines
    assert [column.title for column in second.columns] == ["clean", "severity 1", "severity 3", "severity 5"]
    assert [cell.text for cell in cells] == ["80.0", "−10.0", "−20.0", "−45.0"]
    found = {(r["condition"], r["severity"]): r["mean"] for r in records}
    assert found == pytest.approx({("jpeg", 1): -0.1, ("jpeg", 3): -0.2, ("jpeg", 5): -0.3, ("rotation", 5): -0.6})
    assert (records[0]["clean"], records[0]["under"]) == (pytest.approx(0.8), pytest.approx(0.72))


def test_categories_that_a_wording_leaves_out_are_counted_and_not_compared():
    german = rows_of("wording=german", 0.5, PLACES[1:])
    (line,) = lines([*rows_of(), *german], TARGETS)
    change = line.change([Condition("wording", "german")])
    assert change.mean == pytest.approx(-0.5), "over felt and nut on both sides"
    (grid,), _ = table([line], FACTS)
    ((_, cells),) = grid.lines
    assert cells[-1].text == "−50.0 (2/3 categories)"
    assert "methods whose tests read names" in grid.notes[0]


def test_the_smallest_loss_is_best_and_sanity_checks_are_not_ranked():
    rows = []
    for method, factor in (("clip", 0.9), ("dive", 0.95), ("random", 1.0)):
        rows += [*rows_of(method=method), *rows_of("corruption=jpeg:1", factor, method=method)]
    (grid,), _ = table(lines(rows, TARGETS), FACTS, sanity=("random",))
    ranks = {label: cells[1].rank for label, cells in grid.lines}
    assert ranks == {"CLIP": 2, "DIVE": 1, "Random (sanity check)": 0}
    assert {label: cells[1].text for label, cells in grid.lines}["Random (sanity check)"] == "0.0"


def test_what_lacks_severities_is_counted_and_not_ranked():
    rows = [*rows_of(), *rows_of(method="dive")]
    for severity in (1, 5):
        rows += rows_of(f"corruption=jpeg:{severity}", 0.9)
    rows += rows_of("corruption=jpeg:1", 0.99, method="dive")
    first, _ = table(lines(rows, TARGETS), FACTS)[0]
    cells = {label: cells[1] for label, cells in first.lines}
    assert (cells["DIVE"].text, cells["DIVE"].rank) == ("−1.0 (1/2 severities)", 0)


def test_marks_go_along():
    partial = [replace(row, target_partial="4 of 9") for row in rows_of("corruption=jpeg:1", 0.9, transductive=True)]
    (grid,), records = table(lines([*rows_of(transductive=True), *partial], TARGETS), FACTS)
    ((label, cells),) = grid.lines
    assert label == "CLIP†§"
    assert cells[1].rank == 0
    assert any("4 of 9 images" in note for note in grid.notes)
    assert "4 of 9" in records[0]["partial"]
    assert records[0]["transductive"]


def test_a_number_of_zero_has_nothing_to_lose():
    rows = [*rows_of(factor=0.0), *rows_of("corruption=jpeg:1", 1.0)]
    (line,) = lines(rows, TARGETS)
    assert line.change([jpeg(1)]).mean is None
    ((_, cells),) = table([line], FACTS)[0][0].lines
    assert cells[1].text == "–"


def test_an_undefined_number_is_in_no_change():
    rows = rows_of("corruption=jpeg:1", 0.9)
    rows[0] = replace(rows[0], value=None, reason="nothing marked")
    (line,) = lines([*rows_of(), *rows], TARGETS)
    assert line.change([jpeg(1)]).n_categories == 2
    assert line.change([jpeg(1)]).n_expected == 3


# In standard tables.


def test_standard_tables_leave_these_rows_out_and_count_them(board):
    plain = build(rows_of(), board)
    mixed = build([*rows_of(), *rows_of("corruption=jpeg:3", 0.1), *rows_of("wording=object", 0.1)], board)
    assert mixed.rows == plain.rows
    assert [each.records() for each in mixed.tables] == [each.records() for each in plain.tables]
    assert mixed.n_rows_read == plain.n_rows_read
    assert plain.left_out == []
    assert mixed.left_out == ["6 rows of corrupted images or other wordings; `zsad-bench table robustness`"]


def test_other_options_of_data_stay_in_standard_tables(board):
    report = build([replace(row, data_options="mask_rule=legacy") for row in rows_of()], board)
    assert len(report.rows) == 3


def test_verify_takes_each_condition_for_data_of_its_own(tmp_path):
    good = [*rows_of(), *rows_of("corruption=jpeg:3", 0.9), *rows_of("wording=german", 0.9, PLACES[1:])]
    append(tmp_path / "good/rows/clip.jsonl", good)
    assert verify(tmp_path / "good").findings == []
    twice = rows_of("corruption=jpeg:3", 0.9, PLACES[:1], data_hash="other")
    append(tmp_path / "bad/rows/clip.jsonl", [*good, *twice])
    (finding,) = verify(tmp_path / "bad").findings
    assert finding.startswith("more than one data hash of cloth · jpeg:3: ")
