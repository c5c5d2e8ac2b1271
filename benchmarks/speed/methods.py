"""Time and memory of every method on a full-size backbone: `python benchmarks/speed/methods.py --help`.

ViT-L/14-336 with seeded random weights (nothing is downloaded), each method with its own defaults, images and masks
drawn at random. On a CPU every test image and every training stage is measured in a process of its own, one after the
other, so that peak memory is that method's alone. On a GPU, whose memory is counted by tensor, one process measures all
of them with one backbone. A run of all methods writes its table into docs/speed_methods.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _machine import busy_seconds
from _methods_measured import REPEATS, TEST, measure
from _methods_shown import show, write_page

from zsad_bench import registry
from zsad_bench.errors import UsageError, ZsadError

PAGE = Path(__file__).parents[2] / "docs" / "speed_methods.md"


def measure_all(names: Sequence[str], device: str, small: bool, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """One record per method: `test`, `steps` by stage, and `others`, the share of the cores that other processes took.

    A job that fails leaves its last line under `failed`.
    """
    find = _on_device if device == "cuda" else _in_process
    records = []
    for name in names:
        record: dict[str, Any] = {"name": name, "steps": {}, "failed": {}}
        before, own = busy_seconds(), _own_seconds()
        started, jobs = time.perf_counter(), [TEST]
        while jobs:
            job = jobs.pop(0)
            found = find(name, job, device, small, repeats)
            if isinstance(found, str):
                record["failed"][job] = found
            elif job == TEST:
                record["test"] = found
                jobs += found["stages"]
            else:
                record["steps"][job] = found
            said = found if isinstance(found, str) else f"{found['seconds']:.2f} s, {found['peak_mib']:,.0f} MiB"
            print(f"{name}, {job}: {said}", file=sys.stderr, flush=True)
        spent = (time.perf_counter() - started) * (os.cpu_count() or 1)
        record["others"] = max(0.0, busy_seconds() - before - (_own_seconds() - own)) / spent if before else None
        records.append(record)
    return records


def _in_process(name: str, job: str, device: str, small: bool, repeats: int) -> dict[str, Any] | str:
    """What `measure` finds in a fresh process, or the last line that it said."""
    command = [sys.executable, __file__, name, "--job", job, "--device", device, "--repeats", str(repeats)]
    command += ["--small"] if small else []
    # What the Makefile gives every run: else glibc returns each large tensor to the kernel and asks for it again.
    memory = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
    done = subprocess.run(command, env=memory | os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"ended with exit code {done.returncode} (-9: out of memory)"
    return json.loads(done.stdout.splitlines()[-1])


def _on_device(name: str, job: str, device: str, small: bool, repeats: int) -> dict[str, Any] | str:
    """What `measure` finds in this process, whose GPU memory is free of the job before; or the last line of its error.

    Whatever a method raises is that method's: the others are measured all the same.
    """
    import gc

    import torch

    try:
        return measure(name, job, device, small, repeats)
    except Exception as error:  # also out of memory
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _own_seconds() -> float:
    """CPU time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="registered names; all when none is given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="test images, of which the median counts")
    parser.add_argument("--small", action="store_true", help="on a miniature, in seconds: does the script still run?")
    parser.add_argument("--out", type=Path, help=f"page to write; {PAGE.name} when all methods run at full size")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # how a process asks another for one measurement
    args = parser.parse_args()
    known = registry.names("methods")
    try:
        for name in args.methods:
            if name not in known:
                raise UsageError(registry.did_you_mean("method", name, known))
        if args.repeats < 1:
            raise UsageError(f"--repeats {args.repeats}: expected 1 or more")
        if args.job:
            print(json.dumps(measure(*args.methods, args.job, args.device, args.small, args.repeats)))
            return 0
        records = measure_all(args.methods or known, args.device, args.small, args.repeats)
        show(records)
        page = args.out or (None if args.methods or args.small else PAGE)
        failed = any(record["failed"] for record in records)
        if page and failed:
            print(f"methods.py: {page.name} stays as it was, since a job failed", file=sys.stderr)
        elif page:
            write_page(page, records, args.device)
    except ZsadError as error:
        print(f"methods.py: {error}", file=sys.stderr)
        return error.exit_code
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
