# pytest tests/sweep/test_ray_sweep.py -m slow
"""Whole sweeps and benches through Ray: a node is killed, the command is stopped, and nothing is lost or left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.test_executor import ROOT
from tests.sweep.test_ray import LOOPBACK, NODE
from zsad_bench.results import rows as store

pytest.importorskip("ray", reason="Ray is not installed: pip install 'zsad-bench[cluster]'")
pytestmark = pytest.mark.slow
RECIPE = """
suite: demo
methods: [clip, anomalyclip, random]
priors: [limited]
targets: [demo_textures, demo_medical]
seeds: [0, 1]
settings: {image_size: 36}
epochs: 1
data:
  "*": {scale: 0.04, workers: 0}
"""


# Read by every Python that finds it on its path: a group that began waits, on its leash, until the test says go.
HOLD = """
import sys, time
from pathlib import Path


class Hold:
    def find_spec(self, name, path=None, target=None):
        if name == "zsad_bench.runner.run_group" and "zsad_bench.sweep.worker" in sys.orig_argv:
            while not Path(__file__).with_name("go").exists():
                time.sleep(0.05)


sys.meta_path.insert(0, Hold())
"""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes with one logical GPU each, in processes of their own."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in LOOPBACK.items():
            patch.setenv(name, value)
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        handler = signal.getsignal(signal.SIGTERM)
        made = Cluster(True, head_node_args={**NODE, "node_ip_address": "127.0.0.2", "include_dashboard": False})
        made.second = made.add_node(**NODE, node_ip_address="127.0.0.3")
        signal.signal(signal.SIGTERM, handler)
        yield made
        made.shutdown()


def command(folder: Path, *args: str, hold: bool = False, **environment: str) -> subprocess.Popen[str]:
    """hold: its groups wait for a file `go` in the folder."""
    (folder / "mini.yaml").write_text(RECIPE)
    if hold:
        (folder / "sitecustomize.py").write_text(HOLD)
    return subprocess.Popen(
        [sys.executable, "-m", "zsad_bench.cli", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, folder))), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until(process: subprocess.Popen[str], words: str, times: int = 1) -> str:
    """What it printed up to the line that holds these words for the last of so many times."""
    said = ""
    for line in process.stdout:
        said += line
        if said.count(words) == times:
            return said
    raise AssertionError(f"it ended without {words!r}:\n{said}")


def left_behind(mark: str, seconds: float) -> list[str]:
    """The command lines of processes with this mark in their environment, once there are none or the time is over."""
    end = time.monotonic() + seconds
    while True:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_text(errors="replace"):
                    found.append((folder / "cmdline").read_text(errors="replace").replace("\0", " "))
            except OSError:
                continue
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.5)


def test_a_sweep_outlives_a_node(cluster, tmp_path):
    args = ("sweep", "mini.yaml", "--executor", "ray", "--together", "1", "--threads", "1")
    sweep = command(tmp_path, *args, hold=True, RAY_ADDRESS=cluster.address)
    said = until(sweep, ": started on", 2)
    cluster.remove_node(cluster.second, allow_graceful=False)
    (tmp_path / "go").touch()
    said += sweep.stdout.read()
    assert sweep.wait(120) == 0, said
    assert "10 cells: 10 done" in said
    groups = int(said.partition(" groups")[0].rpartition(" ")[2])
    assert said.count(": started on") == groups + 1, f"one group ran on the lost node and was started again:\n{said}"
    assert said.count(", GPU 0\n") == groups + 1, f"a task takes one GPU, and each node has GPU 0 alone:\n{said}"
    rows = store.load(tmp_path / "leaderboards" / "demo" / "rows")
    assert store.current(rows).conflicts == []
    assert len({(row.key, row.category, row.metric) for row in rows}) == len(rows), "a row is there twice"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_command_that_ends_leaves_no_process(tmp_path, number, code):
    """Without a GPU, on a Ray that the command starts itself, with Ray's token in a home of the test's own."""
    mark = uuid.uuid4().hex
    args = ("sweep", "mini.yaml", "--executor", "ray", "--together", "1", "--threads", "1")
    sweep = command(tmp_path, *args, hold=True, ZSAD_TEST_MARK=mark, HOME=str(tmp_path), CUDA_VISIBLE_DEVICES="")
    until(sweep, ": started on")
    assert left_behind(mark, 0), "the mark is not found in running processes"
    # A terminal's Ctrl-C goes to all that it started; `kill` to the one process, while Ray's own are there to be ended.
    os.killpg(sweep.pid, number) if number == signal.SIGINT else os.kill(sweep.pid, number)
    got = sweep.wait(120)
    assert got == code, sweep.stdout.read()[-3000:]
    assert left_behind(mark, 120) == []  # after SIGKILL some helpers of Ray take a while to notice


def test_bench_on_a_cluster_computes_each_time(cluster, tmp_path):
    args = ("bench", "--method", "clip,anomalyclip", "--prior", "limited", "--seed", "0,1", "--suite", "demo",
            "--targets", "demo_textures", "--epochs", "1", "--set", "image_size=36", "--data", "scale=0.04",
            "--data", "workers=0", "--executor", "ray")  # fmt: skip
    for times in (1, 2):
        bench = command(tmp_path, *args, RAY_ADDRESS=cluster.address)
        said, _ = bench.communicate(timeout=300)
        assert bench.returncode == 0, said
        rows = store.load(tmp_path / "leaderboards" / "demo" / "rows")
        each = {(row.key, row.category, row.metric) for row in rows}
        assert len(rows) == times * len(each), "a bench always computes"
        assert {(row.method, row.seed) for row in rows} == {("clip", 0), ("anomalyclip", 0), ("anomalyclip", 1)}


def test_no_cluster_where_one_is_named(tmp_path):
    sweep = command(tmp_path, "sweep", "mini.yaml", "--executor", "ray", RAY_ADDRESS="127.0.0.2:1", **LOOPBACK)
    said, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    assert "Ray could not be reached at RAY_ADDRESS=127.0.0.2:1: " in said.splitlines()[-1], said
