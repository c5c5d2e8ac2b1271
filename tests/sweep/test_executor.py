# pytest tests/sweep/test_executor.py
"""The serial executor, and sweeps that are killed: what is started ends with us, and nothing that was done is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zsad_bench.planning.plan import Job, JobGroup
from zsad_bench.results import rows as store
from zsad_bench.runner.expected_rows import ExpectedRows
from zsad_bench.sweep.executors import Event, Task
from zsad_bench.sweep.executors.serial import Serial
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import RowIndex, cost, trained_seconds

ROOT = Path(__file__).resolve().parents[2]


def task(folder: Path, code: str, name: str = "one") -> Task:
    return Task(name, (sys.executable, "-c", code), folder / f"{name}.log", {"HELLO": "you"})


def without_ticks(events) -> list[Event]:
    return [event for event in events if event.kind != "tick"]


def gone(pid: int, seconds: float = 120) -> bool:
    """Whether a process ended, waiting for it so long at most; one that nobody waited for counts."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def until_said(log: Path, seconds: float = 120) -> str:
    """What a log says, as soon as it says something."""
    until = time.monotonic() + seconds
    while not (log.is_file() and log.read_text().endswith("\n")):
        assert time.monotonic() < until, f"{log}: nothing after {seconds} s"
        time.sleep(0.05)
    return log.read_text()


# --- the executor -----------------------------------------------------------------------------------------------------


def test_tasks_run_in_order_with_their_environment_and_log(tmp_path):
    tasks = [
        task(tmp_path, "import os, sys; print(os.environ['HELLO'], sys.argv[1:]); sys.exit(3)", "one"),
        task(tmp_path, "print('fine')", "two"),
    ]
    events = without_ticks(Serial().run(tasks))
    assert [(event.kind, event.task, event.code) for event in events] == [
        ("started", "one", None), ("ended", "one", 3), ("started", "two", None), ("ended", "two", 0),
    ]  # fmt: skip
    assert (tmp_path / "one.log").read_text() == "you ['--leash']\n"
    list(Serial().run(tasks[1:]))
    assert (tmp_path / "two.log").read_text() == "fine\n" * 2, "a second try must not lose the first one's log"


