# pytest tests/sweep/test_real_slurm.py -m slow
"""The Slurm executor on a Slurm of our own: one node, two character devices for GPUs, and a partition that pre-empts.

Needs slurmctld, slurmd and munged (Debian: slurm-wlm, munge); nothing of them is configured or started outside a
temporary folder.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep.test_executor import ROOT, gone, task, until_said, without_ticks
from zsad_bench.sweep.executors import slurm as executor
from zsad_bench.sweep.executors.slurm import Slurm

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'zsad-bench[slurm]'")
MISSING = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]

CONF = """
ClusterName=zsad
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts again when its credential has expired: in seconds here, in two minutes by default.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={control}
SlurmdPort={daemon}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=10 State=UP
PartitionName=abrupt Nodes=ALL PriorityTier=1 GraceTime=0 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 State=UP
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Path]:
    """The folder of a running Slurm that SLURM_CONF names."""
    folder = tmp_path_factory.mktemp("slurm")
    host, (control, daemon) = socket.gethostname().split(".")[0], _free_ports(2)
    names = {"host": host, "user": getpass.getuser(), "folder": folder, "control": control, "daemon": daemon}
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o400)
    (folder / "slurm.conf").write_text(CONF.format(**names))
    gpus = [f"NodeName={host} Name=gpu File={device}\n" for device in ("/dev/null", "/dev/zero")]
    (folder / "gres.conf").write_text("".join(gpus))
    parts = [f"--{name}={folder}/munge/{name.removesuffix('-file')}" for name in
             ("key-file", "socket", "pid-file", "log-file", "seed-file")]  # fmt: skip
    commands = (["munged", "--force", "--foreground", *parts], ["slurmctld", "-D"], ["slurmd", "-D"])
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        for command in commands:
            with (folder / f"{command[0]}.out").open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=out)
            stack.callback(_end, process)
            time.sleep(1)
        until = time.monotonic() + 60
        while "idle" not in subprocess.run(["sinfo"], capture_output=True, text=True).stdout:
            assert time.monotonic() < until, (folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.5)
        yield folder


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(executor, "POLL_SECONDS", 0.5)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def states() -> dict[str, str]:
    """Job -> state, of jobs that are not over."""
    found = executor.queue()
    assert found is not None, "squeue does not answer"
    return {job: state for job, (state, _) in found.items() if state not in executor.OVER}


def test_jobs_run_in_order_on_a_gpu_each(cluster, tmp_path):
    code = "import os, sys, time; time.sleep(3); print(os.environ['CUDA_VISIBLE_DEVICES'], sys.argv[1:]); sys.exit(3)"
    names = ["one", "two", "three"]
    events = without_ticks(Slurm().run([task(tmp_path / "logs", code, name) for name in names]))
    assert [event.task for event in events if event.kind == "started"] == names
    assert all(", job " in event.where for event in events), events
    assert {event.task: event.code for event in events if event.kind == "ended"} == dict.fromkeys(names, 3)
    said = [(tmp_path / "logs" / f"{name}.log").read_text() for name in names]
    assert {said[0], said[1]} == {"0 ['--leash']\n", "1 ['--leash']\n"}, f"one GPU each, found {said}"


