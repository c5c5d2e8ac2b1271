# pytest tests/metrics/test_components_state.py
"""RCPRO and AUPIMO from the state that all pixel metrics share: what the pure functions give from all maps at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from zsad_bench.metrics import pixel_state
from zsad_bench.metrics.functional.aupimo import aupimo
from zsad_bench.metrics.functional.rcpro import rcpro
from zsad_bench.metrics.pixel_state import PixelMetrics


@pytest.fixture(scope="module")
def category():
    """Six smooth maps of 224 px and their masks, the first three normal: enough pixels for AUPIMO's bounds."""
    rng = np.random.default_rng(0)
    maps = ndimage.gaussian_filter(rng.standard_normal((6, 224, 224)), (0, 4, 4)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[3, 20:60, 30:80] = masks[4, 100:140, 100:120] = masks[4, 10:30, 10:30] = masks[5, 150:200, 5:90] = True
    return maps + np.float32(0.05) * masks, masks


@pytest.mark.parametrize("size", [1, 4, 6])
def test_equal_to_the_functions_whatever_the_batches(category, size):
    maps, masks = category
    metric = PixelMetrics()
    for start in range(0, len(maps), size):
        metric.update(torch.from_numpy(maps[start : start + size]), torch.from_numpy(masks[start : start + size]))
    values = metric.compute()
    assert values["pixel_aupimo"].value == pytest.approx(aupimo(maps, masks)[0], abs=1e-12)
    if pixel_state.has_numba():
        assert values["pixel_rcpro"].value == pytest.approx(rcpro(maps, masks), abs=1e-12)


def test_binned_mode_says_that_it_cannot(category):
    metric = PixelMetrics(mode="binned")
    metric.update(*map(torch.from_numpy, category))
    for key in ("pixel_rcpro", "pixel_aupimo"):
        value, reason = metric.compute()[key]
        assert np.isnan(value), f"{key} printed a number that it could not compute"
        assert "binned" in reason


def test_without_numba_the_reason_names_the_extra(category, monkeypatch):
    monkeypatch.setattr(pixel_state, "has_numba", lambda: False)
    metric = PixelMetrics()
    metric.update(*map(torch.from_numpy, category))
    value, reason = metric.compute()["pixel_rcpro"]
    assert np.isnan(value)
    assert "zsad-bench[fast]" in reason


def test_too_few_normal_pixels_are_no_number(category):
    metric = PixelMetrics()
    metric.update(*(torch.from_numpy(part[:, :32, :32]) for part in category))
    value, reason = metric.compute()["pixel_aupimo"]
    assert np.isnan(value)
    assert "too few" in reason
