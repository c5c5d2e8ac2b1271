"""Compute what a recipe has no complete rows of yet, and its tables; a sweep that was stopped goes on."""

from __future__ import annotations

import contextlib
import gc
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, NoReturn

from zsad_bench.commands._shared import Track
from zsad_bench.commands.status import Snapshot, View, clock, name_of, print_cells, print_summary
from zsad_bench.console import Console
from zsad_bench.errors import ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.planning import plan as planning
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.plan import Group
from zsad_bench.planning.suite import SUITES, found_targets, is_found
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors import Event, Executor, Task, choose
from zsad_bench.sweep.executors.choose import ExecutorOptions
from zsad_bench.sweep.sweep_folder import Folder, read_plan, write_cells, write_plan
from zsad_bench.tracking import access


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str, Argument("RECIPE|FILE.yaml", "shipped, or a file; see docs/sweeps.md")]
    dry_run: Annotated[bool, Option(help="print the plan, what it costs and what is done already")] = False
    retry_failed: Annotated[bool, Option(help="run groups again that failed before")] = False
    executors: ExecutorOptions = field(default_factory=ExecutorOptions)
    together: Annotated[
        int | None, Option("N", "most trained methods in a group; default: 8, fewer for GPUs", at_least=1)
    ] = None
    threads: Annotated[
        int | None, Option("N", "of a process; default: OMP_NUM_THREADS, else its share of cores", at_least=1)
    ] = None
    out: Annotated[str, Option("FOLDER", "where <suite>/rows and tables go", writes="folder")] = "leaderboards"
    runs: Annotated[str, Option("FOLDER", "where checkpoints, logs and the sweep's state go", writes="folder")] = "runs"
    track: Track = "auto"


def run(options: Options) -> int:
    """Exit code 0 when every planned cell has all its rows, else 1.

    Raises:
        ZsadError: a recipe that cannot be planned, before anything runs.
    """
    place = choose.choose(options.executors, options.threads)
    console = Console()
    recipe = recipes.load(recipes.find(options.recipe))
    found = cache(is_found)
    without = _broken(recipe, console)
    made = planning.plan(recipe, found, options.together or planning.TOGETHER, without)
    if not options.together and (together := place.together(made)) != planning.TOGETHER:
        made = planning.plan(recipe, found, together, without)
    board, runs = Path(options.out) / made.suite.name, Path(options.runs)
    folder = Folder(runs / "sweeps" / recipe.name)
    _say_plan(made, console)
    if not made.groups:
        raise ZsadError(
            f"recipe {recipe.name}: none of its cells can run here; `zsad-bench data list` says what is found"
        )
    write_plan(folder, made, board.resolve(), runs.resolve())
    with sigterm_exits():
        if options.dry_run:
            shown = hashed(folder, console)
            print_cells(shown, console)
            print_summary(shown, console)
            return 0
        shown = work_through(folder, place, options.track, console, options.retry_failed)
    if any(board.glob("rows/*.jsonl")):
        from zsad_bench.commands.table import regenerate

        regenerate(made.suite.name, options.out)
        console.print(f"tables: {board / 'README.md'}")
    return 0 if all(shown.is_done(group) for group in shown.groups) else 1


def _broken(recipe: recipes.Recipe, console: Console) -> set[str]:
    """The suite's targets that are found and cannot be read, where a part names none; it is said why."""
    if all(part.targets for part in recipe.parts):
        return set()
    from zsad_bench.commands.bench import readable_targets

    chosen = SUITES[recipe.suite]
    found = found_targets(chosen)
    return set(found) - set(readable_targets(chosen, found, recipe.data, console)) if found else set()


def work_through(
    folder: Folder, place: choose.Place, track: str, console: Console, retry_failed: bool = False
) -> Snapshot:
    """How the sweep in a folder stands after everything of its plan ran that has no complete rows, and was told.

    track: what --track says. retry_failed: what failed before as well.

    Raises:
        ZsadError: nothing can run there: weights or data cannot be hashed, or the executor lacks something.
    """
    from zsad_bench.runner.early import try_writing

    executor = place.open()
    shown = hashed(folder, console)
    todo, held = _todo(shown, retry_failed)
    for group in held:
        console.print(f"failed before, --retry-failed runs it again: {name_of(group)}", style="yellow")  # fmt: skip
    if todo:
        board, runs = Path(shown.content["board"]), Path(shown.content["runs"])
        try_writing(board, runs, {job.method for group in todo for job in group.jobs})
        environment = worker.environment(place.threads, _tracking(track, Path(shown.content["runs"]), console))
        _run(todo, executor, environment, folder, shown, console)
    shown.refresh()
    print_summary(shown, console)
    return shown


