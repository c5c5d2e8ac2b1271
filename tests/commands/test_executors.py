# pytest tests/commands/test_executors.py
"""`bench` on several GPUs computes what it computes on one; options and what is seen say where groups run."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from zsad_bench.commands import sweep
from zsad_bench.console import Console
from zsad_bench.options import parse
from zsad_bench.results import rows as store
from zsad_bench.runner.provenance import run_id
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors import Event, choose
from zsad_bench.sweep.executors.serial import Serial
from zsad_bench.sweep.sweep_folder import SweepFolder

COMMON = ("--suite", "demo", "--epochs", "1", "--set", "image_size=32")


class Here:
    """Takes the place of Ray and calls the worker in this process; `broken` methods fail, and what ran is noted."""

    ran: list[list[str]]
    broken = ""

    def __init__(self, *of) -> None:
        self.of = of

    def run(self, tasks):
        for task in tasks:
            yield Event("started", task.id, "here, GPU 1")
            folder = SweepFolder(Path(task.command[3]))
            task.log.parent.mkdir(parents=True, exist_ok=True)
            plan = folder.read_plan()
            group = plan.group(task.id)
            names = [job.method for job in group.jobs]
            Here.ran.append(names)
            if Here.broken not in names:
                worker.compute(plan, group, folder, Console(width=120))
            else:
                task.log.write_text("RuntimeError: the disk melted\n")
            yield Event("ended", task.id, "here, GPU 1", 0)


@pytest.fixture
def two(monkeypatch, small) -> type[Here]:
    """A machine with two GPUs, whose Ray is this process."""
    Here.ran, Here.broken = [], ""
    monkeypatch.setattr(choose, "visible_gpus", lambda: 2)
    monkeypatch.setattr(choose, "Ray", Here)
    return Here


def bench(zsad, out: str, *args: str):
    return zsad("bench", *COMMON, "--out", out, "--runs", f"runs-{out}", *args)


def without_costs(page: str) -> list[list[str]]:
    """The cells of a page without those of seconds and memory, which no two runs have in common."""
    lines, costs = [], set()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if any("encode + score" in cell for cell in cells):
            costs = {number for number, cell in enumerate(cells) if "encode + score" in cell or "peak" in cell}
            assert len(costs) == 2, line
        lines.append([cell for number, cell in enumerate(cells) if number not in costs or len(cells) < 3])
    assert costs, "no costs on the page"
    return lines


def values(board) -> dict:
    return {(row.key, row.category, row.metric): row.value for row in store.load(board / "demo" / "rows")}


@pytest.mark.slow
def test_bench_on_two_gpus_gives_the_rows_of_one(zsad, two, tmp_path):
    asked = ("--method", "clip,anomalyclip,random", "--prior", "limited,rich", "--seed", "0,1",
             "--targets", "demo_textures")  # fmt: skip
    one = bench(zsad, "one", *asked, "--gpus", "1")
    assert (one.code, two.ran) == (0, []), one.err
    several = bench(zsad, "two", *asked)
    assert several.code == 0, several.err
    assert "ray on 2 GPUs" in several.out
    assert "started on here, GPU 1" in several.out
    assert len(two.ran) >= 4, f"two groups per GPU, so that both have something to do to the end; found {two.ran}"
    assert values(tmp_path / "two") == values(tmp_path / "one")
    pages = [(tmp_path / out / "demo" / "README.md").read_text() for out in ("one", "two")]
    assert without_costs(pages[0]) == without_costs(pages[1])


@pytest.mark.slow
def test_bench_on_two_gpus_computes_again_and_says_what_failed(zsad, two, tmp_path):
    asked = ("--method", "anomalyclip,random", "--prior", "limited", "--targets", "demo_textures")
    assert bench(zsad, "two", *asked).code == 0
    assert len({row.run_id for row in store.load(tmp_path / "two" / "demo" / "rows")}) == 2
    trained = len(list((tmp_path / "runs-two").glob("*/anomalyclip.safetensors")))
    two.broken, ran = "random", len(two.ran)
    again = bench(zsad, "two", *asked)
    assert again.code == 1
    assert "failed: RuntimeError: the disk melted" in again.out
    assert "of 1 groups did not complete" in again.err or "of 2 groups did not complete" in again.err, again.err
    two.broken = ""
    assert bench(zsad, "two", *asked).code == 0
    assert len(two.ran) > ran + 1, "a bench must not take older rows for its own"
    assert len(list((tmp_path / "runs-two").glob("*/anomalyclip.safetensors"))) > trained, "nor older checkpoints"
    assert store.current(store.load(tmp_path / "two" / "demo" / "rows")).conflicts == []


@pytest.mark.slow
def test_bench_on_two_gpus_leaves_out_and_refuses_as_on_one(zsad, refused, two, tmp_path):
    said = bench(zsad, "two", "--method", "clip,coop", "--prior", "demo_textures", "--targets", "demo_medical")
    assert said.code == 0, said.err
    line = refused(1, "bench", *COMMON, "--method", "coop", "--prior", "demo_textures", "--targets", "demo_textures")
    assert "dataset 'demo_textures' is both auxiliary and target" in line
    line = refused(2, "bench", *COMMON, "--method", "coop", "--prior", "rich", "--checkpoint", "x", "--executor", "ray")
    assert "--checkpoint is tested here" in line


@pytest.mark.parametrize(
    ("visible", "args", "found"),
    [
        (0, (), ("serial", 0)),
        (1, (), ("serial", 1)),
        (4, (), ("ray", 4)),
        (4, ("--gpus", "1"), ("serial", 1)),
        (4, ("--gpus", "3"), ("ray", 3)),
        (4, ("--executor", "serial"), ("serial", 1)),
        (0, ("--executor", "ray"), ("ray", 0)),
        (4, ("--executor", "slurm"), ("slurm", 0)),
    ],
)
def test_where_groups_run(monkeypatch, visible, args, found):
    choice = chosen(monkeypatch, visible, *args)
    assert (choice.executor, choice.gpus) == found


def chosen(monkeypatch, visible: int, *args: str) -> choose.ExecutorChoice:
    monkeypatch.setattr(choose, "visible_gpus", lambda: visible)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = parse(sweep.Options, ["demo", *args])
    return choose.choose(options.executors, options.threads, options.at_once, 2.0)


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(choose.os, "sched_getaffinity", lambda pid: set(range(16)))
    assert chosen(monkeypatch, 4).threads == 4
    assert chosen(monkeypatch, 4, "--gpus", "1").threads == 16
    assert chosen(monkeypatch, 4, "--threads", "9").threads == 9
    assert chosen(monkeypatch, 4, "--executor", "slurm").threads == choose.JOB_THREADS
    assert isinstance(chosen(monkeypatch, 0).open(), Serial)


@pytest.mark.parametrize(
    ("free", "args", "omp", "at_once", "threads"),
    [
        (64.0, (), None, 16, 1),
        (9.0, (), None, 4, 4),  # two GiB each
        (0.5, (), None, 1, 16),
        (64.0, ("--threads", "4"), None, 4, 4),
        (64.0, (), "16", 1, 16),
        (64.0, ("--at-once", "3"), None, 3, 5),
        (64.0, ("--at-once", "3", "--threads", "2"), None, 3, 2),
        (64.0, ("--executor", "ray"), None, 1, 16),
    ],
)
def test_groups_share_a_machine_without_gpus(monkeypatch, free, args, omp, at_once, threads):
    monkeypatch.delenv("OMP_NUM_THREADS")
    if omp:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(choose.os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(choose, "free_memory", lambda: free * 2**30)
    choice = chosen(monkeypatch, 0, *args)
    assert (choice.at_once, choice.threads) == (at_once, threads)


def test_few_groups_get_more_cores_each(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(choose.os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(choose, "free_memory", lambda: 64 * 2**30)
    few = chosen(monkeypatch, 0).for_groups(3)
    assert (few.at_once, few.threads) == (3, 5)
    assert few.open().at_once == 3
    assert chosen(monkeypatch, 0, "--threads", "2").for_groups(3).threads == 2
    assert chosen(monkeypatch, 1).for_groups(0).threads == 16


@pytest.mark.parametrize(
    ("visible", "args", "code", "said"),
    [
        (1, ("--at-once", "2"), 2, "--at-once 2: is for groups on this machine's CPU; with GPUs one group runs on"),
        (0, ("--at-once", "2", "--executor", "slurm"), 2, "--at-once 2: is for groups on this machine's CPU; slurm"),
        (0, ("--at-once", "0"), 2, "--at-once 0: expected"),
        (4, ("--gpus", "5"), 2, "--gpus 5: visible here: 4; give a number up to that"),
        (4, ("--gpus", "0"), 2, "--gpus 0: visible here: 4"),
        (0, ("--gpus", "1"), 2, "--gpus 1: visible here: 0"),
        (4, ("--gpus", "2", "--executor", "serial"), 2, "--gpus 2: serial uses one"),
        (4, ("--gpus", "2", "--executor", "slurm"), 2, "--gpus 2: is for this machine's GPUs"),
        (1, ("--slurm", "partition=gpu"), 2, "--slurm partition=gpu: goes with --executor slurm"),
        (1, ("--slurm", "=gpu", "--executor", "slurm"), 2, "--slurm =gpu: expected an option of sbatch"),
        (1, ("--executor", "rya"), 2, "unknown executor 'rya'; did you mean ray"),
    ],
)
def test_wrong_places_are_one_line(refused, monkeypatch, visible, args, code, said):
    monkeypatch.setattr(choose, "visible_gpus", lambda: visible)
    assert said in refused(code, "sweep", "demo", *args)


def test_several_gpus_never_become_one_for_want_of_ray(refused, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == "ray" else real(name, *of))
    monkeypatch.setattr(choose, "visible_gpus", lambda: 2)
    asked = ("bench", "--method", "clip", "--prior", "rich")
    for args in (asked, ("sweep", "demo")):
        line = refused(1, *args)
        assert "2 GPUs are visible, and several need Ray: pip install 'zsad-bench[cluster]', or --gpus 1" in line
    assert "Ray is not installed" in refused(1, "sweep", "demo", "--executor", "ray")


def test_a_run_that_begins_later_sorts_behind():
    ids = []
    for _ in range(5):
        ids.append(run_id())
        time.sleep(0.002)
    assert ids == sorted(ids), "a bench would not count what began after it"
