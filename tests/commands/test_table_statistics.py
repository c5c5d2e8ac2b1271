# pytest tests/commands/test_table_statistics.py
"""`table prior_curve` and `table dive_claims` as a user meets them."""

from __future__ import annotations

import csv

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench.results.image_scores import write_scores
from zsad_bench.results.prior_contents import Kept, write_kept
from zsad_bench.results.rows import append

FORMATS = ("csv", "md", "tex")


@pytest.fixture
def board(tmp_path):
    return tmp_path / "leaderboards" / "demo"


def test_prior_curve(zsad, board, tmp_path):
    rows = [
        make_row(suite="demo", method="dive", prior=f"rich:types={x}", draw=draw, target="demo_textures",
                 value=0.5 + x / 100, key=f"{x}-{draw}")
        for x in (1, 4, 16) for draw in range(3)
    ]  # fmt: skip
    append(board / "rows" / "dive.jsonl", rows)
    said = zsad("table", "prior_curve", "--metric", "image_auroc")
    assert said.code == 0, said.err
    assert "image_auroc against the number of anomaly types" in said.out
    assert "DIVE · rich" in said.out
    assert "+1.00 to +1.00" in said.out
    assert all((tmp_path / "tables" / f"prior_curve.{ending}").is_file() for ending in FORMATS)
    with (tmp_path / "tables" / "prior_curve.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["number"], line["n_draws"]) for line in lines] == [("1", "3"), ("4", "3"), ("16", "3")]


def test_dive_claims(zsad, board, tmp_path):
    for method, variant, lift in (("dive", "", 2), ("dive", "disentangle=false", 0), ("anomalyclip", "", 0)):
        key = f"{method}-{variant}"
        row = make_row(suite="demo", method=method, variant=variant, prior="limited", prior_hash="h" * 64,
                       target="demo_textures", key=key)  # fmt: skip
        append(board / "rows" / f"{method}.jsonl", [row])
        scores = [i % 7 + lift * (i >= 20) for i in range(40)]
        types = ["good"] * 20 + ["hole"] * 10 + ["stain"] * 10
        ids = [f"{i:02d}" for i in range(40)]
        write_scores(board / "scores", key, "carpet", ids, [int(i >= 20) for i in range(40)], scores, types)
    write_kept(board, "h" * 64, Kept("limited", 0, {"demo_limited": {"leather": {"good": 2, "stain": 2}}}))
    said = zsad("table", "dive_claims", "--out", "out")
    assert said.code == 0, said.err
    assert "Anomaly types that are absent from the auxiliary data gain from DIVE" in said.out
    assert all((tmp_path / "out" / f"dive_claims.{ending}").is_file() for ending in FORMATS)
    with (tmp_path / "out" / "dive_claims.csv").open(newline="") as file:
        verdict = {line["text"]: line["verdict"] or line["why_not"] for line in csv.DictReader(file)}
    assert verdict["absent types, over AnomalyCLIP"] == "supported"
    assert verdict["absent types, over DIVE without text injection"] == "not run"
    again = make_row(suite="demo", method="anomalyclip", prior="limited", prior_hash="h" * 64, target="demo_textures",
                     key="anomalyclip-", run_id="later", started="2026-03-01T00:00:00Z", auxiliary="demo_limited",
                     auxiliary_partial="demo_limited 2 of 90")  # fmt: skip
    append(board / "rows" / "anomalyclip.jsonl", [again])
    said = zsad("table", "dive_claims", "--out", "out", "--mixed")
    assert said.code == 0, said.err
    assert "Left out: 1 rows on part of the data: auxiliary data demo_limited 2 of 90 images." in said.out
    with (tmp_path / "out" / "dive_claims.csv").open(newline="") as file:
        verdict = {line["text"]: line["verdict"] or line["why_not"] for line in csv.DictReader(file)}
    assert verdict["absent types, over AnomalyCLIP"] == "not run", "a claim rests on part of the data"
    assert "not on disk" in verdict["correlation of distance and gain over DIVE without disentanglement"]


def test_what_is_wrong_is_one_line(refused, board):
    append(board / "rows" / "dive.jsonl", [make_row(suite="demo", method="dive", prior="rich", target="demo_textures")])
    assert "run `zsad-bench sweep prior_curve_demo`" in refused(1, "table", "prior_curve")
    assert "no rows with method clip; there are dive" in refused(1, "table", "prior_curve", "--method", "clip")
    assert "unknown option '--metric'" in refused(2, "table", "dive_claims", "--metric", "image_ap")
    other = make_row(suite="demo", method="anomalyclip", prior="rich", target="demo_textures")
    append(board / "rows" / "anomalyclip.jsonl", [other])
    write_kept(board, "", Kept("rich", 0, {"demo_rich": {"leather": {"hole": 1}}}))
    assert "cannot read scores" in refused(1, "table", "dive_claims")
    append(board / "rows" / "anomalyclip.jsonl", [replace(other, key="new", image_size=32)])
    assert "more than one image size, 96 and 32; choose a folder" in refused(1, "table", "dive_claims")
