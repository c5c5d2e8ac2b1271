"""A sweep that is killed again and again, and two at once: `python -m tests.sweep.killed FOLDER SEED KILLS`.

Everything slow is imported once; sweeps and their workers are forks of this process that run the real commands. A
worker still is a process of its own on a leash: it has to notice by itself that its sweep was killed.

When a sweep is killed is a matter of how far it came, never of time: it is stopped at a step that was drawn before (a
row, a checkpoint or an event is about to be written, or was), and what is stopped can be killed on any machine.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import mmap
import os
import random
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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


def forked(run: Callable[[], int]) -> int:
    """The process id of a fork that runs it and ends with what it returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Steps:
    """Counts what a sweep and its workers write, in memory that forks share, and stops the sweep at one of them."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, struct.calcsize("3q"))  # number of the sweep, steps so far, where to stop
        self.sweep = self._number = 0

    @property
    def taken(self) -> int:
        return struct.unpack("3q", self._shared)[1]

    def begin(self, stop_at: int = 0) -> None:
        """A sweep follows. What a worker of an earlier one still does counts no more. stop_at: 0 lets it end."""
        self._number += 1
        self._shared[:] = struct.pack("3q", self._number, 0, stop_at)

    def watch(self) -> None:
        """From now on a step before and after each row, checkpoint and event."""
        from zsad_bench.results import rows
        from zsad_bench.runner import checkpoint
        from zsad_bench.sweep import sweep_folder

        for place, name in ((rows, "append"), (checkpoint, "save"), (sweep_folder.SweepFolder, "tell")):
            setattr(place, name, self._counted(getattr(place, name)))

    def _counted(self, write: Callable) -> Callable:
        def counted(*args, **kwargs):
            self._take()
            done = write(*args, **kwargs)
            self._take()
            return done

        return counted

    def _take(self) -> None:
        number, taken, stop_at = struct.unpack("3q", self._shared)
        if number == self._number:
            self._shared[:] = struct.pack("3q", number, taken + 1, stop_at)
            if taken + 1 == stop_at:
                os.kill(self.sweep, signal.SIGSTOP)


STEPS = Steps()


class Forks:
    """What `Serial` does one after the other, with a fork of this process for an executable."""

    def __init__(self, at_once: int = 1) -> None:
        pass

    def run(self, tasks: Sequence) -> Iterator:
        from zsad_bench.sweep.executors import Event

        for task in tasks:
            leash, held = os.pipe()
            pid = forked(lambda task=task, leash=leash, held=held: self._worker(task, leash, held))
            os.close(leash)
            yield Event("started", task.id, "here")
            code = ended(pid)
            os.close(held)
            yield Event("ended", task.id, "here", code)

    def _worker(self, task, leash: int, held: int) -> int:
        from zsad_bench.sweep import worker

        os.close(held)
        os.dup2(leash, 0)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        out = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.argv = ["worker", *task.command[3:], "--leash"]
        return worker.main()


def sweep(recipe: Path, folder: Path) -> int:
    """The exit code of `zsad-bench sweep`."""
    from zsad_bench.cli import main
    from zsad_bench.sweep.executors import choose

    STEPS.sweep = os.getpid()
    choose.EXECUTORS["serial"] = Forks
    sys.argv = ["zsad-bench", "sweep", str(recipe), "--out", str(folder / "boards"), "--runs", str(folder / "runs"),
                "--together", "1"]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        return main()


def killed_at(step: int, run: Callable[[], int]) -> bool:
    """Whether it was killed: False when it ended before it came to that step."""
    STEPS.begin(step)
    pid = forked(run)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(pid, signal.SIGKILL)
        return ended(pid) == -signal.SIGKILL
    return False


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    from zsad_bench import registry

    for module in ("cli", "commands.sweep", "commands.table", "sweep.schedule", "sweep.worker", "runner.run_group",
                   "runner.train", "runner.board_metadata", "runner.wandb_captions", "runner.wandb_reporter",
                   "results.class_embeddings", "results.prior_contents", "metrics.functional.component_tree",
                   "metrics.callback", "data.vanished", "data.demo.suite"):  # fmt: skip
        importlib.import_module(f"zsad_bench.{module}")
    for room in ("datasets", "backbones", "methods"):  # a sweep looks through all datasets and families of backbones
        for name in registry.names(room):
            registry.load(room, name)
    with contextlib.suppress(ImportError):
        importlib.import_module("numba")
    import jsonargparse  # noqa: F401
    import torch

    torch.set_num_threads(1)  # a sweep hashes before it forks here, and a pool of threads does not survive a fork
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "mini.yaml"
    recipe.write_text(RECIPE)
    STEPS.watch()
    STEPS.begin()
    codes = {"whole": ended(forked(lambda: sweep(recipe, folder / "whole")))}
    # Each kill comes within half of what is to be done, or less where there are many: the first one always hits.
    rng, furthest = random.Random(seed), max(1, STEPS.taken // max(2, kills // 4))
    died = [killed_at(rng.randint(1, furthest), lambda: sweep(recipe, folder / "killed")) for _ in range(kills)]
    STEPS.begin()
    codes["killed"] = ended(forked(lambda: sweep(recipe, folder / "killed")))
    together = [forked(lambda: sweep(recipe, folder / "together")) for _ in range(2)]
    codes |= {f"together {number}": ended(pid) for number, pid in enumerate(together)}
    print(json.dumps({"codes": codes, "died": died}))


if __name__ == "__main__":
    main()
