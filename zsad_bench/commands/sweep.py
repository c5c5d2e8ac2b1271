"""Compute what a recipe has no complete rows of yet, and its tables; a sweep that was stopped resumes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated

from zsad_bench import quick_imports
from zsad_bench.commands._shared import FrozenTowers, StoredFeatures, Track
from zsad_bench.commands._sweep_view import SweepView, decided_tracking, print_cells, print_summary
from zsad_bench.console import Console
from zsad_bench.errors import ZsadError
from zsad_bench.options import Argument, Option
from zsad_bench.planning import recipe as recipes
from zsad_bench.planning.plan import TOGETHER, Plan, plan
from zsad_bench.planning.suite import found_targets, is_found, under
from zsad_bench.planning.target import with_named_root
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors.choose import ExecutorOptions, choose, group_gib
from zsad_bench.sweep.schedule import hashed, sigterm_exits, todo, work_through
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str, Argument("RECIPE|FILE.yaml", "shipped, or a file; see docs/sweeps.md", names="recipes")]
    weights: Annotated[str | None, Option("PATH", "of the recipe's backbone: a file on this machine, or a tag")] = None
    dry_run: Annotated[bool, Option(help="print the plan, what it costs and what is done already")] = False
    towers: FrozenTowers = field(default_factory=FrozenTowers)
    retry_failed: Annotated[bool, Option(help="run groups again that failed before")] = False
    executors: ExecutorOptions = field(default_factory=ExecutorOptions)
    together: Annotated[
        int | None, Option("N", "most trained methods in a group; default: 8, fewer for GPUs", at_least=1)
    ] = None
    threads: Annotated[
        int | None, Option("N", "of a process; default: OMP_NUM_THREADS, else its share of cores", at_least=1)
    ] = None
    stored: StoredFeatures = field(default_factory=StoredFeatures)
    at_once: Annotated[
        int | None,
        Option("N", "groups that run at once on the CPU; default: one per core, where memory allows", at_least=1),
    ] = None
    out: Annotated[str, Option("FOLDER", "where <suite>/rows and tables go", writes="folder")] = "leaderboards"
    runs: Annotated[str, Option("FOLDER", "where checkpoints, logs and the sweep's state go", writes="folder")] = "runs"
    track: Track = "auto"


def run(options: Options) -> int:
    """Exit code 0 when every planned cell has all its rows, else 1.

    Raises:
        ZsadError: a recipe that cannot be planned, before anything runs.
    """
    console = Console()
    recipe = recipes.load(recipes.find(options.recipe))
    recipe = replace(recipe, weights=_weights(options.weights) or recipe.weights)
    recipe = replace(recipe, precision=options.towers.precision or recipe.precision, compiled=options.towers.compile)
    quick_imports.load()
    memory = group_gib(recipe.backbone or under(recipe.suite, recipe.protocol).backbone)
    choice = choose(options.executors, options.threads, options.at_once, memory)
    found = cache(is_found)
    without = _broken(recipe, console)
    made = plan(recipe, found, options.together or TOGETHER, without)
    if not options.together and (together := choice.together(made)) != TOGETHER:
        made = plan(recipe, found, together, without)
    _say_plan(made, console)
    if not made.groups:
        raise ZsadError(
            f"recipe {recipe.name}: none of its cells can run here; `zsad-bench data list` says what is found"
        )
    board, runs = Path(options.out) / made.suite.name, Path(options.runs)
    stored = StoredPlan.of(made, board, runs, features=options.stored.asked())
    folder = SweepFolder(runs / "sweeps" / recipe.name)
    view = SweepView(console)
    with sigterm_exits():
        # Before anything is hashed: what another executor needs may be missing.
        elsewhere = choice.open() if choice.executor != "serial" and not options.dry_run else None
        status = hashed(stored, folder, view)
        if options.dry_run:
            folder.write(stored, status.cells)
            print_cells(status, console)
            print_summary(status, console)
            return 0
        due, _ = todo(status, options.retry_failed)
        choice = choice.for_groups(len(due))
        if choice.at_once > 1:
            console.print(f"{choice.at_once} groups at a time, each with {choice.threads} of the CPU's threads")
        executor = elsewhere or choice.open()
        environment = worker.environment(choice.threads, decided_tracking(options.track, runs, console))
        from zsad_bench.sweep.decoded_images import decoded_once  # numpy; `--help` needs none

        with decoded_once(status, due, choice.side_by_side, console.print) as shared:
            environment |= shared
            status = work_through(stored, folder, executor, view, environment, options.retry_failed, status)
        print_summary(status, console)
    if any(board.glob("rows/*.jsonl")):
        from zsad_bench.commands.table import regenerate

        regenerate(made.suite.name, options.out)
        console.print(f"tables: {board / 'README.md'}")
    return 0 if all(map(status.is_done, status.groups)) else 1


def _weights(asked: str | None) -> str | None:
    """A path in full, since workers may run elsewhere; a tag as it is."""
    path = None if asked is None else Path(asked).expanduser()
    return str(path.resolve()) if path is not None and path.exists() else asked


def _broken(recipe: recipes.Recipe, console: Console) -> set[str]:
    """The suite's targets that are found and cannot be read, where a block names none; a line says why."""
    if all(block.targets for block in recipe.blocks):
        return set()
    from zsad_bench.runner.opened import readable_targets

    found = found_targets(under(recipe.suite, recipe.protocol))
    data = with_named_root(recipe.data, found)
    return set(found) - set(readable_targets(recipe.suite, found, data, console.warn)) if found else set()


def _say_plan(made: Plan, console: Console) -> None:
    """What the plan leaves out, and why."""
    lines = [f"{made.recipe.title}: {len(made.cells)} cells in {len(made.groups)} groups"]
    if made.recipe.published:
        lines.append(f"published numbers only, nothing to run: {', '.join(made.recipe.published)}")
    if made.suite.protocol and (absent := made.suite.protocol.unregistered()):
        lines.append(f"not registered, of protocol {made.suite.protocol.name}: {', '.join(absent)}")
    gone = Counter(dataset for _, dataset, _ in made.absent)
    lines += [f"not here: {dataset} ({count} cells)" for dataset, count in gone.items()]
    lines += [f"left out: {target} under prior {prior}, which learns from it" for prior, target in made.left_out]
    for line in (*lines, *made.same_words):
        console.print(line)
