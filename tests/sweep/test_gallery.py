# pytest tests/sweep/test_gallery.py
"""The sheet of maps: which images it picks, and that colours and outlines lie where they should."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.miniature import random_batch
from zsad_bench.sweep.gallery import GAP, HEAD, OUTLINE, SIDE, TILE, Gallery, heat, outlined
from zsad_bench.types import Prediction

DATA = SimpleNamespace(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def predictions(count: int, *labels: str) -> dict[str, Prediction]:
    generator = torch.Generator().manual_seed(0)
    return {
        label: Prediction(torch.zeros(count), torch.rand(count, 32, 32, generator=generator)) for label in labels
    }  # fmt: skip


def test_colours_rise_with_the_map():
    ramp = heat(np.linspace(-3, 30, 64).reshape(8, 8))
    assert ramp.shape == (8, 8, 3)
    assert ramp.dtype == np.uint8
    lightness = ramp.reshape(-1, 3) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all(), "a higher value is not brighter: it cannot be read in grey"
    assert np.array_equal(heat(np.linspace(0, 1, 64).reshape(8, 8)), ramp), "only the order and spacing matter"
    assert (heat(np.full((2, 2), 0.7)) == heat(np.array([[0.0, 1.0]]))[0, 0]).all(), "a constant map has no hot spot"


def test_the_outline_surrounds_the_mask_and_leaves_it_visible():
    mask = np.zeros((32, 32), bool)
    mask[10:20, 8:16] = True
    drawn = np.asarray(outlined(np.zeros((32, 32, 3), np.uint8), mask))
    line = (drawn == OUTLINE).all(-1)
    assert not (line & mask).any(), "the line covers the defect"
    assert line[9, 8:16].all(), "no line above the defect"
    assert line[10:20, 16].all(), "no line beside the defect"
    assert not line[:8].any(), "the line runs where nothing is"


def test_the_largest_defect_of_each_category_is_shown(tmp_path):
    batch = random_batch(32, count=8)  # anomalous: 2, 3, 6, 7; the even ones are metal nuts
    batch.masks[6] |= batch.masks[6].roll(4, 0)
    gallery = Gallery(DATA, {"one": "One", "two": "Two"}, tmp_path / "new" / "maps.png")
    said = predictions(8, "one", "two", "drawn")
    gallery.on_test_batch_end(None, None, said, batch, 0)
    assert [category.name for category in gallery.picked] == ["metal_nut", "carpet"]
    nut, carpet = (tiles for _, tiles in gallery.picked.values())
    assert np.array_equal(np.asarray(nut[1]), heat(said["one"].map[6].numpy())), "not the map of the largest defect"
    assert np.array_equal(np.asarray(nut[2]), heat(said["two"].map[6].numpy())), "methods are out of order"
    assert np.array_equal(np.asarray(carpet[1]), heat(said["one"].map[3].numpy())), "of equal ones, the first"
    inside = batch.masks[6].numpy()
    expected = ((batch.images[6].movedim(0, -1).numpy() * 0.25 + 0.5).clip(0, 1) * 255).round()
    assert np.allclose(np.asarray(nut[0])[inside], expected[inside], atol=1), "the picture is not the image"
    gallery.on_test_end(None, None)
    with Image.open(tmp_path / "new" / "maps.png") as page:
        assert page.size == (SIDE + 3 * (TILE + GAP), HEAD + 2 * (TILE + GAP)), "a picture and two maps, two rows"


@pytest.mark.parametrize("masks", ["none", "empty"])
def test_nothing_is_drawn_without_defects_to_show(tmp_path, masks):
    batch = random_batch(32)
    batch.masks = None if masks == "none" else torch.zeros_like(batch.masks)
    gallery = Gallery(DATA, {"one": "One"}, tmp_path / "maps.png")
    gallery.on_test_batch_end(None, None, predictions(5, "one"), batch, 0)
    gallery.on_test_end(None, None)
    assert not list(tmp_path.iterdir())
