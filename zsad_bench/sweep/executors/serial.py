"""Tasks on this machine: one after the other, or several at once where there is no GPU to share."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path

from zsad_bench.sweep import forks, worker
from zsad_bench.sweep.executors import Event, Task
from zsad_bench.sweep.forks import Fork, ForkServer

TICK_SECONDS = 1.0
LOOK_SECONDS = 0.05  # between looks at several processes
PATIENCE_SECONDS = 10.0  # between asking a process to end and ending it

Process = subprocess.Popen[bytes] | Fork


class Serial:
    """Runs tasks in order. A task's standard input ends when this process ends, and the task must then end too.

    at_once: how many run at the same time. fork: workers are forks of a process that has imported PyTorch; False, or a
    system that cannot do so, starts each anew.
    """

    def __init__(self, at_once: int = 1, fork: bool = True) -> None:
        self.at_once, self.fork = at_once, fork

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """The events of the tasks; closing the iterator stops those that run."""
        where, waiting = socket.gethostname(), deque(tasks)
        running: dict[str, Process] = {}
        servers: dict[frozenset[tuple[str, str]], ForkServer] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.at_once:
                    task = waiting.popleft()
                    running[task.id] = self._start(task, servers)
                    yield Event("started", task.id, where)
                ended = first_ended(running, TICK_SECONDS)
                if not ended:
                    yield Event("tick")
                for id_ in ended:
                    code = running.pop(id_).returncode
                    yield Event("ended", id_, where, code)
        finally:
            stop(*running.values())
            for server in servers.values():
                server.close()

    def _start(self, task: Task, servers: dict[frozenset[tuple[str, str]], ForkServer]) -> Process:
        """The task as a process; servers: by environment, one is added where there is none that works."""
        arguments = worker.arguments(task.command)
        if arguments is None or not self.fork:
            return start(task)
        if not forks.can_fork():
            process = start(task)
            note(task, forks.WITHOUT)
            return process
        environment = {**os.environ, **task.environment}
        key = frozenset(environment.items())
        if key in servers and servers[key].ended:
            servers.pop(key).close()
        if key not in servers:
            servers[key] = ForkServer(environment, server_log(task))
        return servers[key].start([*arguments, "--leash"], task.log)


def server_log(task: Task) -> Path:
    """Where a server says what went wrong with it, beside the logs of its tasks."""
    return task.log.parent / "fork_server.log"


def first_ended(running: dict[str, Process], seconds: float) -> list[str]:
    """Those that ended, as soon as one has; none after so many seconds."""
    if len(running) == 1:
        ((id_, process),) = running.items()
        return [] if wait(process, seconds) is None else [id_]
    until = time.monotonic() + seconds
    while not (ended := [id_ for id_, process in running.items() if process.poll() is not None]):
        if time.monotonic() >= until:
            break
        time.sleep(LOOK_SECONDS)
    return ended


def start(task: Task) -> subprocess.Popen[bytes]:
    """The task as a process in a session of its own, so that Ctrl-C reaches it through us alone."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("ab") as log:
        return subprocess.Popen(
            [*task.command, "--leash"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **task.environment},
            start_new_session=True,
        )


def stop(*processes: Process) -> None:
    """Ends processes that still run: asked first, then forced."""
    still = [process for process in processes if process.poll() is None]
    for process in still:
        process.terminate()
    until = time.monotonic() + PATIENCE_SECONDS
    for process in still:
        if wait(process, max(0.0, until - time.monotonic())) is None:
            process.kill()
            process.wait()
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()


def wait(process: Process, seconds: float) -> int | None:
    """Its exit code, or None when it still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def note(task: Task, line: str) -> None:
    """Adds a line of ours to a task's log: what people read when it failed."""
    with task.log.open("a", encoding="utf-8") as log:
        log.write(f"{line}\n")
