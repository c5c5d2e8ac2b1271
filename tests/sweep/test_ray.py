# pytest tests/sweep/test_ray.py
"""The Ray executor on two nodes with one logical GPU each, on addresses of this machine alone."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.test_executor import gone, task, until_said, without_ticks
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.sweep.executors import ray as executor
from zsad_bench.sweep.executors.ray import STARTS, Ray

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'zsad-bench[cluster]'")

LOOPBACK = {  # no other machine can reach 127.0.0.2: nothing to keep out
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": executor.STORE_BYTES}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes that this process is connected to."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in LOOPBACK.items():
            patch.setenv(name, value)
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # the GPUs are logical
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        made = Cluster(True, head_node_args={**NODE, "node_ip_address": "127.0.0.2", "include_dashboard": False})
        made.add_node(**NODE, node_ip_address="127.0.0.3")
        ray.init(address=made.address, log_to_driver=False)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield made
        ray.shutdown()
        made.shutdown()


def logs(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text() for file in folder.glob("*.log")}


def waits_for(file: Path) -> str:
    """Code that continues when the file exists."""
    return (
        f"import os, signal, time; from pathlib import Path; {file.stem} = Path({str(file)!r})\n"
        f"while not {file.stem}.exists(): time.sleep(0.05)\n"
    )


def test_tasks_start_in_order_on_one_gpu_each(nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import os, sys, time; from pathlib import Path; mine = Path(f'running{os.getpid()}'); mine.touch()\n"
        "met, until = Path('met'), time.monotonic() + 120\n"
        "while (running := len(list(Path().glob('running*')))) < 2 and not met.exists() and time.monotonic() < until:\n"
        "    time.sleep(0.05)\n"
        "running < 2 or met.touch()\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['HELLO'], sys.argv[1:], running, flush=True)\n"
        "mine.unlink(); sys.exit(3)"
    )
    names = [f"task{number}" for number in range(4)]
    events = without_ticks(Ray().run([task(tmp_path, code, name) for name in names]))
    began = [event.task for event in events if event.kind == "started"]
    # Two start at once, and which of the two nodes is heard first is chance.
    assert sorted(began) == names, f"each once, found {began}"
    assert all(abs(began.index(name) - at) <= 1 for at, name in enumerate(names)), f"out of the caller's order: {began}"
    assert all(", GPU 0" in event.where for event in events), events
    assert {event.task: event.code for event in events if event.kind == "ended"} == dict.fromkeys(names, 3)
    said = logs(tmp_path)
    assert set(said) == set(names)
    for name, line in said.items():
        gpu, hello, leash, running = line.split()
        assert (gpu, hello, leash) == ("0", "you", "['--leash']"), f"{name}: each node has GPU 0 alone, found {line}"
        assert int(running) <= 2, f"{name}: {running} tasks at once on two GPUs"
    assert "2" in {line.split()[-1] for line in said.values()}, "the second GPU stood idle"
    assert not list(tmp_path.glob(".seen-*")), "the mark that nodes look for was left behind"


def test_what_a_lost_node_ran_is_started_elsewhere(nodes, tmp_path):
    third = nodes.add_node(**NODE, node_ip_address="127.0.0.4")
    nodes.wait_for_nodes()
    free = tmp_path / "free"
    code = "import os, time; print(os.getpid(), flush=True)\n" + waits_for(free)
    started, ended, killed = [], {}, False
    for event in Ray().run([task(tmp_path, code, name) for name in ("one", "two", "three", "four")]):
        if event.kind == "started":
            started.append(event.task)
            if len(started) == 3:
                pids = {name: int(until_said(tmp_path / f"{name}.log")) for name in started}
                nodes.remove_node(third, allow_graceful=False)
                killed = True
        elif event.kind == "ended":
            ended[event.task] = event.code
        elif killed and any(gone(pid, 0.01) for pid in pids.values()):  # the lost node's took a moment to end
            free.touch()
    assert killed
    assert ended == dict.fromkeys(("one", "two", "three", "four"), 0), "a task was lost with its node"
    twice = [name for name in started if started.count(name) == 2]
    assert len(twice) == 2, f"one task ran on the third node, started: {started}"
    said = logs(tmp_path)[twice[0]].splitlines()
    assert "lost on" in said[1], f"the log does not say why there are two starts: {said}"
    assert said[1].endswith("started again")
    assert len(said) == 3
    assert gone(pids[twice[0]]), "the process of the lost node still runs"


def test_what_loses_its_ray_worker_each_time_is_given_up(nodes, tmp_path):
    heard = tmp_path / "heard"
    code = waits_for(heard) + "heard.unlink(); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"
    events = []
    for event in Ray().run([task(tmp_path, code)]):
        if event.kind == "started":
            heard.touch()  # what is lost before it could say that it began is not told as started
        events.append(event)
    events = without_ticks(events)
    assert [event.kind for event in events] == ["started"] * STARTS + ["ended"]
    assert events[-1].code is None
    assert logs(tmp_path)["one"].splitlines()[-1].endswith(f"{STARTS} times in all")


def test_closing_stops_what_runs_and_starts_nothing_more(nodes, tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    events = Ray().run([task(tmp_path, code, name) for name in ("one", "two", "three")])
    running = set()
    for event in events:
        running |= {event.task} if event.kind == "started" else set()
        if len(running) == 2:
            break
    pids = [int(until_said(tmp_path / f"{name}.log")) for name in running]
    events.close()
    assert all(map(gone, pids)), "a process still runs"
    assert set(logs(tmp_path)) == running, "what waited was started"


def test_a_node_that_sees_other_files_says_so(nodes, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def elsewhere(tasks):
        yield ".seen-by-nobody"

    monkeypatch.setattr(executor, "_marked", elsewhere)
    events = without_ticks(Ray().run([task(tmp_path, "print('ran')")]))
    assert [(event.kind, event.code) for event in events] == [("started", None), ("ended", 1)]
    (line,) = logs(tmp_path)["one"].splitlines()
    assert "does not see the files of the machine that the sweep was started on" in line
    monkeypatch.undo()
    with_python = task(tmp_path, "", "two")
    nowhere = type(with_python)("two", ("/no/python", "-c", ""), with_python.log)
    assert without_ticks(Ray().run([nowhere]))[-1].code == 1
    assert "has no /no/python; every node needs the same environment" in logs(tmp_path)["two"]


def test_what_can_never_run_is_told(nodes, tmp_path, monkeypatch):
    sizes = {"GPU": 0.0, "CPU": 1.0}
    monkeypatch.setattr(executor, "_largest", lambda resource: sizes[resource])
    with pytest.raises(UsageError, match=r"a task takes 2 CPUs .* the largest node of the Ray cluster has 1 CPUs"):
        next(Ray(threads=2).run([task(tmp_path, "")]))
    assert [event.code for event in Ray(threads=1).run([task(tmp_path, "")]) if event.kind == "ended"] == [0]
    sizes["GPU"] = 1.0
    monkeypatch.setattr(executor, "DESERTED_SECONDS", 0.0)
    monkeypatch.setattr(executor, "_need", lambda threads: {"num_gpus": 9, "num_cpus": 0})
    with pytest.raises(ZsadError, match=r"no node for a task \(9 GPU\)"):
        list(Ray().run([task(tmp_path, "")]))


def test_nothing_to_do_starts_no_cluster(monkeypatch):
    monkeypatch.setattr(executor, "_connected", None)
    assert list(Ray().run([])) == []
