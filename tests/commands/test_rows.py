# pytest tests/commands/test_rows.py
"""Damaged and contradicting rows, and what published numbers cost, as a user meets them."""

from __future__ import annotations

import csv
import json
import re

import pytest
from msgspec.structs import replace

from tests.made_up_rows import make_row
from zsad_bench import registry
from zsad_bench.planning.gpu_hours import read_parts
from zsad_bench.results.rows import append, file_of, load
from zsad_bench.sweep.stored_plan import StoredPlan


@pytest.fixture
def rows(tmp_path):
    """The row file of a made-up demo leaderboard: one method, two categories."""
    path = tmp_path / "leaderboards" / "demo" / "rows" / "clip.jsonl"
    append(
        path, [make_row(suite="demo", target="demo_objects", category=c, value=v) for c, v in (("a", 0.4), ("b", 0.8))]
    )
    return path


def test_a_torn_line_is_told_everywhere_and_the_rest_kept(zsad, rows, tmp_path):
    first, second = rows.read_text().splitlines()
    rows.write_text(f"{first}\n{first[:200]}\n{second}\n")
    said = zsad("rows", "verify", "leaderboards/demo")
    assert said.code == 1, "a half-written line must be a failure of verify"
    assert "clip.jsonl:2: not a line of JSON" in said.out
    assert "2 whole rows" in said.out
    said = zsad("table", "pivot", "--out", "out")
    assert (said.code, said.err) == (0, "")
    remark = "Left out: clip.jsonl:2: damaged or half-written"
    assert remark in said.out, "the terminal hides that a row was left out"
    assert "60.0" in said.out, "the rows around the half-written line must be averaged"
    for name in ("pivot.md", "pivot.tex"):
        assert remark in (tmp_path / "out" / name).read_text(), f"{name} hides that a row was left out"
    said = zsad("table", "demo")
    assert said.code == 0
    assert said.err.startswith("zsad-bench: leaderboards/demo/rows/clip.jsonl:2: damaged"), said.err
    assert len(said.err.splitlines()) == 1, said.err


def test_two_values_are_both_shown_and_neither_is_used(zsad, rows, tmp_path):
    append(rows, [make_row(suite="demo", target="demo_objects", category="a", value=0.5)])
    said = zsad("table", "pivot", "--out", "out")
    assert said.code == 0, said.err
    both = "0.4 and 0.5 in run run1"
    assert both in said.out, "the two values are not shown"
    assert both in (tmp_path / "out" / "pivot.md").read_text(), "the table hides the contradiction"
    known = {card.name for card in registry.load("datasets", "demo_objects").category_cards} | {"a", "b"}
    assert f"80.0 (1/{len(known)} categories)" in said.out, (
        "a contradicted number must be missing from the mean, and counted"
    )
    said = zsad("rows", "verify", "leaderboards/demo")
    assert said.code == 1
    assert both in said.out


