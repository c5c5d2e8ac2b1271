"""The callback that owns metric state: one per (method, category), turned into numbers as soon as a category ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.metrics.category import CategoryMetrics, CategoryResult
from zsad_bench.types import Batch, Category, Prediction

OnCategory = Callable[[str, Category, CategoryResult, list[str], int, float], None]


class Collector(Callback):
    """Calls `finished(label, category, result, image ids, skipped, seconds)` once every image of a category was seen.

    The loader hands out categories one after the other, so only one category's pixels are in memory.
    skipped: images of the category that could not be read and were left out; it then ends with the test. seconds: wall
    time since the previous category ended, all methods together.
    """

    def __init__(self, data: ZeroShotDataModule, finished: OnCategory) -> None:
        self.data, self.finished = data, finished
        self.waiting = Counter(data.info(sample).category for sample in data.samples())
        self.states: dict[Category, dict[str, CategoryMetrics]] = {}
        self.ids: dict[Category, list[str]] = {}
        self.last = time.perf_counter()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last = time.perf_counter()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        predictions: Mapping[str, Prediction] = outputs
        for category in dict.fromkeys(sample.category for sample in batch.samples):
            at = [i for i, sample in enumerate(batch.samples) if sample.category == category]
            states = self.states.setdefault(
                category, {label: CategoryMetrics(self.data.level) for label in predictions}
            )
            for label, prediction in predictions.items():
                states[label].update(**_part(prediction, batch, at))
            self.ids.setdefault(category, []).extend(batch.samples[i].id for i in at)
            self.waiting[category] -= len(at)
            if self.waiting[category] == 0:
                self._finish(category)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for category in list(self.states):
            self._finish(category)

    def _finish(self, category: Category) -> None:
        now = time.perf_counter()
        states, ids = self.states.pop(category), self.ids.pop(category)
        for label, metrics in states.items():
            self.finished(label, category, metrics.result(), ids, self.waiting[category], now - self.last)
        self.last = time.perf_counter()


def _part(prediction: Prediction, batch: Batch, at: list[int]) -> dict[str, Any]:
    maps = None if prediction.map is None else prediction.map[at]
    masks = None if batch.masks is None else batch.masks[at]
    return {"scores": prediction.score[at], "labels": batch.labels[at], "maps": maps, "masks": masks}
