# pytest tests/results/test_pictures.py
"""Pictures on disk: what comes back is what was kept, and colours and outlines lie where they should."""

from __future__ import annotations

import numpy as np
import pytest

from zsad_bench.errors import RowError
from zsad_bench.results.pictures import OUTLINE, Pick, heat, outlined, read_pictures, shrunk, write_pictures

ABOUT = {"target": "made_up", "title": "Made up", "licence": "none", "redistribute": True}


def pick(kind: str, *, masked: bool = True, seed: int = 0) -> Pick:
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 16), bool)
    mask[4:9, 3:7] = True
    map_ = rng.normal(5, 3, (20, 16)).astype(np.float32)
    image = rng.integers(0, 256, (20, 16, 3), np.uint8)
    return Pick(kind, f"made_up/{kind}.png", int(masked), 0.25, image, mask if masked else None, map_,
                float(map_.min()), float(map_.max()), {"auroc": 0.75, "aupro": None})  # fmt: skip


def test_what_comes_back_is_what_was_kept(tmp_path):
    kept = [pick("best", seed=1), pick("largest"), pick("false_alarm", masked=False)]
    write_pictures(tmp_path, "abc", "a nut", kept, ABOUT)
    found = read_pictures(tmp_path, "abc")
    assert [one.kind for one in found] == ["largest", "best", "false_alarm"], "the order of kinds"
    best, of = found[1], kept[0]
    assert (best.category, best.id, best.label, best.score, best.values) == ("a nut", of.id, 1, 0.25, of.values)
    assert best.about == ABOUT
    assert np.array_equal(best.image(), of.image)
    assert np.array_equal(best.mask(), of.mask)
    span = best.high - best.low
    assert np.allclose(best.low + best.map() * span, of.map, atol=span / 255), "the map in its range"
    assert found[2].mask() is None, "an image without ground truth has got a mask"
    assert read_pictures(tmp_path, "another") == []


def test_cells_share_the_images(tmp_path):
    for key in ("one", "two"):
        write_pictures(tmp_path, key, "nut", [pick("largest"), pick("best")], ABOUT)
    assert len(list((tmp_path / "images").iterdir())) == 2, "one image and its mask, for two cells and two kinds"


def test_a_damaged_file_is_named(tmp_path):
    file = write_pictures(tmp_path, "abc", "nut", [pick("best")], ABOUT)
    (one,) = read_pictures(tmp_path, "abc")
    (file.parent / "best.png").write_bytes(b"torn")
    with pytest.raises(RowError, match=r"best\.png: cannot read this picture .* run its cell again"):
        one.map()
    file.write_text(file.read_text()[:-20])
    with pytest.raises(RowError, match=r"picks\.json: cannot read pictures"):
        read_pictures(tmp_path, "abc")


def test_shrinking_averages_and_keeps_small_ones():
    ramp = np.repeat(np.arange(512, dtype=np.float32)[None], 4, 0)
    small = shrunk(ramp)
    assert small.shape == (2, 256)
    assert np.allclose(small[0, 1:-1], ramp[0, 2:-2].reshape(-1, 2).mean(1)), "not the mean of the pixels"
    assert shrunk(small) is small


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
    drawn = outlined(np.zeros((32, 32, 3), np.uint8), mask)
    line = (drawn == OUTLINE).all(-1)
    assert not (line & mask).any(), "the line covers the defect"
    assert line[9, 8:16].all(), "no line above the defect"
    assert line[10:20, 16].all(), "no line beside the defect"
    assert not line[:8].any(), "the line runs where nothing is"
