"""How a sweep stands, for people: while it runs, and from its files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group as Lines
from rich.live import Live

from zsad_bench.console import Console, Table, styled
from zsad_bench.planning.plan import Job, JobGroup
from zsad_bench.sweep.schedule import Listener
from zsad_bench.sweep.sweep_status import STATES, SweepStatus
from zsad_bench.tracking import access

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "cannot run": "yellow", "waiting": ""}
EVERY_SECONDS = 2.0  # between looks at the rows


class SweepView(Listener):
    """What a running sweep shows: a table that stays up to date in a terminal, a line per event elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self.looked = time.monotonic()
        self.status: SweepStatus | None = None

    def hashing(self) -> None:
        self.console.print("hashing weights and data")

    def begins(self, status: SweepStatus, held: Sequence[JobGroup]) -> None:
        self.status = status
        for group in held:
            self.console.print(f"failed before, --retry-failed runs it again: {name_of(group)}", style="yellow")
        if self.live is not None:
            self.live.start()
            self.live.update(_picture(status), refresh=True)

    def ends(self) -> None:
        if self.live is not None:
            self.live.stop()

    def tick(self) -> None:
        """Looks again, now and then."""
        if self.live is not None and self.status and time.monotonic() - self.looked >= EVERY_SECONDS:
            self.looked = time.monotonic()
            self.status.refresh()
            self.live.update(_picture(self.status), refresh=True)

    def started(self, group: JobGroup, where: str) -> None:
        self._say(group, f"started on {where}")

    def done(self, group: JobGroup, seconds: float) -> None:
        self._say(group, f"done in {clock(seconds)}")

    def failed(self, group: JobGroup, why: str, log: Path) -> None:
        self._say(group, f"failed: {why}; see {log}", "red")

    def _say(self, group: JobGroup, what: str, style: str = "") -> None:
        """A line of its own; above the table, where there is one."""
        groups = self.status.groups if self.status else ()
        done = sum(map(self.status.is_done, groups)) if self.status else 0
        self.console.print(f"[{done}/{len(groups)}] {name_of(group)}: {what}", style=style)


def table(status: SweepStatus) -> Table:
    """One line per method variant and prior, with how many of its cells are in which state."""
    lines: dict[tuple[str, str, str], Counter[str]] = {}
    where: dict[tuple[str, str, str], dict[str, None]] = {}
    for group in status.groups:
        for cell in group.cells:
            of = (cell.job.method, cell.job.variant, cell.job.prior)
            state = status.state(group, cell)
            lines.setdefault(of, Counter())[state] += 1
            if state == "running":
                where.setdefault(of, {})[status.where[group.id]] = None
    made = Table("method", "variant", "prior", *STATES, "where", box=None, pad_edge=False)
    for column in made.columns[3:-1]:
        column.justify = "right"
    for of, counts in lines.items():
        numbers = [styled(str(counts[state] or ""), COLOURS[state]) for state in STATES]
        made.add_row(*of, *numbers, "; ".join(where.get(of, {})))
    return made


def _picture(status: SweepStatus) -> Lines:
    return Lines(table(status), _summary(status))


def print_cells(status: SweepStatus, console: Console) -> None:
    """The groups in the order of the plan, with their cost, their cells and how those stand."""
    for group in status.groups:
        seconds = status.cost(group)
        rest = "done" if status.is_done(group) else f"cost {'unknown' if seconds is None else clock(seconds)}"
        said = f"group {group.id}: {len(group.cells)} cells, {rest}"
        console.print(said)
        for job in group.jobs:
            states: dict[str, list[str]] = {}
            for cell in group.cells:
                if cell.job is job:
                    states.setdefault(status.state(group, cell), []).append(cell.target)
            on = "; ".join(f"{state}: {' '.join(targets)}" for state, targets in states.items())
            line = f"  {_name(job)} · {on}"
            console.print(line)


def print_summary(status: SweepStatus, console: Console) -> None:
    """How many cells are in which state, what failed or cannot run and why, and how long the rest takes."""
    for group in status.groups:
        if status.is_done(group) or status.where[group.id]:
            continue
        why = status.blocked(group)
        what = f"cannot run: {why}" if why else f"failed: {status.failed(group)}" if status.failed(group) else ""
        if what:
            log = "" if why else f"; see {status.folder.log(group.id)}"
            line = f"{name_of(group)}: {what}{log}"
            console.print(line, style="red")
    console.print(_summary(status))


def _summary(status: SweepStatus) -> str:
    counts = status.counts()
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = status.left()
    rest = "" if not (counts["running"] or counts["waiting"]) else "; time left unknown"
    if rest and left is not None:
        rest = f"; about {clock(left)} left on one device"
    return f"{counts.total()} cells: {said}{rest}"


def name_of(group: JobGroup) -> str:
    """A group in a few words."""
    first, *others = sorted(group.jobs, key=lambda job: not job.trains)
    more = f" and {len(others)} more" if others else ""
    on = group.targets[0] if len(group.targets) == 1 else f"{len(group.targets)} targets"
    return f"{_name(first)}{more} on {on}"


def _name(job: Job) -> str:
    parts = [job.method + (f" ({job.variant})" if job.variant else "")]
    parts += [f"prior {job.prior}"] if job.trains else []
    parts += [f"draw {job.draw}"] if job.draw else []
    return " · ".join([*parts, f"seed {job.seed}"])


def clock(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def decided_tracking(asked: str, runs: Path, console: Console) -> str:
    """The value of --track for the runs; problems with wandb are reported here, once, instead of by each run."""
    found = access.decide(asked, runs)
    if found.warning:
        console.warn(found.warning)
    return found.mode
