"""`zsad-bench bench` on several GPUs or a cluster: its options as a plan, run as a sweep of which nothing is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from zsad_bench.commands.sweep import sigterm_exits, work_through
from zsad_bench.console import Console
from zsad_bench.data import prior as priors
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.planning import plan as planning
from zsad_bench.planning.configure import trains
from zsad_bench.planning.recipe import Part, Recipe, Variant
from zsad_bench.planning.suite import Suite, is_found
from zsad_bench.planning.target import target_of
from zsad_bench.results import rows as store
from zsad_bench.runner.provenance import run_id
from zsad_bench.sweep.executors.choose import Place
from zsad_bench.sweep.sweep_folder import Folder, write_plan


class Spread(NamedTuple):
    """rows: what was computed. folders: of its runs. lacking: what did not complete, in a line, or ""."""

    rows: list[store.Row]
    folders: list[Path]
    lacking: str


def spread(
    methods: Sequence[str],
    specs: Sequence[str],
    seeds: Sequence[int],
    draws: Sequence[int | None],
    targets: Sequence[str] | None,
    common: Mapping[str, Any],
    place: Place,
    track: str,
    console: Console,
    without: Collection[str] = (),
) -> Spread:
    """What came of methods x priors x seeds x draws, each group computed wherever there is a place.

    targets: that were asked for; None is all of the suite that are found, but for `without`. common: of every
    `CellGroup`.

    Raises:
        UsageError: a target that was asked for is what its prior learns from. DatasetError: what a prior learns from is
            not here.
    """
    chosen: Suite = common["suite"]
    for spec in specs if any(map(trains, methods)) else ():
        for target in targets or ():
            name = target_of(target).name
            if name in priors.resolve(spec, chosen.name, name).auxiliary:
                raise UsageError(f"target '{target}' is what prior '{spec}' learns from; leave it out of --targets")
    since = run_id()
    part = Part(
        variants=tuple(Variant(name, common["settings"], 0) for name in methods),
        priors=tuple(specs),
        targets=tuple(targets) if targets else None,
        seeds=tuple(seeds),
        draws=None if list(draws) == [None] else tuple(draws),
        cross=True,
        epochs=common["epochs"],
        augment=common["augment"],
    )
    name = f"bench-{since}"
    options = {option: common[option] for option in ("backbone", "weights", "data")}
    recipe = Recipe(name, Path(name), name, chosen.name, (part,), **options)
    found = cache(is_found)
    made = planning.plan(recipe, found, without=without)
    made = planning.plan(recipe, found, place.together(made), without)
    for job, dataset, target in made.absent:
        if dataset != target_of(target).dataset:
            raise DatasetError(
                f"prior {job.prior} learns from {dataset}, which is not here; `zsad-bench data fetch {dataset}` gets it"
            )
    board, runs = Path(common["board"]), Path(common["runs"])
    folder = Folder(runs / "sweeps" / name)
    write_plan(folder, made, board.resolve(), runs.resolve(), since)
    console.print(f"{len(made.cells)} cells in {len(made.groups)} groups, {place}; {folder.path}")  # fmt: skip
    with sigterm_exits():
        shown = work_through(folder, place, track, console)
    keys = {shown.cells[cell.id].get("key") for cell in made.cells}
    rows = [row for row in store.load(board / "rows") if row.run_id > since and row.key in keys]
    left = sum(not shown.is_done(group) for group in shown.groups)
    lacking = f"{left} of {len(shown.groups)} groups did not complete; their logs are in {folder.path / 'logs'}"
    return Spread(rows, sorted({runs / row.run_id for row in rows}), lacking if left else "")
