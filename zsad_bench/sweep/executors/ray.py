"""As many tasks at a time as a Ray cluster has GPUs: this machine's own, or those of a running cluster (RAY_ADDRESS).

A task takes one GPU, the one that Ray names in CUDA_VISIBLE_DEVICES; without a GPU it takes as many CPUs as it has
threads. The tasks of a lost node or a killed Ray worker are started again elsewhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.sweep.executors import Event, Task
from zsad_bench.sweep.executors.serial import PATIENCE_SECONDS, TICK_SECONDS, note, start, stop, wait

STARTS = 3  # of a task whose node or Ray worker is lost each time
DESERTED_SECONDS = 300.0  # without a node that could run anything; one that comes back takes less
CONNECT_SECONDS = 10.0
STORE_BYTES = 80 * 2**20  # shared memory of a cluster of our own: what goes through Ray are names and exit codes
PACKAGE = str(Path(__file__).resolve().parents[3])  # the folder that holds our package
INSTALL = "pip install 'zsad-bench[cluster]'"


class Ray:
    """Starts tasks in order, one per GPU. A Ray that was connected before is used as it is.

    threads: what a task takes where there is no GPU. gpus: of this machine, the first so many; None is all of them.
    """

    def __init__(self, threads: int = 1, gpus: int | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ZsadError(f"executor ray: Ray is not installed; {INSTALL}")
        self.threads, self.gpus = threads, gpus

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """The events of the tasks; closing the iterator stops those that run.

        Raises:
            ZsadError: no cluster at RAY_ADDRESS, or for minutes no node that could run a task. UsageError: a task takes
                more CPUs than any node has.
        """
        if not tasks:
            return
        with _connected(self.gpus), _marked(tasks) as mark:
            batch = _Batch(_need(self.threads), mark)
            try:
                for task in tasks:
                    batch.submit(task)
                while batch.left:
                    yield from batch.step()
            finally:
                batch.stop()


class _Batch:
    """What was given to Ray and has not ended."""

    def __init__(self, need: dict[str, int], mark: str) -> None:
        import ray

        self.ray, self.need, self.mark = ray, need, mark
        self.remote = ray.remote(max_retries=0, **need)(_carried())  # tried again here, where the log says why
        self.left: dict[Any, Task] = {}  # Ray's generator -> task
        self.starts: dict[str, int] = {}
        self.where: dict[str, str] = {}  # of those that run
        self.seen = time.monotonic()

    def submit(self, task: Task) -> None:
        self.starts[task.id] = self.starts.get(task.id, 0) + 1
        mark = str(task.log.resolve().parent / self.mark)
        sent = (task.id, tuple(task.command), str(task.log.resolve()), dict(task.environment))
        self.left[self.remote.remote(mark, PACKAGE, str(Path.cwd()), *sent)] = task

    def step(self) -> Iterator[Event]:
        """What happened since, or a tick."""
        ready, _ = self.ray.wait(list(self.left), timeout=TICK_SECONDS)
        if not ready:
            self._check_nodes()
            yield Event("tick")
        for generator in ready:
            task = self.left[generator]
            try:
                said = self.ray.get(next(generator))
            except self.ray.exceptions.RayTaskError as error:  # ours: the log's reader wants to know
                yield from self._ended(generator, 1, f"zsad-bench: {error.cause}")
            except self.ray.exceptions.RayError as error:
                yield from self._lost(generator, type(error).__name__)
            else:
                if isinstance(said, str):
                    self.where[task.id] = said
                    yield Event("started", task.id, said)
                else:
                    yield from self._ended(generator, said)

    def _lost(self, generator: Any, why: str) -> Iterator[Event]:
        task = self.left[generator]
        said = f"zsad-bench: lost on {self.where.get(task.id, 'the way to a node')} ({why})"
        if self.starts[task.id] == STARTS:
            yield from self._ended(generator, None, f"{said}, {STARTS} times in all")
            return
        del self.left[generator]
        self.where.pop(task.id, None)
        note(task, f"{said}; started again")
        self.submit(task)

    def _ended(self, generator: Any, code: int | None, why: str = "") -> Iterator[Event]:
        task = self.left.pop(generator)
        if why:
            note(task, why)
        if task.id not in self.where:
            yield Event("started", task.id, "no node")
        yield Event("ended", task.id, self.where.pop(task.id, "no node"), code)

    def _check_nodes(self) -> None:
        if self.where or _largest("GPU" if "num_gpus" in self.need else "CPU") >= max(self.need.values()):
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > DESERTED_SECONDS:
            raise ZsadError(
                f"the Ray cluster has had no node for a task ({_words(self.need)}) for {DESERTED_SECONDS:.0f} s; "
                "`ray status` shows its nodes; start the sweep again when they are back"
            )

    def stop(self) -> None:
        """Ends what runs and forgets what waits; returns when it is over, or after some seconds."""
        for generator in self.left:
            self.ray.cancel(generator)
        until = time.monotonic() + PATIENCE_SECONDS + 5
        while self.left and time.monotonic() < until:
            for generator in self.ray.wait(list(self.left), timeout=TICK_SECONDS)[0]:
                try:
                    self.ray.get(next(generator))
                except (StopIteration, self.ray.exceptions.RayError):
                    del self.left[generator]


def _carried() -> Callable[..., Iterator[str | int]]:
    """What Ray runs. It travels as code, because a node that does not see our files cannot import it by name."""

    def run(mark: str, package: str, folder: str, *task: Any) -> Iterator[str | int]:
        host, logs = socket.gethostname(), os.path.dirname(mark)  # noqa: PTH120
        if not os.path.exists(mark):  # noqa: PTH110
            raise RuntimeError(
                f"{host} does not see the files of the machine that the sweep was started on ({logs}); every node "
                "needs the same folders under the same paths"
            )
        sys.path.insert(0, package)
        from zsad_bench.sweep.executors.ray import in_ray

        yield from in_ray(folder, *task)

    return run


def in_ray(folder: str, id_: str, command: tuple[str, ...], log: str, environment: dict[str, str]) -> Iterator[Any]:
    """In a process of Ray: where it is, then the exit code of the task that it ran in this folder."""
    import ray

    host, gpus = socket.gethostname(), ray.get_gpu_ids()
    if not Path(command[0]).exists():
        raise ZsadError(f"{host} has no {command[0]}; every node needs the same environment under the same path")
    os.chdir(folder)
    process = start(Task(id_, command, Path(log), environment))
    try:
        yield f"{host}, GPU {gpus[0]}" if gpus else host
        while (code := wait(process, TICK_SECONDS)) is None:
            pass
    finally:
        stop(process)
    yield code


@contextlib.contextmanager
def _connected(gpus: int | None) -> Iterator[None]:
    """Ray is there inside. A cluster of our own ends with it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # else a lost node prints its whole log, many times over
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UsageError(
            f"RAY_ADDRESS={address}: start the sweep on a machine of the cluster, and name HOST:PORT or auto"
        )
    own = {"num_gpus": gpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _answers(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **(own if address == "local" else {}))
    except Exception as error:  # of many kinds, and many lines long
        what = "started here" if address == "local" else f"reached at RAY_ADDRESS={address}"
        raise ZsadError(f"Ray could not be {what}: {' '.join(str(error).split())}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
    try:
        yield
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raises OSError where nobody listens; Ray itself went on for over ten minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


@contextlib.contextmanager
def _marked(tasks: Sequence[Task]) -> Iterator[str]:
    """The name of a file beside every log, by which a node tells that it sees our folders and not its own."""
    mark = f".seen-{uuid.uuid4().hex[:12]}"
    folders = {task.log.parent for task in tasks}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mark).touch()
    try:
        yield mark
    finally:
        for folder in folders:
            (folder / mark).unlink(missing_ok=True)


def _need(threads: int) -> dict[str, int]:
    """What a task takes of a node.

    Raises:
        UsageError: more CPUs than any node has; it would wait forever.
    """
    if _largest("GPU") >= 1:
        return {"num_gpus": 1, "num_cpus": 0}
    if threads > _largest("CPU"):
        raise UsageError(
            f"a task takes {threads} CPUs and no GPU is there; the largest node of the Ray cluster has "
            f"{_largest('CPU'):.0f} CPUs: give fewer --threads"
        )
    return {"num_cpus": threads}


def _largest(resource: str) -> float:
    import ray

    return max((node["Resources"].get(resource, 0) for node in ray.nodes() if node["Alive"]), default=0)


def _words(need: dict[str, int]) -> str:
    return ", ".join(
        f"{count} {name.removeprefix('num_').removesuffix('s').upper()}" for name, count in need.items() if count
    )
