"""A training alone and beside busy processes, with the wait of its threads as the program sets it and by default.

    python benchmarks/speed/shared_machine.py                      # on a quiet machine; about a quarter of an hour
    python benchmarks/speed/shared_machine.py --repeats 1 --epochs 1 --data scale=0.04     # does it work? a few minutes

Every run is the program itself in a fresh process with as many threads as there are cores. *short* is what the program
sets (`zsad_bench/process.py`); *default* is what libgomp and the runtimes of LLVM and Intel do where nothing is set,
given as a user would. Both alternate. A busy process is a loop that does nothing else. CPU time is of the run and what
it started, without the busy ones. A ratio is short / default of the same repeat; the table has the medians. What this
script does not know goes to `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.speed._machine import processor
from zsad_bench import process

ROOT = Path(__file__).resolve().parents[2]
# What each runtime does by itself: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html, kmp_settings.cpp.
DEFAULT = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
WAITS = {"short": process.WAITING, "default": DEFAULT}


class Cost(NamedTuple):
    """Seconds of one run."""

    wall: float
    cpu: float


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy, inside."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run(wait: str, threads: int, arguments: list[str]) -> Cost:
    """The cost of one run of `bench`; its rows and checkpoints are thrown away."""
    environment = os.environ | WAITS[wait] | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    environment.pop(process.WAIT_POLICY, None)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "zsad_bench.cli", "bench", *arguments, "--track", "off"]
        started = time.perf_counter()
        child = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def measured(repeats: int, others: int, threads: int, arguments: list[str]) -> dict[str, dict[str, list[Cost]]]:
    """Situation -> wait -> a cost per repeat; the order turns around each time."""
    costs: dict[str, dict[str, list[Cost]]] = {}
    for repeat in range(repeats):
        for situation, count in (("alone", 0), (f"beside {others} busy processes", others)):
            of = costs.setdefault(situation, {wait: [] for wait in WAITS})
            for wait in list(WAITS)[:: 1 if repeat % 2 == 0 else -1]:
                with busy(count):
                    of[wait].append(run(wait, threads, arguments))
                print(f"{situation}, {wait}: {of[wait][-1].wall:.1f} s, CPU {of[wait][-1].cpu:.1f} s", file=sys.stderr)
    return costs


def table(costs: dict[str, dict[str, list[Cost]]]) -> list[str]:
    """Markdown: medians of both waits, and of the ratios of each repeat."""
    lines = ["| | wall, s: short | default | ratio | CPU, s: short | default | ratio |", "| --- |" + " ---: |" * 6]
    for situation, of in costs.items():
        cells = []
        for kind in Cost._fields:
            short, default = ([getattr(cost, kind) for cost in of[wait]] for wait in WAITS)
            ratio = statistics.median(one / other for one, other in zip(short, default, strict=True))
            cells += [f"{statistics.median(short):.1f}", f"{statistics.median(default):.1f}", f"{ratio:.2f}"]
        lines.append(f"| {situation} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="busy processes; default: one per core")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of a run; default: one per core")
    parser.add_argument("--method", default="anomalyclip")
    parser.add_argument("--targets", default="demo_textures")
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--json", type=Path, help="where the seconds of each run go")
    args, rest = parser.parse_known_args()
    arguments = [
        "--method",
        args.method,
        "--prior",
        "limited",
        "--targets",
        args.targets,
        "--epochs",
        args.epochs,
        *rest,
    ]
    costs = measured(args.repeats, args.busy, args.threads, arguments)
    print(f"`bench {' '.join(arguments)}`, {args.threads} threads, {args.repeats} repeats; {processor()}\n")
    print("\n".join(table(costs)))
    if args.json:
        record = {
            name: {wait: [cost._asdict() for cost in of] for wait, of in waits.items()} for name, waits in costs.items()
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
