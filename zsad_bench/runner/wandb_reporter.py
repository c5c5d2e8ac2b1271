"""What of a run goes to wandb: curves while it trains, means and maps after each target, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback

from zsad_bench.console import Console
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.results.pictures import read_pictures
from zsad_bench.runner.expected_rows import rows_of
from zsad_bench.runner.prepared_run import PreparedRun
from zsad_bench.runner.wandb_captions import averaged, shown
from zsad_bench.tracking.access import decide
from zsad_bench.tracking.curves import Curves
from zsad_bench.tracking.mirror import Mirror
from zsad_bench.tracking.wandb_run import SHARED, tracked


def open_mirror(asked: str, folder: Path, group: str, console: Console) -> Mirror:
    """The mirror of this process; where tracking is off it does nothing. asked: the value of --track.

    Raises:
        UnknownNameError: no such value.
    """

    def warn(line: str) -> None:
        console.print(line, style="yellow", soft_wrap=True)

    return Mirror(decide(asked, folder), folder, group, warn)


class WandbReporter:
    """Reports runs to a mirror as they go on; with None it reports nothing. targets: by what was asked."""

    def __init__(self, mirror: Mirror | None, targets: Mapping[str, ZeroShotDataModule]) -> None:
        self.mirror = mirror if mirror is not None and mirror.mode != "off" else None
        self.targets = targets
        self.before: dict[str, list[dict[str, Any]]] = {}

    def curves(self, run: PreparedRun) -> Callable[[str], Callback] | None:
        """The callback of each training stage of a method."""
        if self.mirror is None:
            return None
        mirror, of = self.mirror, tracked(self._fields(run))
        return lambda stage: Curves(stage, mirror.begin_stage(of, stage))

    def tested(self, runs: Sequence[PreparedRun], asked: str) -> None:
        """After a target: what was tested on it."""
        if self.mirror is None:
            return
        data = self.targets[asked]
        with self.mirror.guarded():
            for run in runs:
                if not run.due.get(asked):
                    continue
                fields = self._fields(run)
                of = tracked(fields)
                self.mirror.show_means(of, self._rows(run, fields), averaged(run.spec.suite))
                kept = read_pictures(run.spec.board / "pictures", run.writer.cell(data)["key"])
                self.mirror.show_maps(of, data.name, [shown(each) for each in kept if each.about["redistribute"]])

    def done(self, runs: Sequence[PreparedRun]) -> None:
        """After all targets."""
        if self.mirror is None:
            return
        with self.mirror.guarded():
            for run in runs:
                fields = self._fields(run)
                self.mirror.show_table(tracked(fields), self._rows(run, fields))
        self.mirror.finish()

    def _fields(self, run: PreparedRun) -> dict[str, Any]:
        """Those of its rows that all its targets share, and some of a target."""
        return {**run.writer.common, **run.writer.cell(self.targets[run.spec.targets[0]])}

    def _rows(self, run: PreparedRun, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every row of this wandb run: those of earlier runs on the board, and this run's so far."""
        of = tracked(fields).id
        if of not in self.before:
            rows = rows_of(run.spec.board, run.spec.method)
            same = (row for row in rows if all(getattr(row, part) == fields[part] for part in SHARED))
            self.before[of] = [row.record() for row in same]
        return self.before[of] + [row.record() for row in run.record.rows]
