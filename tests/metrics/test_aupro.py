# pytest tests/metrics/test_aupro.py
"""AUPRO against slow references written here: region growing by hand, one threshold after the other."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from zsad_bench.metrics.functional.aupro import aupro, aupro_legacy200, aupro_legacy200_of, aupro_of
from zsad_bench.metrics.functional.sorted_pixels import sort_pixels, split_pixels

DRAWS = settings(max_examples=40, deadline=None, derandomize=True)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6))
categories = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(-16, 16).map(lambda i: i / 8)),  # ties are the rule
        hnp.arrays(np.bool_, shape),
    )
).filter(lambda category: category[1].any() and not category[1].all())


def regions_by_hand(mask: NDArray, connectivity: int) -> list[NDArray]:
    """Every region as a bool mask, grown pixel by pixel."""
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if connectivity == 8 or 0 in (y, x)]
    left, regions = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        region, front = np.zeros_like(mask), [left.pop()]
        while front:
            y, x = front.pop()
            region[y, x] = True
            near = {(y + dy, x + dx) for dy, dx in steps} & left
            left -= near
            front += near
        regions.append(region)
    return regions


def curve_at(maps: NDArray, masks: NDArray, connectivity: int, above: list[NDArray]) -> tuple[list, list]:
    """FPR and PRO of one prediction (B,H,W) after the other."""
    regions = [(i, region) for i, mask in enumerate(masks) for region in regions_by_hand(mask, connectivity)]
    fpr = [float(p[~masks].mean()) for p in above]
    pro = [float(np.mean([p[i][region].mean() for i, region in regions])) for p in above]
    return fpr, pro


def slow_aupro(maps: NDArray, masks: NDArray, limit: float = 0.3, connectivity: int = 8) -> float:
    above = [maps >= t for t in np.unique(maps)[::-1]]
    fpr, pro = curve_at(maps, masks, connectivity, above)
    area, points = 0.0, list(zip([0.0, *fpr], [0.0, *pro], strict=True))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / limit


def slow_legacy200(maps: NDArray, masks: NDArray) -> float:
    low, high = maps.min(), maps.max()
    steps = np.arange(low, high, (high - low) / 200) if high > low else []
    fpr, pro = curve_at(maps, masks, 8, [maps > t for t in steps])
    kept = [(x, y) for x, y in zip(fpr, pro, strict=True) if x < 0.3]
    if len(kept) < 2 or kept[0][0] == kept[-1][0]:
        return math.nan
    x, y = np.array(kept)[::-1].T
    return float(np.trapezoid(y, (x - x[0]) / (x[-1] - x[0])))


@DRAWS
@given(categories, st.sampled_from([0.05, 0.3, 0.77, 1.0]), st.sampled_from([4, 8]))
def test_equals_brute_force(category: tuple[NDArray, NDArray], limit: float, connectivity: int) -> None:
    expected = slow_aupro(*category, limit, connectivity)
    assert abs(aupro(*category, limit, connectivity) - expected) < 1e-9, "exact AUPRO is not the brute-force one"


@pytest.mark.filterwarnings("ignore:aupro_legacy200 is undefined")
@DRAWS
@given(categories)
def test_legacy200_equals_the_200_step_routine(category: tuple[NDArray, NDArray]) -> None:
    ours, expected = aupro_legacy200(*category), slow_legacy200(*category)
    assert abs(ours - expected) < 1e-9 or (math.isnan(ours) and math.isnan(expected)), f"{ours} is not {expected}"


@pytest.mark.parametrize("seed", range(4))
def test_untied_scores_equal_both_slow_references(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = np.zeros((4, 12, 16), bool)
    masks[0, 2:5, 3:8] = masks[0, 9, 9] = masks[2, 6:, :4] = True
    maps = (rng.standard_normal(masks.shape) + 1.5 * masks).astype(np.float32)
    maps = maps**3 if seed % 2 else maps  # crowded around 0 as well
    assert abs(aupro(maps, masks) - slow_aupro(maps, masks)) < 1e-9, "exact AUPRO is not the brute-force one"
    assert abs(aupro_legacy200(maps, masks) - slow_legacy200(maps, masks)) < 1e-9, "legacy200 is not the routine's"


def grid(background: float = 0.1) -> tuple[NDArray, NDArray]:
    return np.full((1, 6, 6), background, np.float32), np.zeros((1, 6, 6), bool)


def test_worked_example_perfect() -> None:
    maps, masks = grid()
    masks[0, 1:3, 1:3], maps[0, 1:3, 1:3] = True, 0.9
    assert aupro(maps, masks) == 1, "a map that is right everywhere"
    assert aupro(-maps, masks) == 0, "a map that is wrong everywhere"


def test_worked_example_over_segmented() -> None:
    maps, masks = grid()
    masks[0, 2:4, 2:4], maps[0, 1:5, 1:5] = True, 0.9
    assert aupro(maps, masks) == pytest.approx(0.4, abs=1e-12), "a tie must be a straight segment, cut at the limit"


def test_worked_example_false_positive_first() -> None:
    maps, masks = grid()
    masks[0, 1:3, 1:3], maps[0, 1:3, 1:3] = True, 0.8
    masks[0, 4, 4], maps[0, 4, 4], maps[0, 0, 5] = True, 0.6, 0.9
    assert aupro(maps, masks) == pytest.approx((0.3 - 1 / 31) / 0.3, abs=1e-12), "regions count once, whatever size"


def test_worked_example_diagonal_touch() -> None:
    maps, masks = grid()
    for row, column, score in ((1, 1, 0.9), (1, 2, 0.9), (2, 3, 0.3)):
        masks[0, row, column], maps[0, row, column] = True, score
    maps[0, 4:6, :4] = 0.5
    assert aupro(maps, masks) == pytest.approx(0.730640, abs=5e-7), "diagonal neighbours are one region"
    assert aupro(maps, masks, connectivity=4) == pytest.approx(0.595960, abs=5e-7), "at connectivity 4 they are two"


def test_worked_example_normal_images_count_for_the_false_positives() -> None:
    maps, masks = (np.concatenate(pair) for pair in zip(grid(), grid(), strict=True))
    masks[0, :5, :5], maps[0, :5, :5] = True, 0.6
    maps[0, 0, 0], maps[0, 0, 1], maps[1, 3, 3] = 0.9, 0.8, 0.7
    assert aupro(maps, masks) == pytest.approx((0.3 - 0.92 / 47) / 0.3, abs=1e-12), "47 normal pixels in two images"


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_a_constant_map_gives_half_the_limit(limit: float) -> None:
    maps, masks = grid(0.25)
    masks[0, 2, 2] = True
    assert aupro(maps, masks, fpr_limit=limit) == pytest.approx(limit / 2, abs=1e-12), "a constant map knows nothing"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda maps, masks: (maps * 0, masks), "between the lowest and the highest"),
        (lambda maps, masks: (np.where(masks, 0, 1).astype(np.float32), masks), "fewer than two"),
        (lambda maps, masks: (np.where(masks, 1, 0).astype(np.float32), masks), "one FPR"),
    ],
)
def test_legacy200_is_undefined_with_a_reason_where_the_routine_fails(spoil, reason: str) -> None:
    maps, masks = grid()
    masks[0, 2, 2] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = aupro_legacy200_of(sort_pixels(split_pixels(*spoil(maps, masks))))
    assert math.isnan(value.value), "the routine fails here, so there is no number"
    assert reason in value.reason, "the reason does not say what is the matter"
    with pytest.warns(UserWarning, match=reason):
        aupro_legacy200(*spoil(maps, masks))


def test_undefined_without_a_region_or_a_normal_pixel() -> None:
    maps, masks = grid()
    for marked, reason in ((masks, "no anomalous pixel"), (~masks, "no normal pixel")):
        value = aupro_of(sort_pixels(split_pixels(maps, marked)))
        assert math.isnan(value.value), f"AUPRO with {reason} must be nan"
        assert value.reason == reason


@pytest.mark.parametrize("limit", [0, -0.1, 1.01, math.nan])
def test_a_limit_outside_its_range_is_an_error(limit: float) -> None:
    maps, masks = grid()
    with pytest.raises(ValueError, match=r"fpr_limit must be in \(0, 1\]"):
        aupro(maps, masks, fpr_limit=limit)


def test_a_connectivity_that_does_not_exist_is_an_error() -> None:
    maps, masks = grid()
    with pytest.raises(ValueError, match="connectivity must be 4 or 8, found 6"):
        aupro(maps, masks, connectivity=6)
