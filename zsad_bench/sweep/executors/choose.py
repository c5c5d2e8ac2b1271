"""Where the groups of a command run: from --executor, --gpus and --slurm, and from the GPUs that are visible here."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from zsad_bench.errors import UnknownNameError, UsageError, ZsadError
from zsad_bench.options import Option
from zsad_bench.planning.plan import TOGETHER, Plan
from zsad_bench.process import free_memory
from zsad_bench.registry import did_you_mean
from zsad_bench.sweep.executors import Executor
from zsad_bench.sweep.executors import ray as on_ray
from zsad_bench.sweep.executors.ray import Ray
from zsad_bench.sweep.executors.serial import Serial
from zsad_bench.sweep.executors.slurm import Slurm

EXECUTORS: dict[str, type[Executor]] = {"serial": Serial, "ray": Ray, "slurm": Slurm}
TINY_GIB, LARGE_GIB = 2.0, 12.0  # a group of the demo suite (1.7 were seen), and of ViT-L at 518 px in training
JOB_THREADS = 4  # of a Slurm job: the cores of a login node say nothing about it


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """Where a command is to run, as it is typed."""

    executor: Annotated[str, Option("auto|serial|ray|slurm", "auto: ray on several GPUs")] = "auto"
    gpus: Annotated[int | None, Option("N", "of this machine; default: all that are visible; see docs/cluster.md")] = (
        None
    )
    slurm: Annotated[tuple[str, ...], Option("KEY=VALUE", "of sbatch: partition, time, …", repeated=True)] = ()


@dataclass(frozen=True)
class ExecutorChoice:
    """executor: its name. gpus: how many groups run at once on this machine's; 0 is on its CPU, or not known.

    threads: of a process. slurm: options of sbatch. at_once: how many groups run at once on this machine's CPU.
    shared_cores: those that the groups share among them; 0 where threads are as they were asked for.
    """

    executor: str
    gpus: int
    threads: int
    slurm: Mapping[str, str] = field(default_factory=dict)
    at_once: int = 1
    shared_cores: int = 0

    def __str__(self) -> str:
        return f"{self.executor} on {self.gpus} GPUs" if self.gpus > 1 else self.executor

    @property
    def side_by_side(self) -> int:
        """How many groups run at once on this machine, as far as is known: on its GPUs, or on its CPU."""
        return max(self.at_once, self.gpus)

    def for_groups(self, count: int) -> ExecutorChoice:
        """The same for so many groups: where they are fewer than would run at once, each gets more of the cores."""
        at_once = max(1, min(self.at_once, count))
        threads = max(1, self.shared_cores // at_once) if self.shared_cores else self.threads
        return replace(self, at_once=at_once, threads=threads)

    def open(self) -> Executor:
        """The executor.

        Raises:
            ZsadError: what it needs is not installed.
        """
        if self.executor == "ray":
            return Ray(self.threads, self.gpus or None)
        if self.executor == "slurm":
            return Slurm(self.threads, self.slurm)
        opened: Callable[[int], Executor] = EXECUTORS[self.executor]
        return opened(self.at_once)

    def together(self, made: Plan) -> int:
        """How many trained methods a group may hold at most so that every GPU gets about two groups."""
        learning = sum(job.trains for group in made.groups for job in group.jobs)
        return max(1, min(TOGETHER, learning // (2 * self.gpus))) if self.gpus > 1 else TOGETHER


def choose(
    options: ExecutorOptions, threads: int | None = None, at_once: int | None = 1, group_gib: float = 0
) -> ExecutorChoice:
    """The executor that options ask for; `auto` is Ray where several GPUs are visible, else `serial` on this machine.

    threads: of a process; None is OMP_NUM_THREADS, else its share of the cores. at_once: groups on this machine's CPU;
    None is as many as its cores and its free memory allow. group_gib: memory of one, at most.

    Raises:
        UnknownNameError, UsageError: no such executor, more GPUs than there are, options that go with another one.
        ZsadError: several GPUs, and Ray is not installed.
    """
    name, visible = options.executor, visible_gpus()
    if name not in ("auto", *EXECUTORS):
        raise UnknownNameError(did_you_mean("executor", name, ["auto", *EXECUTORS]))
    if options.slurm and name != "slurm":
        raise UsageError(f"--slurm {options.slurm[0]}: goes with --executor slurm")
    cluster = name == "slurm" or (name == "ray" and os.environ.get("RAY_ADDRESS", "local") != "local")
    gpus = 0 if cluster else visible
    if options.gpus is not None:
        if cluster:
            raise UsageError(
                f"--gpus {options.gpus}: is for this machine's GPUs; of a cluster, {name} takes all it gets"
            )
        if not 1 <= options.gpus <= visible:
            raise UsageError(
                f"--gpus {options.gpus}: visible here: {visible}; give a number up to that, or leave it out"
            )
        gpus = options.gpus
    if name == "serial" and options.gpus not in (None, 1):
        raise UsageError(f"--gpus {options.gpus}: serial uses one; --executor ray uses several")
    if name == "auto":
        name = "ray" if gpus > 1 else "serial"
        if name == "ray" and importlib.util.find_spec("ray") is None:
            raise ZsadError(f"{gpus} GPUs are visible, and several need Ray: {on_ray.INSTALL}, or --gpus 1 for one")
    on_cpu = name == "serial" and gpus == 0
    if at_once is not None and at_once > 1 and not on_cpu:
        where = "with GPUs one group runs on each" if name != "slurm" else "slurm decides how many jobs run"
        raise UsageError(f"--at-once {at_once}: is for groups on this machine's CPU; {where}")
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    cores = len(os.sched_getaffinity(0))
    if at_once is None:
        at_once = _side_by_side(cores // (threads or 1), group_gib) if on_cpu else 1
    shared_cores = 0 if threads or not on_cpu else cores
    if not threads:
        here = cores // (gpus if name == "ray" and gpus else at_once)
        threads = JOB_THREADS if name == "slurm" else max(1, here)
    gpus = gpus if name == "ray" else min(gpus, 1)
    return ExecutorChoice(name, gpus, threads, _sbatch(options.slurm), at_once, shared_cores)


def group_gib(backbone: str) -> float:
    """Memory that a group on this backbone takes at most, in GiB."""
    return TINY_GIB if backbone == "tiny" else LARGE_GIB


def _side_by_side(most: int, gib: float) -> int:
    """How many groups of so much memory fit beside each other, at most so many and at least one."""
    return max(1, min(most, int(free_memory() // (gib * 2**30)) if gib else most))


def visible_gpus() -> int:
    """How many GPUs PyTorch sees."""
    import torch

    return torch.cuda.device_count()


def _sbatch(given: Sequence[str]) -> dict[str, str]:
    """`["partition=gpu", "exclusive"]` as a dict; a flag has no value."""
    options = {}
    for entry in given:
        key, _, value = entry.removeprefix("--").partition("=")
        if not key:
            raise UsageError(f"--slurm {entry}: expected an option of sbatch, as in --slurm partition=gpu")
        options[key] = value
    return options
