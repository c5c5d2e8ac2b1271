# pytest tests/metrics/test_aupimo.py
"""AUPIMO against a slow walk over its budgets; properties, a case by hand, bad input."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from zsad_bench.metrics.functional.aupimo import aupimo, aupimo_of, highest

DRAWS = settings(max_examples=50, deadline=None, derandomize=True)
pytestmark = pytest.mark.filterwarnings("ignore:aupimo. .* normal pixels are too few")
shapes = st.tuples(st.integers(2, 4), st.integers(1, 4), st.integers(1, 5))
categories = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(-12, 12).map(lambda i: i / 8)), hnp.arrays(np.bool_, shape)
    )
).map(lambda category: (category[0], np.where(np.arange(len(category[1]))[:, None, None] == 0, False, category[1])))
bounds = st.sampled_from([(0.01, 0.1), (0.05, 0.5), (0.2, 1.0), (1e-5, 1e-4)])


def slow_aupimo(normal: list[NDArray], inside: list[NDArray], low: float, high: float) -> list[float]:
    """Interval by interval of the budget: between two of the values that F takes, the operating set stays the same."""
    levels = np.unique(np.concatenate(normal))[::-1]
    above = [float(np.mean([np.mean(image > u) for image in normal])) for u in levels]  # F of {s > u}, ascending
    edges = [*above, 1.0]
    values = np.zeros(len(inside))
    for u, start, end in zip(levels, edges[:-1], edges[1:], strict=True):
        # the budgets in [start, end) allow {s > u}, and not the next larger set
        start, end = max(start, low), min(end, high)
        if end > start:
            values += [np.mean(scores > u) * math.log(end / start) for scores in inside]
    return (values / math.log(high / low)).tolist()


def split(maps: NDArray, masks: NDArray) -> tuple[list[NDArray], list[NDArray]]:
    normal = [m.ravel() for m, mask in zip(maps, masks, strict=True) if not mask.any()]
    return normal, [m[mask] for m, mask in zip(maps, masks, strict=True) if mask.any()]


@DRAWS
@given(categories, bounds)
def test_equals_the_walk_over_budgets(category: tuple[NDArray, NDArray], limits: tuple[float, float]) -> None:
    mean, per_image = aupimo(*category, fpr_bounds=limits)
    expected = slow_aupimo(*split(*category), *limits)
    assert len(per_image) == len(expected), "one value for each anomalous image"
    if expected:
        assert np.allclose(per_image, expected, rtol=0, atol=1e-9), f"{per_image} is not {expected}"
        assert mean == pytest.approx(np.mean(expected), abs=1e-9)
    else:
        assert math.isnan(mean), "no anomalous image, so no mean"


@pytest.mark.parametrize("limits", [(0.01, 0.1), (0.03, 0.9)])
def test_normal_images_of_different_size_weigh_the_same(limits: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    normal = [rng.standard_normal(n).round(1) for n in (6, 50, 17)]
    inside = [rng.standard_normal(n).round(1) + 1.5 for n in (5, 30)]
    weights = np.concatenate([np.full(image.size, 1 / (3 * image.size)) for image in normal])
    _, per_image = aupimo_of(normal, inside, limits, weights)
    assert np.allclose(per_image, slow_aupimo(normal, inside, *limits), rtol=0, atol=1e-9)


def category_of_three() -> tuple[NDArray, NDArray]:
    """A normal image of 100 pixels, 0 to 99; two anomalous ones with the pixels given in the tests."""
    maps, masks = np.zeros((3, 10, 10), np.float32), np.zeros((3, 10, 10), bool)
    maps[1] = np.arange(100).reshape(10, 10)
    masks[0, 0, :2] = masks[2, 5, 5:9] = True
    return maps, masks


def test_by_hand() -> None:
    maps, masks = category_of_three()
    maps[0, 0, :2] = 97.5, 10  # two normal pixels lie above 97.5: found from a budget of 0.02 on
    maps[2, 5, 5:9] = 200, 200, 0, 99  # 99 ties with the highest normal pixel: found from 0.01 on
    mean, per_image = aupimo(maps, masks, fpr_bounds=(0.01, 0.1))
    assert per_image.tolist() == pytest.approx([math.log(5) / math.log(10) / 2, 3 / 4], abs=1e-12)
    assert mean == pytest.approx(per_image.mean(), abs=1e-12)


def test_perfect_constant_and_inverted_maps() -> None:
    maps, masks = category_of_three()
    assert aupimo(maps * 0 + 1000 * masks, masks)[0] == 1.0, "all defects above all normal pixels"
    assert aupimo(maps * 0, masks)[0] == 0.0, "a constant map finds nothing before everything"
    assert aupimo(maps - 1000 * masks, masks)[0] == 0.0, "all defects below all normal pixels"


@pytest.mark.slow
@DRAWS
@given(categories.filter(lambda category: category[1].any()), bounds)
def test_only_the_order_of_the_scores_counts(category: tuple[NDArray, NDArray], limits: tuple[float, float]) -> None:
    maps, masks = category
    mean, per_image = aupimo(maps, masks, fpr_bounds=limits)
    assert 0 <= mean <= 1
    assert aupimo(np.exp(maps.astype(np.float64)), masks, fpr_bounds=limits)[0] == mean, "a monotone map"
    turned = aupimo(maps[::-1], masks[::-1], fpr_bounds=limits)[1]
    assert np.array_equal(turned[::-1], per_image), "the order of the images"
    twice = aupimo(np.concatenate([maps, maps]), np.concatenate([masks, masks]), fpr_bounds=limits)[0]
    assert twice == pytest.approx(mean, abs=1e-12), "every image twice"


def test_maps_stay_as_they_were() -> None:
    maps, masks = category_of_three()
    maps[1] = np.random.default_rng(0).permutation(maps[1].ravel()).reshape(10, 10)
    before = maps.copy()
    aupimo(maps[1:], masks[1:], fpr_bounds=(0.1, 0.5))
    assert np.array_equal(maps, before), "the caller's scores were put in another order"


few_scores = hnp.arrays(np.float32, st.integers(0, 9), elements=st.integers(-3, 3))


@DRAWS
@given(st.lists(few_scores, min_size=1, max_size=5).filter(lambda parts: sum(map(len, parts))), st.data())
def test_the_highest_of_parts_are_those_of_all_sorted(parts: list[NDArray], data: st.DataObject) -> None:
    pooled = np.sort(np.concatenate(parts))
    n = data.draw(st.integers(1, pooled.size))
    before = [part.copy() for part in parts]
    assert np.array_equal(highest(parts, n), pooled[pooled.size - n :])
    assert all(np.array_equal(part, was) for part, was in zip(parts, before, strict=True)), "a part was reordered"


def test_undefined_without_a_normal_or_an_anomalous_image() -> None:
    maps, masks = category_of_three()
    mean, per_image = aupimo(maps[[0, 2]], masks[[0, 2]])
    assert math.isnan(mean), "no normal image, so there is no budget"
    assert per_image.size == 2
    assert np.isnan(per_image).all()
    mean, per_image = aupimo(maps[1:2], masks[1:2])
    assert (math.isnan(mean), per_image.size) == (True, 0), "no anomalous image"
    assert math.isnan(aupimo(maps[:0], masks[:0])[0]), "no image"
    assert aupimo_of([np.zeros(4)], [])[0].reason == "no anomalous image"
    assert aupimo_of([np.zeros(0)], [np.ones(3)])[0].reason == "no normal image"


def test_too_few_normal_pixels_warn_and_enough_do_not() -> None:
    maps, masks = category_of_three()
    with pytest.warns(UserWarning, match="100 normal pixels are too few for FPR bounds from 0.009: below 0.01"):
        aupimo(maps, masks, fpr_bounds=(0.009, 0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aupimo(maps, masks, fpr_bounds=(0.01, 0.1))


@pytest.mark.parametrize("limits", [(0, 0.1), (0.1, 0.1), (0.2, 0.1), (-1, 0.5), (0.1, 1.1), (math.nan, 0.5)])
def test_bounds_out_of_their_range_are_an_error(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"fpr_bounds must be \(L, U\) with 0 < L < U <= 1, found"):
        aupimo(*category_of_three(), fpr_bounds=limits)


def test_bad_maps_are_an_error() -> None:
    maps, masks = category_of_three()
    with pytest.raises(ValueError, match="aupimo: maps and masks must both be"):
        aupimo(maps, masks[:2])
    maps[0, 0, 3] = math.nan
    with pytest.raises(ValueError, match="aupimo: 1 of 300 scores are not finite, the first at flat index 3"):
        aupimo(maps, masks)
