"""What the benchmarks of this folder have in common: turns, ratios, the record of a run, and the command line.

A file takes part in `make speed` if it assigns `BENCHMARK` at its top level, and ends with `main(BENCHMARK)`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from _machine import busy_seconds, processor

from zsad_bench.errors import UsageError, ZsadError

if TYPE_CHECKING:
    from rich.console import Console

REPEATS = 5
PACKAGES = ("torch", "open_clip_torch", "numpy", "scipy", "scikit-learn", "numba")
MIB = 2**20


class Spent(NamedTuple):
    """Seconds: CPU time of this process, all its threads, and wall-clock time."""

    cpu: float
    wall: float


class Ratio(NamedTuple):
    """Median of the ratios of all turns, with the extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}-{self.high:.3g})"


class Claim(NamedTuple):
    """One number that a benchmark is run for. bound, limit: what it should be, or None."""

    what: str
    value: Ratio
    bound: Literal["at least", "at most"] | None = None
    limit: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the bound; None without one."""
        if self.bound is None or self.limit is None:
            return None
        return self.value.median >= self.limit if self.bound == "at least" else self.value.median <= self.limit

    @property
    def goal(self) -> str:
        return "–" if self.limit is None else f"{self.bound} {self.limit:g}"


@dataclass
class Found:
    """What one benchmark found. head, lines: its table. text: how it was measured, for the page.

    raw: seconds and bytes turn by turn, for the JSON file alone.
    """

    head: Sequence[str]
    lines: list[Sequence[str]]
    claims: list[Claim]
    text: str
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """title: of its section. measure: options -> Found; options have `quick`, `repeats` and `device` at least.

    add_options: options of its own, whose defaults are the full size. on_gpu: `gpu.py` runs it as well, with
    `gpu_options` as words of its command line.
    """

    title: str
    measure: Callable[[argparse.Namespace], Found]
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    on_gpu: bool = True
    gpu_options: tuple[str, ...] = ()


# --- measuring --------------------------------------------------------------------------------------------------------


def spend(work: Callable[[], Any], device: str = "cpu") -> tuple[Spent, Any]:
    """What a call took, the device included, and what it returned."""
    _wait_for(device)
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    _wait_for(device)
    return Spent(time.process_time() - cpu, time.perf_counter() - wall), result


def alternate(
    ways: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu", warm_up: bool = True
) -> dict[str, list[Spent]]:
    """Every way once per turn, in turns that run forwards and backwards; by way, what it took in each turn."""
    if warm_up:
        for work in ways.values():
            work()
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways)[:: (-1) ** turn]:
            spent[name].append(spend(ways[name], device)[0])
            print(f"turn {turn + 1}, {name}: {spent[name][-1].cpu:.2f} s of CPU", file=sys.stderr, flush=True)
    return spent


def ratio(over: Sequence[Spent], under: Sequence[Spent], device: str = "cpu") -> Ratio:
    """One over the other, turn by turn: of CPU time, or of wall time where a GPU did the work."""
    clock = clock_of(device)
    return spread([getattr(a, clock) / getattr(b, clock) for a, b in zip(over, under, strict=True)])


def spread(values: Sequence[float]) -> Ratio:
    return Ratio(statistics.median(values), min(values), max(values))


def clock_of(device: str) -> Literal["cpu", "wall"]:
    """Which of the two says what work cost: other processes lengthen wall time, and a GPU's work is no CPU time."""
    return "wall" if device == "cuda" else "cpu"


def median(spent: Sequence[Spent]) -> Spent:
    return Spent(statistics.median(one.cpu for one in spent), statistics.median(one.wall for one in spent))


def _wait_for(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def seconds(value: float) -> str:
    """Three digits, as in a table."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def timed_line(name: str, spent: Sequence[Spent], of: Sequence[Spent], device: str = "cpu") -> list[str]:
    """A line of `TIMED_HEAD`; of: the way that the ratio is taken to."""
    middle = median(spent)
    shown = "1" if spent is of else str(ratio(spent, of, device))
    return [name, seconds(middle.cpu), seconds(middle.wall), shown]


TIMED_HEAD = ("way", "CPU, s", "wall, s", "ratio")


# --- the record -------------------------------------------------------------------------------------------------------


def own_seconds() -> float:
    """CPU time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def where(device: str = "cpu") -> dict[str, Any]:
    """The machine, its device, the number of threads, and the versions of what computes."""
    import torch

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "versions": versions,
    }


