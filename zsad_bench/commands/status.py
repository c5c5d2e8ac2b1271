"""How a sweep stands, from any shell: read from what the sweep writes, here or on another machine."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

from rich.console import Group as Lines
from rich.live import Live

from zsad_bench.console import Console, Table, styled
from zsad_bench.errors import ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.planning.plan import Cell, Group
from zsad_bench.sweep.sweep_folder import Board, Folder, cost, read_cells, read_plan, trained_seconds

STATES = ("done", "running", "failed", "cannot run", "waiting")
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "cannot run": "yellow", "waiting": ""}
EVERY_SECONDS = 2.0  # between looks at the rows


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str, Argument("RECIPE|FILE.yaml", "as given to `sweep`")]
    cells: Annotated[bool, Option(help="group by group instead of counts")] = False
    runs: Annotated[str, Option("FOLDER", "as given to `sweep`")] = "runs"


class Snapshot:
    """A sweep as its files show it; `refresh` looks again."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.content, self.groups = read_plan(folder)
        self.cells = read_cells(folder)
        self.board = Board(Path(self.content["board"]), self.content.get("since", ""))
        self.refresh()

    def refresh(self) -> None:
        self.board.refresh()
        events = self.folder.told()
        self.trained = trained_seconds(events)
        ends = [e for e in events if e["kind"] in ("started", "done", "failed")]
        self.last: dict[str, dict[str, Any]] = {e["group"]: e for e in ends}
        self.where = {group.id: self.folder.runs_where(group.id) for group in self.groups}

    def is_done(self, group: Group) -> bool:
        return all(self.board.is_done(self.cells.get(cell.id)) for cell in group.cells)

    def blocked(self, group: Group) -> str:
        """Why a group cannot run, or ""."""
        errors = (self.cells.get(cell.id, {}).get("error", "") for cell in group.cells)
        return next(filter(None, errors), "")

    def failed(self, group: Group) -> str:
        """What a group that failed said last, or ""."""
        last = self.last.get(group.id, {})
        return last["why"] if last.get("kind") == "failed" else ""

    def cost(self, group: Group) -> float | None:
        """Seconds that what is missing of it will take, or None."""
        return cost(group, self.cells, self.board, self.trained)

    def state(self, group: Group, cell: Cell) -> str:
        """One of STATES."""
        if self.board.is_done(self.cells.get(cell.id)):
            return "done"
        if self.where[group.id]:
            return "running"
        if self.blocked(group):
            return "cannot run"
        return "failed" if self.failed(group) else "waiting"

    def counts(self) -> Counter[str]:
        return Counter(self.state(group, cell) for group in self.groups for cell in group.cells)

    def left(self) -> float | None:
        """Seconds until all is done, one group after the other; None when a part of it was never measured."""
        open_ = [group for group in self.groups if not self.is_done(group) and not self.blocked(group)]
        seconds = [self.cost(group) for group in open_ if not (self.failed(group) and not self.where[group.id])]
        return None if None in seconds else sum(seconds)


