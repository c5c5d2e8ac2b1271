# pytest tests/commands/test_sweep.py
"""`sweep` and `status` as a user meets them; groups run in this process, through an executor of the test's own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from zsad_bench.console import Console
from zsad_bench.results import rows as store
from zsad_bench.runner import opened, provenance
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors import Event, choose
from zsad_bench.sweep.sweep_folder import SweepFolder

RECIPE = """
suite: demo
methods: [clip, anomalyclip, tps, winclip]
priors: [limited]
targets: [demo_textures, demo_medical]
settings: {image_size: 32}
epochs: 1
"""
pytestmark = pytest.mark.usefixtures("small")


class Here:
    """An executor that calls the worker; `broken` methods fail, and what ran is counted."""

    ran: list[str]
    broken: str

    def __init__(self, at_once: int = 1) -> None:
        pass

    def run(self, tasks):
        for task in tasks:
            yield Event("started", task.id, "here")
            code = self._call(task)
            yield Event("ended", task.id, "here", code)

    def _call(self, task) -> int:
        folder = SweepFolder(Path(task.command[3]))
        task.log.parent.mkdir(parents=True, exist_ok=True)
        plan = folder.read_plan()
        group = plan.group(task.id)
        Here.ran.append("+".join(job.method for job in group.jobs))
        if Here.broken in Here.ran[-1].split("+"):
            task.log.write_text("Traceback\nRuntimeError: the disk melted\n")
            return 0  # exit codes say nothing
        worker.compute(plan, group, folder, Console(width=120))
        return 1


@pytest.fixture(autouse=True)
def here(monkeypatch) -> type[Here]:
    Here.ran, Here.broken = [], ""
    monkeypatch.setitem(choose.EXECUTORS, "serial", Here)
    return Here


@pytest.fixture
def recipe(tmp_path) -> str:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return "mine.yaml"


def ran() -> list[str]:
    """What ran since the last call, sorted."""
    seen, Here.ran = sorted(Here.ran), []
    return seen


def test_a_sweep_computes_writes_tables_and_then_has_nothing_to_do(zsad, recipe, tmp_path):
    said = zsad("sweep", recipe)
    assert said.code == 0, said.err
    assert said.err == ""
    assert ran() == ["clip+anomalyclip", "winclip"]
    assert "published numbers only, nothing to run: tps" in said.out
    assert "6 cells: 6 done" in said.out
    assert "\x1b" not in said.out, "colours or cursor movements although nobody watches a terminal"
    assert "tables: leaderboards/demo/README.md" in said.out
    page = (tmp_path / "leaderboards" / "demo" / "README.md").read_text()
    assert "WinCLIP" in page
    rows = store.load(tmp_path / "leaderboards" / "demo" / "rows")

    again = zsad("sweep", recipe)
    assert (again.code, ran()) == (0, [])
    assert store.load(tmp_path / "leaderboards" / "demo" / "rows") == rows
    status = zsad("status", "mine")
    assert status.code == 0
    assert status.out.splitlines()[-1] == "6 cells: 6 done"
    assert zsad("status", recipe, "--cells").out.count("done: demo_textures demo_medical") == 3


@pytest.mark.slow
def test_a_dry_run_shows_cost_and_what_is_done(zsad, recipe, tmp_path):
    first = zsad("sweep", recipe, "--dry-run")
    assert (first.code, ran()) == (0, [])
    assert first.out.count("cost unknown") == 2
    assert "6 cells: 6 waiting; time left unknown" in first.out
    assert not (tmp_path / "leaderboards").exists(), "a dry run wrote rows or tables"
    assert zsad("sweep", recipe).code == 0
    file = tmp_path / "leaderboards" / "demo" / "rows" / "winclip.jsonl"
    kept = [line for line in file.read_text().splitlines(keepends=True) if json.loads(line)["category"] != "brain"]
    file.write_text("".join(kept))
    second = zsad("sweep", recipe, "--dry-run")
    assert "5 done, 1 waiting" in second.out
    assert "winclip (image_size=32) · seed 0 · done: demo_textures; waiting: demo_medical" in second.out
    (tmp_path / "other.yaml").write_text(RECIPE.replace("epochs: 1", "epochs: 1\nseeds: [5]"))
    third = zsad("sweep", "other.yaml", "--dry-run")
    assert "cost unknown" in third.out, "the trainings of another recipe are not in this one's events"


def test_a_plan_leaves_the_gpu_to_those_who_compute(zsad, recipe, monkeypatch):
    def opened() -> str:
        raise AssertionError("the sweep's own process opened the GPU, and would hold a part of it to the end")

    monkeypatch.setattr(provenance, "device", opened)
    assert zsad("sweep", recipe, "--dry-run").code == 0


@pytest.mark.slow
def test_failures_do_not_stop_the_rest_and_are_tried_again_when_asked(zsad, recipe, here):
    here.broken = "anomalyclip"
    said = zsad("sweep", recipe)
    assert said.code == 1
    assert ran() == ["clip+anomalyclip", "winclip"]
    assert "failed: RuntimeError: the disk melted; see " in said.out
    assert "2 done, 4 failed" in said.out
    here.broken = ""
    held = zsad("sweep", recipe)
    assert (held.code, ran()) == (1, [])
    assert "failed before, --retry-failed runs it again: anomalyclip" in held.out
    status = zsad("status", "mine")
    assert status.code == 1
    assert "RuntimeError: the disk melted" in status.out
    retried = zsad("sweep", recipe, "--retry-failed")
    assert (retried.code, ran()) == (0, ["clip+anomalyclip"])
    assert "6 cells: 6 done" in retried.out


@pytest.mark.slow
def test_what_another_sweep_runs_is_waited_for(zsad, recipe, monkeypatch):
    real, waited = Here._call, []

    def busy(self, task):
        if "clip" in task.id:
            return real(self, task)
        if "--wait" not in task.command and not waited:
            waited.append(task.id)
            return worker.BUSY
        return real(self, task)

    monkeypatch.setattr(Here, "_call", busy)
    said = zsad("sweep", recipe)
    assert said.code == 0, said.out
    assert waited
    assert sorted(ran()) == ["clip+anomalyclip", "winclip"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_stop_it_and_the_next_start_goes_on(zsad, recipe, monkeypatch, number, code):
    real, closed = Here.run, []

    def interrupted(self, tasks):
        events = real(self, tasks)
        try:
            yield from (next(events), next(events))
            os.kill(os.getpid(), number)
            yield Event("tick")
        finally:
            closed.append(True)

    monkeypatch.setattr(Here, "run", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    assert zsad("sweep", recipe).code == code
    assert closed == [True], "the executor was not told to stop what runs"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(Here, "run", real)
    assert len(ran()) == 1
    assert zsad("sweep", recipe).code == 0
    assert len(ran()) == 1, "what was done was done again"


def test_cells_that_cannot_run_say_why(zsad, recipe, monkeypatch):
    from zsad_bench.errors import BackboneError

    def none(*args):
        raise BackboneError("weights not found")

    monkeypatch.setattr(opened, "load_backbone", none)
    said = zsad("sweep", recipe)
    assert (said.code, ran()) == (1, [])
    assert "cannot run: weights not found" in said.out
    assert "6 cells: 6 cannot run" in said.out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("sweep", "dmo"), 2, "unknown recipe 'dmo'; did you mean demo"),
        (("sweep", "none.yaml"), 2, "recipe none.yaml: no such file"),
        (("sweep", "demo", "--executor", "seriel"), 2, "unknown executor 'seriel'; did you mean serial"),
        (("sweep", "demo", "--together", "0"), 2, "--together 0: expected a whole number from 1"),
        (("sweep", "demo", "--threads", "-1"), 2, "--threads -1: expected a whole number from 1"),
        (("sweep", "prior_curve"), 1, "none of its cells can run here"),
        (("status", "demo"), 1, "no sweep of demo in runs/sweeps; start it with `zsad-bench sweep demo`"),
    ],
)
def test_wrong_usage_is_one_line(refused, args, code, said):
    assert said in refused(code, *args)


def test_weights_on_this_machine_take_the_place_of_the_recipes(zsad, recipe, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"read by no one here")
    for typed, stored in (("mine.safetensors", str(tmp_path / "mine.safetensors")), ("openai", "openai")):
        said = zsad("sweep", recipe, "--dry-run", "--weights", typed)
        assert said.code == 0, said.err
        (plan,) = tmp_path.glob("runs/sweeps/*/plan.json")
        assert json.loads(plan.read_text())["weights"] == stored, "workers may run in another folder"
