"""The callback that owns what is kept of a (method, category): metrics and picks, handed on as a category ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.metrics.category import CategoryMetrics, CategoryResult
from zsad_bench.results.pictures import Pick
from zsad_bench.runner.picks import Picks
from zsad_bench.types import Batch, Category, Prediction


@dataclass(frozen=True)
class Finished:
    """What a method has on one category.

    ids: of its images, in the order of the result's scores. skipped: images that could not be read and were left out.
    seconds: wall time since the previous category ended, all methods together. picks: images worth a look.
    seconds_encode: of the encoding that the method used, all that share it together. seconds_score: of it alone.
    pass_id: of the pass; methods that shared it have the same. peak_memory_mb: largest of the pass. None: not measured.
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


class Collector(Callback):
    """Calls `finished(label, category, Finished)` once every image of a category was seen.

    The loader hands out categories one after the other, so only one category's pixels are in memory. A category with
    skipped images ends with the test. pictured: labels that pictures are kept of.
    """

    def __init__(self, data: ZeroShotDataModule, finished: OnCategory, pictured: Collection[str] = ()) -> None:
        self.data, self.finished, self.pictured = data, finished, pictured
        self.waiting = Counter(data.info(sample).category for sample in data.samples())
        self.states: dict[Category, dict[str, CategoryMetrics]] = {}
        self.picks: dict[Category, dict[str, Picks]] = {}
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
            if category not in self.states:
                self.states[category] = {label: CategoryMetrics(self.data.level) for label in predictions}
                self.picks[category] = {label: Picks(self.data.mean, self.data.std) for label in self.pictured}
            for label, state in self.states[category].items():
                state.update(**_part(predictions[label], batch, at))
            for label, picks in self.picks[category].items():
                picks.update(batch, predictions[label], at)
            self.ids.setdefault(category, []).extend(batch.samples[i].id for i in at)
            self.waiting[category] -= len(at)
            if self.waiting[category] == 0:
                self._finish(category)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for category in list(self.states):
            self._finish(category)

    def _finish(self, category: Category) -> None:
        now = time.perf_counter()
        states, ids, picks = self.states.pop(category), self.ids.pop(category), self.picks.pop(category)
        skipped, seconds = self.waiting[category], now - self.last
        for label, metrics in states.items():
            chosen = picks[label].chosen() if label in picks else []
            self.finished(label, category, Finished(metrics.result(), ids, skipped, seconds, chosen))
        self.last = time.perf_counter()


def _part(prediction: Prediction, batch: Batch, at: list[int]) -> dict[str, Any]:
    maps = None if prediction.map is None else prediction.map[at]
    masks = None if batch.masks is None else batch.masks[at]
    return {"scores": prediction.score[at], "labels": batch.labels[at], "maps": maps, "masks": masks}
