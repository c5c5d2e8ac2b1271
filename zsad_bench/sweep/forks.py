"""Workers that are forked from a process that has imported everything (`fork_server.py`), as processes to wait for."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zsad_bench.errors import ZsadError

PATIENCE_SECONDS = 10.0  # for a server that was asked to end
WITHOUT = (
    "zsad-bench: this system cannot fork a process that has imported PyTorch, so each group imports it again"  # in logs
)


def can_fork() -> bool:
    """Whether this system has forks that may go on computing; on macOS they may not, whatever libraries they use."""
    return hasattr(os, "fork") and sys.platform != "darwin"


class ForkServer:
    """Forks workers; they end when this process does. environment: all of it. log: of what goes wrong in the server."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log, self.forks = log, dict[int, Fork]()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "zsad_bench.sweep.fork_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                start_new_session=True,
            )
        self.unread = b""

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def start(self, arguments: Sequence[str], log: Path) -> Fork:
        """A worker with these arguments; its output is appended to the log.

        Raises:
            ZsadError: the server has ended.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        fork = Fork(self, len(self.forks) + 1)
        self.forks[fork.id] = fork
        self.ask({"id": fork.id, "arguments": list(arguments), "log": str(log.resolve())})
        return fork

    def ask(self, request: Mapping[str, Any]) -> None:
        """Sends a line.

        Raises:
            ZsadError: the server has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((json.dumps(request) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ZsadError(f"the process that forks workers has ended; see {self.log}") from None

    def listen(self, seconds: float) -> None:
        """Takes in what the server says, waiting for it so long at most. When it has ended, so have its forks."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        if not select.select([handle], [], [], seconds)[0]:
            return
        piece = os.read(handle, 65536)
        *lines, self.unread = (self.unread + piece).split(b"\n")
        for line in lines:
            said = json.loads(line)
            fork = self.forks[said["id"]]
            fork.pid, fork.returncode = said.get("pid", fork.pid), said.get("code")
        if not piece:
            code = self.process.wait()
            for fork in self.forks.values():
                if fork.returncode is None:
                    fork.returncode, fork.orphaned = code or 1, True

    def close(self) -> None:
        """Ends the server, and with it forks that still run."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Fork:
    """A worker that was asked for, with what `subprocess.Popen` has for one that is waited for or stopped.

    pid: None until it runs. returncode: None until it ended. orphaned: its server ended first.
    """

    stdin = None

    def __init__(self, server: ForkServer, id_: int) -> None:
        self.server, self.id = server, id_
        self.pid: int | None = None
        self.returncode: int | None = None
        self.orphaned = False

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        if self.returncode is None:
            self.server.listen(0)
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code.

        Raises:
            TimeoutExpired: of `subprocess`; it still runs after so many seconds.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while self.returncode is None:
            left = 60.0 if until is None else until - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired("worker", seconds or 0)
            self.server.listen(left)
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        """Through the server, which alone knows whether the process is still the same."""
        if self.poll() is None and not self.server.ended:
            self.server.ask({"id": self.id, "signal": int(number)})
