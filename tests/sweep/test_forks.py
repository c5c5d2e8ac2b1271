# pytest tests/sweep/test_forks.py
"""A forked worker behaves as one that is started by itself; several at once; and neither outlives its sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep.test_executor import ROOT, gone, task, without_ticks
from zsad_bench.locks import locked
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.plan import plan
from zsad_bench.results import rows as store
from zsad_bench.sweep import forks, worker
from zsad_bench.sweep.executors import Task
from zsad_bench.sweep.executors.serial import Serial, start, stop, wait
from zsad_bench.sweep.forks import Fork, ForkServer
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder

RECIPE = """
suite: demo
methods: [clip, random]
priors: [limited]
targets: [demo_textures]
settings: {image_size: 36}
data:
  "*": {scale: 0.04, workers: 0}
"""
SECONDS = 240.0  # that only a fault takes
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not forks.can_fork(), reason="this system does not fork")]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ForkServer]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    made = ForkServer({**os.environ, **worker.environment(2)}, log)
    yield made
    made.close()
    assert made.process.returncode == 0, log.read_text()


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    """Of a sweep with two groups."""
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE)
    stored = StoredPlan.of(plan(recipes.load(file), together=1), tmp_path / "board", tmp_path / "runs")
    made = SweepFolder(tmp_path / "sweep")
    made.write(stored, {})
    return made


def group_of(folder: SweepFolder) -> str:
    return folder.read_plan().groups[0].id


@pytest.fixture
def waiting(server, folder, tmp_path) -> Iterator[Fork]:
    """A fork that runs, and waits for a lock that is held here."""
    group = group_of(folder)
    folder.lock(group).parent.mkdir(parents=True)
    with locked(folder.lock(group), 0):
        fork = server.start([str(folder.path), group, "--wait", "--leash"], tmp_path / "log")
        until = time.monotonic() + SECONDS
        while fork.pid is None or Path(f"/proc/{fork.pid}/stat").read_text().split()[2] != "S":
            assert time.monotonic() < until, "the fork does not wait for the lock"
            server.listen(0.1)
        yield fork
        stop(fork)


def test_a_forked_worker_says_and_returns_what_a_started_one_does(server, tmp_path):
    command = worker.command(SweepFolder(tmp_path / "nothing"), "abc")
    arguments = worker.arguments(command)
    assert arguments == [str(tmp_path / "nothing"), "abc"]
    fork = server.start([*arguments, "--leash"], tmp_path / "forked.log")
    process = start(Task("abc", command, tmp_path / "started.log", worker.environment(1)))
    assert (fork.wait(SECONDS), process.wait(SECONDS)) == (1, 1)
    stop(process)
    said = (tmp_path / "forked.log").read_text()
    assert said == (tmp_path / "started.log").read_text()
    assert said.startswith("zsad-bench: no plan in ")
    again = server.start([*arguments, "--leash"], tmp_path / "forked.log")
    again.wait(SECONDS)
    assert (tmp_path / "forked.log").read_text() == said * 2, "a second try must not lose the first one's log"
    wrong = server.start(["--nonsense"], tmp_path / "wrong.log")
    assert wrong.wait(SECONDS) == 2
    assert "usage: python -m zsad_bench.sweep.worker" in (tmp_path / "wrong.log").read_text()


def test_a_fork_has_a_session_of_its_own_and_no_file_of_the_server(waiting, server):
    assert waiting.poll() is None
    assert os.getsid(waiting.pid) == waiting.pid, "Ctrl-C in the terminal must reach a worker through its sweep alone"
    named = [str(file.readlink()) for file in Path(f"/proc/{waiting.pid}/fd").iterdir()]
    assert sum(name.startswith("pipe:") for name in named) == 1, f"only its leash: {named}"


def test_signals_reach_a_fork(waiting):
    assert wait(waiting, 0.1) is None
    waiting.terminate()
    assert waiting.wait(SECONDS) == worker.STOPPED
    waiting.terminate()  # of one that ended: nothing


def test_a_killed_fork_says_so(waiting):
    waiting.kill()
    assert waiting.wait(SECONDS) == -signal.SIGKILL


def test_another_process_runs_the_group(server, folder, tmp_path):
    group = group_of(folder)
    folder.lock(group).parent.mkdir(parents=True)
    with locked(folder.lock(group), 0):
        assert server.start([str(folder.path), group, "--leash"], tmp_path / "log").wait(SECONDS) == worker.BUSY


def test_nothing_runs_in_the_server_before_it_forks():
    code = (
        "import os, threading; from zsad_bench.sweep import fork_server; import numpy, scipy.linalg, cv2; "
        "before = len(os.listdir('/proc/self/task')); fork_server.preload(); import torch; "
        "print(len(os.listdir('/proc/self/task')) - before, threading.active_count(), torch.cuda.is_initialized(), "
        "'zsad_bench.methods.dive' in __import__('sys').modules)"
    )
    environment = {**os.environ, **worker.environment(2)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    # Only what numpy's, scipy's and OpenCV's BLAS had before.
    assert done.stdout.split() == ["0", "1", "False", "True"], done.stdout + done.stderr


def test_forks_end_with_a_sweep_that_is_killed(folder, tmp_path):
    """The sweep is killed without a chance to clean up, and the server and its fork notice."""
    group = group_of(folder)
    folder.lock(group).parent.mkdir(parents=True)
    arguments = [str(folder.path), group, "--wait", "--leash"]
    code = (
        "import os, sys; from pathlib import Path; from zsad_bench.sweep import worker; "
        "from zsad_bench.sweep.forks import ForkServer; "
        f"server = ForkServer({{**os.environ, **worker.environment(1)}}, Path({str(tmp_path / 'server.log')!r})); "
        f"fork = server.start({arguments!r}, Path({str(tmp_path / 'log')!r}))\n"
        "while fork.pid is None: server.listen(1)\n"
        "print(server.process.pid, fork.pid, flush=True); fork.wait()"
    )
    with locked(folder.lock(group), 0):
        sweep = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        pids = [int(word) for word in sweep.stdout.readline().split()]
        sweep.kill()
        sweep.communicate()
        assert all(gone(pid, SECONDS) for pid in pids), "a process outlives its sweep"


def test_a_server_that_ends_ends_its_forks_and_the_next_task_gets_another(folder, tmp_path):
    """A server that cannot even import: the groups fail, each with an exit code, and nothing hangs."""
    broken = tmp_path / "broken" / "torch.py"
    broken.parent.mkdir()
    broken.write_text("raise SystemExit(9)")
    environment = {**worker.environment(1), "PYTHONPATH": os.pathsep.join([str(broken.parent), str(ROOT)])}
    tasks = [Task(group.id, worker.command(folder, group.id), folder.log(group.id), environment)
             for group in folder.read_plan().groups]  # fmt: skip
    events = without_ticks(Serial().run(tasks))
    assert [(event.kind, event.code) for event in events] == [("started", None), ("ended", 9)] * len(tasks)


def test_without_forks_each_is_started_and_its_log_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(forks, "can_fork", lambda: False)
    command = worker.command(SweepFolder(tmp_path / "nothing"), "abc")
    ended = without_ticks(Serial().run([Task("abc", command, tmp_path / "log", worker.environment(1))]))[-1]
    assert ended.code == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert forks.WITHOUT in lines
    assert any("no plan in" in line for line in lines)


# --- several at once --------------------------------------------------------------------------------------------------


def test_tasks_run_side_by_side_and_the_next_starts_when_one_ends(tmp_path):
    """The first waits for the file that the third writes, so they must overlap, and never three at once."""
    mark = tmp_path / "mark"
    until = f"import os, time\nwhile not os.path.exists({str(mark)!r}): time.sleep(0.05)"
    tasks = [task(tmp_path, until, "one"), task(tmp_path, "", "two"), task(tmp_path, f"open({str(mark)!r}, 'w')", "3")]
    running, most, order = set(), 0, []
    for event in without_ticks(Serial(2).run(tasks)):
        (running.add if event.kind == "started" else running.remove)(event.task)
        most = max(most, len(running))
        order.append((event.kind, event.task))
    assert most == 2
    assert order[:4] == [("started", "one"), ("started", "two"), ("ended", "two"), ("started", "3")]


def test_closing_stops_all_that_run(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    events = Serial(3).run([task(tmp_path, code, name) for name in ("one", "two", "three", "never")])
    until = time.monotonic() + SECONDS
    logs = [tmp_path / f"{name}.log" for name in ("one", "two", "three")]
    for _ in events:
        assert time.monotonic() < until
        if all(log.is_file() and log.read_text().endswith("\n") for log in logs):
            break
    events.close()
    assert all(gone(int(log.read_text())) for log in logs), "a process still runs"
    assert not (tmp_path / "never.log").exists()


def test_a_sweep_side_by_side_gives_the_rows_of_one_after_the_other(tmp_path):
    methods = "[clip, random, winclip, anomalyclip]\nepochs: 1"
    (tmp_path / "mine.yaml").write_text(RECIPE.replace("[clip, random]", methods))
    boards, said = {}, {}
    for at_once in ("1", "2"):
        command = [sys.executable, "-m", "zsad_bench.cli", "sweep", "mine.yaml", "--at-once", at_once, "--threads", "1",
                   "--track", "off", "--out", f"board{at_once}", "--runs", f"runs{at_once}"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = store.load(tmp_path / f"board{at_once}" / "demo" / "rows")
        boards[at_once] = {(row.key, row.category, row.metric): row.value for row in rows}
        said[at_once] = done.stdout
        assert len(rows) == len(boards[at_once]), "a row is there twice"
    assert boards["1"].keys() == boards["2"].keys()
    assert boards["1"] == pytest.approx(boards["2"], abs=1e-6, nan_ok=True)
    assert "2 groups at a time" in said["2"]
    assert "groups at a time" not in said["1"]
    logs = list((tmp_path / "runs2" / "sweeps" / "mine" / "logs").glob("*.log"))
    assert all("Traceback" not in log.read_text() for log in logs)
