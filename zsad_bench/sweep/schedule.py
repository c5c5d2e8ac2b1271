"""Runs what a plan lacks: on any executor, longest first, until every group was tried; a `Listener` is called."""

from __future__ import annotations

import contextlib
import gc
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from zsad_bench.errors import ZsadError
from zsad_bench.planning.group_length import Size
from zsad_bench.planning.plan import JobGroup
from zsad_bench.runner.early import try_writing
from zsad_bench.runner.expected_rows import ExpectedRows
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors import Event, Executor, Task
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder
from zsad_bench.sweep.sweep_status import SweepStatus

if TYPE_CHECKING:
    from zsad_bench.runner.opened import Opened


class Listener:
    """Is called while a plan runs. Every method may be overridden and does nothing here."""

    def hashing(self) -> None:
        """Weights and data are read, to know the keys of the cells."""

    def begins(self, status: SweepStatus, held: Sequence[JobGroup]) -> None:
        """Before the first group starts. held: groups that failed before and are left alone."""

    def started(self, group: JobGroup, where: str) -> None: ...

    def done(self, group: JobGroup, seconds: float) -> None: ...

    def failed(self, group: JobGroup, why: str, log: Path) -> None: ...

    def tick(self) -> None:
        """Now and then, while groups run."""

    def ends(self) -> None:
        """Nothing runs any more, however it ended."""


def work_through(
    plan: StoredPlan,
    folder: SweepFolder,
    executor: Executor,
    listener: Listener,
    environment: Mapping[str, str] | None = None,
    retry_failed: bool = False,
    status: SweepStatus | None = None,
) -> SweepStatus:
    """How a plan stands after everything ran that has no complete rows.

    folder: where the plan and its events are written; a plan that has one resumes. environment: of each process,
    in addition to the executor's own. retry_failed: groups that failed before run again. status: of `hashed`, if that
    was called before.

    Raises:
        ZsadError: the board cannot be written, or the executor lacks something.
    """
    status = status or hashed(plan, folder, listener)
    groups, held = todo(status, retry_failed)
    if groups:
        try_writing(plan.board, plan.runs, {job.method for group in groups for job in group.jobs})
    folder.write(plan, status.cells)
    folder.write_for_workers(plan)
    try:
        listener.begins(status, held)
        _run(groups, executor, environment or {}, status, listener)
    finally:
        listener.ends()
    status.refresh()
    return status


def hashed(
    plan: StoredPlan,
    folder: SweepFolder,
    listener: Listener,
    opened: Opened | None = None,
    strict: bool = False,
) -> SweepStatus:
    """The status of a plan with the keys of all its cells, for which weights and data are read and hashed.

    opened: keeps what was opened for the runs of this process; without it nothing is kept, and nothing is made ready.
    strict: what cannot run is raised instead of noted.
    """
    listener.hashing()
    trainings: dict[str, str] = {}
    sizes: dict[str, Size] = {}
    status = SweepStatus(folder, plan, _expected(plan, opened, strict, trainings, sizes))
    status.trainings, status.sizes = trainings, sizes
    gc.collect()  # an error that was kept holds the frames that it passed through, and with them the weights
    return status


def _expected(
    plan: StoredPlan, kept: Opened | None, strict: bool, trainings: dict[str, str], sizes: dict[str, Size]
) -> dict[str, ExpectedRows | str]:
    """Cell id -> the rows that it must have, or why it cannot run. trainings, sizes: get what each computes."""
    from zsad_bench.runner.opened import Opened
    from zsad_bench.runner.prepared_run import planned, prepare

    opened, ready = kept or Opened(), planned if kept is None else prepare
    cells: dict[str, ExpectedRows | str] = {}
    for group in plan.groups:
        specs = {id(job): plan.run_spec_of(job) for job in group.jobs}
        for cell in group.cells:
            spec = specs[id(cell.job)]
            try:
                data = opened.target(spec, cell.target)
                run = ready(spec, opened)
                cells[cell.id] = expected = run.expected(cell.target, data)
                trainings[cell.id] = run.training_id or expected.key
                sizes[cell.id] = run.size(cell.target, data)
            except ZsadError as error:
                if strict:
                    raise
                cells[cell.id] = str(error)
    return cells


