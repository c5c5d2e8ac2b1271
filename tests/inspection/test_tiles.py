# pytest tests/inspection/test_tiles.py
"""Tiles cover an image, and their maps become one map again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsad_bench.errors import UsageError
from zsad_bench.inspection.tiles import Box, Tiling, blend, resized, tiling


@given(width=st.integers(1, 400), height=st.integers(1, 400), side=st.integers(16, 200), overlap=st.floats(0, 0.9))
def test_tiles_cover_every_pixel_with_the_overlap_asked_for(width, height, side, overlap):
    boxes = Tiling(side, overlap).boxes(width, height)
    expected = min(side, width, height)
    assert {(box.width, box.height) for box in boxes} == {(expected, expected)}
    covered = np.zeros((height, width), int)
    for box in boxes:
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        covered[box.top : box.bottom, box.left : box.right] += 1
    assert covered.min() >= 1
    for starts in (sorted({box.left for box in boxes}), sorted({box.top for box in boxes})):
        gaps = np.diff(starts)
        # one pixel of rounding, since tiles are spread evenly
        assert all(gap <= max(1, int(expected * (1 - overlap))) + 1 for gap in gaps)


def test_an_image_no_larger_than_a_tile_is_one_tile():
    assert Tiling(64).boxes(64, 64) == [Box(0, 0, 64, 64)]
    assert Tiling(64).boxes(40, 40) == [Box(0, 0, 40, 40)]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_maps_cut_from_one_map_become_that_map(overlap):
    whole = np.random.default_rng(0).normal(size=(150, 211)).astype(np.float32)
    boxes = Tiling(64, overlap).boxes(211, 150)
    parts = [whole[box.top : box.bottom, box.left : box.right] for box in boxes]
    np.testing.assert_allclose(blend(parts, boxes, 211, 150), whole, rtol=1e-5, atol=1e-6)


def test_where_tiles_disagree_there_is_no_step():
    """Tile 0 says 0 and tile 1 says 1: the map goes from one to the other a little per pixel."""
    boxes = Tiling(64, 0.5).boxes(96, 64)
    assert [box.left for box in boxes] == [0, 32]
    map_ = blend([np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)], boxes, 96, 64)
    assert map_[:, 0].max() == 0
    assert map_[:, -1].min() == 1
    steps = np.diff(map_[32])
    assert steps.min() >= -1e-6
    assert steps.max() < 3 / 32


def test_a_map_of_its_own_size_stays_and_another_is_bilinear():
    map_ = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert resized(map_, 4, 3) is map_
    large = resized(map_, 8, 6)
    assert large.shape == (6, 8)
    np.testing.assert_allclose(large.mean(), map_.mean(), rtol=1e-6)


@pytest.mark.parametrize(("side", "overlap"), [(15, 0.25), (64, -0.1), (64, 0.95)])
def test_impossible_tiles_are_refused(side, overlap):
    with pytest.raises(UsageError, match=r"--tile-size 15|tiles that overlap by"):
        tiling(side, overlap)