class View:
    """What a running sweep shows: a table that stays up to date in a terminal, a line an event elsewhere."""

    def __init__(self, shown: Snapshot, console: Console) -> None:
        self.shown, self.console = shown, console
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self.looked = time.monotonic()

    def __enter__(self) -> View:
        if self.live is not None:
            self.live.start()
            self.live.update(_picture(self.shown), refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def tick(self) -> None:
        """Looks again, now and then."""
        if self.live is not None and time.monotonic() - self.looked >= EVERY_SECONDS:
            self.looked = time.monotonic()
            self.shown.refresh()
            self.live.update(_picture(self.shown), refresh=True)

    def say(self, group: Group, what: str, style: str = "") -> None:
        """A line of its own; above the table, where there is one."""
        done = sum(map(self.shown.is_done, self.shown.groups))
        line = f"[{done}/{len(self.shown.groups)}] {name_of(group)}: {what}"
        self.console.print(line, style=style)


def run(options: Options) -> int:
    """Prints how a sweep stands; exit code 0 when it is complete, 1 when something failed, else 0.

    Raises:
        ZsadError: it was never started from here.
    """
    asked = options.recipe
    folder = Folder(Path(options.runs) / "sweeps" / Path(asked).stem)
    if not folder.plan.is_file():
        raise ZsadError(f"no sweep of {asked} in {folder.path.parent}; start it with `zsad-bench sweep {asked}`")
    console = Console()
    shown = Snapshot(folder)
    if options.cells:
        print_cells(shown, console)
    else:
        console.print(table(shown))
    print_summary(shown, console)
    return 1 if shown.counts()["failed"] else 0


def table(shown: Snapshot) -> Table:
    """One line a method variant and prior, with how many of its cells are in which state."""
    lines: dict[tuple[str, str, str], Counter[str]] = {}
    where: dict[tuple[str, str, str], dict[str, None]] = {}
    for group in shown.groups:
        for cell in group.cells:
            of = (cell.job.method, cell.job.variant, cell.job.prior)
            state = shown.state(group, cell)
            lines.setdefault(of, Counter())[state] += 1
            if state == "running":
                where.setdefault(of, {})[shown.where[group.id]] = None
    made = Table("method", "variant", "prior", *STATES, "where", box=None, pad_edge=False)
    for column in made.columns[3:-1]:
        column.justify = "right"
    for of, counts in lines.items():
        numbers = [styled(str(counts[state] or ""), COLOURS[state]) for state in STATES]
        made.add_row(*of, *numbers, "; ".join(where.get(of, {})))
    return made


def _picture(shown: Snapshot) -> Lines:
    return Lines(table(shown), _summary(shown))


def print_cells(shown: Snapshot, console: Console) -> None:
    """The groups in the order of the plan, with their cost, their cells and how those stand."""
    for group in shown.groups:
        seconds = shown.cost(group)
        rest = "done" if shown.is_done(group) else f"cost {'unknown' if seconds is None else clock(seconds)}"
        said = f"group {group.id}: {len(group.cells)} cells, {rest}"
        console.print(said)
        for job in group.jobs:
            states = {}
            for cell in group.cells:
                if cell.job is job:
                    states.setdefault(shown.state(group, cell), []).append(cell.target)
            on = "; ".join(f"{state}: {' '.join(targets)}" for state, targets in states.items())
            line = f"  {_name(job)} · {on}"
            console.print(line)


def print_summary(shown: Snapshot, console: Console) -> None:
    """How many cells are in which state, what failed or cannot run and why, and how long the rest takes."""
    for group in shown.groups:
        if shown.is_done(group) or shown.where[group.id]:
            continue
        why = shown.blocked(group)
        what = f"cannot run: {why}" if why else f"failed: {shown.failed(group)}" if shown.failed(group) else ""
        if what:
            log = "" if why else f"; see {shown.folder.log(group.id)}"
            line = f"{name_of(group)}: {what}{log}"
            console.print(line, style="red")
    console.print(_summary(shown))


def _summary(shown: Snapshot) -> str:
    counts = shown.counts()
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = shown.left()
    rest = "" if not (counts["running"] or counts["waiting"]) else "; time left unknown"
    if rest and left is not None:
        rest = f"; about {clock(left)} left on one device"
    return f"{counts.total()} cells: {said}{rest}"


def name_of(group: Group) -> str:
    """A group in a few words."""
    first, *others = sorted(group.jobs, key=lambda job: not job.trains)
    more = f" and {len(others)} more" if others else ""
    on = group.targets[0] if len(group.targets) == 1 else f"{len(group.targets)} targets"
    return f"{_name(first)}{more} on {on}"


def _name(job: Any) -> str:
    parts = [job.method + (f" ({job.variant})" if job.variant else "")]
    parts += [f"prior {job.prior}"] if job.trains else []
    parts += [f"draw {job.draw}"] if job.draw else []
    return " · ".join([*parts, f"seed {job.seed}"])


def clock(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
