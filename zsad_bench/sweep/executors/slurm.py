"""One Slurm job per task, through submitit. Slurm decides when and where; a pre-empted job resumes later."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.sweep.executors import Event, Task
from zsad_bench.sweep.executors.serial import PATIENCE_SECONDS, note, start, stop

POLL_SECONDS = 5.0  # one squeue for all jobs
SETTLE_SECONDS = 30.0  # until the result of a job that left the queue shows on a shared file system
STARTS = 5  # of a task whose process was asked to end and whose job ended with it
# What such a process says: ours, or by SIGTERM, or by the SIGUSR2 that submitit has Slurm send before the time is over.
STOPPED = (143, -15, -12)
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "GONE"}
DAY_MINUTES = 24 * 60  # of time limit when none is asked for; submitit's own default is five minutes
INSTALL = "pip install 'zsad-bench[slurm]'"


class Slurm:
    """Submits a job per task, in order, and waits for them.

    threads: CPUs per job. options: of sbatch by their long names, `{"partition": "gpu", "time": "04:00:00"}`; a job
    takes one GPU unless they say otherwise. cluster: of submitit's; `local` runs all at once here, for tests.
    """

    def __init__(self, threads: int = 1, options: Mapping[str, str] | None = None, cluster: str = "slurm") -> None:
        if importlib.util.find_spec("submitit") is None:
            raise ZsadError(f"executor slurm: submitit is not installed; {INSTALL}")
        if cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise ZsadError("executor slurm: no sbatch and srun on this machine; start the sweep on a login node")
        self.cluster = cluster
        self.parameters = parameters(threads, options or {})

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """The events of the tasks; closing the iterator cancels their jobs.

        Raises:
            ZsadError: sbatch refuses.
        """
        if not tasks:
            return
        batch = _Batch(self.cluster, self.parameters, tasks)
        try:
            for task in tasks:
                batch.submit(task)
            while batch.left:
                yield from batch.step()
        finally:
            batch.stop()


def parameters(threads: int, options: Mapping[str, str]) -> dict[str, Any]:
    """What submitit gets for each job.

    Raises:
        UsageError: a time that sbatch would not accept.
    """
    rest = dict(options)
    minutes = _minutes(rest.pop("time")) if "time" in rest else DAY_MINUTES
    gpu = {} if any(key.startswith(("gres", "gpus")) for key in rest) else {"slurm_gpus_per_node": 1}
    flags = {key: value if value else True for key, value in rest.items()}
    return {
        "name": "zsad-bench",
        "timeout_min": minutes,
        "cpus_per_task": threads,
        **gpu,
        "slurm_use_srun": True,  # without it the signal before pre-emption does not reach the job
        "slurm_additional_parameters": {"requeue": True, **flags},
    }


class _Batch:
    """What was submitted and has not ended."""

    def __init__(self, cluster: str, parameters: Mapping[str, Any], tasks: Sequence[Task]) -> None:
        import submitit

        self.cluster = cluster
        self.executor = submitit.AutoExecutor(tasks[0].log.parent.parent / "slurm", cluster=cluster)
        path = tasks[0].environment.get("PYTHONPATH", "")
        setup = {"slurm_setup": [f"export PYTHONPATH={shlex.quote(path)}"]} if path else {}
        self.executor.update_parameters(**parameters, **setup)
        self.left: dict[str, tuple[Any, Task]] = {}  # job id -> submitit's job
        self.starts: dict[str, int] = {}
        self.where: dict[str, str] = {}  # job id -> of those that run
        self.over_since: dict[str, float] = {}
        self.said: set[str] = set()  # tasks reported as started

    def submit(self, task: Task) -> None:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            job = self.executor.submit(_InJob(task))
        except Exception as error:  # submitit's of several kinds, around what sbatch said
            raise ZsadError(f"sbatch refuses the job of {task.id}: {' '.join(str(error).split())}") from error
        self.starts[task.id] = self.starts.get(task.id, 0) + 1
        self.left[job.job_id] = (job, task)

    def step(self) -> Iterator[Event]:
        """What happened since, and a tick."""
        yield Event("tick")
        time.sleep(POLL_SECONDS if self.cluster == "slurm" else 0.1)
        states = self._states()
        if states is None:  # the controller does not answer, which happens: no news
            return
        for id_, (job, task) in list(self.left.items()):
            state, node = states.get(id_, ("GONE", ""))
            where = f"{node}, job {id_}" if node else f"job {id_}"
            if state == "RUNNING" and id_ not in self.where:
                self.where[id_] = where
                self.said.add(task.id)
                yield Event("started", task.id, where)
            elif state == "PENDING" and id_ in self.where:  # Slurm starts it again: what it said so far is not a result
                del self.where[id_]
                job.paths.result_pickle.unlink(missing_ok=True)
            elif state in OVER and self._settled(id_, job):
                yield from self._ended(id_, state, self.where.pop(id_, where))

    def _ended(self, id_: str, state: str, where: str) -> Iterator[Event]:
        job, task = self.left.pop(id_)
        code, why = _result(job, state)
        if code in STOPPED and state != "CANCELLED" and self.starts[task.id] < STARTS:
            note(task, f"zsad-bench: stopped in job {id_}; submitted again")
            self.submit(task)
            return
        if why:
            note(task, why)
        if task.id not in self.said:
            yield Event("started", task.id, where)
        yield Event("ended", task.id, where, code)

    def _settled(self, id_: str, job: Any) -> bool:
        """Whether the result of a job is there, or did not come for so long that there will be none."""
        since = self.over_since.setdefault(id_, time.monotonic())
        return job.paths.result_pickle.exists() or self.cluster != "slurm" or time.monotonic() - since > SETTLE_SECONDS

    def _states(self) -> dict[str, tuple[str, str]] | None:
        """Job id -> state and node; jobs that Slurm has forgotten are missing."""
        if self.cluster == "slurm":
            return queue()
        host = socket.gethostname()
        return {id_: ("COMPLETED" if job.done() else "RUNNING", host) for id_, (job, _) in self.left.items()}

    def stop(self) -> None:
        """Cancels what is left and returns when it is over, or after some seconds."""
        for job, _ in self.left.values():
            with contextlib.suppress(OSError):
                job.cancel(check=False)
        until = time.monotonic() + PATIENCE_SECONDS
        while self.cluster == "slurm" and self.left and time.monotonic() < until:
            states = queue()
            if states is not None and all(states.get(id_, ("GONE", ""))[0] in OVER for id_ in self.left):
                return
            time.sleep(1)


@dataclass(frozen=True)
class _InJob:
    """The task's process, in a job. It may be started again: by Slurm, or by submitit before the time is over."""

    task: Task

    def __call__(self) -> int:
        """The exit code."""
        process = start(self.task)
        try:
            return process.wait()
        finally:
            stop(process)

    def checkpoint(self) -> Any:
        """What submitit requeues when Slurm says that the job has to go: the same again, for rows are the state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def queue() -> dict[str, tuple[str, str]] | None:
    """Job id -> state and nodes of this user's jobs, those that ended a while ago included; None without an answer."""
    command = ["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}", "--format=%i|%T|%N"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.strip().split("|") for line in done.stdout.splitlines())
    return {id_: (state, node) for id_, state, node in lines}


def _result(job: Any, state: str) -> tuple[int | None, str]:
    """Exit code; or None, and what is known of the reason."""
    if job.paths.result_pickle.exists():
        if job.exception() is None:
            return job.result(), ""
        state = "FAILED"
    said = (job.stderr() or "").strip().splitlines()[-5:]
    why = f"zsad-bench: job {job.job_id} ended without a result ({state}); see {job.paths.stderr}"
    return None, "\n".join([*said, why])


def _minutes(text: str) -> int:
    """Whole minutes of a time as sbatch takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:…]."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not found:
        raise UsageError(f"--slurm time={text}: expected minutes, hours:minutes:seconds or days-hours")
    days, *parts = (int(part) if part else 0 for part in found.groups())
    given = sum(part is not None for part in found.groups()[1:])
    if found[1] is not None or given == 3:
        hours, minutes, _ = parts
    else:
        hours, minutes = 0, parts[0]
    return max(1, (days * 24 + hours) * 60 + minutes)
