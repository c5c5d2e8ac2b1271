# pytest tests/metrics/test_component_events.py
"""RCPRO's events from peaks and passes, and the value from them, are those of the plain sweep bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from zsad_bench.metrics.functional.component_events import RcproEvents, fast_area, fast_events
from zsad_bench.metrics.functional.component_tree import Matching
from zsad_bench.metrics.functional.rcpro import image_events, rcpro_of_events
from zsad_bench.metrics.functional.regions import find_regions
from zsad_bench.metrics.functional.sorted_pixels import split_pixels

pytest.importorskip("numba", reason="without numba there is the plain sweep only")


def category(kind: str):
    """Three maps of 72x80 and their masks, the last one normal: smooth, noise, or with many ties and both zeros."""
    rng = np.random.default_rng(3)
    maps = rng.standard_normal((3, 72, 80)).astype(np.float32)
    if kind == "smooth":
        maps = ndimage.gaussian_filter(maps, (0, 4, 4))
    if kind == "ties":
        maps = np.where(maps < -1.5, np.float32(-0.0), np.round(maps * 1500) / np.float32(1500)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[0, 10:30, 12:40] = masks[0, 50:60, 60:75] = True
    masks[1] = rng.random(masks[1].shape) > 0.9  # many small regions
    return maps, masks


@pytest.mark.parametrize("kind", ["smooth", "noise", "ties"])
@pytest.mark.parametrize("connectivity", [8, 4])
@pytest.mark.parametrize("excess", ["matched", "union", "area"])
def test_events_and_value_are_those_of_the_sweep(kind, connectivity, excess):
    maps, masks = category(kind)
    matching = Matching(connectivity=connectivity, excess=excess)
    found = []
    for map_HW, mask_HW in zip(maps, masks, strict=True):
        regions = find_regions(mask_HW, connectivity)
        assert fast_events(map_HW, regions, matching) is not None, "the test must take the fast path"
        fast, plain = (image_events(map_HW, mask_HW, matching, fast=way) for way in (True, False))
        for name, ours, theirs in zip(fast._fields, fast, plain, strict=True):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs), f"{name} of the events are not bitwise those of the sweep"
        found.append(plain)
    events = RcproEvents(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
    pixels = split_pixels(maps, masks, connectivity)
    args = (events, pixels.positives, pixels.areas, pixels.n_regions)
    assert fast_area(*args) is not None, "the test must take the fast path"
    assert rcpro_of_events(*args) == rcpro_of_events(*args, fast=False), "another value, though by a last bit only"


def test_what_the_fast_path_leaves_to_the_sweep():
    maps, masks = category("smooth")
    nan = maps[0].copy()
    nan[3, 4] = np.nan
    few = np.round(maps[0] * 10) / np.float32(10)
    for map_HW, matching in (
        (maps[0].astype(np.float64), Matching()), (maps[0], Matching(min_area=2)), (nan, Matching()), (few, Matching()),
    ):  # fmt: skip
        assert fast_events(map_HW, find_regions(masks[0]), matching) is None
