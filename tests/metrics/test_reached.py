# pytest tests/metrics/test_reached.py
"""How many scores reach a threshold, counted by runs of floats, is what comparing each score with it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from zsad_bench.metrics.functional import reached as module
from zsad_bench.metrics.functional.reached import _counted, reached
from zsad_bench.metrics.functional.sorted_pixels import split_scores

pytest.importorskip("numba", reason="without numba scores are sorted")

DRAWS = settings(max_examples=150, deadline=None, derandomize=True)
# Few distinct values make ties the rule, of both zeros too; others reach from the smallest float to the largest.
some = st.one_of(st.sampled_from([-0.0, 0.0, 1.0, -1.0, 0.5]), st.floats(width=32, allow_nan=False))
scores = hnp.arrays(np.float32, st.integers(0, 12), elements=some)


def by_hand(parts: list[NDArray], thresholds: NDArray) -> tuple[list[int], list[int]]:
    pooled = np.concatenate(parts)
    return [int((pooled >= t).sum()) for t in thresholds], [int((pooled > t).sum()) for t in thresholds]


@DRAWS
@given(st.lists(scores, min_size=1, max_size=4), hnp.arrays(np.float32, st.integers(1, 9), elements=some))
def test_equals_one_comparison_after_the_other(parts: list[NDArray], thresholds: NDArray) -> None:
    expected = by_hand(parts, thresholds)
    sorted_ = reached(parts, thresholds, fast=False)
    assert (sorted_.at_least.tolist(), sorted_.above.tolist()) == expected
    counted = _counted(parts, thresholds)
    assert (counted is None) == (not sum(part.size for part in parts)), "the test must count"
    if counted is not None:
        assert (counted.at_least.tolist(), counted.above.tolist()) == expected
        assert counted.at_least.dtype == counted.above.dtype == np.int64


@pytest.mark.parametrize("n_thresholds", [1, 30, 3000])
@pytest.mark.parametrize("kind", ["crowded", "wide", "one run", "two ends"])
def test_many_scores_of_each_spread(kind: str, n_thresholds: int) -> None:
    """More scores than a block; thresholds in most runs and in few; scores beyond both ends of the thresholds."""
    rng = np.random.default_rng(0)
    pool = {
        "crowded": rng.standard_normal(20000) * 0.01 + 0.5,
        "wide": np.exp(rng.uniform(-90, 80, 20000)) * rng.choice([-1, 1], 20000),
        "one run": np.nextafter(np.float32(0.5), np.float32(1)) + np.zeros(20000),
        "two ends": rng.choice(np.array([np.finfo(np.float32).min, 0, np.finfo(np.float32).max]), 20000),
    }[kind].astype(np.float32)
    thresholds = rng.choice(pool, n_thresholds)
    parts = [pool[:7], pool[7:15000], pool[15000:]]
    counted, sorted_ = _counted(parts, thresholds), reached(parts, thresholds, fast=False)
    assert counted is not None, "the test must count"
    assert np.array_equal(counted.at_least, sorted_.at_least)
    assert np.array_equal(counted.above, sorted_.above)


def test_what_is_left_to_sorting() -> None:
    one, nan = np.ones(3, np.float32), np.array([1, np.nan, -np.nan], np.float32)
    for parts, thresholds in (
        ([one, nan], one), ([one], nan), ([one.astype(np.float64)], one.astype(np.float64)), ([one], one[:0]),
    ):  # fmt: skip
        assert _counted(parts, thresholds) is None
        assert reached(parts, thresholds).at_least.size == thresholds.size
    assert reached([one, nan], one[:1]).above.tolist() == [2], "what is not a number counts as the highest"
    assert reached([], one[:1]).at_least.tolist() == [0]


def test_few_scores_do_not_load_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(module, "is_worth_loading", lambda n: asked.append(n) or False)
    monkeypatch.setattr(module, "_counted", lambda *_: pytest.fail("counted though it was not worth it"))
    reached([np.ones(3, np.float32), np.zeros(4, np.float32)], np.ones(1, np.float32))
    assert asked == [7]


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 1, 1), (3, 13, 29), (2, 70, 70)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_taken_apart_in_their_order(shape: tuple[int, ...], share: float, dtype: type) -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.standard_normal(shape).astype(dtype), rng.random(shape) < share
    for turned in (lambda a: a, lambda a: a.transpose(0, 2, 1)):  # a view of another order as well
        fast, plain = (split_scores(turned(maps), turned(masks), fast=way) for way in (True, False))
        for ours, theirs in zip(fast, plain, strict=True):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)
