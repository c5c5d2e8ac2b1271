"""Train methods under a prior, test them on targets, write rows and tables.

What is asked for is always computed, also where rows of it are there.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from zsad_bench import path_lists, quick_imports, registry
from zsad_bench import protocol as protocols
from zsad_bench.commands._shared import (
    DataSettings,
    FrozenTowers,
    Partial,
    StoredFeatures,
    Track,
    data_options,
    known_dataset,
    say_licences,
)
from zsad_bench.commands._sweep_view import SweepView, decided_tracking, print_summary
from zsad_bench.console import Console
from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.options import Option, split_names
from zsad_bench.planning import suite
from zsad_bench.planning.configure import parse_settings
from zsad_bench.planning.plan import JobGroup, Plan, plan
from zsad_bench.planning.recipe import Recipe, RecipeBlock, Variant, of_protocol
from zsad_bench.planning.target import with_named_root
from zsad_bench.results import rows as store
from zsad_bench.sweep import worker
from zsad_bench.sweep.executors import Executor
from zsad_bench.sweep.executors.choose import ExecutorChoice, ExecutorOptions, choose
from zsad_bench.sweep.executors.inline import Inline
from zsad_bench.sweep.schedule import Listener, hashed, sigterm_exits, work_through
from zsad_bench.sweep.stored_plan import StoredPlan
from zsad_bench.sweep.sweep_folder import SweepFolder

if TYPE_CHECKING:
    from zsad_bench.planning.suite import Suite
    from zsad_bench.runner.opened import Opened

TOGETHER = 32  # trained methods that share the passes of this process; each keeps the maps of one category


def _priors(text: str, option: str) -> tuple[str, ...]:
    return tuple(path_lists.priors(text, option)) or split_names(text, option)


@dataclass(frozen=True, kw_only=True)
class Options:
    method: Annotated[tuple[str, ...], Option("NAME[,NAME…]", "see `zsad-bench ls methods`", names="methods")]
    prior: Annotated[
        tuple[str, ...],
        Option("SPEC[,SPEC…]", "see `zsad-bench ls priors`; default: those of --protocol", read=_priors),
    ] = ()
    protocol: Annotated[
        str | None,
        Option("NAME", "a paper's priors, backbones and image size, see `zsad-bench ls protocols`", names="protocols"),
    ] = None
    suite: Annotated[str, Option("auto|demo|paper", "targets, backbone and image size")] = "auto"
    targets: Annotated[
        str | None,
        Option(
            "NAME[:CATEGORY][,…]",
            "datasets to test, folder:PATH and csv:FILE too; default: all of the suite that are found",
            names="datasets",
        ),
    ] = None
    backbone: Annotated[str | None, Option("NAME", "see `zsad-bench ls backbones`")] = None
    weights: Annotated[str | None, Option("PATH", "a pretrained tag, or a file of weights on this machine")] = None
    towers: FrozenTowers = field(default_factory=FrozenTowers)
    checkpoint: Annotated[
        str | None,
        Option("FILE", "test this instead of training (one method); a .pth is read as the authors' own"),
    ] = None
    seed: Annotated[tuple[int, ...], Option("N[,N…]", "of training")] = (0,)
    draw: Annotated[tuple[int, ...], Option("N[,N…]", "of the auxiliary data; default: the prior's own, 0")] = ()
    epochs: Annotated[int | None, Option("N", "instead of the method's own")] = None
    set: Annotated[tuple[str, ...], Option("KEY=VALUE", "a field of the method's configuration", repeated=True)] = ()
    data: DataSettings = ()
    corruption: Annotated[
        tuple[str, ...],
        Option(
            "NAME[:SEVERITY][,…]", "test on corrupted images too: jpeg:3, jpeg (1 to 5), all; see docs/robustness.md"
        ),
    ] = ()
    wording: Annotated[
        tuple[str, ...],
        Option("NAME[,NAME…]", "test under other nouns too: object, synonym, german, french, all"),
    ] = ()
    augment: Annotated[str | None, Option("NAME[,NAME…]", "of training images: flip, rotate, colour, blur")] = None
    cache_images: Annotated[bool, Option(help="keep decoded and resized images in the cache folder")] = False
    on_bad_image: Annotated[Literal["stop", "skip"], Option(help="skip counts what it leaves out")] = "stop"
    partial: Partial = False
    out: Annotated[str, Option("FOLDER", "where <suite>/rows and tables go", writes="folder")] = "leaderboards"
    runs: Annotated[str, Option("FOLDER", "where configuration, checkpoint and log go", writes="folder")] = "runs"
    operating_points: Annotated[
        str | None, Option("NAME", "metrics at thresholds from this dataset's normal images too, see docs/metrics.md")
    ] = None
    stored: StoredFeatures = field(default_factory=StoredFeatures)
    executors: ExecutorOptions = field(default_factory=ExecutorOptions)
    track: Track = "auto"


def run(options: Options) -> int:
    """Checks the names of methods before anything slow is imported; 0."""
    known = registry.names("methods")
    for name in options.method:
        if name not in known:
            raise UsageError(registry.did_you_mean("method", name, known))
    options = _under_protocol(options)
    if options.operating_points:
        known_dataset(options.operating_points)
    quick_imports.load()
    bench(options, Console())
    return 0


def _under_protocol(options: Options) -> Options:
    """The options with the priors and the suite of the protocol that they name.

    Raises:
        UnknownNameError, UsageError: no such protocol, one of another suite or without this prior; or neither of both.
    """
    if options.protocol is None:
        if not options.prior:
            raise UsageError("missing --prior SPEC[,SPEC…]; or --protocol NAME, which brings its own")
        return options
    protocol = protocols.find(options.protocol)
    if why := of_protocol(options.prior, protocol):
        raise UsageError(why)
    name = protocol.suite if options.suite == "auto" else options.suite
    return replace(options, suite=name, prior=options.prior or tuple(protocol.priors))


def bench(options: Options, console: Console) -> None:
    """Runs methods x priors x seeds x draws on the suite's targets.

    Without training prior, seed and draw change nothing: such a method runs once, with the first of them.

    Raises:
        ZsadError: wrong names or options before anything runs; later failures keep the rows that were complete.
    """
    from zsad_bench.commands import table, table_robustness
    from zsad_bench.runner.provenance import run_id

    choice = choose(options.executors)
    if options.checkpoint and options.executors.executor in ("ray", "slurm"):
        raise UsageError(
            f"--checkpoint is tested here, on one device; leave out --executor {options.executors.executor}"
        )
    if options.checkpoint and len(options.method) != 1:
        raise UsageError(f"--checkpoint goes with one method, found {', '.join(options.method)}")
    here = choice.executor == "serial" or options.checkpoint is not None
    chosen, why = suite.choose(options.suite)
    if why:
        console.print(why)
    if options.protocol:
        chosen = suite.under(chosen.name, options.protocol)
        if absent := protocols.find(options.protocol).unregistered():
            console.print(
                f"protocol {options.protocol} also tests {', '.join(absent)}, which no dataset is registered for"
            )
    if options.checkpoint and not options.checkpoint.endswith(".safetensors"):
        options = _as_ours(options, chosen)
    since = run_id()
    made = _plan(options, chosen, f"bench-{since}", None if here else choice, console)
    board, runs = Path(options.out) / chosen.name, Path(options.runs)
    track = decided_tracking(options.track, runs, console)
    rows, lacking = _compute(
        StoredPlan.of(made, board, runs, since, options.stored.asked()), None if here else choice, track, console
    )
    if rows:
        table.show(rows, chosen, console)
        if options.corruption or options.wording:
            table_robustness.show(rows, chosen, console)
        table.regenerate(chosen.name, options.out)
    folders = sorted({str(runs / row.run_id) for row in rows})
    console.print(f"tables: {board / 'README.md'}")
    console.print(f"rows: {board / 'rows'}")
    console.print(f"run: {', '.join(folders)}" if len(folders) <= 3 else f"runs: {len(folders)} folders in {runs}")
    if lacking:
        raise ZsadError(lacking)


def _as_ours(options: Options, chosen: Suite) -> Options:
    """The options with the authors' own checkpoint written as one of ours, under `--runs`.

    Raises:
        CheckpointError: it cannot be read. UsageError: several priors, where one has to say what it was trained on.
    """
    from zsad_bench.commands._official_checkpoint import as_ours

    source, (name,) = Path(str(options.checkpoint)), options.method
    if len(options.prior) != 1:
        raise UsageError(f"--prior {','.join(options.prior)}: name the one that {source.name} was trained under")
    # A tag need not be on this machine yet, and the file knows no weights; a path ties the checkpoint to its values.
    weights = options.weights if options.weights and Path(options.weights).exists() else None
    backbone = options.backbone or chosen.backbone_for(name)[0]
    made = as_ours(source, name, backbone, weights, options.prior[0], options.set, Path(options.runs))
    return replace(options, checkpoint=str(made), set=())  # from now on it has its own configuration


def _not_learned(checkpoint: str, targets: list[str], console: Console) -> list[str]:
    """A suite's targets without those that a checkpoint learned from, which a line names.

    Raises:
        CheckpointError: it cannot be read. UsageError: none is left.
    """
    from zsad_bench.runner.checkpoint import read_header

    learned = read_header(Path(checkpoint)).training.get("auxiliary", ())
    gone, rest = ([name for name in targets if (name in learned) is there] for there in (True, False))
    if gone:
        console.print(f"{', '.join(gone)}: what the checkpoint learned from, and not tested")
    if not rest:
        raise UsageError(f"--checkpoint {checkpoint}: it learned from every target that is found; name others")
    return rest


def _plan(options: Options, chosen: Suite, name: str, choice: ExecutorChoice | None, console: Console) -> Plan:
    """What was asked for as a plan. choice: of what runs it elsewhere; None is this process."""
    from zsad_bench.data import condition_names
    from zsad_bench.runner.opened import readable_targets

    settings = parse_settings(options.set)
    targets = suite.pick_targets(chosen, options.targets)
    if options.checkpoint and not options.targets:
        targets = _not_learned(options.checkpoint, targets, console)
    more: dict[str, Any] = {"cache_images": True} if options.cache_images else {}
    if options.on_bad_image != "stop":
        more["on_bad_image"] = options.on_bad_image
    data = with_named_root(data_options(options.data, options.partial, **more), targets)
    if not options.targets:
        targets = readable_targets(chosen.name, targets, data, console.warn)
    block = RecipeBlock(
        variants=tuple(Variant(method, settings, 0) for method in options.method),
        priors=options.prior,
        targets=tuple(targets) if options.targets else None,
        seeds=options.seed,
        draws=options.draw or None,
        cross=True,
        epochs=options.epochs,
        augment=tuple(part.strip() for part in (options.augment or "").split(",") if part.strip()),
        conditions=condition_names.corrupted(options.corruption) + condition_names.reworded(options.wording),
    )
    recipe = Recipe(
        name=name,
        file=None,
        title=name,
        suite=chosen.name,
        blocks=(block,),
        backbone=options.backbone,
        weights=options.weights,
        data=data,
        checkpoint=Path(options.checkpoint) if options.checkpoint else None,
        precision=options.towers.precision or "float32",
        compiled=options.towers.compile,
        operating_points=options.operating_points,
        protocol=options.protocol,
    )
    without = set(chosen.targets) - set(targets)
    made = plan(recipe, together=TOGETHER, without=without, equal_targets=choice is not None)
    if choice is not None:
        made = plan(recipe, together=choice.together(made), without=without)
    for prior, target in made.left_out:
        console.print(f"{target} is what prior {prior} learns from, and not tested under it")
    for line in made.same_words:
        console.print(line)
    say_licences(targets, console)
    return made


def _compute(
    stored: StoredPlan, choice: ExecutorChoice | None, track: str, console: Console
) -> tuple[list[store.Row], str]:
    """The rows that were computed; and what did not complete, in a line, or ""."""
    from zsad_bench.runner.opened import Opened
    from zsad_bench.sweep.decoded_images import decoded_once

    opened = Opened()
    with _place(stored, choice, opened, track, console) as (folder, executor, listener):
        environment = worker.environment(choice.threads, track) if choice else {}
        status = hashed(stored, folder, listener, opened if choice is None else None, strict=True)
        side_by_side = min(choice.side_by_side, len(stored.groups)) if choice else 1
        with decoded_once(status, stored.groups, side_by_side, console.print) as shared:
            status = work_through(stored, folder, executor, listener, environment | shared, status=status)
        if choice is not None:
            print_summary(status, console)
    expected = (status.cells[cell.id] for group in stored.groups for cell in group.cells)
    keys = set().union(*(cell.keys for cell in expected if not isinstance(cell, str)))
    rows = [row for row in store.load(stored.board / "rows") if row.run_id > stored.since and row.key in keys]
    left = sum(not status.is_done(group) for group in stored.groups)
    lacking = f"{left} of {len(stored.groups)} groups did not complete; their logs are in {folder.path / 'logs'}"
    return rows, lacking if left else ""


@contextlib.contextmanager
def _place(
    stored: StoredPlan, choice: ExecutorChoice | None, opened: Opened, track: str, console: Console
) -> Iterator[tuple[SweepFolder, Executor, Listener]]:
    """Where it is kept how far the plan is, what runs it, and who says so; in this process nothing of it stays."""
    if choice is not None:
        folder = SweepFolder(stored.runs / "sweeps" / stored.name)
        console.print(f"{sum(len(g.cells) for g in stored.groups)} cells in {len(stored.groups)} groups, {choice}; "
                      f"{folder.path}")  # fmt: skip
        with sigterm_exits():
            yield folder, choice.open(), SweepView(console)
        return
    with tempfile.TemporaryDirectory(prefix="zsad-bench-") as kept:
        folder, groups = SweepFolder(Path(kept)), {group.id: group for group in stored.groups}
        run = Inline(lambda group: worker.compute(stored, groups[group], folder, console, track, opened))
        yield folder, run, _Headings(console)


class _Headings(Listener):
    """A line above what a group says of itself."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def started(self, group: JobGroup, where: str) -> None:
        titles = dict.fromkeys(registry.load("methods", job.method).title for job in group.jobs)
        learning = [job for job in group.jobs if job.trains]
        parts = [", ".join(titles)]
        for what, values in (
            ("prior", [job.prior for job in learning]),
            ("seed", [job.seed for job in group.jobs]),
            ("draw", [job.draw for job in learning if job.draw is not None]),
        ):
            if values:
                parts.append(f"{what} {', '.join(map(str, dict.fromkeys(values)))}")
        self.console.rule(" · ".join(parts))
