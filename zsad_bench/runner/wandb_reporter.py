"""What of a cell group the wandb mirror is told: curves while it trains, means and maps after each target, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback

from zsad_bench.console import Console
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.results.pictures import read_pictures
from zsad_bench.runner import resume
from zsad_bench.runner.wandb_captions import averaged, shown
from zsad_bench.tracking.access import decide
from zsad_bench.tracking.curves import Curves
from zsad_bench.tracking.mirror import Mirror
from zsad_bench.tracking.wandb_run import SHARED, tracked

if TYPE_CHECKING:
    from zsad_bench.runner.run_group import Member


def open_mirror(asked: str, folder: Path, group: str, console: Console) -> Mirror:
    """The mirror of this process; where tracking is off it does nothing. asked: the value of --track.

    Raises:
        UnknownNameError: no such value.
    """

    def warn(line: str) -> None:
        console.print(line, style="yellow", soft_wrap=True)

    return Mirror(decide(asked, folder), folder, group, warn)


class Live:
    """Tells a mirror, None for nobody, about members of a run as they go on."""

    def __init__(self, mirror: Mirror | None, targets: Sequence[ZeroShotDataModule]) -> None:
        self.mirror = mirror if mirror is not None and mirror.mode != "off" else None
        self.any_target = targets[0] if targets else None
        self.before: dict[str, list[dict[str, Any]]] = {}

    def curves(self, member: Member, name: str) -> Callable[[str], Callback] | None:
        """The callback of each training stage of a method."""
        if self.mirror is None:
            return None
        mirror, of = self.mirror, tracked(self._fields(member, name))
        return lambda stage: Curves(stage, mirror.begin_stage(of, stage))

    def tested(self, members: Sequence[Member], asked: str, data: ZeroShotDataModule) -> None:
        """After a target: what was tested on it."""
        if self.mirror is None:
            return
        with self.mirror.guarded():
            for member, name in ((each, name) for each in members for name in each.built if each.due[asked][name]):
                fields = self._fields(member, name)
                of = tracked(fields)
                self.mirror.show_means(of, self._rows(member, name, fields), averaged(member.group.suite))
                kept = read_pictures(member.group.board / "pictures", member.row_fields(name, data)["key"])
                self.mirror.show_maps(of, data.name, [shown(each) for each in kept if each.about["redistribute"]])

    def done(self, members: Sequence[Member]) -> None:
        """After all targets."""
        if self.mirror is None:
            return
        with self.mirror.guarded():
            for member in members:
                for name in filter(member.needs, member.built):
                    fields = self._fields(member, name)
                    self.mirror.show_table(tracked(fields), self._rows(member, name, fields))
        self.mirror.finish()

    def _fields(self, member: Member, name: str) -> dict[str, Any]:
        return {**member.recorder.common, **member.row_fields(name, self.any_target)}

    def _rows(self, member: Member, name: str, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every row of this wandb run: those of earlier runs on the board, and this run's so far."""
        of = tracked(fields).id
        if of not in self.before:
            rows = resume.rows_of(member.group.board, name)
            same = (row for row in rows if all(getattr(row, part) == fields[part] for part in SHARED))
            self.before[of] = [row.record() for row in same]
        return self.before[of] + [row.record() for row in member.record.rows if row.method == name]
