# pytest tests/results/test_merge_verify.py
"""Merging gives the same in any order, and verify finds what is wrong and keeps the rest."""

from __future__ import annotations

import re
from threading import Thread

import pytest

from tests.made_up_rows import make_row
from zsad_bench.errors import RowError, UsageError
from zsad_bench.results import merge as merging
from zsad_bench.results.class_embeddings import Classes, read_classes, write_classes
from zsad_bench.results.image_scores import read_scores, write_scores
from zsad_bench.results.merge import merge
from zsad_bench.results.prior_contents import Kept, read_kept, write_kept
from zsad_bench.results.rows import RowWarning, append, load
from zsad_bench.results.verify import verify

OLD, NEW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.fixture
def boards(tmp_path):
    """Two leaderboards with a common row, a superseded one, and score files of one cell from two runs."""
    a, b = tmp_path / "a", tmp_path / "b"
    common = make_row(category="common", key="k0", started=OLD, run_id="r0")
    older = make_row(category="carpet", key="k1", started=OLD, run_id="r1", value=0.1)
    newer = make_row(category="carpet", key="k1", started=NEW, run_id="r2", value=0.2)
    append(a / "rows" / "clip.jsonl", [common, older])
    append(b / "rows" / "clip.jsonl", [newer, common])
    append(b / "rows" / "dive.jsonl", [make_row(method="dive", key="k2")])
    write_scores(a / "scores", "k1", "carpet", ["x"], [1], [0.1])
    write_scores(b / "scores", "k1", "carpet", ["x"], [1], [0.2])
    write_scores(a / "scores", "k0", "common", ["x"], [1], [0.3])
    for board, prior_hash in ((a, "p1"), (a, "p2"), (b, "p2")):
        write_kept(board, prior_hash, Kept("rich", 0, {"aux": {"nut": {"good": 1}}}))
    write_classes(b, "w1", "cloth", Classes({"carpet": "carpet"}, {"carpet": [1.0]}))
    return a, b


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_both_orders_give_the_same(boards, tmp_path):
    a, b = boards
    found = merge([a, b], tmp_path / "ab")
    merge([b, a], tmp_path / "ba")
    assert content(tmp_path / "ab") == content(tmp_path / "ba"), "the order of folders changed the result"
    assert (found.n_rows, found.n_doubled) == (4, 1)
    assert {r.value for r in load(tmp_path / "ab" / "rows")} == {0.1, 0.2, 0.5}, "an older run was thrown away"
    assert read_scores(tmp_path / "ab" / "scores", "k1", "carpet").scores == [0.2], "the newer run's scores must stand"
    assert read_scores(tmp_path / "ab" / "scores", "k0", "common").scores == [0.3]
    assert all(read_kept(tmp_path / "ab", prior_hash) for prior_hash in ("p1", "p2")), "what a prior kept was lost"
    assert read_classes(tmp_path / "ab", "w1", "cloth").names == {"carpet": "carpet"}
    merge([tmp_path / "ab", b], tmp_path / "ab")
    assert content(tmp_path / "ab") == content(tmp_path / "ba"), "merging again changed something"


def test_what_is_appended_while_a_board_is_merged_into_stays(boards, monkeypatch):
    """A sweep's row between reading and replacing waits for its turn, also in a file that the board gets only now."""
    a, b = boards
    files = [a / "rows" / "clip.jsonl", a / "rows" / "dive.jsonl"]
    scores, appending = merging._scores, []

    def meanwhile(source):
        for file in files:
            row = make_row(method=file.stem, category="meanwhile", run_id="r9")
            appending.append(Thread(target=append, args=(file, [row])))
            appending[-1].start()
            appending[-1].join(0.2)
            assert appending[-1].is_alive(), "the rows were read, and an append does not wait"
        return scores(source)

    monkeypatch.setattr(merging, "_scores", meanwhile)
    merge([a, b], a)
    for thread in appending:
        thread.join()
    assert [row.method for row in load(a / "rows") if row.category == "meanwhile"] == ["clip", "dive"]


def test_merge_takes_folders_of_row_files_and_torn_lines(boards, tmp_path):
    a, b = boards
    with (a / "rows" / "clip.jsonl").open("a") as file:
        file.write('{"schema": 1, "ke')
    with pytest.warns(RowWarning, match=r"clip.jsonl:3: the last line is half-written"):
        found = merge([a / "rows", b / "rows"], tmp_path / "out")
    assert found.n_rows == len(load(tmp_path / "out")) == 4


def test_merge_refuses_what_would_be_lost(boards, tmp_path):
    a, b = boards
    with pytest.raises(UsageError, match="holds rows already; name it among"):
        merge([a, a], b)
    before = content(a)
    (b / "rows" / "dive.jsonl").write_text("no row\n")
    with pytest.raises(RowError, match=r"dive.jsonl:1: not a line of JSON"):
        merge([a, b], a)
    assert content(a) == before, "a failed merge changed something"
    with pytest.raises(RowError, match="no such folder"):
        merge([a, tmp_path / "gone"], tmp_path / "out")


