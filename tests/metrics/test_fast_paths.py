# pytest tests/metrics/test_fast_paths.py
"""Pixel metrics by way of the compiled loops are, bit by bit, those by way of sorting, searching and sweeping."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from zsad_bench.metrics.functional import rcpro, reached, sorted_pixels
from zsad_bench.metrics.pixel_state import PixelMetrics

pytest.importorskip("numba", reason="without numba there are no compiled loops")

SIDE = 64  # 4,096 pixels: RCPRO's compiled loops leave maps with fewer different scores to the sweep
CASES: dict[str, tuple[NDArray, NDArray]] = {}


def case(name: str, maps: NDArray, masks: NDArray) -> None:
    CASES[name] = (np.ascontiguousarray(maps, np.float32), masks)


def _build() -> None:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((5, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    masks = np.zeros(noise.shape, bool)
    masks[1, 5:20, 9:31] = masks[1, 40:44, 50:] = masks[3, 30, 30] = masks[4, :, 10:13] = True
    case("smooth", smooth + 0.2 * masks, masks)
    case("noise", noise, masks)
    case("ties", np.round(noise, 1), masks)
    case("ties in many scores", np.round(noise * 2000) / 2000, masks)
    case("constant", np.full_like(noise, 0.25), masks)
    zeros = np.where(noise > 0.3, 0.0, np.where(noise < -0.3, -0.0, noise))
    case("both zeros", zeros, masks)
    case("negative", -np.exp(noise * 9), masks)
    case("one outlier", np.where(np.arange(noise.size).reshape(noise.shape) == 7777, 1e30, smooth * 1e-20), masks)
    case("no anomalous pixel", smooth, np.zeros_like(masks))
    case("no normal pixel", smooth, np.ones_like(masks))
    case("one pixel each", noise[:, :1, :1], np.array([0, 1, 0, 1, 1], bool)[:, None, None])
    case("one image of one pixel", noise[:1, :1, :1], np.ones((1, 1, 1), bool))
    large = np.ones_like(masks)
    large[0] = large[2, :2] = large[3, 20] = False
    case("very large regions", smooth + 0.1 * large, large)
    many = (np.indices(noise.shape).sum(0) % 2 == 0) & (np.indices(noise.shape)[1] % 2 == 0)
    many[0] = False
    case("many regions", smooth, many)
    case("many regions of many sizes", smooth, (noise > 0.8) & (np.arange(5) > 0)[:, None, None])
    case("one anomalous pixel", smooth, np.arange(noise.size).reshape(noise.shape) == SIDE * SIDE * 2 + 99)


_build()


def values(maps: NDArray, masks: NDArray, size: int) -> dict[str, tuple[bytes, str | None]]:
    metric = PixelMetrics()
    for start in range(0, len(maps), size):
        metric.update(torch.from_numpy(maps[start : start + size]), torch.from_numpy(masks[start : start + size]))
    return {key: (struct.pack("d", value), reason) for key, (value, reason) in metric.compute().items()}


@pytest.mark.filterwarnings("ignore:aupimo. .* normal pixels are too few")
@pytest.mark.parametrize("name", CASES)
def test_bit_by_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = CASES[name]
    taken = []
    for where in (sorted_pixels, reached):
        monkeypatch.setattr(where, "is_worth_loading", lambda n: taken.append(n) or True)
    fast = values(maps, masks, 2)
    assert taken, "the test must take the compiled loops"
    for where in (sorted_pixels, reached):
        monkeypatch.setattr(where, "is_worth_loading", lambda n: False)
    monkeypatch.setattr(rcpro, "is_compiled", lambda: False)
    plain = values(maps, masks, 2)
    for key, found in plain.items():
        assert fast[key] == found, f"{name}: {key} is {struct.unpack('d', fast[key][0])}, {fast[key][1]}"
    assert values(maps, masks, len(maps)).keys() == plain.keys()
