"""A sweep on disk: its plan, what happened, and which rows are there. Files that any shell or node can read.

    runs/sweeps/<recipe>/plan.json      the groups, as they were last planned
                         plans/<id>.json   the plan of each sweep: another one may be planned while it runs
                         cells.json     the key and the categories and metrics of each cell, once weights and data are
                                        hashed; "error" where that failed
                         events.jsonl   what started, ended, failed, was trained: for people, and for estimates
                         alive/, locks/, logs/   one file per group

Whether a cell is done is never read from these files: it is done when all rows of its key are on the board.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zsad_bench.atomic import write_whole
from zsad_bench.errors import ZsadError
from zsad_bench.results.rows import now
from zsad_bench.runner.expected_rows import ExpectedRows
from zsad_bench.sweep.stored_plan import SCHEMA, StoredPlan, checked_schema

Cells = Mapping[str, ExpectedRows | str]  # cell id -> its rows; or why it cannot run
BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0  # without a sign of life for as long, a group does not run


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep."""

    path: Path

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    def plan_file_of(self, id_: str) -> Path:
        return self.path / "plans" / f"{id_}.json" if id_ else self.plan_file

    @property
    def cells_file(self) -> Path:
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

    def write(self, plan: StoredPlan, cells: Cells) -> None:
        """Puts both where `status` reads them."""
        records = {id_: {"error": cell} if isinstance(cell, str) else asdict(cell) for id_, cell in cells.items()}
        write_whole(self.plan_file, plan.to_json().encode())
        write_whole(self.cells_file, (json.dumps({"schema": SCHEMA, "cells": records}, indent=1) + "\n").encode())

    def write_for_workers(self, plan: StoredPlan) -> None:
        """Puts the plan where its workers read it, whatever is planned meanwhile."""
        write_whole(self.plan_file_of(plan.id), plan.to_json().encode())

    def read_plan(self, id_: str = "") -> StoredPlan:
        """The plan of this id, or "" as it was last written; read once per process.

        Raises:
            ZsadError: the folder has no such plan, or one of another schema.
        """
        file = self.plan_file_of(id_)
        if not file.is_file():
            raise ZsadError(f"no plan {f'{id_} ' if id_ else ''}in {self.path}; start the sweep")
        return StoredPlan.from_json(file.read_text(encoding="utf-8"), file)

    def read_cells(self) -> dict[str, ExpectedRows | str]:
        """What the cells must have, or why they cannot run; {} before anything was hashed.

        Raises:
            ZsadError: it is of another schema.
        """
        if not self.cells_file.is_file():
            return {}
        records = checked_schema(self.cells_file.read_text(encoding="utf-8"), self.cells_file)["cells"]
        return {id_: record["error"] if "error" in record else _expected(record) for id_, record in records.items()}

    def tell(self, kind: str, group: str = "", **what: Any) -> None:
        """Appends an event in one write; several processes may."""
        line = json.dumps({"time": now(), "kind": kind, "group": group, **what}) + "\n"
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def read_events(self) -> list[dict[str, Any]]:
        """Every event so far; a half-written line of a killed process is passed over."""
        return list(json_lines(self.events.read_bytes())) if self.events.is_file() else []

    def runs_where(self, group: str) -> str:
        """The host that a group runs on right now, or ""."""
        try:
            if time.time() - self.alive(group).stat().st_mtime < SILENT_SECONDS:
                return self.alive(group).read_text()
        except FileNotFoundError:
            pass
        return ""


def _expected(record: Mapping[str, Any]) -> ExpectedRows:
    lists = {name: tuple(record.get(name, ())) for name in ("categories", "metrics", "optional")}
    return ExpectedRows(**{**record, **lists})


def json_lines(content: bytes) -> Iterable[dict[str, Any]]:
    """The objects of whole lines; others are passed over."""
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
