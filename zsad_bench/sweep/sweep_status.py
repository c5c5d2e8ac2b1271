"""How a sweep stands: which rows are there, what runs, what failed and why, and how long the rest will take."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zsad_bench.conditions import split
from zsad_bench.planning.gpu_hours import read_parts
from zsad_bench.planning.group_length import Size, expected_seconds
from zsad_bench.planning.plan import Cell, JobGroup
from zsad_bench.runner.expected_rows import ExpectedRows
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import Cells, SweepFolder, json_lines

STATES = ("done", "running", "failed", "cannot run", "waiting")


class SweepStatus:
    """A sweep as its rows and events show it; `refresh` looks again. cells: what each must have, once hashed."""

    def __init__(self, folder: SweepFolder, plan: StoredPlan, cells: Cells) -> None:
        self.folder, self.plan, self.cells = folder, plan, cells
        self.rows = RowIndex(plan.board, plan.since)
        self.trainings: dict[str, str] = {}  # cell id -> the training or else the rows that it needs, once hashed
        self.sizes: dict[str, Size] = {}  # cell id -> how much it computes, once hashed
        self.refresh()

    @classmethod
    def read(cls, folder: SweepFolder) -> SweepStatus:
        """Of a sweep that was started here or elsewhere, from its files.

        Raises:
            ZsadError: there is no plan, or it is of another schema.
        """
        return cls(folder, folder.read_plan(), folder.read_cells())

    @property
    def groups(self) -> tuple[JobGroup, ...]:
        return self.plan.groups

    def refresh(self) -> None:
        """Takes in what was written since."""
        self.rows.refresh()
        events = self.folder.read_events()
        self.trained = trained_seconds(events)
        ends = [e for e in events if e["kind"] in ("started", "done", "failed")]
        self.last: dict[str, dict[str, Any]] = {e["group"]: e for e in ends}
        self.where = {group.id: self.folder.runs_where(group.id) for group in self.groups}

    def is_done(self, group: JobGroup) -> bool:
        return all(self.rows.is_done(self.cells.get(cell.id)) for cell in group.cells)

    def blocked(self, group: JobGroup) -> str:
        """Why a group cannot run, or ""."""
        errors = (self.cells.get(cell.id) for cell in group.cells)
        return next((error for error in errors if isinstance(error, str)), "")

    def failed(self, group: JobGroup) -> str:
        """The last line that a failed group printed, or ""."""
        last = self.last.get(group.id, {})
        return last["why"] if last.get("kind") == "failed" else ""

    def cost(self, group: JobGroup) -> float | None:
        """Seconds that what is missing of it will take, or None."""
        return cost(group, self.cells, self.rows, self.trained)

    def expected_seconds(self, groups: Iterable[JobGroup]) -> dict[str, float]:
        """Id of a group -> seconds that what is missing of it may take: measured, or guessed from its size.

        Guesses are at the pace of the groups whose cost is measured, or of another machine, where none is: only good to
        compare groups. A group of unknown size is not in it.
        """
        measured, guessed = {}, {}
        for group in groups:
            missing = [cell for cell in group.cells if not self.rows.is_done(self.cells.get(cell.id))]
            if all(cell.id in self.sizes for cell in missing):
                sizes = [(cell.job.digest, cell.target, self.sizes[cell.id]) for cell in missing]
                guessed[group.id] = expected_seconds(sizes, read_parts())
            if (seconds := self.cost(group)) is not None:
                measured[group.id] = seconds
        both = [measured[id_] / guessed[id_] for id_ in measured if guessed.get(id_)]
        pace = statistics.median(both) if both else 1.0
        return {id_: pace * seconds for id_, seconds in guessed.items()} | measured

    def state(self, group: JobGroup, cell: Cell) -> str:
        """One of STATES."""
        if self.rows.is_done(self.cells.get(cell.id)):
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
        known = [one for one in seconds if one is not None]
        return sum(known) if len(known) == len(seconds) else None


class RowIndex:
    """The rows of a board as far as a sweep needs them; `refresh` reads what was appended since.

    since: a run id; rows of earlier runs are not there, but for their seconds.
    """

    def __init__(self, board: Path, since: str = "") -> None:
        self.folder, self.since = board / "rows", since
        self.read: dict[Path, int] = {}
        self.found: dict[str, set[tuple[str, str]]] = {}  # key -> (category, metric)
        # (method, target, image size, backbone) -> category -> seconds, all methods of the pass together
        self.seconds: dict[tuple[Any, ...], dict[str, float]] = {}

    def refresh(self) -> RowIndex:
        """Itself, with all whole lines that are on disk."""
        for file in sorted(self.folder.glob("*.jsonl")):
            if not file.is_file():  # nothing can be appended to it, which is reported before anything runs
                continue
            start, size = self.read.get(file, 0), file.stat().st_size
            if size < start:  # rewritten, as a merge does
                return self._again()
            if size > start:
                with file.open("rb") as opened:
                    opened.seek(start)
                    whole = opened.read().rpartition(b"\n")[0] + b"\n"
                if len(whole) > 1:
                    self.read[file] = start + len(whole)
                    self._take(json_lines(whole))
        return self

    def _again(self) -> RowIndex:
        self.read.clear()
        self.found.clear()
        return self.refresh()

    def _take(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            try:
                if not self.since or row["run_id"] > self.since:
                    self.found.setdefault(row["key"], set()).add((row["category"], row["metric"]))
                of = (row["method"], row["target"], row["image_size"], row["backbone"])
                self.seconds.setdefault(of, {})[row["category"]] = row["seconds"]
            except (KeyError, TypeError):  # no row; loading the board for a table says where
                continue

    def is_done(self, expected: ExpectedRows | str | None) -> bool:
        """Whether all rows of a cell are there; False for one that could not be hashed."""
        if not isinstance(expected, ExpectedRows):
            return False
        return not expected.lacking(set().union(*(self.found.get(key, set()) for key in expected.keys)))


def trained_seconds(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], float]:
    """(method, variant, prior) -> seconds of the latest such training."""
    return {(e["method"], e["variant"], e["prior"]): e["seconds"] for e in events if e["kind"] == "trained"}


def cost(group: JobGroup, cells: Cells, rows: RowIndex, trained: Mapping[tuple[str, str, str], float]) -> float | None:
    """Seconds that what is missing of a group will take, from what was measured before; None when something was not.

    A pass serves all methods of a group at once: of each target the longest counts.
    """
    missing = [cell for cell in group.cells if not rows.is_done(cells.get(cell.id))]
    total = 0.0
    for job in {id(cell.job): cell.job for cell in missing if cell.job.trains}.values():
        seconds = trained.get((job.method, job.variant, job.prior))
        if seconds is None:
            return None
        total += seconds
    for target in dict.fromkeys(cell.target for cell in missing):
        passes = [_test_seconds(cell, cells.get(cell.id), rows) for cell in missing if cell.target == target]
        known = [seconds for seconds in passes if seconds is not None]
        if len(known) < len(passes):
            return None
        total += max(known)
    return total


def _test_seconds(cell: Cell, expected: ExpectedRows | str | None, rows: RowIndex) -> float | None:
    if not isinstance(expected, ExpectedRows):
        return None
    of = (cell.job.method, split(cell.target)[0].partition(":")[0], expected.image_size, expected.backbone)
    seen = rows.seconds.get(of, {})
    return sum(seen[c] for c in expected.categories) if set(expected.categories) <= seen.keys() else None
