# pytest tests/metrics/test_callback.py
"""What a plain `Trainer.test` logs is what CategoryMetrics says of each category, and the means over them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from zsad_bench.metrics.callback import CategoryMetricsCallback
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.types import Batch, Category, Prediction, SampleInfo

SIZE = 8
NAMES = ("bottle", "key", "cable")
CATEGORIES = [Category("made_up", name, name, "object", "industrial") for name in NAMES]


class Given(LightningModule):
    """Returns the images' first channel as prediction."""

    def test_step(self, batch: Batch, batch_idx: int) -> Prediction:
        maps = batch.images[:, 0]
        return Prediction(maps.amax((1, 2)), maps)


def batches(n: int = 24, size: int = 5, masked: bool = True, mixed: bool = True) -> list[Batch]:
    """Images of three categories, mixed up in the batches or one after the other; "cable" has no anomalous image."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((n, 3, SIZE, SIZE), generator=generator)
    order = [CATEGORIES[i % 3 if mixed else i * 3 // n] for i in range(n)]
    labels = torch.tensor([int(i // 3 % 2 == 0 and order[i].name != "cable") for i in range(n)])
    masks = torch.zeros((n, SIZE, SIZE), dtype=torch.bool)
    for i in torch.flatten(labels.nonzero()):
        masks[i, 2:5, 1 : 3 + i % 4] = True
        images[i, 0] += 0.3 * masks[i]
    infos = [SampleInfo(f"made_up/{i}.png", category) for i, category in enumerate(order)]
    return [
        Batch(images[i : i + size], labels[i : i + size], masks[i : i + size] if masked else None, infos[i : i + size])
        for i in range(0, n, size)
    ]


def loader(given: list[Batch]) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(given, batch_size=None)


def run(given: list[Batch], callback: CategoryMetricsCallback) -> dict[str, float]:
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[callback])
    (found,) = trainer.test(Given(), dataloaders=loader(given), verbose=False)
    return dict(found)


def by_hand(given: list[Batch], category: Category, level: str) -> CategoryMetrics:
    state = CategoryMetrics(level, intervals=False)
    for batch in given:
        at = [i for i, sample in enumerate(batch.samples) if sample.category == category]
        if at:
            maps = batch.images[at, 0]
            state.update(maps.amax((1, 2)), batch.labels[at], maps, None if batch.masks is None else batch.masks[at])
    return state


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.filterwarnings("ignore:.*undefined in")
def test_each_category_and_their_means(mixed):
    given, callback = batches(mixed=mixed), CategoryMetricsCallback()
    logged = run(given, callback)
    for category in CATEGORIES:
        wanted = by_hand(given, category, "both").compute()
        assert {key: value.value for key, value in callback.results[category].values.items()} == pytest.approx(
            {key: value.value for key, value in wanted.items()}, nan_ok=True
        )
        for key, value in wanted.items():
            assert logged[f"{key}/{category.name}"] == pytest.approx(value.value, abs=1e-6, nan_ok=True)
    for key in {key.partition("/")[0] for key in logged}:
        defined = [logged[f"{key}/{name}"] for name in NAMES if not math.isnan(logged[f"{key}/{name}"])]
        assert logged[key] == pytest.approx(np.mean(defined) if defined else math.nan, abs=1e-6, nan_ok=True)


def test_a_mean_says_what_it_leaves_out():
    with pytest.warns(UserWarning, match=r"image_auroc, image_ap.* undefined in cable \(no .+\); means leave"):
        logged = run(batches(), CategoryMetricsCallback())
    assert math.isnan(logged["image_auroc/cable"])
    assert 0 <= logged["image_auroc"] <= 1


@pytest.mark.filterwarnings("ignore:.*undefined in")
def test_without_masks_there_are_image_metrics_alone():
    logged = run(batches(masked=False), CategoryMetricsCallback())
    assert {key.partition("/")[0] for key in logged} == {"image_auroc", "image_ap", "image_f1max"}


@pytest.mark.filterwarnings("ignore:.*undefined in")
def test_a_second_test_begins_anew():
    given, callback = batches(), CategoryMetricsCallback()
    assert run(given, callback) == pytest.approx(run(given, callback), nan_ok=True)
    assert callback.results[CATEGORIES[0]].n_images == 8


@pytest.mark.filterwarnings("ignore:.*undefined in")
def test_the_pixels_of_a_finished_category_are_given_up():
    """Where a data module says how many images there are, no two categories are in memory at once."""
    given, most = batches(mixed=False, size=4), []
    counts = Counter(sample.category for batch in given for sample in batch.samples)

    class Data(LightningDataModule):
        level = "both"

        def image_counts(self):
            return Counter(counts)

        def test_dataloader(self):
            return loader(given)

    class Watched(CategoryMetricsCallback):
        def on_test_batch_end(self, *args, **kwargs):
            super().on_test_batch_end(*args, **kwargs)
            most.append(len(self._states))

    callback = Watched()
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[callback])
    trainer.test(Given(), datamodule=Data(), verbose=False)
    assert max(most) <= 1
    assert most[-1] == 0
    assert {category: result.n_images for category, result in callback.results.items()} == counts


@pytest.mark.filterwarnings("ignore:.*undefined in")
def test_categories_of_one_name_are_told_apart():
    given = batches()
    twin = Category("other", "key", "key", "object", "industrial")
    for batch in given:
        batch.samples = [SampleInfo(s.id, twin) if s.category.name == "bottle" else s for s in batch.samples]
    logged = run(given, CategoryMetricsCallback())
    assert {"image_auroc/made_up/key", "image_auroc/other/key", "image_auroc/cable"} <= set(logged)


def test_what_is_no_prediction_is_refused():
    class Odd(LightningModule):
        def test_step(self, batch, batch_idx):
            return {"score": 1.0}

    trainer = Trainer(logger=False, enable_progress_bar=False, callbacks=[CategoryMetricsCallback()])
    with pytest.raises(TypeError, match="test_step of Odd returned dict, no Prediction"):
        trainer.test(Odd(), dataloaders=loader(batches()), verbose=False)
