"""One task after the other on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Generator, Sequence

from zsad_bench.sweep.executors import Event, Task

TICK_SECONDS = 1.0
PATIENCE_SECONDS = 10.0  # between asking a process to end and ending it


class Serial:
    """Runs tasks in order. A task's standard input ends when this process ends, and the task must then end too."""

    def run(self, tasks: Sequence[Task]) -> Generator[Event, None, None]:
        """The events of the tasks; closing the iterator stops the one that runs."""
        where = socket.gethostname()
        for task in tasks:
            process = start(task)
            try:
                yield Event("started", task.id, where)
                while (code := wait(process, TICK_SECONDS)) is None:
                    yield Event("tick")
            finally:
                stop(process)
            yield Event("ended", task.id, where, code)


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


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs: asked first, then forced."""
    if process.poll() is None:
        process.terminate()
        if wait(process, PATIENCE_SECONDS) is None:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Its exit code, or None when it still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def note(task: Task, line: str) -> None:
    """Adds a line of ours to a task's log: what people read when it failed."""
    with task.log.open("a", encoding="utf-8") as log:
        log.write(f"{line}\n")
