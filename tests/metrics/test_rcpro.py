# pytest tests/metrics/test_rcpro.py
"""RCPRO against relabelling at every threshold, by hand; its alternatives, properties, worked examples, bad input."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from zsad_bench.metrics import functional
from zsad_bench.metrics.functional import component_tree
from zsad_bench.metrics.functional.component_tree import Matching
from zsad_bench.metrics.functional.rcpro import (
    RcproEvents,
    RcproSteps,
    add_image,
    described,
    exact_grid,
    image_events,
    no_steps,
    rcpro,
    rcpro_of,
    rcpro_of_events,
    threshold_grid,
)
from zsad_bench.metrics.functional.sorted_pixels import split_pixels

DRAWS = settings(max_examples=50, deadline=None, derandomize=True)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 7), st.integers(2, 7))
categories = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(-8, 8).map(lambda i: i / 8)),  # ties are the rule
        hnp.arrays(np.bool_, shape),
    )
).filter(lambda category: category[1].any())
options = st.fixed_dictionaries(
    {
        "tau": st.sampled_from([0.05, 0.0, 0.5, 1.0]),
        "theta": st.sampled_from([2.0, 1.0, 0.3]),
        "excess": st.sampled_from(["matched", "union", "area"]),
        "aggregate": st.sampled_from(["pooled", "image"]),
        "include_normal": st.booleans(),
        "fpr_limit": st.sampled_from([None, 0.3, 0.8]),
        "interpolation": st.sampled_from(["linear", "step"]),
        "min_area": st.sampled_from([1, 1, 3]),
        "connectivity": st.sampled_from([8, 4]),
    }
)


# --- the slow reference -----------------------------------------------------------------------------------------------


def parts_by_hand(mask: NDArray, connectivity: int) -> list[set]:
    """Connected parts as sets of pixels, grown pixel by pixel."""
    near = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if connectivity == 8 or 0 in (y, x)]
    left, parts = set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True)), []
    while left:
        part, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            part.add((y, x))
            found = {(y + dy, x + dx) for dy, dx in near} & left
            left -= found
            front += found
        parts.append(part)
    return parts


def quality_by_hand(part: set, regions: list[set], tau: float, theta: float, excess: str) -> float:
    matched = max(regions, key=lambda region: (len(part & region), -len(region)), default=set())
    overlap = len(part & matched)
    if overlap == 0 or overlap < tau * len(matched):
        return 0.0
    taken_off = {"matched": matched, "union": set().union(*regions), "area": set()}[excess]
    beyond = len(part - taken_off) / len(matched)
    return theta / beyond if beyond > theta else 1.0


def slow_rcpro(
    maps: NDArray,
    masks: NDArray,
    thresholds: NDArray | None = None,
    tau: float = 0.05,
    theta: float = 2.0,
    excess: str = "matched",
    aggregate: str = "pooled",
    include_normal: bool = True,
    fpr_limit: float | None = None,
    interpolation: str = "linear",
    min_area: int = 1,
    connectivity: int = 8,
) -> float:
    regions = [parts_by_hand(mask, connectivity) for mask in masks]
    points = []
    for t in np.unique(maps if thresholds is None else thresholds)[::-1]:
        shares = [np.mean([maps[i][y, x] >= t for y, x in r]) for i, found in enumerate(regions) for r in found]
        judged = []
        for map_HW, found in zip(maps, regions, strict=True):
            parts = [p for p in parts_by_hand(map_HW >= t, connectivity) if len(p) >= min_area]
            if parts and (found or include_normal):
                judged.append([quality_by_hand(part, found, tau, theta, excess) for part in parts])
        too_many = fpr_limit is not None and not masks.all() and np.mean(maps[~masks] >= t) > fpr_limit
        if judged and not too_many:
            flat = [np.mean(j) for j in judged] if aggregate == "image" else [q for j in judged for q in j]
            points.append((float(np.mean(shares)), float(np.mean(flat))))
    if not points or (fpr_limit is not None and not points[-1][0]):
        return math.nan
    area, (x0, y0) = 0.0, (0.0, points[0][1])
    for x, y in points:
        area += (x - x0) * (y if interpolation == "step" else (y + y0) / 2)
        x0, y0 = x, y
    return area / (1.0 if fpr_limit is None else x0)


def same(value: float, expected: float) -> bool:
    return abs(value - expected) < 1e-9 or (math.isnan(value) and math.isnan(expected))


# --- equal to it ------------------------------------------------------------------------------------------------------


@DRAWS
@given(categories)
def test_equals_brute_force_relabelling(category: tuple[NDArray, NDArray]) -> None:
    value, expected = rcpro(*category), slow_rcpro(*category)
    assert same(value, expected), f"one pass gives {value}, relabelling at every threshold {expected}"


@DRAWS
@given(categories, options)
def test_every_alternative_equals_brute_force(category: tuple[NDArray, NDArray], chosen: dict[str, Any]) -> None:
    value, expected = rcpro(*category, **chosen), slow_rcpro(*category, **chosen)
    assert same(value, expected), f"{chosen}: one pass gives {value}, relabelling {expected}"


@DRAWS
@given(categories, st.integers(2, 12), st.sampled_from(["pooled", "image"]))
def test_equal_steps_equal_brute_force_at_them(category: tuple[NDArray, NDArray], bins: int, aggregate: str) -> None:
    maps, masks = category
    steps = np.linspace(float(maps.min()), float(maps.max()), bins)
    value, expected = rcpro(maps, masks, exact=False, bins=bins, aggregate=aggregate), slow_rcpro(
        maps, masks, steps, aggregate=aggregate
    )  # fmt: skip
    assert same(value, expected), f"{bins} thresholds: one pass gives {value}, relabelling at them {expected}"


def big_category(n_regions: int = 40) -> tuple[NDArray, NDArray]:
    """Three images of 32x40: untied and uneven scores, one image with many small regions, one normal."""
    rng = np.random.default_rng(n_regions)
    masks = np.zeros((3, 32, 40), bool)
    masks[0, 4:9, 5:14] = masks[0, 20:23, 20:31] = True
    masks[1].flat[rng.choice(32 * 40, n_regions, replace=False)] = True
    maps = rng.standard_normal(masks.shape) ** 3
    maps[:, 1:] += maps[:, :-1]  # neighbours resemble each other
    return (maps + masks).astype(np.float32), masks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_regions", [1, 200])
def test_untied_scores_and_many_regions_equal_brute_force(dtype: type, n_regions: int) -> None:
    maps, masks = (big_category(n_regions)[0] * 1e3).astype(dtype)[:, :10, :12], big_category(n_regions)[1][:, :10, :12]
    for excess in ("matched", "union"):
        value, expected = rcpro(maps, masks, excess=excess), slow_rcpro(maps, masks, excess=excess)
        assert same(value, expected), f"{np.dtype(dtype)}, {n_regions} regions: {value}, relabelling {expected}"


def test_a_grid_of_all_scores_is_exact() -> None:
    maps, masks = big_category()
    q12 = np.round(np.clip(maps, 0, 1) * 4096) / np.float32(4096)
    grid = threshold_grid(np.arange(4097) / 4096)
    steps = no_steps(grid)
    for map_HW, mask_HW in zip(q12, masks, strict=True):
        add_image(steps, map_HW, mask_HW, grid)
    assert rcpro_of(steps).value == pytest.approx(rcpro(q12, masks), abs=1e-9), "4096 bins hold all these scores"


def test_thresholds_between_two_float32_numbers_take_no_score_below_them() -> None:
    score = np.float32(0.1)
    above = np.nextafter(np.float64(score), 1)
    (rounded,) = threshold_grid([above]).ascending
    assert rounded == np.nextafter(score, np.float32(1)), "0.1f is not >= the next float64 above it"


# --- parts add up -----------------------------------------------------------------------------------------------------


def steps_of(maps: NDArray, masks: NDArray, grid: component_tree.Grid, aggregate: str) -> RcproSteps:
    steps = no_steps(grid)
    for map_HW, mask_HW in zip(maps, masks, strict=True):
        add_image(steps, map_HW, mask_HW, grid, aggregate=aggregate)
    return steps


@pytest.mark.parametrize("aggregate", ["pooled", "image"])
def test_parts_of_a_category_add_up(aggregate: str) -> None:
    maps, masks = big_category()
    grid = exact_grid(maps, masks)
    whole = steps_of(maps, masks, grid, aggregate)
    parts = [steps_of(maps[part], masks[part], grid, aggregate) for part in (slice(2, 3), slice(0, 2), slice(0, 0))]
    summed = RcproSteps(*(sum(arrays) for arrays in zip(*parts, strict=True)))
    for name in ("judged", "normal", "totals"):
        assert np.array_equal(getattr(summed, name), getattr(whole, name)), f"{name}: counts must be equal bit by bit"
    assert rcpro_of(summed).value == pytest.approx(rcpro_of(whole).value, abs=1e-12), "ranks and batches add up"


@DRAWS
@given(categories, st.sampled_from(["pooled", "image"]), st.sampled_from([1, 3]))
def test_events_without_maps_give_the_same(category: tuple[NDArray, NDArray], aggregate: str, min_area: int) -> None:
    matching, pixels = Matching(min_area=min_area), split_pixels(*category)
    events = [image_events(*image, matching, aggregate) for image in zip(*category, strict=True)][::-1]
    joined = RcproEvents(*(np.concatenate(arrays) for arrays in zip(*events, strict=True)))
    value = rcpro_of_events(joined, pixels.positives, pixels.areas, pixels.n_regions).value
    expected = slow_rcpro(*category, aggregate=aggregate, min_area=min_area)
    assert same(value, expected), f"from events {value}, relabelling {expected}"


def test_a_normal_image_leaves_few_events() -> None:
    ramp = np.arange(400, dtype=np.float32).reshape(20, 20)
    events = image_events(ramp, ramp < 0)
    assert (events.scores.tolist(), events.judged.tolist()) == ([399.0], [1]), "one component appears, and only grows"


# --- properties -------------------------------------------------------------------------------------------------------


@DRAWS
@given(categories)
def test_only_the_order_of_the_scores_counts(category: tuple[NDArray, NDArray]) -> None:
    maps, masks = category
    value = rcpro(maps, masks)
    assert 0 <= value <= 1
    assert rcpro(np.exp(3 * maps.astype(np.float64)), masks) == pytest.approx(value, abs=1e-12), "a monotone map"
    assert rcpro(maps[::-1], masks[::-1]) == pytest.approx(value, abs=1e-12), "the order of the images"
    assert rcpro(maps[:, ::-1, ::-1], masks[:, ::-1, ::-1]) == pytest.approx(value, abs=1e-12), "turned images"
    twice = (np.concatenate([array, array]) for array in category)
    assert rcpro(*twice) == pytest.approx(value, abs=1e-12), "every image twice"


def test_negative_and_positive_zero_are_equal() -> None:
    maps, masks = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool)
    masks[0, :2, :2] = True
    mixed = np.where(np.eye(4, dtype=bool), np.float32(-0.0), maps)
    for dtype in (np.float32, np.float64):
        assert rcpro(mixed.astype(dtype), masks) == rcpro(maps, masks), f"{np.dtype(dtype)}: -0.0 and 0.0 are one score"


def test_constant_maps_have_one_threshold() -> None:
    maps, masks = np.full((2, 6, 6), 0.3), np.zeros((2, 6, 6), bool)
    masks[0, 1:3, 1:3] = True
    assert rcpro(maps, masks) == pytest.approx((2 / 8 + 0) / 2), "one component each: E = 32 / 4, and a false alarm"
    assert rcpro(maps, masks, exact=False) == pytest.approx(0.125), "steps over no range are that one threshold"


# --- worked examples --------------------------------------------------------------------------------------------------


def grid_of(*scores: tuple[Any, Any, float], n: int = 1) -> NDArray:
    maps = np.full((n, 6, 6), 0.1, np.float32)
    for rows, columns, score in scores:
        maps[0, rows, columns] = score
    return maps


def mask_of(*regions: tuple[Any, Any], n: int = 1) -> NDArray:
    masks = np.zeros((n, 6, 6), bool)
    for rows, columns in regions:
        masks[0, rows, columns] = True
    return masks


@pytest.mark.parametrize(("chosen", "value"), [({}, 2 / 3), ({"excess": "area"}, 0.5), ({"theta": 1.0}, 1 / 3)])
def test_a_component_three_regions_too_large(chosen: dict[str, Any], value: float) -> None:
    maps, masks = grid_of((slice(1, 5), slice(1, 5), 0.9)), mask_of((slice(2, 4), slice(2, 4)))
    assert rcpro(maps, masks, **chosen) == pytest.approx(value, abs=1e-12)


def test_a_false_alarm_first() -> None:
    maps = grid_of((slice(1, 3), slice(1, 3), 0.8), (4, 4, 0.6), (0, 5, 0.9))
    assert rcpro(maps, mask_of((slice(1, 3), slice(1, 3)), (4, 4))) == pytest.approx(0.125 + 7 / 24, abs=1e-12)


@pytest.mark.parametrize(("connectivity", "value"), [(8, 5 / 6), (4, 0.5 + 7 / 24)])
def test_neighbours_across_a_corner(connectivity: int, value: float) -> None:
    maps = grid_of((1, slice(1, 3), 0.9), (2, 3, 0.3), (slice(4, 6), slice(0, 4), 0.5))
    masks = mask_of((1, slice(1, 3)), (2, 3))
    assert rcpro(maps, masks, connectivity=connectivity) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize(("chosen", "value"), [({}, 0.48), ({"include_normal": False}, 0.94), ({"tau": 0.0}, 0.54)])
def test_a_first_touch_below_tau_and_a_normal_image(chosen: dict[str, Any], value: float) -> None:
    maps = grid_of((slice(0, 5), slice(0, 5), 0.6), (0, 0, 0.9), (0, 1, 0.8), n=2)
    maps[1, 3, 3] = 0.7
    assert rcpro(maps, mask_of((slice(0, 5), slice(0, 5)), n=2), **chosen) == pytest.approx(value, abs=1e-12)


# --- undefined and wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
def test_undefined_without_a_region(exact: bool) -> None:
    maps = grid_of((1, 1, 0.9), n=2)
    assert math.isnan(rcpro(maps, mask_of(n=2), exact=exact)), "no region, so there is no PRO to integrate over"
    assert math.isnan(rcpro(maps[:0], mask_of(n=2)[:0], exact=exact)), "no image"
    grid = exact_grid(maps, mask_of(n=2))
    assert rcpro_of(no_steps(grid)).reason == "no anomalous pixel"


def test_undefined_where_the_limit_is_passed_before_a_region_is_reached() -> None:
    maps, masks = grid_of((0, slice(0, 6), 0.9)), mask_of((4, 4))
    assert math.isnan(rcpro(maps, masks, fpr_limit=0.1)), "divided by the PRO reached, which is 0"


def test_undefined_where_every_component_is_too_small() -> None:
    assert math.isnan(rcpro(grid_of(), mask_of((1, 1)), min_area=37)), "an image has 36 pixels"


def test_every_pixel_anomalous_is_defined() -> None:
    maps = grid_of((slice(0, 3), slice(0, 6), 0.9))
    assert rcpro(maps, np.ones_like(maps, bool)) == 1.0, "each component lies within the one region"
    assert rcpro(maps, np.ones_like(maps, bool), fpr_limit=0.3) == 1.0, "no normal pixel, so no FPR to limit"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"tau": -0.1}, r"tau must be in \[0, 1\], found -0.1"),
        ({"tau": math.nan}, "tau must be in"),
        ({"theta": 0.0}, "theta must be a number above 0, found 0.0"),
        ({"theta": math.inf}, "theta must be a number above 0"),
        ({"excess": "all"}, "excess must be one of matched, union, area, found 'all'"),
        ({"aggregate": "mean"}, "aggregate must be one of pooled, image, found 'mean'"),
        ({"interpolation": "cubic"}, "interpolation must be one of linear, step, found 'cubic'"),
        ({"fpr_limit": 0.0}, r"fpr_limit must be in \(0, 1\]"),
        ({"min_area": 0}, "min_area must be at least 1 pixel, found 0"),
        ({"connectivity": 6}, "connectivity must be 4 or 8, found 6"),
        ({"exact": False, "bins": 1}, "bins must be at least 2, found 1"),
    ],
)
def test_an_argument_out_of_its_range_is_an_error(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rcpro(grid_of(), mask_of((1, 1)), **chosen)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="rcpro: 1 of 36 scores are not finite, the first at flat index 7"):
        rcpro(grid_of((1, 1, bad)), mask_of((1, 1)))


def test_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"rcpro: maps and masks must both be \(B, H, W\)"):
        rcpro(grid_of(), mask_of((1, 1))[:, :5])
    with pytest.raises(ValueError, match=r"found \(6, 6\)"):
        rcpro(grid_of()[0], mask_of((1, 1))[0])


def test_a_grid_of_another_dtype_or_a_mask_of_another_shape_is_an_error() -> None:
    (map_HW,), (mask,) = grid_of(), mask_of((1, 1))
    for dtype, marked in ((np.float64, mask), (np.float32, mask[:5])):
        with pytest.raises(ValueError, match="needs a map and a mask of one shape, and a grid of the map's dtype"):
            component_tree.grow(map_HW, marked, threshold_grid([0.5], dtype), Matching())


def test_a_float_mask_between_0_and_1_warns_and_is_cut_at_one_half() -> None:
    maps, masks = grid_of((2, 2, 0.9)), mask_of((2, slice(2, 4)))
    with pytest.warns(UserWarning, match="values other than 0 and 1"):
        value = rcpro(maps, np.where(masks, 0.7, 0.3))
    assert value == rcpro(maps, masks)


def test_half_precision_maps_are_read_as_float32() -> None:
    maps, masks = big_category()
    assert rcpro(maps.astype(np.float16), masks) == rcpro(maps.astype(np.float16).astype(np.float32), masks)


def test_the_description_names_every_parameter() -> None:
    matching = Matching(tau=0.1, theta=3, excess="union", min_area=5, connectivity=4)
    text = described(matching, "image", False, 0.3, "step")
    assert text.startswith("RCPRO as defined here ("), "it is not the paper's number, and must not be named so"
    for part in "tau 0.1|theta 3|union|image mean|anomalous images only|0.3|step|4-connected|5 px".split("|"):
        assert part in text, f"'{part}' is missing from: {text}"


# --- without numba ----------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where numba is not installed."""
    name = "zsad_bench.metrics.functional.union_find"
    rcpro(grid_of(), mask_of((1, 1)))  # loaded once, so that there is something to put back
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(functional, "union_find")
    component_tree._kernel.cache_clear()
    yield
    component_tree._kernel.cache_clear()


def kernel() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return component_tree._kernel()


@pytest.mark.skipif(not kernel().COMPILED, reason="numba is not installed: there is one path only")
def test_without_numba_the_numbers_are_the_same(request: pytest.FixtureRequest) -> None:
    categories = [big_category(1), big_category(200)]
    chosen = [{}, {"excess": "union", "connectivity": 4}, {"min_area": 3, "aggregate": "image"}, {"exact": False}]
    compiled = [rcpro(*category, **extra) for category in categories for extra in chosen]
    request.getfixturevalue("plain_python")
    assert not kernel().COMPILED, "the test must take the other path"
    assert [rcpro(*category, **extra) for category in categories for extra in chosen] == compiled, "bit by bit"


@pytest.mark.usefixtures("plain_python")
def test_without_numba_it_says_so_once() -> None:
    with pytest.warns(UserWarning, match=r"numba is not installed.*zsad-bench\[fast\]"):
        rcpro(grid_of(), mask_of((1, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rcpro(grid_of(), mask_of((1, 1)))
