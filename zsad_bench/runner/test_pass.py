"""One pass over a target for every method that is tested on it, and the rows it gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lightning import Callback, LightningDataModule, Trainer

from zsad_bench.atomic import file_name
from zsad_bench.backbones.feature_store import FeatureStore
from zsad_bench.console import Console
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.vanished import vanished
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.metrics.operating import Thresholds
from zsad_bench.results.pictures import Pick
from zsad_bench.runner import resume
from zsad_bench.runner.computation import CountComputations
from zsad_bench.runner.kept_sets import SetRoom
from zsad_bench.runner.metric_collector import Collector, Finished, OnCategory
from zsad_bench.runner.opened import data_module
from zsad_bench.runner.picks import draw_sheet
from zsad_bench.runner.prepared_run import PreparedRun
from zsad_bench.runner.progress import progress
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.runner.train import stoppable, trainer_options
from zsad_bench.runner.unlabelled_maps import FOLDER, UnlabelledMaps
from zsad_bench.types import Category


def test(
    asked: str,
    data: ZeroShotDataModule,
    runs: Sequence[PreparedRun],
    console: Console,
    store: FeatureStore | None,
    thresholds: Mapping[str, Thresholds],
) -> None:
    """One pass for the methods that read the same image size; usually that is all of them.

    thresholds: id of a run's spec -> those of its optional metrics.
    """
    labels = {}
    for number, run in enumerate(runs):
        if run.due.get(asked):
            labels[run.spec.method if len(runs) == 1 else f"{run.spec.method} {number}"] = run
    for size in sorted({run.method.config.image_size for run in labels.values()}):
        chosen = {label: run for label, run in labels.items() if run.method.config.image_size == size}
        methods = {label: run.method for label, run in chosen.items()}
        data.image_size = size
        wanted = set().union(*(run.due[asked] for run in chosen.values()))
        kept = resume.whole_batches(data.samples(), wanted, data.batch_size)
        part = data
        if len(kept) < len(data.samples()):
            part = data_module(asked, runs[0].spec.data, runs[0].method.backbone, {"samples": kept})
            part.image_size = size
        shown = {label: method.title for label, method in methods.items() if not _is_noise(method)}
        largest: dict[str, dict[str, Pick]] = {}
        left: dict[str, tuple[int, int]] = {}
        maps = _maps(asked, data, chosen) if data.unlabelled else None
        callbacks = [
            CountComputations(chosen, console),  # before memory is measured
            Collector(
                part,
                _writer(asked, data, chosen, largest, left),
                shown,
                thresholds={label: thresholds.get(run.spec.id) for label, run in chosen.items()},
                predicted=maps,
            ),
            progress(console, f"test on {data.title}{f', {data.condition.words}' if data.condition else ''}"),
        ]
        due = {label: run.due[asked] for label, run in chosen.items()}
        loader = run_pass(methods, part, callbacks, console.is_terminal, store, due, SetRoom.of(runs[0].spec.features))
        if largest and shown and data.condition is None:
            draw_sheet(largest, shown, next(iter(chosen.values())).folder / f"maps_{file_name(data.name)}_{size}px.png")
        lost = vanished(data.name, left, size)
        lost += [maps.line(data.name, data.unlabelled)] if maps is not None else []
        for line in [*(f"left out: {reason}" for reason in loader.reasons), *loader.resized, *loader.said, *lost]:
            console.print(line, style="yellow")


def _is_noise(method: ZeroShotMethod) -> bool:
    """What draws its maps and never looks: pictures of it say nothing."""
    return method.is_sanity_check and method.stochastic_at_test


def _maps(asked: str, data: ZeroShotDataModule, runs: Mapping[str, PreparedRun]) -> UnlabelledMaps:
    """What writes the maps of an unlabelled target, of the categories that are due."""
    keys = {label: str(run.writer.cell(data)["key"]) for label, run in runs.items()}
    folders = {label: run.spec.board / FOLDER / keys[label] for label, run in runs.items()}
    return UnlabelledMaps(folders, {label: run.due[asked] for label, run in runs.items()})


def run_pass(
    methods: Mapping[str, ZeroShotMethod],
    data: LightningDataModule,
    callbacks: Sequence[Callback] = (),
    progress_bar: bool = False,
    store: FeatureStore | None = None,
    due: Mapping[str, Collection[str]] | None = None,
    room: SetRoom | None = None,
) -> Any:
    """Tests methods, by label, on the same batches; the callbacks make rows of it. due, room: of `SharedPass`.

    Returns the loader that was read, a `BatchLoader` of our own data modules, which holds the notes on its files.
    """
    trainer = Trainer(logger=False, callbacks=list(callbacks), enable_progress_bar=progress_bar, **trainer_options())
    with stoppable(trainer):
        trainer.test(SharedPass(methods, store, due, room), datamodule=data, verbose=False)
    data.trainer = None  # worker processes end with the Trainer
    return trainer.test_dataloaders


def _writer(
    asked: str,
    data: ZeroShotDataModule,
    runs: Mapping[str, PreparedRun],
    largest: dict[str, dict[str, Pick]],
    left: dict[str, tuple[int, int]],
) -> OnCategory:
    """What a collector calls: the rows go where their run keeps them, of wanted categories alone.

    largest: takes the picks of that kind, by category and label. left: takes how many anomalous images of a category
    have no marked pixel, and how many there are.
    """
    write = {label: run.writer.bind(data) for label, run in runs.items()}

    def finished(label: str, category: Category, found: Finished) -> None:
        if category.name in runs[label].due[asked]:
            write[label](label, category, found)
            left[category.name] = found.result.n_vanished, found.result.n_anomalous
        for pick in found.picks:
            if pick.kind == "largest":
                largest.setdefault(category.name, {})[label] = pick

    return finished