@pytest.mark.parametrize("partition", ["low", "abrupt"])
def test_what_slurm_preempts_goes_on_when_it_lets_it(cluster, tmp_path, partition):
    """The partition `high` takes the whole node. With grace the worker says 143 and ends first, else Slurm requeues."""
    code = (
        "import os, signal, sys, time; from pathlib import Path; left = Path(sys.argv[1])\n"
        "def stop(*_): print('143', flush=True); os._exit(143)\n"
        "signal.signal(signal.SIGTERM, stop); print('begun', flush=True)\n"
        "again = left.exists(); left.touch(); time.sleep(0 if again else 120); print('rest', flush=True)"
    )
    made = task(tmp_path / "logs", code)
    made = type(made)("one", (*made.command, str(tmp_path / "left")), made.log)
    events, taken = [], None
    for event in Slurm(options={"partition": partition}).run([made]):
        events.append(event)
        if taken is None and event.kind == "started":
            until_said(made.log)
            command = ["srun", "--partition=high", "--exclusive", "sleep", "2"]
            taken = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    taken.wait(60)
    said = made.log.read_text().split()
    assert said[:2] == ["begun", "143"], f"the worker was not asked to end: {said}"
    assert said[-2:] == ["begun", "rest"], f"it did not go on: {said}"
    assert [event.kind for event in events if event.kind != "tick"] == ["started", "started", "ended"]
    assert events[-1].code == 0
    jobs = {event.where for event in events if event.kind == "started"}
    assert len(jobs) == {"low": 2, "abrupt": 1}[partition], f"submitted again, or requeued under its number: {jobs}"
    assert states() == {}, "a job is left"


def test_before_the_time_is_over_it_is_requeued(cluster, tmp_path):
    """SIGUSR2 is what Slurm sends then; submitit requeues, and what the worker left is taken up."""
    code = "import os, sys; from pathlib import Path; left = Path(sys.argv[1]); print('begun', flush=True)\n"
    code += "if not left.exists(): left.touch(); import time; time.sleep(120)"
    made = task(tmp_path / "logs", code)
    made = type(made)("one", (*made.command, str(tmp_path / "left")), made.log)
    events, sent = [], False
    for event in Slurm().run([made]):
        events.append(event)
        if not sent and event.kind == "started":
            until_said(made.log)
            (job,) = states()
            subprocess.run(["scancel", "--signal=USR2", job], check=True)
            sent = True
    assert events[-1].code == 0
    assert made.log.read_text().split().count("begun") == 2
    assert len({event.where for event in events if event.kind == "started"}) == 1, "the same job, requeued"


def test_closing_cancels_jobs_that_run_and_wait(cluster, tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"
    tasks = [task(tmp_path / "logs", code, name) for name in ("one", "two", "three")]
    events = Slurm().run(tasks)
    while next(events).kind != "started":
        pass
    pid = int(until_said(tasks[0].log))
    assert len(states()) == 3
    events.close()
    assert gone(pid), "the process still runs"
    assert states() == {}, "jobs are left in the queue"


def test_what_sbatch_refuses_and_what_is_cancelled_is_told(cluster, tmp_path):
    with pytest.raises(executor.ZsadError, match=r"sbatch refuses the job of one: .*partition"):
        next(Slurm(options={"partition": "none"}).run([task(tmp_path / "logs", "")]))
    made = task(tmp_path / "logs", "import time; print('begun', flush=True); time.sleep(120)")
    for event in Slurm().run([made]):
        if event.kind == "started":
            until_said(made.log)
            subprocess.run(["scancel", *states()], check=True)
    assert event.kind == "ended"
    assert event.code != 0


def test_a_sweep_through_slurm_has_all_its_rows(cluster, tmp_path):
    """And one that is stopped cancels its jobs and goes on."""
    (tmp_path / "mini.yaml").write_text(
        "suite: demo\nmethods: [clip, anomalyclip, random]\npriors: [limited]\ntargets: [demo_textures, demo_medical]\n"
        "settings: {image_size: 36}\nepochs: 1\ndata:\n  '*': {scale: 0.04, workers: 0}\n"
    )
    command = [sys.executable, "-m", "zsad_bench.cli", "sweep", "mini.yaml", "--executor", "slurm", "--threads", "1",
               "--together", "1", "--slurm", "time=30"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    for line in first.stdout:
        if "started on" in line:
            first.send_signal(signal.SIGTERM)
            break
    assert first.wait(60) == 143
    assert states() == {}, "a stopped sweep left jobs in the queue"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 cells: 6 done" in done.stdout, done.stdout
