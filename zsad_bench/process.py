"""What this program sets for itself and its workers before torch is imported: how threads wait, how memory is kept.

And what it runs on: the processor's name, and how much memory there is.

Only the program calls this (`cli.py`, and `sweep/worker.py` for its children); `import zsad_bench` sets nothing. What
the user has set is never replaced.

Threads of an OpenMP runtime spin while they wait for each other. On a machine that others use, the thread they wait for
is often off its core, and they burn the core that it needs. Each runtime reads a variable of its own when it is loaded:
libgomp (PyTorch's on Linux) counts spins, 300,000 by default; the runtimes of LLVM and Intel (PyTorch's on macOS, MKL)
wait for 200 ms by default. `OMP_WAIT_POLICY` is the standard's word for the same thing, and both go by it where their
own variable is not set. It knows only "always" and "not at all", which costs a lone process its speed, so the program
sets the runtimes' own variables to a short wait. Where a user has set the standard's, that decides.

glibc hands a large block of memory back to the kernel as soon as it is free, and the next tensor asks for it again: on
a CPU up to half of a training run went there. It reads its variables before `main`, so they serve the processes that
are started from here; in this process `mallopt` sets the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

WAITING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}  # spins (a fraction of a millisecond); milliseconds
WAIT_POLICY = "OMP_WAIT_POLICY"
# In bytes. 32 MiB is the most that glibc accepts for a block of its own mapping.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
TUNABLES = "GLIBC_TUNABLES"  # the other way to say it to glibc, by these names
_TUNABLE = {
    "MALLOC_MMAP_THRESHOLD_": "glibc.malloc.mmap_threshold",
    "MALLOC_TRIM_THRESHOLD_": "glibc.malloc.trim_threshold",
}
_MALLOPT = {
    "MALLOC_MMAP_THRESHOLD_": -3,
    "MALLOC_TRIM_THRESHOLD_": -1,
}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
_INT_MAX = 2**31 - 1  # mallopt takes an int

_set: dict[str, str] = {}  # what `prepare` set in this process


class Setting(NamedTuple):
    """A variable, its value ("-": none), and who decided that, in words."""

    name: str
    value: str
    by: str


def prepare() -> None:
    """Sets what the user has not, for this process and those that it will start; call it before torch is imported."""
    added = lacking(os.environ)
    os.environ.update(added)
    _set.update(added)
    memory = {name: min(int(value), _INT_MAX) for name, value in added.items() if name in MEMORY}
    if memory:
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in memory.items():
            mallopt(_MALLOPT[name], value)


def lacking(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a process with this environment should have besides."""
    wanted = {} if WAIT_POLICY in environment else dict(WAITING)
    if is_glibc():
        wanted |= {name: value for name, value in MEMORY.items() if _TUNABLE[name] not in environment.get(TUNABLES, "")}
    return {name: value for name, value in wanted.items() if name not in environment}


def settings() -> list[Setting]:
    """Each variable of this process, whether set here, by the user, or not at all."""
    return [_setting(name) for name in (*WAITING, *MEMORY)]


def is_glibc() -> bool:
    """Whether the C library is glibc: not musl, not macOS's."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # a system or a C library that does not know the question
        return False


@cache
def processor() -> str:
    """The name of the processor where Linux says it, else its architecture."""
    with contextlib.suppress(OSError):
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].partition(":")[2].strip()
    return platform.machine()


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of its control group where that has less."""
    sizes = [_free_in_group(Path("/sys/fs/cgroup")), _free_on_machine(Path("/proc/meminfo"))]
    known = [size for size in sizes if size is not None]
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _setting(name: str) -> Setting:
    value = os.environ.get(name)
    if value is not None:
        return Setting(name, value, "set by zsad-bench" if _set.get(name) == value else "from the environment")
    if name in MEMORY and not is_glibc():
        return Setting(name, "-", "not set: the C library is not glibc")
    other = WAIT_POLICY if name in WAITING else TUNABLES
    return Setting(name, "-", f"not set: {other}={os.environ[other]} decides" if other in os.environ else "not set")


def _free_in_group(folder: Path) -> int | None:
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    cached = int(stat.get("inactive_file", 0))  # given back when it is needed
    return None if limit == "max" else max(0, int(limit) - used + cached)


def _free_on_machine(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