@pytest.mark.slow
def test_status_knows_what_trainings_took(zsad, tmp_path):
    for name, suite, seconds in (("tables", "paper", 120.4), ("demo", "demo", 7.0)):
        folder = tmp_path / "runs" / "sweeps" / name
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text(StoredPlan(name, suite, (), tmp_path, tmp_path).to_json())
        event = {"kind": "trained", "method": "anomalyclip", "variant": "fidelity=official", "prior": "rich"}
        event |= {"time": f"2026-01-0{2 if suite == 'demo' else 1}T00:00:00.000Z", "group": "g", "seconds": seconds}
        (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    old = tmp_path / "runs" / "sweeps" / "old"
    old.mkdir()
    (old / "plan.json").write_text(
        json.dumps({"suite": "paper", "groups": []})
    )  # as plans were before they had a number
    said = zsad("table", "status", "--out", "out")
    assert said.code == 0, said.err
    assert "one sweep are left out" in said.out
    assert "of schema 1, this version of zsad-bench reads schema 2" in said.out
    assert "AnomalyCLIP: 26 numbers, 26 not run; testing unknown, training about 4 min" in said.out, (
        "the training for MVTecAD and the one for all other datasets are two"
    )
    with (tmp_path / "out" / "status.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["table"] == "faprompt_1"]
    found = {line["method"]: line["train_seconds"] for line in lines if line["state"] == "not run"}
    assert found["anomalyclip"] == "120", "a sweep of the demo suite says nothing about the paper's"
    assert found["clip"] == "0", "what does not train costs no training"
    assert found["faprompt"] == "unknown", "what was not measured must not be estimated"
    assert {line["test_seconds"] for line in lines} == {"unknown"}, "there are no rows to tell a pace"


def test_export_writes_what_stands(zsad, rows, tmp_path):
    newer = make_row(suite="demo", target="demo_objects", category="a", value=0.75, run_id="run2",
                     started="2026-03-01T00:00:00Z")  # fmt: skip
    append(rows, [newer])
    said = zsad("rows", "export", "leaderboards/demo", "--out", "rows.csv")
    assert said.code == 0, said.err
    with (tmp_path / "rows.csv").open() as file:
        values = sorted(float(line["value"]) for line in csv.DictReader(file))
    assert values == [0.75, 0.8], "a superseded row was written, or one is missing"
    assert zsad("rows", "export", "nowhere", "--out", "rows.csv").code == 1


def test_compare_says_how_far_two_boards_are_apart(zsad, rows, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    for folder, change in ((same, 1e-9), (other, 0.125)):
        for row in load(rows.parent):
            append(file_of(folder, row.method), [replace(row, value=row.value + change, run_id="again")])
    said = zsad("rows", "compare", "leaderboards/demo", "same")
    assert (said.code, said.err) == (0, "")
    assert "2 values in both; the largest difference is 1e-09; none above 1e-06" in said.out
    said = zsad("rows", "compare", "leaderboards/demo", "other")
    assert said.code == 1
    assert "apart by 0.125" in said.out
    assert zsad("rows", "compare", "leaderboards/demo", "other", "--tolerance", "0.2").code == 0
    append(file_of(same, "dive"), [make_row(method="dive")])
    said = zsad("rows", "compare", "leaderboards/demo", "same")
    assert said.code == 1
    assert "leaderboards/demo lacks 1 values: dive 1" in said.out
    assert zsad("rows", "compare", "leaderboards/demo", "same", "--shared").code == 0
    assert zsad("rows", "compare", "leaderboards/demo", "same", "--tolerance", "-1").code == 2
    assert zsad("rows", "compare", "leaderboards/demo", "nowhere").code == 1


@pytest.mark.slow
def test_status_plans_the_hours_of_what_is_missing(zsad, tmp_path):
    """CLIP's numbers of FAPrompt's Table 1: without training, its hours are images times seconds of a test image."""
    parts = read_parts()
    said = zsad("table", "status", "--out", "out")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FAPrompt Table 1"))
    hours = r"about ([\d.]+) h on one GPU \(training ([\d.]+), testing ([\d.]+)\); – for WinCLIP, BLIP, FiLo"
    before = re.fullmatch(f"  {hours}", lines[at + 1])
    assert before, lines[at + 1]
    assert parts.assumption() in said.out.replace("\n", " "), "hours without what they assume"
    with (tmp_path / "out" / "status.csv").open(newline="") as file:
        records = [line for line in csv.DictReader(file) if line["table"] == "faprompt_1"]
    clip = {line["scope"]: line for line in records if line["method"] == "clip" and line["metric"] == "image_auroc"}
    assert float(clip["mvtec"]["planned_test_hours"]) == round(1725 * parts.methods["clip"].image.seconds / 3600, 3)
    assert float(clip["mvtec"]["planned_train_hours"]) == 0
    blip = next(line for line in records if line["method"] == "blip")
    assert (blip["planned_test_hours"], blip["planned_train_hours"]) == ("–", "–")
    tested = [
        make_row(suite="paper", target="br35h", category="brain", metric=metric, value=0.5, n_images=3000,
                 n_anomalous=1500, image_size=518, backbone="ViT-L-14-336-quickgelu")
        for metric in ("image_auroc", "image_ap")
    ]  # fmt: skip
    append(file_of(tmp_path / "leaderboards" / "paper", "clip"), tested)
    said = zsad("table", "status", "--out", "out")
    lines = said.out.splitlines()
    after = re.match(r"  about ([\d.]+) h", lines[at + 1])
    less = 3000 * parts.methods["clip"].image.seconds / 3600
    assert less > 0.03
    with (tmp_path / "out" / "status.csv").open(newline="") as file:
        records = [line for line in csv.DictReader(file) if line["table"] == "faprompt_1" and line["method"] == "clip"]
    done = [line for line in records if line["scope"] == "br35h"]
    assert {(line["state"], float(line["planned_test_hours"])) for line in done} == {("done", 0.0)}
    assert float(after[1]) <= float(before[1]), "what is done is planned again"