def test_closing_stops_what_runs(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    events = Serial().run([task(tmp_path, code)])
    assert next(events).kind == "started"
    assert next(events).kind == "tick"
    events.close()
    assert gone(int((tmp_path / "one.log").read_text())), "the process still runs"


def test_a_worker_ends_when_its_sweep_is_killed(tmp_path):
    """Through the worker's own leash, in a process that is killed without a chance to clean up."""
    code = (
        "import os, sys, threading, time; from zsad_bench.sweep import worker; "
        "threading.Thread(target=worker._end_with_input, daemon=True).start(); "
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = (
        "import sys; from pathlib import Path; from zsad_bench.sweep.executors import Task; "
        "from zsad_bench.sweep.executors.serial import Serial; "
        f"list(Serial().run([Task('one', (sys.executable, '-c', {code!r}), Path({str(tmp_path / 'log')!r}))]))"
    )
    sweep = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT)
    pid = int(until_said(tmp_path / "log"))
    sweep.kill()
    sweep.wait()
    assert gone(pid), "the worker outlives its sweep"


# --- what is read from files ------------------------------------------------------------------------------------------


@pytest.fixture
def group() -> JobGroup:
    targets = ("visa", "btad")
    return JobGroup(tuple(Job(name, {}, None, "limited", None, 0, (), True, targets) for name in ("coop", "dive")))


def expected(group: JobGroup) -> dict[str, ExpectedRows]:
    keys = {cell.id: f"{cell.job.method} {cell.target}" for cell in group.cells}
    return {id_: ExpectedRows(key, ("a", "b"), ("m",), 8, "tiny") for id_, key in keys.items()}


def line(method: str, target: str, category: str, seconds: float = 1.0) -> str:
    row = {"key": f"{method} {target}", "category": category, "metric": "m", "method": method, "target": target,
           "image_size": 8, "backbone": "tiny", "seconds": seconds}  # fmt: skip
    return json.dumps(row) + "\n"


def test_done_is_what_has_all_its_rows(tmp_path, group):
    cells, board = expected(group), RowIndex(tmp_path)
    assert not any(board.refresh().is_done(cell) for cell in cells.values()), "an empty board has no cell"
    file = tmp_path / "rows" / "coop.jsonl"
    file.parent.mkdir()
    file.write_text(line("coop", "visa", "a") + line("coop", "visa", "b")[:-9])
    assert not any(board.refresh().is_done(cell) for cell in cells.values()), "a half-written line counts as a row"
    file.write_text(line("coop", "visa", "a") + line("coop", "visa", "b") + "nonsense\n")
    assert [board.refresh().is_done(cell) for cell in cells.values()] == [True, False, False, False]
    file.write_text(line("coop", "visa", "a"))
    assert not any(board.refresh().is_done(cell) for cell in cells.values()), "rows were taken away again"
    assert not board.is_done("no weights")
    assert not board.is_done(None)


def test_cost_is_of_what_is_missing_and_was_measured(tmp_path, group):
    cells, board = expected(group), RowIndex(tmp_path)
    told = [{"kind": "trained", "method": name, "variant": "", "prior": "limited", "seconds": s}
            for name, s in (("coop", 99.0), ("coop", 10.0), ("dive", 5.0))]  # fmt: skip
    assert cost(group, cells, board, trained_seconds(told)) is None
    file = tmp_path / "rows" / "all.jsonl"
    file.parent.mkdir()
    # The very cells are not there (other keys), but the same methods were seen on the same targets.
    seen = [
        (name, target, c, s) for name, s in (("coop", 1.0), ("dive", 3.0)) for target in group.targets for c in "ab"
    ]
    file.write_text("".join(line(*one).replace('"key": "', '"key": "other ') for one in seen))
    trained = trained_seconds(told)
    assert cost(group, cells, board.refresh(), trained) == 10 + 5 + 6 + 6, "trainings, and the longest of each target"
    with file.open("a") as more:
        more.write("".join(line("coop", target, c, 1.0) for target in group.targets for c in "ab"))
    assert cost(group, cells, board.refresh(), trained) == 5 + 6 + 6, "CoOp is done"


def test_events_of_killed_writers_are_passed_over(tmp_path):
    folder = SweepFolder(tmp_path)
    assert folder.read_events() == []
    folder.tell("started", "g", where="here")
    with folder.events.open("a") as file:
        file.write('{"kind": "do\n')
    folder.tell("done", "g", seconds=1)
    assert [event["kind"] for event in folder.read_events()] == ["started", "done"]


def test_only_what_shows_signs_of_life_runs(tmp_path):
    folder = SweepFolder(tmp_path)
    assert folder.runs_where("g") == ""
    folder.alive("g").parent.mkdir()
    folder.alive("g").write_text("there, pid 3")
    assert folder.runs_where("g") == "there, pid 3"
    os.utime(folder.alive("g"), (time.time() - 60,) * 2)
    assert folder.runs_where("g") == ""


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_survives_being_killed_twenty_times_and_a_second_one_beside_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweep.killed", str(tmp_path), "0", "20"],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["codes"].values()) == {0}, f"sweeps that were left alone failed: {said}"
    assert said["died"][0], f"the first sweep was not killed while it ran: {said}"
    sides = ("whole", "killed", "together")
    boards = {name: store.load(tmp_path / name / "boards" / "demo" / "rows") for name in sides}
    values = {name: {(r.key, r.category, r.metric): r.value for r in rows} for name, rows in boards.items()}
    assert values["killed"] == values["whole"], "rows are missing, too many, or others than without the kills"
    assert values["together"] == values["whole"], "two sweeps at once gave other rows than one"
    for name, rows in boards.items():
        assert len(rows) == len(values[name]), f"{name}: a row is there twice"
    events = SweepFolder(tmp_path / "killed" / "runs" / "sweeps" / "mini").read_events()
    trained = [event["group"] for event in events if event["kind"] == "trained"]
    assert len(trained) <= 2, f"a training that was saved was repeated: {trained}"
    assert any(event["kind"] == "trained" for event in events)
