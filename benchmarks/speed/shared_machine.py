"""A training alone and beside busy processes, with a short wait of its threads and with that by default: `--help`.

Every run is the program itself in a fresh process with as many threads as there are cores. *short* is what the program
sets (`zsad_bench/process.py`); *default* is what libgomp and the runtimes of LLVM and Intel do where nothing is set,
given as a user would. A busy process is a loop that does nothing else. CPU time is of the run and what it started,
without the busy ones. Run it on a quiet machine; at full size it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _suite import Benchmark, Claim, Found, Spent, main, median, seconds, spread

from zsad_bench import process
from zsad_bench.errors import ZsadError

ROOT = Path(__file__).resolve().parents[2]
# What each runtime does by itself: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html, kmp_settings.cpp.
DEFAULT = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
WAITS = {"short": process.WAITING, "default": DEFAULT}
QUICK = ("--epochs", "1", "--data", "scale=0.04")


def measure(options: argparse.Namespace) -> Found:
    cores = os.cpu_count() or 1
    busy_count, threads = options.busy or cores, options.threads or cores
    arguments = ["--method", options.method, "--prior", "limited", "--targets", options.targets, "--suite", "demo"]
    arguments += QUICK if options.quick else ("--epochs", options.epochs)
    situations = {"alone": 0, f"beside {busy_count} busy processes": busy_count}
    costs: dict[str, dict[str, list[Spent]]] = {name: {wait: [] for wait in WAITS} for name in situations}
    run("short", threads, arguments)  # the first one on a machine draws the data, and is not counted
    for repeat in range(options.repeats):
        for situation, count in situations.items():
            for wait in list(WAITS)[:: (-1) ** repeat]:
                with busy(count):
                    cost = run(wait, threads, arguments)
                costs[situation][wait].append(cost)
                print(f"{situation}, {wait}: {cost.wall:.1f} s, CPU {cost.cpu:.1f} s", file=sys.stderr, flush=True)
    lines, claims = [], []
    for situation, of in costs.items():
        for kind in Spent._fields:
            both = [[getattr(one, kind) for one in of[wait]] for wait in WAITS]
            times = spread([short / default for short, default in zip(*both, strict=True)])
            middle = [seconds(getattr(median(of[wait]), kind)) for wait in WAITS]
            lines.append([f"{situation}, {kind} time", *middle, str(times)])
            claims.append(Claim(f"Threads that wait shortly, {situation}: {kind} time over that by default", times))
    return Found(
        ("a run", "short, s", "default, s", "short / default"),
        lines,
        claims,
        f"`bench {' '.join(arguments)}` with {threads} threads, start of the process included.",
        costs,
    )


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


def run(wait: str, threads: int, arguments: list[str]) -> Spent:
    """What one run of `bench` took; its rows and checkpoints are thrown away.

    Raises:
        ZsadError: it failed.
    """
    environment = os.environ | WAITS[wait] | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    environment.pop(process.WAIT_POLICY, None)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "zsad_bench.cli", "bench", *arguments, "--track", "off"]
        started = time.perf_counter()
        child = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
    if code := os.waitstatus_to_exitcode(status):
        raise ZsadError(f"{' '.join(command)}: exit code {code}")
    return Spent(usage.ru_utime + usage.ru_stime, wall)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--busy", type=int, help="busy processes; default: one per core")
    parser.add_argument("--threads", type=int, help="of a run; default: one per core")
    parser.add_argument("--method", default="anomalyclip")
    parser.add_argument("--targets", default="demo_textures")
    parser.add_argument("--epochs", default="2")


BENCHMARK = Benchmark("A shared machine", measure, add_options, on_gpu=False)  # it is about threads on cores

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
