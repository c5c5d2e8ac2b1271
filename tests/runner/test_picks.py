# pytest tests/runner/test_picks.py
"""Which images a test keeps to look at, and the sheet of maps that it leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.miniature import random_batch
from zsad_bench.metrics.functional.per_image import map_values
from zsad_bench.results.pictures import LARGEST_SIDE
from zsad_bench.runner.metric_collector import _small
from zsad_bench.runner.picks import GAP, HEAD, SIDE, TILE, Picks, draw_sheet
from zsad_bench.types import Normalisation, Prediction

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@pytest.fixture
def batch():
    """Eight images, anomalous: 2, 3, 6, 7; the mask of 6 is the largest."""
    batch = random_batch(32, count=8)
    batch.masks[6] |= batch.masks[6].roll(4, 0)
    return batch


@pytest.fixture
def said(batch) -> Prediction:
    """Random maps, but image 3's is its mask and image 7's the contrary; scores rise with the index."""
    maps = torch.rand(8, 32, 32, generator=torch.Generator().manual_seed(0))
    maps[3], maps[7] = batch.masks[3].float(), 1 - batch.masks[7].float()
    return Prediction(torch.arange(8) / 8, maps)


def picked(batch, said: Prediction, size: int = 8) -> dict:
    picks = Picks(MEAN, STD)
    for start in range(0, 8, size):
        part = slice(start, start + size)
        some = type(batch)(
            batch.images[part], batch.labels[part], None if batch.masks is None else batch.masks[part],
            batch.samples[part],
        )  # fmt: skip
        maps = None if said.map is None else said.map[part]
        picks.update(some, Prediction(said.score[part], maps), list(range(len(some))))
    return {pick.kind: pick for pick in picks.chosen()}


@pytest.mark.parametrize("size", [1, 3, 8])
def test_each_kind_gets_its_image(batch, said, size):
    found = picked(batch, said, size)
    ids = {kind: pick.id for kind, pick in found.items()}
    expected = {"largest": 6, "best": 3, "worst": 7, "false_alarm": 5}
    assert ids == {kind: batch.samples[i].id for kind, i in expected.items()}, "picked are others than defined"
    assert found["best"].values["auroc"] == 1, "the best map separates its mask"
    assert found["worst"].values["auroc"] == 0, "the worst map is the contrary of its mask"
    assert found["false_alarm"].score == 5 / 8, "the normal image with the highest score"
    assert not found["false_alarm"].values, "a normal image has no metrics of its map"


def test_a_pick_is_the_image_its_mask_and_its_map(batch, said):
    pick = picked(batch, said)["largest"]
    expected = ((batch.images[6].movedim(0, -1).numpy() * 0.25 + 0.5).clip(0, 1) * 255).round()
    assert np.allclose(pick.image, expected, atol=1), "the picture is not the image"
    assert np.array_equal(pick.mask, batch.masks[6].numpy())
    assert np.array_equal(pick.map, said.map[6].numpy())
    whole = map_values(said.map[6].numpy(), batch.masks[6].numpy())
    assert pick.values == {name: value.value for name, value in whole.items()}


def test_what_is_kept_is_small_and_measured_at_full_size():
    batch = random_batch(2 * LARGEST_SIDE, count=4)
    maps = torch.rand(4, 2 * LARGEST_SIDE, 2 * LARGEST_SIDE, generator=torch.Generator().manual_seed(0))
    picks = Picks(MEAN, STD)
    picks.update(batch, Prediction(torch.zeros(4), maps), [2])
    pick = picks.chosen()[0]
    assert pick.image.shape == (LARGEST_SIDE, LARGEST_SIDE, 3)
    assert pick.mask.shape == pick.map.shape == (LARGEST_SIDE, LARGEST_SIDE)
    assert (pick.low, pick.high) == (float(maps[2].min()), float(maps[2].max())), "the range of the shrunk map"
    assert pick.values["auroc"] == map_values(maps[2].numpy(), batch.masks[2].numpy())["auroc"].value


def test_of_a_loaders_batch_the_picture_is_its_pixels(batch, said):
    pixels = torch.randint(0, 256, batch.images.shape, dtype=torch.uint8)
    raw = replace(batch, images=pixels, normalisation=Normalisation(MEAN, STD))
    for seen in (raw, raw.normalised(), _small(raw.normalised())):
        picks = Picks(MEAN, STD)
        picks.update(seen, said, [6])
        assert np.array_equal(picks.chosen()[0].image, pixels[6].movedim(0, -1).numpy())
    assert _small(raw.normalised()).images.dtype == torch.uint8, "what waits for the end of a category is not small"


def test_without_masks_scores_decide(batch, said):
    batch.masks = None
    ids = {kind: pick.id for kind, pick in picked(batch, said).items()}
    assert ids == {kind: batch.samples[i].id for kind, i in {"best": 7, "worst": 2, "false_alarm": 5}.items()}


def test_an_anomalous_image_with_an_empty_mask_is_none_of_them(batch, said):
    batch.masks[:] = False
    assert set(picked(batch, said)) == {"false_alarm"}, "there is no defect to show"


def test_the_sheet_has_a_row_a_category_and_a_column_a_method(batch, said, tmp_path):
    largest = picked(batch, said)["largest"]
    draw_sheet(
        {"nut": {"a": largest, "b": largest}, "carpet": {"a": largest, "b": largest}}, {"a": "One", "b": "Two"},
        tmp_path / "new" / "maps.png",
    )  # fmt: skip
    with Image.open(tmp_path / "new" / "maps.png") as page:
        assert page.size == (SIDE + 3 * (TILE + GAP), HEAD + 2 * (TILE + GAP)), "a picture and two maps, two rows"