def _say_plan(made: planning.Plan, console: Console) -> None:
    """What the plan leaves out, and why."""
    say = [f"{made.recipe.title}: {len(made.cells)} cells in {len(made.groups)} groups"]
    if made.recipe.published:
        say.append(f"published numbers only, nothing to run: {', '.join(made.recipe.published)}")
    gone: dict[str, int] = {}
    for _, dataset, _ in made.absent:
        gone[dataset] = gone.get(dataset, 0) + 1
    say += [f"not here: {dataset} ({count} cells)" for dataset, count in gone.items()]
    say += [f"left out: {target} under prior {prior}, which learns from it" for prior, target in made.left_out]
    for line in say:
        console.print(line)


def hashed(folder: Folder, console: Console) -> Snapshot:
    """The sweep with the keys of all its cells; of the weights and data that were hashed for them nothing is kept."""
    from zsad_bench.sweep.expected_rows import expected

    console.print("hashing weights and data")
    content, groups = read_plan(folder)
    planned = [(group, [worker.member(content, job, group.targets) for job in group.jobs]) for group in groups]
    write_cells(folder, expected(planned))
    gc.collect()  # an error that was kept holds the frames that it passed through, and with them the weights
    return Snapshot(folder)


def _tracking(asked: str, runs: Path, console: Console) -> str:
    """What the processes are to be asked; what is wrong with wandb is told here, once, instead of in every log."""
    found = access.decide(asked, runs)
    if found.warning:
        console.print(found.warning, style="yellow")
    return found.mode


def _todo(shown: Snapshot, retry_failed: bool) -> tuple[list[Group], list[Group]]:
    """(what to run, longest first; what failed before and is left alone)."""
    open_ = [group for group in shown.groups if not shown.is_done(group) and not shown.blocked(group)]
    held = [group for group in open_ if shown.failed(group) and not retry_failed]
    todo = [group for group in open_ if group not in held]

    def length(group: Group) -> tuple[bool, float]:
        seconds = shown.cost(group)
        if seconds is not None:
            return False, seconds
        return True, sum(len(group.targets) * (10 if job.trains else 1) for job in group.jobs)

    return sorted(todo, key=length, reverse=True), held  # what is not known comes first: it may be long


def _run(
    todo: Sequence[Group],
    executor: Executor,
    environment: Mapping[str, str],
    folder: Folder,
    shown: Snapshot,
    console: Console,
) -> None:
    """Runs the groups; what another sweep runs right now is waited for at the end."""
    by_id = {group.id: group for group in todo}
    busy: list[str] = []
    with View(shown, console) as view:
        for wait in (False, True):
            ids = busy if wait else list(by_id)
            tasks = [Task(i, worker.command(folder, i, wait), folder.log(i), environment) for i in ids]
            busy = []
            started: dict[str, float] = {}
            with contextlib.closing(executor.run(tasks)) as events:
                for event in events:
                    if event.kind == "tick":
                        view.tick()
                    elif event.kind == "started":
                        started[event.task] = time.monotonic()
                        folder.tell("started", event.task, where=event.where)
                        view.say(by_id[event.task], f"started on {event.where}")
                    elif event.code == worker.BUSY and not wait:
                        busy.append(event.task)
                    else:
                        _ended(by_id[event.task], event, time.monotonic() - started[event.task], folder, shown, view)


def _ended(group: Group, event: Event, seconds: float, folder: Folder, shown: Snapshot, view: View) -> None:
    """Rows decide: whatever the process said, a group with all its rows is done."""
    folder.alive(group.id).unlink(missing_ok=True)
    shown.refresh()
    if shown.is_done(group):
        folder.tell("done", group.id, where=event.where, seconds=round(seconds, 3))
        view.say(group, f"done in {clock(seconds)}")
        return
    why = last_line(folder.log(group.id))
    folder.tell("failed", group.id, where=event.where, seconds=round(seconds, 3), code=event.code, why=why)
    shown.refresh()
    view.say(group, f"failed: {why}; see {folder.log(group.id)}", "red")


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
