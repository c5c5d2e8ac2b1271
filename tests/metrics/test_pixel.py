# pytest tests/metrics/test_pixel.py
"""All pixel metrics from one sort: scikit-learn's values, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from zsad_bench.metrics.functional.pixel import OF_SORTED, pixel_values
from zsad_bench.metrics.functional.sorted_pixels import Pixels, sort_pixels, split_pixels

DRAWS = settings(max_examples=40, deadline=None, derandomize=True)
RANKED_KEYS = tuple(OF_SORTED)
EXACT_KEYS = RANKED_KEYS[:-1]  # legacy200 cuts the range of the scores in equal steps, so it is not invariant
shapes = st.tuples(st.integers(2, 4), st.integers(2, 6), st.integers(2, 6))
categories = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(-32, 32).map(lambda i: i / 8)), hnp.arrays(np.bool_, shape)
    )
).filter(lambda category: category[1].any() and not category[1].all())


def values_of(maps: NDArray, masks: NDArray) -> dict[str, float]:
    return {key: value.value for key, value in pixel_values(sort_pixels(split_pixels(maps, masks))).items()}


def assert_same(
    left: dict[str, float], right: dict[str, float], what: str, keys: tuple[str, ...] = RANKED_KEYS
) -> None:
    for key in keys:
        same = abs(left[key] - right[key]) < 1e-12 or (math.isnan(left[key]) and math.isnan(right[key]))
        assert same, f"{key} is {left[key]} and {right[key]}: it depends on {what}"


@DRAWS
@given(categories)
def test_equals_scikit_learn(category: tuple[NDArray, NDArray]) -> None:
    maps, masks = category
    ours, scores, labels = values_of(maps, masks), maps.ravel(), masks.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = max(2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True) if p + r > 0)
    assert abs(ours["pixel_auroc"] - roc_auc_score(labels, scores)) < 1e-9, "AUROC is not scikit-learn's"
    assert abs(ours["pixel_ap"] - average_precision_score(labels, scores)) < 1e-9, "AP is not scikit-learn's"
    assert abs(ours["pixel_f1max"] - f1) < 1e-9, "F1-max is not that of the PR curve"


@DRAWS
@given(categories, st.sampled_from([lambda s: 3 * s - 2, np.exp, lambda s: 1 / (1 + np.exp(-s)), lambda s: s**3]))
def test_unchanged_by_a_strictly_increasing_map(category: tuple[NDArray, NDArray], increasing) -> None:
    maps, masks = category
    mapped = increasing(maps.astype(np.float64))
    assert_same(values_of(maps, masks), values_of(mapped, masks), "more than the order of the scores", EXACT_KEYS)


@DRAWS
@given(categories)
def test_unchanged_by_image_order_and_duplicates(category: tuple[NDArray, NDArray]) -> None:
    maps, masks = category
    values = values_of(maps, masks)
    assert_same(values, values_of(maps[::-1], masks[::-1]), "the order of the images")
    assert_same(values, values_of(maps[:, ::-1], masks[:, ::-1]), "whether the images stand on their heads")
    assert_same(values, values_of(np.tile(maps, (2, 1, 1)), np.tile(masks, (2, 1, 1))), "every image being there twice")


@DRAWS
@given(categories)
def test_every_value_is_a_fraction(category: tuple[NDArray, NDArray]) -> None:
    assert all(math.isnan(v) or 0 <= v <= 1 for v in values_of(*category).values()), "a value outside [0, 1]"


def test_perfect_and_reversed_maps() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 1:4, 1:4] = masks[0, 6:, 6:] = True
    perfect = values_of(masks + np.linspace(0, 0.5, masks.size).reshape(masks.shape), masks)
    assert {key: perfect[key] for key in EXACT_KEYS} == dict.fromkeys(EXACT_KEYS, 1.0), "a perfect map is 1"
    backwards = values_of(-masks.astype(np.float32), masks)
    assert (backwards["pixel_auroc"], backwards["pixel_aupro"]) == (0, 0), "a reversed map is 0"


def test_constant_maps() -> None:
    masks = np.zeros((2, 5, 10), bool)
    masks[0, 0, :4] = True
    values, p = values_of(np.full(masks.shape, -3.0, np.float32), masks), 0.04
    assert values["pixel_auroc"] == 0.5
    assert values["pixel_ap"] == pytest.approx(p), "AP of a constant map is the prevalence"
    assert values["pixel_f1max"] == pytest.approx(2 * p / (1 + p))
    assert values["pixel_aupro"] == pytest.approx(0.15, abs=1e-12)


def test_every_pixel_anomalous() -> None:
    values = pixel_values(sort_pixels(split_pixels(np.eye(4)[None], np.ones((1, 4, 4), bool))))
    assert values["pixel_ap"].value == values["pixel_f1max"].value == 1
    for key in ("pixel_auroc", "pixel_aupro", "pixel_aupro_legacy200"):
        assert math.isnan(values[key].value), f"{key} has a value without a normal pixel"
        assert values[key].reason == "no normal pixel"


def test_one_fully_anomalous_image_is_one_region() -> None:
    masks = np.zeros((2, 4, 4), bool)
    masks[0] = True
    assert split_pixels(np.zeros((2, 4, 4), np.float32), masks).n_regions == 1


def test_both_zeros_are_one_score() -> None:
    pixels = Pixels(np.array([-0.0, 0.0, -1.0]), np.array([0.0, -0.0]), np.array([2, 2], np.int32), 1)
    values = pixel_values(sort_pixels(pixels))
    assert values["pixel_auroc"].value == (2 * 1 + 4 * 0.5) / 6, "-0.0 and 0.0 must tie"


def test_sorting_leaves_its_input_alone() -> None:
    pixels = Pixels(np.array([3.0, 1.0]), np.array([2.0, 5.0, 4.0]), np.array([1, 2, 2], np.int32), 2)
    sort_pixels(pixels)
    assert pixels.negatives.tolist() == [3.0, 1.0], "sort_pixels changed its argument"
    assert pixels.positives.tolist() == [2.0, 5.0, 4.0], "sort_pixels changed its argument"
