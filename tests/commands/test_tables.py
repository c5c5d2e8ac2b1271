# pytest tests/commands/test_tables.py
"""`table` and `rows` as a user meets them."""

from __future__ import annotations

import csv

import pytest

from tests.made_up_rows import make_row
from zsad_bench.results.image_scores import write_scores
from zsad_bench.results.rows import append


@pytest.fixture
def board(tmp_path):
    """A made-up demo leaderboard of two methods, with per-image scores."""
    folder = tmp_path / "leaderboards" / "demo"
    for method, prior, shift in (("clip", "none", 0.0), ("dive", "limited", 0.5)):
        for target in ("demo_textures", "demo_objects"):
            key = f"{method}-{target}"
            rows = [make_row(suite="demo", key=key, method=method, prior=prior, target=target, value=0.5 + shift / 5)]
            append(folder / "rows" / f"{method}.jsonl", rows)
            scores = [0.1, 0.2, 0.3 + shift, 0.15 + shift]
            write_scores(folder / "scores", key, "carpet", list("abcd"), [0, 0, 1, 1], scores)
    return folder


def test_pivot_paired_and_verify(zsad, board):
    said = zsad("table", "pivot", "--rows", "dataset", "--cols", "method", "--prior", "limited", "--out", "tables")
    assert said.code == 0, said.err
    assert "Mean of generated (3)" in said.out
    assert "60.0 (2/3)" in said.out, "the coverage of the mean is missing"
    assert sorted(path.name for path in (board.parents[1] / "tables").iterdir()) == [
        "pivot.csv",
        "pivot.md",
        "pivot.tex",
    ]
    said = zsad("table", "paired", "--method", "dive,clip", "--metric", "image_auroc")
    assert said.code == 0, said.err
    assert "DIVE minus CLIP, image_auroc: +25.00 points" in said.out
    assert zsad("rows", "verify", str(board)).code == 0
    (board / "rows" / "clip.jsonl").open("a").write('{"schema"')
    said = zsad("rows", "verify", str(board))
    assert said.code == 1, "a truncated line must be a failure"
    assert "clip.jsonl:3: half-written" in said.out
    assert "4 whole rows" in said.out
    assert zsad("rows", "merge", str(board), str(board / "rows"), "--out", "merged").code == 0


def test_paper_status_and_claims_without_any_row(zsad, tmp_path):
    said = zsad("table", "paper", "all", "--out", "out")
    assert said.code == 0, said.err
    assert len(list((tmp_path / "out").glob("*"))) == 14 * 3, "every table has three formats"
    assert "Nothing of this table has been measured yet" in said.out
    assert said.out.count("TPS is not built: only its abstract is public.") == 3, "of DIVE's two tables and its own"
    said = zsad("table", "status", "--out", "out")
    assert "1843 published numbers" in said.out
    assert said.out.count("TPS: 5 numbers, 5 not built (only its abstract is public)") == 2
    with (tmp_path / "out" / "status.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 1843
    assert {line["state"] for line in lines} == {"not run", "not built"}
    assert all(line["command"].startswith("zsad-bench bench") == (line["state"] == "not run") for line in lines)
    assert {line["source"] for line in lines if line["table"] == "musc"} > {
        "MuSc README at b76b93d (2026-04-25), released code"
    }
    adapted = {line["why_not"] for line in lines if line["method"] == "anomalyvfm"}
    assert adapted == {
        "its method is not built: its code has no licence; docs/methods_not_built.md says what it would take"
    }
    shunt = {line["why_not"] for line in lines if line["method"] == "tps"}
    assert shunt == {"its method is not built: only its abstract is public"}
    said = zsad("table", "claims", "--out", "out")
    assert "+47.0 (AdaCLIP)" in said.out


def test_what_is_wrong_is_one_line(refused, board, tmp_path):
    assert "did you mean faprompt_5" in refused(2, "table", "paper", "faprompt_6")
    assert "unknown option '--metric'" in refused(2, "table", "demo", "--metric", "image_ap")
    assert "table status: does not take all; it takes options alone" in refused(2, "table", "status", "all")
    assert "--cols: unknown axis 'methods'; did you mean method?" in refused(2, "table", "pivot", "--cols", "methods")
    assert "average over methods" in refused(1, "table", "pivot", "--cols", "seed")
    assert "--method takes two names" in refused(2, "table", "paired", "--method", "clip")
    assert "no such folder of rows" in refused(1, "table", "pivot", "--from", str(tmp_path / "gone"))
    assert "expected two or more folders" in refused(2, "rows", "merge", str(board), "--out", "x")
    append(board / "rows" / "clip.jsonl", [make_row(backbone="big", weights_hash="w2", key="other")])
    assert "more than one backbone: big (1 rows), tiny (4 rows); choose with --backbone" in refused(1, "table", "pivot")
