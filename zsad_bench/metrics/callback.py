"""The metrics of a plain `Trainer.test`: by category, and their means over categories."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from zsad_bench.metrics.category import CategoryMetrics, CategoryResult
from zsad_bench.metrics.sweep_pool import SweepPool, spare_threads
from zsad_bench.metrics.values import MetricValue
from zsad_bench.types import Batch, Category, Level, Prediction


@runtime_checkable
class _Counted(Protocol):
    """A data module that reports the number of images per category before it hands them out."""

    def image_counts(self) -> Counter[Category]: ...


@runtime_checkable
class _Grouped(Protocol):
    """A data module that says which images show one object: image id -> number of the object, {} where none do."""

    groups: Mapping[str, int]


class CategoryMetricsCallback(Callback):
    """Metrics of what `test_step` returns, a Prediction for a Batch; of one process or of several together.

    A method brings one along to every Trainer that has none, so it is seldom made by hand. Logged at the end of a
    test, and so in `trainer.callback_metrics` and in what `trainer.test` returns, as fractions in [0, 1]:
    `image_auroc/bottle` for each metric and category (nan where it is undefined), and `image_auroc`, the mean over the
    categories where it is defined. Where that is not all of them a warning says which are missing.

    results: category -> CategoryResult, after a test, the same on each process.
    level: what the images are labelled by; None is what the data module says, else whether batches have masks.
    options: of `CategoryMetrics`; bootstrap intervals are off unless asked for (`intervals=True`).

    In one process a category's pixels are kept until its last image; in several, all are kept to the end. RCPRO's
    sweeps run on threads beside the test where the machine has some to spare (`sweep_pool`).

    Raises:
        ValueError: a score that is not finite, or no map where there are masks.
    """

    def __init__(self, level: Level | None = None, **options: Any) -> None:
        self.level = level
        self.options = {"intervals": False, **options}
        self.results: dict[Category, CategoryResult] = {}
        self._states: dict[Category, CategoryMetrics] = {}
        self._left: Counter[Category] = Counter()
        self._groups: Mapping[str, int] = {}
        self._pool: SweepPool | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.results, self._states, self._left = {}, {}, Counter()
        threads = spare_threads(pl_module.device.type != "cpu")
        self._pool = SweepPool(threads) if threads else None
        data = getattr(trainer, "datamodule", None)
        if trainer.world_size == 1 and isinstance(data, _Counted):
            self._left = data.image_counts()
        self._groups = data.groups if isinstance(data, _Grouped) else {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, Prediction):
            raise TypeError(f"test_step of {type(pl_module).__name__} returned {type(outputs).__name__}, no Prediction")
        level = self.level or getattr(getattr(trainer, "datamodule", None), "level", None)
        for category in dict.fromkeys(sample.category for sample in batch.samples):
            rows = [row for row, sample in enumerate(batch.samples) if sample.category == category]
            if category not in self._states:
                of_category = level or ("image" if batch.masks is None else "both")
                self._states[category] = self._state(of_category, pool=self._pool)
            self._states[category].update(
                outputs.score[rows],
                batch.labels[rows],
                None if outputs.map is None else outputs.map[rows],
                None if batch.masks is None else batch.masks[rows],
                [self._groups[batch.samples[row].id] for row in rows] if self._groups else None,
            )
            self._left[category] -= len(rows)
            if self._left[category] == 0:
                self.results[category] = self._states.pop(category).result()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        levels = {category: state.level for category, state in self._states.items()}
        for category, level in _of_all_ranks(levels, trainer.world_size).items():
            # A rank that has no image of a category takes part in gathering it all the same.
            state = self._states.pop(category, None) or self._state(level)
            self.results[category] = state.result()
        for name, value in self._named():
            # The same on each process; their mean is asked for so that Lightning does not warn of a missing one.
            pl_module.log(name, value, batch_size=1, sync_dist=trainer.world_size > 1)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _state(self, level: Level, **options: Any) -> CategoryMetrics:
        return CategoryMetrics(level, **{"grouped": bool(self._groups), **options, **self.options})

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _named(self) -> Iterable[tuple[str, float]]:
        """What is logged: means first, then each category's values."""
        times = Counter(category.name for category in self.results)
        names = {c: c.name if times[c.name] == 1 else f"{c.dataset}/{c.name}" for c in self.results}
        values = {names[category]: result.values for category, result in self.results.items()}
        keys = dict.fromkeys(chain.from_iterable(values.values()))
        by_key = {key: {name: of[key] for name, of in values.items() if key in of} for key in keys}
        self._warn_of_undefined(by_key)
        for key, of_categories in by_key.items():
            defined = [value.value for value in of_categories.values() if not math.isnan(value.value)]
            yield key, statistics.fmean(defined) if defined else math.nan
        for name, of in values.items():
            yield from ((f"{key}/{name}", value.value) for key, value in of.items())

    @staticmethod
    def _warn_of_undefined(by_key: Mapping[str, Mapping[str, MetricValue]]) -> None:
        """One warning for all metrics that are undefined in the same categories for the same reasons."""
        together: dict[tuple[str, ...], list[str]] = {}
        for key, values in by_key.items():
            lost = tuple(f"{name} ({value.reason})" for name, value in values.items() if math.isnan(value.value))
            together.setdefault(lost, []).append(key)
        for lost, keys in together.items():
            if lost:
                rank_zero_warn(f"{', '.join(keys)}: undefined in {', '.join(lost)}; means leave that out")


def _of_all_ranks(levels: dict[Category, Level], world: int) -> dict[Category, Level]:
    """The categories that any process has, in one order for all of them."""
    if world == 1:
        return levels
    gathered: list[dict[Category, Level]] = [{} for _ in range(world)]
    torch.distributed.all_gather_object(gathered, levels)
    return {category: level for of_rank in gathered for category, level in of_rank.items()}
