"""The callback that owns the metrics and picks of each (method, category), and hands them on as a category ends."""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.metrics.category import CategoryMetrics, CategoryResult
from zsad_bench.metrics.operating import Thresholds
from zsad_bench.metrics.sweep_pool import SweepPool, spare_threads
from zsad_bench.results.pictures import Pick
from zsad_bench.runner import provenance
from zsad_bench.runner.picks import Picks
from zsad_bench.runner.shared_encoder import Cost, SharedPass, by_category
from zsad_bench.types import Batch, Category, Level, Prediction


@dataclass(frozen=True)
class Finished:
    """What a method has on one category.

    ids: of its images, in the order of the result's scores. skipped: images that could not be read and were left out.
    seconds: wall time since the previous category ended, all methods together. picks: images worth a look.
    seconds_encode: of the encoding that the method used, all that share it together. seconds_score: of it alone.
    pass_id: of the pass; methods that shared it have the same. peak_memory_mb: largest of the pass. None: not measured;
    features that were read from disk do not say what encoding took.
    """

    result: CategoryResult
    ids: list[str]
    skipped: int
    seconds: float
    picks: list[Pick]
    seconds_encode: float | None = None
    seconds_score: float | None = None
    pass_id: str | None = None
    peak_memory_mb: float | None = None


OnCategory = Callable[[str, Category, Finished], None]
OnPredicted = Callable[[str, Category, list[str], Prediction], None]


class Collector(Callback):
    """Calls `finished(label, category, Finished)` once every image of a category was seen.

    The loader hands out categories one after the other, so only one category's pixels are in memory: the images and
    masks themselves only where a transductive method has to see all of them first. A category with skipped images ends
    with the test. pictured: labels that pictures are kept of. level: of the metrics, where it is not the data's own.
    thresholds: label -> those of its optional metrics. options: of `CategoryMetrics`. predicted: called with each
    method's label, a category, ids of images of it and their predictions, before anything is made of them.

    sweeps: threads for RCPRO's sweeps, 0 for none; None: as many as the machine has to spare. Beside a GPU they run on
    while the next batch is encoded. On a CPU each batch waits for its sweeps: they would take cores from the encoder,
    and the seconds of its encoding, which go into rows, would be longer.
    """

    def __init__(
        self,
        data: ZeroShotDataModule,
        finished: OnCategory,
        pictured: Collection[str] = (),
        sweeps: int | None = None,
        *,
        level: Level | None = None,
        thresholds: Mapping[str, Thresholds | None] = MappingProxyType({}),
        predicted: OnPredicted | None = None,
        **options: Any,
    ) -> None:
        self.data, self.finished, self.pictured, self.sweeps = data, finished, pictured, sweeps
        self.level, self.thresholds, self.predicted = level or data.level, thresholds, predicted
        self.options = {"unlabelled": data.unlabelled, **options}
        if self.level != "image":
            self.options["further"] = data.further_metrics
        self.pool: SweepPool | None = None
        self.beside_device = False
        self.waiting = Counter(data.info(sample).category for sample in data.samples())
        self.groups = data.groups
        self.states: dict[Category, dict[str, CategoryMetrics]] = {}
        self.picks: dict[Category, dict[str, Picks]] = {}
        self.ids: dict[Category, list[str]] = {}
        self.parts: dict[Category, list[Batch]] = {}
        self.last = time.perf_counter()
        self.pass_id = uuid.uuid4().hex[:12]

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last = time.perf_counter()
        self.beside_device = pl_module.device.type != "cpu"
        threads = spare_threads(self.beside_device) if self.sweeps is None else self.sweeps
        self.pool = SweepPool(threads) if threads else None
        provenance.reset_peak_memory()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        predictions = cast("Mapping[str, Prediction]", outputs)  # of a SharedPass, which is all it is used with
        for category, rows in by_category(batch.samples).items():
            part = _part(batch, rows)
            self._update(category, {label: _rows(predictions[label], rows) for label in predictions}, part)
            if not self.beside_device:
                self._settle(category)
            if pl_module.transductive:
                self.parts.setdefault(category, []).append(_small(part))
            self.ids.setdefault(category, []).extend(sample.id for sample in part.samples)
            self.waiting[category] -= len(rows)
            if self.waiting[category] == 0:
                self._finish(category, cast(SharedPass, pl_module))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for category in list(self.ids):
            self._finish(category, cast(SharedPass, pl_module))
        self._close()

    def _settle(self, category: Category) -> None:
        """Waits for the sweeps of a category."""
        for state in self.states.get(category, {}).values():
            state.settle()

    def _close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def _update(self, category: Category, predictions: Mapping[str, Prediction], batch: Batch) -> None:
        """Takes in predictions for a batch of one category."""
        states, picks = self.states.setdefault(category, {}), self.picks.setdefault(category, {})
        for label, prediction in predictions.items():
            if self.predicted is not None:
                self.predicted(label, category, [sample.id for sample in batch.samples], prediction)
            if label not in states:
                of = {**self.options, "thresholds": self.thresholds.get(label), "pool": self.pool}
                states[label] = CategoryMetrics(self.level, grouped=bool(self.groups), **of)
            state = states[label]
            groups = [self.groups[sample.id] for sample in batch.samples] if self.groups else None
            state.update(prediction.score, batch.labels, prediction.map, batch.masks, groups)
            if label in self.pictured and not self.data.unlabelled:
                pick = picks.setdefault(label, Picks(self.data.mean, self.data.std))
                pick.update(batch, prediction, list(range(len(batch))))

    def _finish(self, category: Category, shared: SharedPass) -> None:
        late, parts = shared.finish(category), self.parts.pop(category, [])
        if late:
            self._update(category, late, _joined(parts))
        self._settle(category)  # before the clock is read: what a category took includes its sweeps
        now = time.perf_counter()
        states, ids, picks = self.states.pop(category), self.ids.pop(category), self.picks.pop(category)
        skipped, seconds = self.waiting[category], now - self.last
        for label, metrics in states.items():
            cost = shared.costs.get(category, {}).get(label, Cost())
            chosen = picks[label].chosen() if label in picks else []
            outcome = Finished(
                metrics.result(),
                ids,
                skipped,
                seconds,
                chosen,
                seconds_encode=None if math.isnan(cost.encode) else cost.encode,
                seconds_score=cost.score,
                pass_id=self.pass_id,
                peak_memory_mb=provenance.peak_memory_mb(),
            )
            self.finished(label, category, outcome)
        self.last = time.perf_counter()


def _rows(prediction: Prediction, rows: list[int]) -> Prediction:
    return Prediction(prediction.score[rows], None if prediction.map is None else prediction.map[rows])


def _part(batch: Batch, rows: list[int]) -> Batch:
    masks = None if batch.masks is None else batch.masks[rows]
    samples = [batch.samples[row] for row in rows]
    pixels = None if batch.pixels is None else batch.pixels[rows]
    return Batch(batch.images[rows], batch.labels[rows], masks, samples, batch.normalisation, pixels)


def _small(batch: Batch) -> Batch:
    """The batch on the CPU, its images as pixels where it has them: people look at them, and nothing else does."""
    masks = None if batch.masks is None else batch.masks.cpu()
    images = batch.images.half() if batch.pixels is None else batch.pixels
    return Batch(images.cpu(), batch.labels.cpu(), masks, batch.samples, batch.normalisation)


def _joined(parts: list[Batch]) -> Batch:
    masks = [part.masks for part in parts if part.masks is not None]
    samples = [sample for part in parts for sample in part.samples]
    return Batch(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(masks) if masks else None,
        samples,
    )
