"""A sweep that is killed again and again, and two at once: `python -m tests.sweep.killed FOLDER SEED KILLS`.

Everything slow is imported once; sweeps and their workers are forks of this process that run the real commands. A
worker still is a process of its own on a leash: it has to notice by itself that its sweep was killed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import random
import signal
import sys
import time
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


class Forks:
    """What `Serial` does, with a fork for an executable."""

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
    from zsad_bench.commands import places

    places.EXECUTORS["serial"] = Forks
    sys.argv = ["zsad-bench", "sweep", str(recipe), "--out", str(folder / "boards"), "--runs", str(folder / "runs"),
                "--together", "1"]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        return main()


def _until_a_group_starts(events: Path, pid: int) -> None:
    """Returns when the sweep says so, or has ended: what comes before (hashing) has nothing to lose."""
    before = events.read_text().count('"started"') if events.is_file() else 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if events.is_file() and events.read_text().count('"started"') > before:
            return
        time.sleep(0.02)


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for module in ("commands.sweep", "commands.table", "sweep.expect", "methods.clip", "methods.anomalyclip",
                   "methods.random", "data.demo.suite", "data.datasets.demo_medical"):  # fmt: skip
        importlib.import_module(f"zsad_bench.{module}")
    import jsonargparse  # noqa: F401
    import torch

    torch.set_num_threads(1)  # a sweep hashes before it forks here, and a pool of threads does not survive a fork
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "mini.yaml"
    recipe.write_text(RECIPE if kills > 5 else RECIPE.replace("seeds: [0, 1]", "seeds: [0]"))
    codes = {"whole": ended(forked(lambda: sweep(recipe, folder / "whole")))}
    rng, died = random.Random(seed), []
    for _ in range(kills):
        pid = forked(lambda: sweep(recipe, folder / "killed"))
        _until_a_group_starts(folder / "killed" / "runs" / "sweeps" / "mini" / "events.jsonl", pid)
        time.sleep(rng.uniform(0, 1.5))
        os.kill(pid, signal.SIGKILL)
        died.append(ended(pid) == -signal.SIGKILL)
    codes["killed"] = ended(forked(lambda: sweep(recipe, folder / "killed")))
    together = [forked(lambda: sweep(recipe, folder / "together")) for _ in range(2)]
    codes |= {f"together {number}": ended(pid) for number, pid in enumerate(together)}
    print(json.dumps({"codes": codes, "died": died}))


if __name__ == "__main__":
    main()
