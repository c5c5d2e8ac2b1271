# pytest tests/metrics/test_binned.py
"""The binned mode: its bound holds in every draw, and what was seen decides its counts, not how it came in."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional import binned
from zsad_bench.metrics.functional.binned import Histogram, binned_values, merged, sort_keys
from zsad_bench.metrics.functional.pixel import OF_SORTED, pixel_values
from zsad_bench.metrics.functional.sorted_pixels import sort_pixels, split_pixels
from zsad_bench.metrics.pixel_state import FOLD, PIXEL_BUDGET, PixelMetrics

ROOT = Path(__file__).resolve().parents[2]
DRAWS = settings(max_examples=60, deadline=None, derandomize=True)
RANKED_KEYS = tuple(OF_SORTED)
BOUNDED = RANKED_KEYS[:-1]
tied = st.integers(-16, 16).map(lambda i: i / 8)
wild = st.floats(-(2.0**99), 2.0**99, width=32)
crowded = st.floats(0, 1, width=32).map(lambda p: np.float32(p) ** 4)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 7), st.integers(2, 7))
categories = st.tuples(shapes, st.sampled_from([tied, wild, crowded])).flatmap(
    lambda drawn: st.tuples(hnp.arrays(np.float32, drawn[0], elements=drawn[1]), hnp.arrays(np.bool_, drawn[0]))
)
defined = categories.filter(lambda category: category[1].any() and not category[1].all())
bin_counts = st.sampled_from([2, 4, 16, 256, 2**16])


def counted(maps: NDArray, masks: NDArray, bins: int, score_range: tuple[float, float] | None = None) -> Histogram:
    pixels, histogram = split_pixels(maps, masks), Histogram(bins)
    histogram.add_normal(sort_keys(pixels.negatives, score_range))
    histogram.add_anomalous(sort_keys(pixels.positives, score_range), pixels.areas)
    return histogram


def exact(maps: NDArray, masks: NDArray, limit: float = 0.3) -> dict[str, float]:
    return {key: v.value for key, v in pixel_values(sort_pixels(split_pixels(maps, masks)), limit).items()}


def assert_equal_counts(left: Histogram, right: Histogram, what: str) -> None:
    assert (left.lowest, left.highest, left.shift) == (right.lowest, right.highest, right.shift), f"edges: {what}"
    for name in ("normal", "anomalous"):
        assert np.array_equal(getattr(left, name), getattr(right, name)), f"{name} counts depend on {what}"
    assert np.allclose(left.overlap, right.overlap, rtol=1e-12, atol=0), f"region shares depend on {what}"


# --- the certificate --------------------------------------------------------------------------------------------------


@DRAWS
@given(defined, bin_counts, st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([None, (0.0, 1.0), (-2.0, 2.0)]))
def test_the_bound_holds_in_every_draw(category, bins: int, limit: float, score_range) -> None:
    values, bounds = binned_values(counted(*category, bins, score_range), limit)
    for key, value in exact(*category, limit).items():
        if key in BOUNDED:
            off = abs(values[key].value - value)
            assert off <= bounds[key], f"{key}: {values[key].value} is {off} from {value}, certified were {bounds[key]}"
    assert set(bounds) == set(BOUNDED), "a defined value without a bound, or a bound without a value"


@pytest.mark.parametrize("spoil", [lambda s: s, lambda s: s**4, lambda s: 1 - (1 - s) ** 3, lambda s: 0.49 + s / 50])
def test_the_bound_is_small_on_smooth_maps(spoil) -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 96, 96), bool)
    masks[0, 10:30, 20:50] = masks[1, 60:64, 5:9] = masks[1, 70, 70] = True
    raw = rng.standard_normal(masks.shape) + 1.5 * masks
    maps = spoil(1 / (1 + np.exp(-raw))).astype(np.float32)
    values, bounds = binned_values(counted(maps, masks, 2**18, (0, 1)))
    for key, value in exact(maps, masks).items():
        if key in BOUNDED:
            assert bounds[key] < 1e-4, f"{key}: the bound {bounds[key]} says little"
            assert abs(values[key].value - value) <= bounds[key]


def test_the_bound_is_reached_where_a_bin_hides_the_order() -> None:
    """One bin holds two pixels of each kind: the truth may be perfect or reversed, and the bound must allow both."""
    histogram = Histogram(2)
    histogram.add_normal(np.full(2, 5, np.int32))
    histogram.add_anomalous(np.full(2, 5, np.int32), np.full(2, 2))
    values, bounds = binned_values(histogram, fpr_limit=1.0)
    assert (values["pixel_auroc"].value, values["pixel_aupro"].value) == (0.5, 0.5)
    for key in ("pixel_auroc", "pixel_aupro"):
        assert bounds[key] == pytest.approx(0.5, abs=1e-9), f"{key}: anything in [0, 1] was possible"
    assert bounds["pixel_ap"] >= 0.5, "AP of a perfect map is 1, shown was 0.5"


@DRAWS
@given(categories.filter(lambda category: category[1].any()))
def test_one_bin_a_float_is_exact(category) -> None:
    """Multiples of 1/8 within an octave or two are few floats apart in bins: nothing is lost."""
    maps, masks = category
    maps = np.round(np.clip(maps, -2, 2) * 4).astype(np.float32) / 16 + 3
    found = binned_values(counted(maps, masks, 2**16)).values
    for key, value in exact(maps, masks).items():
        if key in BOUNDED:
            same = abs(found[key].value - value) < 1e-9 or (math.isnan(found[key].value) and math.isnan(value))
            assert same, f"{key}: {found[key].value} is not {value} though every score has a bin of its own"


# --- edges and merging ------------------------------------------------------------------------------------------------


@DRAWS
@given(hnp.arrays(np.float32, st.integers(2, 40), elements=st.one_of(wild, tied)))
def test_keys_stand_in_the_order_of_the_scores(scores: NDArray) -> None:
    keys = sort_keys(scores).astype(np.int64)
    assert np.array_equal(np.sign(np.subtract.outer(keys, keys)), np.sign(np.subtract.outer(scores, scores)))
    for score_range in ((0.0, 1.0), (-3.0, 1e6)):
        ranged = sort_keys(np.sort(scores), score_range).astype(np.int64)
        assert (np.diff(ranged) >= 0).all(), f"scores in {score_range} are put in another order"


def test_a_known_range_tells_apart_what_is_crowded_at_its_top() -> None:
    crowd = (1 - np.float32(2.0) ** -np.arange(3, 20)).astype(np.float32)
    whole = np.concatenate([np.zeros(1, np.float32), crowd])  # a zero stretches the range of the plain keys
    histograms = {score_range: Histogram(2**9) for score_range in (None, (0.0, 1.0))}
    for score_range, histogram in histograms.items():
        histogram.add_normal(sort_keys(whole, score_range))
    told = {score_range: histogram.ascending()[0].size for score_range, histogram in histograms.items()}
    assert told[0.0, 1.0] == whole.size, "scores close to 1 share a bin of the known range"
    assert told[None] < whole.size, "the plain keys tell them apart as well: this test shows nothing"


@DRAWS
@given(categories, bin_counts, st.integers(0, 2**16))
def test_merging_and_order_change_no_count(category, bins: int, seed: int) -> None:
    maps, masks = category
    whole = counted(maps, masks, bins)
    pieces = [counted(maps[i : i + 1], masks[i : i + 1], bins) for i in range(len(maps))]
    order = np.random.default_rng(seed).permutation(len(maps))
    joined = merged(np.concatenate([pieces[i].packed() for i in order]), bins)
    assert_equal_counts(joined, whole, "the split over ranks")
    assert_equal_counts(counted(maps[order], masks[order], bins), whole, "the order of the images")
    grown = Histogram(bins)
    pixels = split_pixels(maps, masks)
    for i in np.random.default_rng(seed).permutation(pixels.negatives.size):
        grown.add_normal(sort_keys(pixels.negatives[i : i + 1]))
    for i in range(pixels.positives.size):
        grown.add_anomalous(sort_keys(pixels.positives[i : i + 1]), pixels.areas[i : i + 1])
    assert_equal_counts(grown, whole, "when wider bins became necessary")


@pytest.mark.parametrize("score_range", [None, (0.0, 1.0)])
@pytest.mark.parametrize("bins", [4, 2**16])
def test_the_compiled_loop_counts_the_same(bins: int, score_range, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="without numba there is no compiled loop")
    rng = np.random.default_rng(0)
    maps = (rng.standard_normal((4, 300, 300)) * 10.0 ** np.arange(4)[:, None, None]).astype(np.float32)
    found, taken = {}, []
    for way in (True, False):
        monkeypatch.setattr(binned, "is_worth_loading", lambda n, way=way: taken.append(n) or way)
        found[way] = Histogram(bins)
        for map_HW in maps:  # each reaches further than those before: bins are joined on the way
            found[way].add_normal(sort_keys(map_HW.ravel(), score_range))
        found[way].add_normal(sort_keys(maps[0, 0, :0], score_range))
    assert taken, "nobody asked"
    assert_equal_counts(found[True], found[False], "the loop")


def test_empty_histograms_merge() -> None:
    filled = Histogram(4)
    filled.add_normal(sort_keys(np.array([1.0, 7.0], np.float32)))
    packed = np.concatenate([Histogram(4).packed(), filled.packed(), Histogram(4).packed()])
    assert_equal_counts(merged(packed, 4), filled, "empty ranks")
    assert merged(packed[:0], 4).normal.sum() == 0
    with pytest.raises(ValueError, match="histograms of 4 and 8 bins"):
        filled.merge(Histogram(8))


# --- the state --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def category() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(7, 20, 24, dtype=torch.bool)
    masks[0, 2:6, 3:9] = masks[2, 10:, 10:14] = masks[2, 0, 0] = masks[5, 7, :] = True
    return torch.randn(masks.shape, generator=generator) * 8 + masks, masks


def fed(maps: torch.Tensor, masks: torch.Tensor, size: int = 2, **options) -> PixelMetrics:
    metric = PixelMetrics(**options)
    for chunk, mask in zip(maps.split(size), masks.split(size), strict=True):
        metric.update(chunk, mask)
    return metric


def test_the_budget_decides(category) -> None:
    maps, masks = category
    assert PIXEL_BUDGET >= 1000 * 518 * 518, "a thousand images at 518 px are kept exactly, says the constant"
    assert fed(maps, masks).kept_result() == fed(maps, masks, mode="exact").kept_result(), "below it nothing changes"
    assert fed(maps, masks, budget=maps.numel()).kept_result().error_bounds == {}, "the budget itself is within it"
    beyond = fed(maps, masks, budget=maps.numel() - 1).kept_result()
    assert beyond == fed(maps, masks, mode="binned").kept_result(), "beyond the budget it is not the binned mode"
    assert set(beyond.error_bounds) == set(BOUNDED)
    for key, value in exact(maps.numpy(), masks.numpy()).items():
        if key in BOUNDED:
            assert abs(beyond.values[key].value - value) <= beyond.error_bounds[key]
    legacy = beyond.values["pixel_aupro_legacy200"]
    assert math.isnan(legacy.value), "the 200 steps cannot be had from bins"
    assert "binned" in legacy.reason


def test_exact_beyond_the_budget_names_the_binned_mode_once(category) -> None:
    with pytest.warns(UserWarning, match="mode='binned' takes constant memory") as warned:
        fed(*category, mode="exact", budget=500)
    assert len(warned) == 1, "once is enough"


def test_folding_at_any_time_gives_the_same(category, monkeypatch) -> None:
    maps, masks = category
    whole = fed(maps, masks, 7, mode="binned").kept_result()
    monkeypatch.setattr("zsad_bench.metrics.pixel_state.FOLD", 500)
    for size in (1, 2, 7):
        metric = fed(maps, masks, size, mode="binned")
        assert metric._n_kept() < 500 + size * 480, "scores pile up in a mode of constant memory"
        assert metric.vector("counted").size, "nothing was counted on the way"
        found = metric.kept_result()
        assert found.values["pixel_auroc"] == whole.values["pixel_auroc"], "AUROC is a ratio of integers"
        for key in BOUNDED:
            assert found.values[key].value == pytest.approx(whole.values[key].value, abs=1e-12)
            assert found.error_bounds[key] == pytest.approx(whole.error_bounds[key], abs=1e-12)
        assert metric.kept_result() == found, "reading the state changed it"
        assert pickle.loads(pickle.dumps(metric)).kept_result() == found, "pickling lost counts"
        metric.reset()
        metric.update(maps[:1], masks[:1])
        assert metric.kept_result() == fed(maps[:1], masks[:1], mode="binned").kept_result(), "reset kept counts"


def test_states_merge_whether_counted_or_kept(category, monkeypatch) -> None:
    maps, masks = category
    monkeypatch.setattr("zsad_bench.metrics.pixel_state.FOLD", 500)
    whole = fed(maps, masks, budget=2000).kept_result()
    counted_part, kept_part = fed(maps[:5], masks[:5], budget=2000), fed(maps[5:], masks[5:], budget=2000)
    assert (counted_part.is_binned(), kept_part.is_binned()) == (True, False)
    before = counted_part.kept_result()
    for left, right in ((counted_part, kept_part), (kept_part, counted_part)):
        left, right = (pickle.loads(pickle.dumps(metric)) for metric in (left, right))
        left.merge_state(right)
        found = left.kept_result()
        assert found.values["pixel_auroc"] == whole.values["pixel_auroc"]
        for key in BOUNDED:
            assert found.values[key].value == pytest.approx(whole.values[key].value, abs=1e-12)
    assert counted_part.kept_result() == before


def test_undefined_and_constant_maps() -> None:
    maps, masks = torch.full((2, 5, 10), -3.0), torch.zeros(2, 5, 10, dtype=torch.bool)
    nothing = fed(maps, masks, mode="binned").kept_result()
    assert {v.reason for v in nothing.values.values()} == {"no anomalous pixel"}
    assert nothing.error_bounds == {}
    full = fed(maps, ~masks, mode="binned").kept_result()
    assert full.values["pixel_ap"].value == full.values["pixel_f1max"].value == 1
    assert full.values["pixel_auroc"].reason == full.values["pixel_aupro"].reason == "no normal pixel"
    assert set(full.error_bounds) == {"pixel_ap", "pixel_f1max"}
    masks[0, 0, :4] = True
    with pytest.warns(UserWarning, match="binned pixel_aupro may be off by"):
        constant = fed(maps, masks, mode="binned").kept_result()
    assert constant.values["pixel_auroc"].value == 0.5
    assert constant.values["pixel_ap"].value == pytest.approx(0.04)
    assert constant.values["pixel_aupro"].value == pytest.approx(0.15, abs=1e-12)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert {v.reason for v in PixelMetrics(mode="binned").compute().values()} == {"no image"}


def test_float64_maps_are_binned_as_well(category) -> None:
    maps, masks = category
    values, bounds, _ = fed(maps.double() * math.pi, masks, mode="binned", dtype=torch.float64).kept_result()
    for key, value in exact(maps.double().numpy() * math.pi, masks.numpy()).items():
        if key in BOUNDED:
            assert abs(values[key].value - value) <= bounds[key], f"{key}: rounding to float32 broke the bound"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_a_state_on_a_gpu_gives_the_same(category, mode: str) -> None:
    metric = PixelMetrics(mode=mode).to("cuda")
    metric.update(*(part.cuda() for part in category))
    assert metric.kept_result() == fed(*category, size=7, mode=mode).kept_result()


def test_bounds_reach_the_category(category) -> None:
    maps, masks = category
    metrics = CategoryMetrics("both", mode="binned")
    metrics.update(maps.amax((1, 2)), masks.any(2).any(1).long(), maps, masks)
    result = metrics.result()
    assert set(result.error_bounds) == set(BOUNDED), "image metrics are exact, pixel metrics are bounded"
    exactly = CategoryMetrics("both")
    exactly.update(maps.amax((1, 2)), masks.any(2).any(1).long(), maps, masks)
    assert exactly.result().error_bounds == {}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mode": "fast"}, "mode must be one of auto, exact, binned, found 'fast'"),
        ({"bins": 1000}, "power of two"),
        ({"bins": 1}, "power of two"),
        ({"score_range": (1.0, 0.0)}, "low < high"),
        ({"score_range": (0.0, math.inf)}, "low < high"),
        ({"mode": "binned", "intervals": True}, "need every score"),
    ],
)
def test_wrong_options_are_errors_at_once(options, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        PixelMetrics(**options)


SIXTY_MILLION = """
import resource, sys
import numpy as np, torch
from zsad_bench.metrics.pixel_state import PixelMetrics
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
metric = PixelMetrics(mode="binned")
generator = torch.Generator().manual_seed(0)
masks = torch.zeros(1, 518, 518, dtype=torch.bool)
masks[0, 100:150, 200:280] = True
def image(i):
    maps = torch.rand(1, 518, 518, generator=generator)
    return (maps + masks * 0.4, masks) if i % 2 else (maps, torch.zeros_like(masks))
PixelMetrics(mode="binned").update(*image(1))
before = peak()
for i in range(224):
    metric.update(*image(i))
values, bounds, _ = metric.kept_result()
assert int(metric.n_pixels) > 60_000_000
assert 0 < bounds["pixel_aupro"] < 1e-3, bounds
print((peak() - before) / 1024)
"""


@pytest.mark.slow
def test_sixty_million_pixels_stay_under_200_mib() -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIXTY_MILLION], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200, f"{float(done.stdout):.0f} MiB above the interpreter"
    assert FOLD * 4 < 64 * 2**20, "what is kept before it is counted is itself a large part of that"