def test_contradictions_survive_a_merge(tmp_path):
    for name, value in (("a", 0.1), ("b", 0.2)):
        append(tmp_path / name / "rows" / "clip.jsonl", [make_row(value=value)])
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert ["0.1 and 0.2 in run run1" in f for f in verify(tmp_path / "c").findings] == [True]


def test_nothing_wrong(boards):
    verdict = verify(boards[1])
    assert verdict.findings == []
    assert (verdict.n_files, verdict.n_rows, dict(verdict.schemas)) == (2, 3, {2: 3})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (make_row().to_json()[:40] + "\n", "clip.jsonl:2: not a line of JSON, perhaps truncated"),
        (make_row(category="x").to_json()[:-2], "clip.jsonl:4: half-written last line"),
        ('{"schema": 99}\n', "clip.jsonl:2: schema 99 is newer"),
    ],
)
def test_bad_lines_are_named_and_the_rest_is_kept(tmp_path, line, said):
    path = tmp_path / "clip.jsonl"
    good = [make_row(category=str(i)).to_json() + "\n" for i in range(3)]
    good.insert(len(good) if not line.endswith("\n") else 1, line)
    path.write_text("".join(good))
    verdict = verify(tmp_path)
    assert len(verdict.findings) == 1, verdict.findings
    assert said in verdict.findings[0]
    assert verdict.n_rows == 3, "whole rows beside a bad line must count"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([make_row(), make_row()], "clip.jsonl:2: the same row as"),
        ([make_row(value=0.1), make_row(value=0.2)], "two values for one number"),
        ([make_row(), make_row(category="b", data_hash="d2")], "more than one data hash of cloth: d1 .1 rows., d2"),
        ([make_row(), make_row(category="b", weights_hash="w2")], "more than one weights hash of tiny"),
        ([make_row(), make_row(category="b", metric_version="2")], "more than one metric version"),
        (
            [make_row(prior="rich", prior_hash="p1"), make_row(prior="rich", category="b", prior_hash="p2")],
            "prior hash",
        ),
    ],
)
def test_what_contradicts_itself_is_found(tmp_path, rows, said):
    append(tmp_path / "rows" / "clip.jsonl", rows)
    verdict = verify(tmp_path)
    assert len(verdict.findings) == 1, verdict.findings
    assert re.search(said, verdict.findings[0]), verdict.findings


def test_rows_from_the_future_are_named(tmp_path):
    append(tmp_path / "clip.jsonl", [make_row(), make_row(category="b", started="2030-01-01T00:00:00Z", run_id="far")])
    (said,) = verify(tmp_path, at="2029-12-31T23:00:00Z").findings
    assert said.startswith("1 row of clip, run far: started 2030-01-01T00:00:00Z, which is in the future")
    assert verify(tmp_path, at="2030-01-01T00:00:00Z").findings == []


def test_merge_takes_the_scores_of_the_run_that_stands(tmp_path):
    for name, started, score in (("a", "2199-01-01T00:00:00Z", 0.1), ("b", NEW, 0.2)):
        append(tmp_path / name / "rows" / "clip.jsonl", [make_row(key="k1", started=started, run_id=name)])
        write_scores(tmp_path / name / "scores", "k1", "carpet", ["x"], [1], [score])
    for order in ("ab", "ba"):
        merge([tmp_path / name for name in order], tmp_path / f"out_{order}")
        assert read_scores(tmp_path / f"out_{order}" / "scores", "k1", "carpet").scores == [0.2]


def test_cells_of_different_numbers_of_images_are_told_apart(tmp_path):
    rows = [make_row(method=name, n_images=16) for name in ("dive", "clip")]
    rows += [make_row(method="clip_ac", n_images=12, n_skipped=4), make_row(category="b", n_images=3)]
    append(tmp_path / "rows" / "all.jsonl", rows)
    (said,) = verify(tmp_path).findings
    assert said.startswith(
        "cloth/carpet was measured on different numbers of images: 16 (clip, dive), 12 (clip_ac; 4 skipped); "
    )
    append(tmp_path / "rows" / "all.jsonl", [make_row(method="clip_ac", n_images=16, started=LATER, run_id="again")])
    assert verify(tmp_path).findings == [], "what was measured again, on all images, is whole"


def test_a_newer_run_is_no_finding(tmp_path):
    append(tmp_path / "clip.jsonl", [make_row(started=OLD, run_id="a"), make_row(started=NEW, run_id="b", value=0.9)])
    verdict = verify(tmp_path)
    assert (verdict.findings, verdict.n_superseded) == ([], 1)
    with pytest.raises(RowError, match="no such folder"):
        verify(tmp_path / "gone")
