"""Where a number came from: commit, versions, device, run."""

from __future__ import annotations

import contextlib
import resource
import secrets
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from zsad_bench.process import processor


@cache
def commit() -> str:
    """The checkout's commit (12 hex digits, `+` when its files are others), or "" outside a checkout."""
    return state_of(Path(__file__).resolve().parents[2])


def state_of(here: Path, package: str = "zsad_bench") -> str:
    """The commit of a checkout, as `commit` says it.

    Other files are tracked ones that differ, and files of the package that git neither tracks nor ignores:
    a new method, a word list of prompts.
    """
    if not (here / ".git").exists():
        return ""
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        # Generated tables change with every run and say nothing about the code.
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!leaderboards")
        changed += _git(here, "ls-files", "--others", "--exclude-standard", "--", package)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def _git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()


@cache
def package_version() -> str:
    """Of this package as it is installed; read once, since every row asks."""
    try:
        return version("zsad-bench")
    except PackageNotFoundError:
        return "uninstalled"


def run_id() -> str:
    """Time to the millisecond and a random tail: unique, and later ones sort after it."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{secrets.token_hex(3)}"


def device() -> str:
    """What computes, as rows and tables name the machine: the GPU, or the processor and the number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps"
    threads = torch.get_num_threads()
    return f"cpu ({processor()}, {threads} thread{'s' * (threads > 1)})"


def reset_peak_memory() -> None:
    """Lets `peak_memory_mb` count from here on, where the system can do so: on a GPU and on Linux."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark of resident memory to what is in use


def peak_memory_mb() -> float:
    """Largest memory since it was reset, MiB: of the GPU when there is one, else resident memory of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
