# pytest tests/metrics/test_per_image.py
"""Values of single images: those of a category that has this image only, and undefined ones with their reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zsad_bench.metrics.functional.aupro import aupro
from zsad_bench.metrics.functional.component_tree import Matching
from zsad_bench.metrics.functional.per_image import MAP_KEYS, map_aupro, map_auroc, map_rcpro, map_values
from zsad_bench.metrics.functional.ranking import auroc
from zsad_bench.metrics.functional.rcpro import rcpro


def image(seed: int = 0) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((14, 18), bool)
    mask[2:6, 3:8] = mask[10, 10] = mask[11, 11] = True
    return (rng.standard_normal(mask.shape) + mask).astype(np.float32), mask


def test_values_are_those_of_a_category_of_one_image() -> None:
    map_HW, mask = image()
    expected = (auroc(map_HW.ravel(), mask.ravel()), aupro(map_HW[None], mask[None]), rcpro(map_HW[None], mask[None]))
    assert map_values(map_HW, mask) == dict(zip(MAP_KEYS, ((value, None) for value in expected), strict=True))


def test_each_function_alone_and_with_its_options() -> None:
    map_HW, mask = image(1)
    values = map_values(map_HW, mask, fpr_limit=0.1)
    assert values == {
        "auroc": map_auroc(map_HW, mask),
        "aupro": map_aupro(map_HW, mask, 0.1),
        "rcpro": map_rcpro(map_HW, mask),
    }
    assert map_aupro(map_HW, mask, connectivity=4).value == aupro(map_HW[None], mask[None], connectivity=4)
    assert map_rcpro(map_HW, mask, Matching(tau=0.5)).value == rcpro(map_HW[None], mask[None], tau=0.5)
    assert map_rcpro(map_HW, mask, Matching(min_area=3)).value == rcpro(map_HW[None], mask[None], min_area=3)


def test_tensors_and_a_leading_axis_of_one_are_taken() -> None:
    map_HW, mask = image()
    tensors = torch.from_numpy(map_HW)[None], torch.from_numpy(mask).to(torch.uint8)[None]
    assert map_values(*tensors) == map_values(map_HW, mask)


def test_a_normal_image_has_no_value() -> None:
    map_HW, mask = image()
    for key, value in map_values(map_HW, ~mask & mask).items():
        assert math.isnan(value.value), f"{key} of a normal image must be undefined"
        assert value.reason == "no anomalous pixel"


def test_a_fully_anomalous_image_has_an_rcpro_only() -> None:
    map_HW, mask = image()
    values = map_values(map_HW, mask | ~mask)
    assert [values[key].reason for key in MAP_KEYS] == ["no normal pixel", "no normal pixel", None]


def test_bad_input_is_an_error() -> None:
    map_HW, mask = image()
    for function in (map_values, map_auroc, map_aupro, map_rcpro):
        with pytest.raises(ValueError, match=rf"{function.__name__}: needs one map and one mask \(H, W\), found \(2, "):
            function(np.stack([map_HW, map_HW]), np.stack([mask, mask]))
        with pytest.raises(ValueError, match=f"{function.__name__}: maps and masks must both be"):
            function(map_HW, mask[:5])
        with pytest.raises(ValueError, match=f"{function.__name__}: 1 of 252 scores are not finite"):
            function(np.where(np.arange(map_HW.size).reshape(map_HW.shape) == 4, np.nan, map_HW), mask)