def record_of(name: str, benchmark: Benchmark, options: argparse.Namespace) -> dict[str, Any]:
    """Runs a benchmark: what it found and where, as plain types; `others` is None where the machine does not say."""
    before, own, started = busy_seconds(), own_seconds(), time.perf_counter()
    found = benchmark.measure(options)
    took = time.perf_counter() - started
    others = (busy_seconds() - before - (own_seconds() - own)) / (took * (os.cpu_count() or 1))
    return {
        "name": name,
        "title": benchmark.title,
        "quick": options.quick,
        "repeats": options.repeats,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seconds": took,
        "others": max(0.0, others) if before else None,
        **where(options.device),
        "head": list(found.head),
        "lines": [list(line) for line in found.lines],
        "claims": [claim._asdict() | {"value": claim.value._asdict(), "met": claim.met} for claim in found.claims],
        "text": found.text,
        "raw": _plain(found.raw),
    }


def claims_of(record: Mapping[str, Any]) -> list[Claim]:
    return [
        Claim(each["what"], Ratio(**each["value"]), each["bound"], each["limit"]) for each in record.get("claims", [])
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def conditions(record: Mapping[str, Any]) -> str:
    """Where and when a record was measured, and how busy the machine was."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))
    device = "" if record["device"] == "cpu" else f"{record['device']}; "
    threads = f"{record['threads']} thread{'s' if record['threads'] > 1 else ''}"
    others = "" if record["others"] is None else f", other processes took {record['others']:.0%} of its CPU time"
    return (
        f"{record['date']}, {device}{record['processor']}, {record['cores']} cores, {threads}{others}; "
        f"{record['repeats']} repeats in {record['seconds']:.0f} s; {versions}."
    )


# --- showing ----------------------------------------------------------------------------------------------------------


def show_table(head: Sequence[str], lines: Iterable[Sequence[str]], width: int, title: str | None = None) -> Console:
    """A table on the terminal, numbers to the right; the console, at least so wide: a log file has no width."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, width)
    table = Table(head[0], title=title, title_justify="left")
    for name in head[1:]:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    return console


def show(record: Mapping[str, Any]) -> None:
    """The record on the terminal."""
    console = show_table(record["head"], record["lines"], 120, record["title"])
    for claim in claims_of(record):
        said = {None: "", True: ": kept", False: ": not kept"}[None if record["quick"] else claim.met]
        goal = f" (goal: {claim.goal}{said})" if claim.bound else ""
        console.print(f"{claim.what}: {claim.value}{goal}", markup=False, highlight=False, soft_wrap=True)
    console.print(conditions(record), markup=False, highlight=False, soft_wrap=True)


def parser_of(benchmark: Benchmark, description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a miniature, in seconds: does the script still run?")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns, of which the median counts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="file to write the record to")
    if benchmark.add_options:
        benchmark.add_options(parser)
    return parser


def main(benchmark: Benchmark, arguments: Sequence[str] | None = None) -> int:
    """The command line of one file: measures, prints the table, writes the JSON file; the exit code."""
    from zsad_bench.atomic import write_whole

    module = sys.modules[benchmark.measure.__module__]
    name = Path(module.__file__ or "").stem
    options = parser_of(benchmark, module.__doc__).parse_args(arguments)
    try:
        if options.repeats < 1:
            raise UsageError(f"--repeats {options.repeats}: expected 1 or more")
        record = record_of(name, benchmark, options)
        show(record)
        if options.json:
            write_whole(options.json, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    except ZsadError as error:
        print(f"{name}.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def check_same(what: str, one: Any, other: Any, tolerance: float) -> None:
    """Raises ZsadError where two tensors, which both ways computed, differ by more: their times say nothing then."""
    difference = float((one.detach().double() - other.detach().double()).abs().max())
    if not difference <= tolerance:
        raise ZsadError(
            f"{what}: both ways differ by {difference:.1e}, more than {tolerance:.0e}; their times cannot be compared"
        )
