"""Thresholds that were known before the target was seen, measured for every method of a group in shared passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from zsad_bench.backbones.feature_store import FeatureStore
from zsad_bench.console import Console
from zsad_bench.data import overlap
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import OverlapError
from zsad_bench.metrics.operating import NormalScores, Thresholds
from zsad_bench.runner.calibration_data import Calibration
from zsad_bench.runner.prepared_run import PreparedRun
from zsad_bench.runner.progress import progress
from zsad_bench.runner.test_pass import run_pass
from zsad_bench.types import Batch, Prediction

TRANSDUCTIVE = "its scores depend on the other images of their category, so no threshold carries over to another set"


def thresholds(
    calibration: Calibration, runs: Sequence[PreparedRun], console: Console, store: FeatureStore | None
) -> dict[str, Thresholds]:
    """Id of a run's spec -> its thresholds. Methods of one image size share a pass over the normal images.

    Transductive methods have none: their scores are of one set of images, and mean nothing beside another set's.
    """
    found = {run.spec.id: Thresholds.none(TRANSDUCTIVE) for run in runs if run.method.transductive}
    runs = [run for run in runs if not run.method.transductive]
    data = calibration.data
    for size in sorted({run.method.config.image_size for run in runs}):
        methods = {run.spec.id: run.method for run in runs if run.method.config.image_size == size}
        data.image_size = size
        watch = _Normals()
        loader = run_pass(
            methods, data, [watch, progress(console, f"thresholds from {data.title}")], console.is_terminal, store
        )
        for line in [*(f"left out: {reason}" for reason in loader.reasons), *loader.said]:
            console.print(line, style="yellow")
        found |= {label: scores.thresholds() for label, scores in watch.scores.items()}
    return found


def for_target(
    calibration: Calibration, target: ZeroShotDataModule, found: Mapping[str, Thresholds], console: Console
) -> Mapping[str, Thresholds]:
    """The thresholds as far as they may be used on a target: none where its own images gave them."""
    try:
        alike = overlap.check_overlap([calibration.data], [target], console.warn)
    except OverlapError:
        why = f"the normal images of {calibration.data.name} are among its own"
        console.print(f"{target.name} has no operating points: {why}", style="yellow")
        return dict.fromkeys(found, Thresholds.none(why))
    if alike:
        console.print(
            f"{len(alike)} images of {target.name} look like normal images of {calibration.data.name} that its "
            "thresholds come from",
            style="yellow",
        )
    return found


class _Normals(Callback):
    """Takes in what every method says of normal images."""

    def __init__(self) -> None:
        self.scores: dict[str, NormalScores] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for label, prediction in cast("Mapping[str, Prediction]", outputs).items():
            self.scores.setdefault(label, NormalScores()).update(prediction.score, prediction.map)