def todo(status: SweepStatus, retry_failed: bool) -> tuple[list[JobGroup], list[JobGroup]]:
    """(what to run, longest first; what failed before and is left alone)."""
    open_ = [group for group in status.groups if not status.is_done(group) and not status.blocked(group)]
    held = [group for group in open_ if status.failed(group) and not retry_failed]
    due = [group for group in open_ if group not in held]

    seconds = status.expected_seconds(due)
    # What nobody can guess comes first: it may be long.
    return sorted(due, key=lambda group: seconds.get(group.id, math.inf), reverse=True), held


def _run(
    groups: Sequence[JobGroup],
    executor: Executor,
    environment: Mapping[str, str],
    status: SweepStatus,
    listener: Listener,
) -> None:
    """Runs the groups; what another sweep runs right now is waited for at the end."""
    folder, by_id = status.folder, {group.id: group for group in groups}
    busy: list[str] = []
    waves = [*_waves(groups, status), busy]
    for ids in waves:
        wait = ids is busy
        due = [id_ for id_ in ids if not status.is_done(by_id[id_])]
        tasks = [Task(i, worker.command(folder, i, wait, status.plan.id), folder.log(i), environment) for i in due]
        started: dict[str, float] = {}
        with contextlib.closing(executor.run(tasks)) as events:
            for event in events:
                if event.kind == "tick":
                    listener.tick()
                elif event.kind == "started":
                    started[event.task] = time.monotonic()
                    folder.tell("started", event.task, where=event.where)
                    listener.started(by_id[event.task], event.where)
                elif event.code == worker.BUSY and not wait:
                    busy.append(event.task)
                else:
                    _ended(by_id[event.task], event, time.monotonic() - started[event.task], status, listener)


def _waves(groups: Sequence[JobGroup], status: SweepStatus) -> list[list[str]]:
    """Ids of groups in as many lists as it takes for no list to have one training twice.

    Two variants may come to one configuration, and what is trained is then the same. At the same time both would train
    it; the later one finds its checkpoint, or all its rows.
    """
    waves: list[list[str]] = []
    claimed: list[set[str]] = []
    for group in groups:
        trainings = {status.trainings[cell.id] for cell in group.cells if cell.id in status.trainings}
        number = next((n for n, others in enumerate(claimed) if not trainings & others), len(waves))
        if number == len(waves):
            waves.append([])
            claimed.append(set())
        waves[number].append(group.id)
        claimed[number] |= trainings
    return waves


def _ended(group: JobGroup, event: Event, seconds: float, status: SweepStatus, listener: Listener) -> None:
    """Rows decide: whatever the process said, a group with all its rows is done."""
    folder = status.folder
    folder.alive(group.id).unlink(missing_ok=True)
    status.refresh()
    if status.is_done(group):
        folder.tell("done", group.id, where=event.where, seconds=round(seconds, 3))
        listener.done(group, seconds)
        return
    why = last_line(folder.log(group.id))
    folder.tell("failed", group.id, where=event.where, seconds=round(seconds, 3), code=event.code, why=why)
    status.refresh()
    listener.failed(group, why, folder.log(group.id))


def last_line(log: Path) -> str:
    """The last line that says something, of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


@contextlib.contextmanager
def sigterm_exits() -> Iterator[None]:
    """SIGTERM in here unwinds, so that what was started is stopped, and leaves with exit code 143."""
    heard = False

    def leave(*_: object) -> NoReturn:
        nonlocal heard
        heard = True
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except BaseException:
        if heard:  # Ray makes an exit of its own of one that comes while it waits
            raise SystemExit(143) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
