"""Runs that share their passes: prepared, trained one after the other, tested together, written down as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from lightning import seed_everything

from zsad_bench import registry
from zsad_bench.atomic import write_whole
from zsad_bench.backbones.precision import check_device, device_of_runs
from zsad_bench.console import Console
from zsad_bench.data import mask_sizes
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.content import troubles
from zsad_bench.data.overlap import see
from zsad_bench.errors import ZsadError
from zsad_bench.metrics.operating import Thresholds
from zsad_bench.planning.target import categories_of
from zsad_bench.results import rows as store
from zsad_bench.runner import calibration, checkpoint, guard, kept_sets, resume, stored_features, test_pass
from zsad_bench.runner.board_metadata import describe
from zsad_bench.runner.early import try_writing
from zsad_bench.runner.expected_rows import rows_of
from zsad_bench.runner.opened import Opened
from zsad_bench.runner.prepared_run import PreparedRun, check_leaks, prepare, take
from zsad_bench.runner.row_writer import RunRecord
from zsad_bench.runner.run_spec import RunSpec
from zsad_bench.runner.train import fit
from zsad_bench.runner.wandb_reporter import WandbReporter
from zsad_bench.tracking.mirror import Mirror

OnTrained = Callable[[RunSpec, float], None]


def run_group(
    specs: Sequence[RunSpec],
    console: Console,
    skip_complete: bool = False,
    trained: OnTrained | None = None,
    mirror: Mirror | None = None,
    since: str = "",
    opened: Opened | None = None,
) -> list[RunRecord]:
    """Trains what needs training and tests everything; one record per spec.

    All specs are tested in the same passes, so that images are encoded once for all; rows are on disk as soon as a
    category is done. A run that cannot be prepared or trained is named and left out, and the others go on without it.

    specs: of one backbone, board and options of data. skip_complete: categories whose rows are on the board are not
    tested again, and a training whose checkpoint is still in `runs` is not repeated. trained: called with the spec and
    seconds of each training. mirror: shown what happens, and never a reason to fail. since: a run id; what earlier
    runs left is not skipped. opened: what this process opened already.

    Raises:
        ZsadError: anything a user can fix. What concerns all runs comes before training; what stopped some of them
            comes at the end, when the others are on the board.
    """
    opened = opened or Opened()
    first = specs[0]
    check_device(first.precision, device_of_runs())
    backbone = opened.backbone(first)
    targets = {asked: opened.target(first, asked) for spec in specs for asked in spec.targets}
    for asked, data in targets.items():
        mask_sizes.check(data)
        categories_of(asked, data)
    say = guard.printed_once(console)
    for data in targets.values():
        for note in data.notes:
            say(note)
    failures = Failures(console, len(specs))
    for spec in specs:  # all of them, before the first is taken
        with failures.of(spec):
            prepare(spec, opened)
    runs = []
    for run in [take(spec, opened) for spec in specs if spec.id not in failures.errors]:
        with failures.of(run.spec):
            check_leaks(run, opened, say)
            for asked in run.spec.targets:
                kept_sets.check(run.method, targets[asked], categories_of(asked, targets[asked]))
            for line in remarks(run, [targets[asked] for asked in run.spec.targets]):
                say(line)
            for note in run.learned_from.notes if run.learned_from else ():
                say(note)
            runs.append(run)
    rows_on_board = cache(lambda method: rows_of(first.board, method, since) if skip_complete else [])
    claimed: set[tuple[str, str]] = set()
    for run in runs:
        _look_up(run, targets, rows_on_board(run.spec.method), claimed if skip_complete else None)
    for line in troubles():
        say(line)
    needed = [run for run in runs if run.needed]
    try_writing(first.board, first.runs, {run.spec.method for run in needed})
    for run in needed:
        run.folder.mkdir(parents=True, exist_ok=True)
        _write_config(run)
        describe(run.spec.board, backbone, opened.plain_targets(run.spec), run.learned_from)
    kept_sets.said(first.features, [run.method for run in needed], list(targets.values()), say)
    reporter = WandbReporter(mirror, targets)
    learning = [run for run in needed if run.learned_from]
    store = stored_features.opened(first.features, learning, say)
    for number, run in enumerate(learning):
        run.method.store = store
        if store is not None:
            store.coming = stored_features.coming(learning[number:])
        with failures.of(run.spec):
            _train(run, console, since if skip_complete else None, trained, reporter, named=len(learning) > 1)
    needed = [run for run in needed if run.spec.id not in failures.errors]
    if store is not None:
        store.coming = {}
        store.forget()
    points: Mapping[str, Thresholds] = {}
    calibrated = needed[0].writer.calibration if needed else None
    if calibrated is not None:
        points = calibration.thresholds(calibrated, needed, console, store)
    for asked, data in targets.items():
        usable = calibration.for_target(calibrated, data, points, console) if calibrated is not None else points
        test_pass.test(asked, data, needed, console, store, usable)
        reporter.tested(needed, asked)
    reporter.done(needed)
    failures.raise_first()
    return [run.record for run in runs]


@dataclass
class Failures:
    """Runs of a group that an error stopped, while the others go on. n_runs: a single run raises its error at once."""

    console: Console
    n_runs: int
    errors: dict[str, ZsadError] = field(default_factory=dict)  # by id of the spec

    @contextmanager
    def of(self, spec: RunSpec) -> Iterator[None]:
        """Keeps and prints the ZsadError of what is done inside."""
        try:
            yield
        except ZsadError as error:
            if self.n_runs == 1:
                raise
            self.errors[spec.id] = error
            title = registry.load("methods", spec.method).title
            self.console.print(f"{title} · prior {spec.prior} · seed {spec.seed} is left out: {error}", style="red")

    def raise_first(self) -> None:
        """Nothing when all runs worked."""
        for error in self.errors.values():
            raise error


def remarks(run: PreparedRun, targets: Sequence[ZeroShotDataModule]) -> list[str]:
    """What the method says of categories that it learns from or is tested on, one line for each remark.

    Raises:
        UsageError: a category that it cannot take.
    """
    modules = [*(run.learned_from.modules if run.learned_from else ()), *targets]
    said: dict[str, dict[str, None]] = {}
    for module in modules:
        for category in module.categories():
            if remark := run.method.remark(category):
                said.setdefault(remark, {})[f"{category.dataset}/{category.name}"] = None
    return [
        f"{run.method.title}: {remark} for {len(names)} {'class' if len(names) == 1 else 'classes'}: {', '.join(names)}"
        for remark, names in said.items()
    ]


def _look_up(
    run: PreparedRun,
    targets: dict[str, ZeroShotDataModule],
    rows: Sequence[store.Row],
    claimed: set[tuple[str, str]] | None,
) -> None:
    """Fills in what is due: every category whose rows are not all among those found.

    claimed: (key, category) that is computed already, by another run (two points of a grid may be one configuration) or
    for another target of this one (a dataset and one of its categories); None lets each compute its own.
    """
    for asked in run.spec.targets:
        expected = run.expected(asked, targets[asked])
        there = {(row.category, row.metric) for row in rows if row.key in expected.keys}
        lacking = expected.lacking(there)
        run.due[asked] = {name for name in lacking if claimed is None or (expected.key, name) not in claimed}
        run.begun = run.begun or bool(there)
        if claimed is not None:
            claimed |= {(expected.key, name) for name in expected.categories}


def _train(
    run: PreparedRun,
    console: Console,
    reuse: str | None,
    trained: OnTrained | None,
    reporter: WandbReporter,
    named: bool,
) -> None:
    """Trains the method and saves its checkpoint into the run's folder.

    reuse: a checkpoint in `runs` that was trained exactly so, after this run id, takes the place of the training; None
    trains. named: the line that says what is trained says of which prior and seed.
    """
    spec, method = run.spec, run.method
    if reuse is not None:
        kept = resume.find_checkpoint(spec.runs, spec.method, method, run.record.training, reuse)
        if kept is not None:
            run.method, _ = checkpoint.load(kept, method.backbone, spec.method)
            console.print(f"{method.title}: trained before, {kept}")
            return
        if run.begun:
            gone = f"{method.title}: has rows already, but its checkpoint is not in {spec.runs} any more"
            console.print(f"{gone}; training again", style="yellow")
    if named:
        draw = f" · draw {spec.draw}" if spec.draw is not None else ""
        console.print(f"{method.title} · prior {spec.prior} · seed {spec.seed}{draw}")
    watch = reporter.curves(run)
    started = time.perf_counter()
    seed_everything(spec.seed, verbose=False)  # the same start whatever else is trained beside it
    auxiliary = run.learned_from
    assert auxiliary is not None  # what learns has something to learn from
    auxiliary.prepare_training(method.config.image_size, spec.seed)
    fit(method, auxiliary.data, run.folder / spec.method, console, watch)
    file = run.folder / f"{spec.method}.safetensors"
    checkpoint.save(file, method, run.record.training, see(auxiliary.modules))
    if trained is not None:
        trained(spec, time.perf_counter() - started)


def _write_config(run: PreparedRun) -> None:
    spec = run.spec
    content = {
        "suite": spec.suite.name,
        "prior": spec.prior,
        "draw": spec.draw,
        "seed": spec.seed,
        "targets": list(spec.targets),
        "backbone": run.method.backbone.id,
        "checkpoint": str(spec.checkpoint) if spec.checkpoint else None,
        "method": spec.method,
        "config": run.method.resolved_config(),
    }
    write_whole(run.folder / "config.json", json.dumps(content, indent=2).encode() + b"\n")
