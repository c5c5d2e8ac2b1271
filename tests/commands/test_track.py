# pytest tests/commands/test_track.py
"""`track` as a user meets it: rows pushed into offline files, the dashboard's content, and what is refused."""

from __future__ import annotations

import json

import pytest

from tests.tracking.offline import nobody_is_logged_in, runs_below
from zsad_bench.results import rows as store
from zsad_bench.results.row import SCHEMA
from zsad_bench.runner.expected_rows import ExpectedRows
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.tracking.run_summary import summary


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path) -> None:
    nobody_is_logged_in(monkeypatch, tmp_path / "home")


@pytest.fixture
def rows(tmp_path) -> list[store.Row]:
    """The rows of three seeds of a method, and one of a method that learns nothing, on the demo suite's board."""
    told = {
        "schema": SCHEMA, "suite": "demo",
        "method_version": "1", "prior": "limited", "prior_hash": "ab", "auxiliary": "demo_limited",
        "n_images": 4, "n_anomalous": 2, "image_size": 96, "backbone": "tiny", "weights_hash": "cd", "data_hash": "12",
        "config_hash": "ef", "precision": "float32", "metric_version": "1", "package_version": "0.1.0", "commit": "",
        "torch": "2", "device": "cpu", "run_id": "r", "started": "2026-01-01T00:00:00Z", "seconds": 1.0,
    }  # fmt: skip
    told["category"] = "c"
    made = [
        store.Row(**told, key=f"k{seed}{target}", method="dive", seed=seed, target=target, metric=metric, value=value)
        for seed in range(3)
        for target in ("demo_textures", "elpv")
        for metric, value in (("image_auroc", 0.5 + seed / 10), ("pixel_auroc", 0.9))
    ]
    none = {**told, "prior": "none", "prior_hash": "", "auxiliary": ""}
    made.append(store.Row(**none, key="x", method="clip", seed=0, target="elpv", metric="image_auroc", value=0.4))
    for row in made:
        store.append(tmp_path / "leaderboards" / "demo" / "rows" / f"{row.method}.jsonl", [row])
    return made


@pytest.mark.slow
def test_sync_makes_a_run_of_each_seed_from_rows_alone_and_twice_the_same(zsad, rows, tmp_path):
    for _ in range(2):
        said = zsad("track", "sync", "demo", "--offline")
        assert said.code == 0, said.err
        assert said.out.startswith("4 runs of 13 rows: runs/wandb; send them with `wandb sync "), said.out
    found = runs_below(tmp_path / "runs")
    once, twice = found[:4], found[4:]
    assert len({kept.id for kept in once}) == 4
    assert {kept.id for kept in once} == {kept.id for kept in twice}, "syncing again made other runs"
    by_name = {kept.name: kept for kept in twice}
    kept = by_name["dive · limited (demo_limited) · seed 2"]
    own = [row.record() for row in rows if (row.method, row.seed) == ("dive", 2)]
    assert kept.summary.items() >= summary(own, ("demo_textures",)).items()
    assert kept.summary["mean/image_auroc"] == 0.7, "ELPV is in no mean with generated images"
    assert len(kept.table()[1]) == 2
    assert kept.tags == ("dive", "prior limited", "suite demo")
    assert by_name["clip · seed 0"].tags == ("clip", "prior none", "suite demo")
    assert not kept.history, "a second sync would draw points twice"


@pytest.mark.slow
def test_runs_of_a_sweep_are_its_group(zsad, rows, tmp_path):
    plan = StoredPlan("mine", "demo", (), tmp_path, tmp_path)
    cells = {"a": ExpectedRows("k1elpv", ("elpv",), ("image_auroc",), 96, "tiny"), "b": "no weights"}
    SweepFolder(tmp_path / "runs" / "sweeps" / "mine").write(plan, cells)
    old = tmp_path / "runs" / "sweeps" / "old"
    old.mkdir()
    (old / "cells.json").write_text("{}")  # of schema 1
    said = zsad("track", "sync", "demo", "--offline")
    assert said.code == 0, said.err
    assert "one sweep go up without its name" in said.out
    assert "of schema 1, this version of zsad-bench reads schema 2" in said.out
    groups = {kept.name: kept.group for kept in runs_below(tmp_path / "runs")}
    line = "dive · limited (demo_limited) · seed"
    assert groups == {"clip · seed 0": "", f"{line} 0": "", f"{line} 1": "mine", f"{line} 2": ""}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["sync", "demoo", "--offline"], 2, "demo"),
        (["sync", "demo", "--offline"], 1, "leaderboards/demo/rows"),
        (["dashboard", "papr", "--dry-run"], 2, "paper"),
        (["dashboard", "paper"], 1, "not logged in"),
        (["shout"], 2, "sync"),
    ],
)
def test_what_is_refused_in_one_line(refused, arguments, code, says):
    assert says in refused(code, "track", *arguments)


@pytest.mark.usefixtures("rows")
def test_sync_without_a_login_says_what_to_do(refused, monkeypatch):
    line = refused(1, "track", "sync", "demo")
    assert "wandb login" in line
    assert "--offline" in line
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert "cannot be reached" in refused(1, "track", "sync", "demo"), "nothing listens at that address"


@pytest.mark.parametrize("command", [("bench", "--method=clip", "--prior=limited"), ("sweep", "demo")])
def test_a_wrong_value_of_track_is_refused(refused, command):
    assert "--track" in refused(2, *command, "--track=ofline")


def test_a_dry_dashboard_is_json(zsad):
    pytest.importorskip("wandb_workspaces", reason="the extra `dashboard` is not installed")
    said = zsad("track", "dashboard", "demo", "--dry-run", "--entity=me", "--project=mine")
    assert said.code == 0, said.err
    content = json.loads(said.out)
    assert (content["entity"], content["project"], content["name"]) == ("me", "mine", "zsad_bench, suite demo")
