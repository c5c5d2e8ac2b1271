"""The process that runs one group of a plan: `python -m zsad_bench.sweep.worker`.

It may be started any number of times: it computes what has no rows yet and nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zsad_bench import process, quick_imports
from zsad_bench.errors import ZsadError
from zsad_bench.locks import Held, locked
from zsad_bench.planning.plan import JobGroup
from zsad_bench.printable import never_fail_to_print, say
from zsad_bench.runner.run_spec import RunSpec
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import BEAT_SECONDS, SweepFolder

if TYPE_CHECKING:
    from zsad_bench.console import Console
    from zsad_bench.runner.opened import Opened

TRACK = "ZSAD_TRACK"  # the environment variable that says what became of --track
BUSY = 75  # exit code: another process runs this group
STOPPED = 143
_START = (sys.executable, "-m", "zsad_bench.sweep.worker")


def command(folder: SweepFolder, group: str, wait: bool = False, plan: str = "") -> tuple[str, ...]:
    """What to start for a group of a plan, "" being the last. wait: until another process is done with it."""
    wait_too = ("--wait",) if wait else ()
    of_plan = ("--plan", plan) if plan else ()
    return (*_START, str(folder.path), group, *of_plan, *wait_too)


def arguments(command: Sequence[str]) -> list[str] | None:
    """What `main` reads of a command that starts a worker with this Python; None where it starts something else."""
    return list(command[len(_START) :]) if tuple(command[: len(_START)]) == _START else None


def environment(threads: int, track: str = "off") -> dict[str, str]:
    """What such a process needs: a fixed number of threads, the path of our package, and whether wandb gets runs.

    The settings of `process.py` go along, whoever made them.
    """
    count = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(dict.fromkeys([here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))
    ours = {name: value for name, value in os.environ.items() if _is_passed_on(name)}
    ours |= process.lacking(os.environ)
    return {**ours, **count, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "NO_ALBUMENTATIONS_UPDATE": "1", TRACK: track}


def _is_passed_on(name: str) -> bool:
    """Whether an environment variable goes with a task to other machines; secrets stay where they are."""
    ours = name.startswith(("ZSAD_", "HF_", "WANDB_")) or name == "ELPV"
    ours = ours or name in (*process.WAITING, process.WAIT_POLICY, *process.MEMORY, process.TUNABLES)
    return ours and not name.endswith(("_KEY", "_TOKEN"))


def main() -> int:
    """Runs it; the exit code is for people, what counts are the rows."""
    parser = argparse.ArgumentParser(prog="python -m zsad_bench.sweep.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("group", help="its id")
    parser.add_argument("--plan", default="", help="its id; the last one of the folder when not given")
    parser.add_argument("--wait", action="store_true", help="for another process that runs it")
    parser.add_argument(
        "--leash", action="store_true", help="stop when standard input ends: whoever started us is gone"
    )
    args = parser.parse_args()
    never_fail_to_print()
    # Lightning would take SIGTERM for a reason to end well, and the process would exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(STOPPED))
    if args.leash:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        return _run(args)
    except ZsadError as error:
        say(f"zsad-bench: {error}", error=True)
        return error.exit_code


def _run(args: argparse.Namespace) -> int:
    folder = SweepFolder(args.folder)
    plan = folder.read_plan(args.plan)
    group = plan.group(args.group)
    if group is None:
        file = folder.plan_file_of(args.plan)
        raise ZsadError(f"group {args.group} is not in {file}: the plan has changed; start the sweep again")
    folder.lock(group.id).parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder.lock(group.id), -1 if args.wait else 0):
            _beat(folder, group.id)
            try:
                quick_imports.load()
                compute(plan, group, folder, _console(), os.environ.get(TRACK, "off"))
            finally:
                folder.alive(group.id).unlink(missing_ok=True)
    except Held:
        return BUSY
    return 0


def compute(
    plan: StoredPlan,
    group: JobGroup,
    folder: SweepFolder,
    console: Console,
    track: str = "off",
    opened: Opened | None = None,
) -> None:
    """Runs a group: trains and tests what has no rows yet. The folder records how long trainings took.

    track: what --track says. opened: what this process opened already.

    Raises:
        ZsadError: anything a user can fix.
    """
    from zsad_bench.runner.run_group import run_group
    from zsad_bench.runner.wandb_reporter import open_mirror

    specs = [plan.run_spec_of(job) for job in group.jobs]
    jobs = {spec.id: job for spec, job in zip(specs, group.jobs, strict=True)}

    def trained(spec: RunSpec, seconds: float) -> None:
        job = jobs[spec.id]
        facts = {"method": job.method, "variant": job.variant, "prior": job.prior, "seconds": round(seconds, 3)}
        folder.tell("trained", group.id, **facts)

    with open_mirror(track, plan.runs, plan.name, console) as mirror:
        run_group(specs, console, True, trained, mirror, plan.since, opened)


def _console() -> Console:
    from zsad_bench.console import Console

    return Console(width=120)


def _beat(folder: SweepFolder, group: str) -> None:
    """Shows from now on that the group runs, and where."""
    file = folder.alive(group)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{socket.gethostname()}, pid {os.getpid()}")

    def beat() -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            try:
                os.utime(file)
            except FileNotFoundError:  # done
                return

    threading.Thread(target=beat, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(STOPPED)


if __name__ == "__main__":
    raise SystemExit(main())
