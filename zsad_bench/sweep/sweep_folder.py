"""What is known of a sweep: its plan, what happened, and which rows are there. Files that any shell or node can read.

    runs/sweeps/<recipe>/plan.json      the groups, as they were last planned
                         cells.json     the key and the categories and metrics of each cell, once weights and data are
                                        hashed; "error" where that failed
                         events.jsonl   what started, ended, failed, was trained: for people, and for estimates
                         alive/, locks/, logs/   one file a group

Whether a cell is done is never read from these files: it is done when all rows of its key are on the board.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsad_bench.atomic import write_whole
from zsad_bench.planning.plan import Cell, Group, Job, Plan
from zsad_bench.results.rows import now

BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0  # without a sign of life for as long, a group does not run


@dataclass(frozen=True)
class Folder:
    """The files of one sweep."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def cells(self) -> Path:
        return self.path / "cells.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    def alive(self, group: str) -> Path:
        return self.path / "alive" / group

    def lock(self, group: str) -> Path:
        return self.path / "locks" / f"{group}.lock"

    def log(self, group: str) -> Path:
        return self.path / "logs" / f"{group}.log"

    def tell(self, kind: str, group: str = "", **what: Any) -> None:
        """Appends an event in one write; several processes may."""
        line = json.dumps({"time": now(), "kind": kind, "group": group, **what}) + "\n"
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def told(self) -> list[dict[str, Any]]:
        """Every event so far; a half-written line of a killed process is passed over."""
        return list(_json_lines(self.events.read_bytes())) if self.events.is_file() else []

    def runs_where(self, group: str) -> str:
        """The host that a group runs on right now, or ""."""
        try:
            if time.time() - self.alive(group).stat().st_mtime < SILENT_SECONDS:
                return self.alive(group).read_text()
        except FileNotFoundError:
            pass
        return ""


def write_plan(folder: Folder, plan: Plan, board: Path, runs: Path, since: str = "") -> None:
    """Puts the plan where workers and `status` read it. since: a run id; what earlier runs left counts for nothing."""
    recipe = plan.recipe
    content = {
        "recipe": recipe.name,
        "file": str(recipe.file.resolve()),
        "suite": plan.suite.name,
        "backbone": recipe.backbone,
        "weights": recipe.weights,
        "data": recipe.data,
        "board": str(board),
        "runs": str(runs),
        "since": since,
        "groups": [
            {"id": g.id, "targets": list(g.targets), "jobs": [job.record() for job in g.jobs]} for g in plan.groups
        ],
    }
    write_whole(folder.plan, (json.dumps(content, indent=1) + "\n").encode())


def read_plan(folder: Folder) -> tuple[dict[str, Any], list[Group]]:
    """What `write_plan` wrote: its plain fields, and the groups."""
    content = json.loads(folder.plan.read_text(encoding="utf-8"))
    groups = []
    for record in content["groups"]:
        jobs = tuple(Job(**{**job, "augment": tuple(job["augment"])}) for job in record["jobs"])
        groups.append(Group(jobs, tuple(record["targets"])))
    return content, groups


def write_cells(folder: Folder, cells: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts what `read_cells` gives where it finds it."""
    write_whole(folder.cells, (json.dumps(cells, indent=1) + "\n").encode())


def read_cells(folder: Folder) -> dict[str, dict[str, Any]]:
    """Cell id -> what its rows must be; {} before anything was hashed."""
    return json.loads(folder.cells.read_text(encoding="utf-8")) if folder.cells.is_file() else {}


class Board:
    """The rows of a board as far as a sweep needs them; `refresh` reads what was appended since.

    since: a run id; rows of earlier runs are not there, but for their seconds.
    """

    def __init__(self, board: Path, since: str = "") -> None:
        self.folder, self.since = board / "rows", since
        self.read: dict[Path, int] = {}
        self.found: dict[str, set[tuple[str, str]]] = {}  # key -> (category, metric)
        # (method, target, image size, backbone) -> category -> seconds, all methods of the pass together
        self.seconds: dict[tuple[Any, ...], dict[str, float]] = {}

    def refresh(self) -> Board:
        """Itself, with all whole lines that are on disk."""
        for file in sorted(self.folder.glob("*.jsonl")):
            start, size = self.read.get(file, 0), file.stat().st_size
            if size < start:  # rewritten, as a merge does
                return self._again()
            if size > start:
                with file.open("rb") as opened:
                    opened.seek(start)
                    whole = opened.read().rpartition(b"\n")[0] + b"\n"
                if len(whole) > 1:
                    self.read[file] = start + len(whole)
                    self._take(_json_lines(whole))
        return self

    def _again(self) -> Board:
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

    def is_done(self, expected: Mapping[str, Any] | None) -> bool:
        """Whether all rows of a cell are there; False for one that could not be hashed."""
        return bool(expected) and "key" in expected and self.lacking(expected) == 0

    def lacking(self, expected: Mapping[str, Any]) -> int:
        """How many rows of a cell are missing."""
        found = self.found.get(expected["key"], set())
        return sum((c, m) not in found for c in expected["categories"] for m in expected["metrics"])


def trained_seconds(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], float]:
    """(method, variant, prior) -> seconds of the latest such training."""
    return {(e["method"], e["variant"], e["prior"]): e["seconds"] for e in events if e["kind"] == "trained"}


def cost(
    group: Group, cells: Mapping[str, Any], board: Board, trained: Mapping[tuple[str, str, str], float]
) -> float | None:
    """Seconds that what is missing of a group will take, from what was measured before; None when something was not.

    A pass serves all methods of a group at once: of each target the longest counts.
    """
    missing = [cell for cell in group.cells if not board.is_done(cells.get(cell.id))]
    total = 0.0
    for job in {id(cell.job): cell.job for cell in missing if cell.job.trains}.values():
        seconds = trained.get((job.method, job.variant, job.prior))
        if seconds is None:
            return None
        total += seconds
    for target in dict.fromkeys(cell.target for cell in missing):
        passes = [_test_seconds(cell, cells.get(cell.id), board) for cell in missing if cell.target == target]
        if None in passes:
            return None
        total += max(passes)
    return total


def _test_seconds(cell: Cell, expected: Mapping[str, Any] | None, board: Board) -> float | None:
    if not expected or "key" not in expected:
        return None
    of = (cell.job.method, cell.target.partition(":")[0], expected["image_size"], expected["backbone"])
    seen = board.seconds.get(of, {})
    return sum(seen[c] for c in expected["categories"]) if set(expected["categories"]) <= seen.keys() else None


def _json_lines(content: bytes) -> Iterable[dict[str, Any]]:
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
