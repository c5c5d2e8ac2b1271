"""A process that has imported what workers need and forks them: `python -m zsad_bench.sweep.fork_server`.

A group of a small suite computes for seconds, and importing PyTorch, Lightning and open_clip takes about ten.
`forks.py` starts one such process per sweep and speaks to it in lines of JSON:

    {"id": 1, "arguments": ["runs/sweeps/demo", "0a1b…"], "log": "…/0a1b….log"}     forks a worker
    {"id": 1, "signal": 15}                                                         sends it a signal
    {"id": 1, "pid": 4711}, {"id": 1, "code": 0}                                    what it answers

A fork is as clean as a process that was started by itself: nothing is computed here, OpenMP has no threads and no
device is touched, so that both begin in the fork, as do the generators of random numbers. (OpenBLAS has its pool of
threads from the import on, and builds it anew around every fork.) It gets a session, a log and the arguments, and
ends as a worker does. Its standard input ends with this process, and this process ends when its own standard input
does: whoever asked is gone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zsad_bench import quick_imports

# What a worker imports sooner or later beside PyTorch, Lightning and open_clip.
MODULES = (
    "zsad_bench.runner.run_group",
    "zsad_bench.runner.wandb_reporter",
    "zsad_bench.runner.wandb_captions",
    "zsad_bench.backbones.load",
    "zsad_bench.metrics.callback",
    "zsad_bench.metrics.functional.component_tree",
    "zsad_bench.data.demo.suite",
    "zsad_bench.data.vanished",
    "jsonargparse",
    "scipy.ndimage",
    "torch._dynamo",  # by the first step of an optimiser
)
ROOMS = ("zsad_bench.backbones.families", "zsad_bench.data.datasets", "zsad_bench.methods")


def main() -> int:
    """Serves until standard input ends. In a fork it is the worker: what it returns is the fork's exit code."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever an import prints is no answer
    preload()
    asked = _Server(answers).serve()
    if asked is None:
        return 0
    from zsad_bench.sweep import worker

    sys.argv = ["zsad_bench.sweep.worker", *asked]
    return worker.main()


def preload() -> None:
    """Imports what a worker needs; nothing is computed."""
    quick_imports.load()
    for name in MODULES:
        importlib.import_module(name)
    for room in ROOMS:
        for file in pkgutil.iter_modules(importlib.import_module(room).__path__, f"{room}."):
            with contextlib.suppress(
                Exception
            ):  # a method that someone is at work on: its own group says what is wrong
                importlib.import_module(file.name)
    gc.collect()
    gc.freeze()  # what all forks have in common is looked through by none of them, and so stays one copy in memory


@dataclass
class _Server:
    """answers: the file descriptor that answers go to."""

    answers: int

    def serve(self) -> Sequence[str] | None:
        """Forks what is asked for. None when standard input has ended; in a fork the arguments of its worker."""
        self.leash, held = os.pipe()  # nobody writes: what a fork reads ends when this process does
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.ours = (self.answers, self.leash, held, woken, wake)
        self.pids: dict[int, int] = {}  # of forks that run -> id
        unread = b""
        selector = selectors.DefaultSelector()
        for readable in (0, woken):
            selector.register(readable, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if 0 in ready:
                piece = os.read(0, 65536)
                if not piece:
                    return None
                *lines, unread = (unread + piece).split(b"\n")
                for line in lines:
                    arguments = self._do(json.loads(line))
                    if arguments is not None:
                        selector.close()
                        return arguments

    def _do(self, request: dict[str, Any]) -> Sequence[str] | None:
        """What a line asks for; in a fork its arguments."""
        if "signal" in request:
            for pid, id_ in self.pids.items():
                if id_ == request["id"]:
                    os.kill(pid, request["signal"])
            return None
        pid = os.fork()
        if not pid:
            self._become_worker(request["log"])
            arguments: list[str] = request["arguments"]
            return arguments
        self.pids[pid] = request["id"]
        self._answer({"id": request["id"], "pid": pid})
        return None

    def _become_worker(self, log: str) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(self.leash, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for descriptor in (1, 2):
            os.dup2(out, descriptor)
        for descriptor in (out, *self.ours):
            os.close(descriptor)
        import numpy as np
        import torch

        # Both seeded their global generators by chance when they were imported, once for all forks.
        np.random.seed()
        torch.default_generator.seed()

    def _reap(self) -> None:
        while self.pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            id_ = self.pids.pop(pid, None)
            if id_ is not None:
                self._answer({"id": id_, "code": os.waitstatus_to_exitcode(status)})

    def _answer(self, said: dict[str, int]) -> None:
        os.write(self.answers, (json.dumps(said) + "\n").encode())


if __name__ == "__main__":
    raise SystemExit(main())
