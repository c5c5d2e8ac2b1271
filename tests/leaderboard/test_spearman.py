# pytest tests/leaderboard/test_spearman.py
"""Spearman's correlation against scipy's, and an interval that draws whole clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from zsad_bench.leaderboard.statistics.spearman import spearman


def test_value_is_scipys_with_ties():
    generator = np.random.default_rng(0)
    x = np.tile([1, 2, 5, 5], (30, 1))
    y = np.round(0.1 * x + generator.normal(size=x.shape), 1)
    found = spearman(x, y)
    assert found.value == pytest.approx(spearmanr(x.ravel(), y.ravel()).statistic)
    assert found.low < found.value < found.high
    assert (found.n_clusters, found.n_points) == (30, 120)
    assert spearman(x, y) == found, "not the same interval twice"
    assert spearman(x, y, seed=1) != found


def test_perfect_orders_have_no_width():
    x = [[1, 2, 3]] * 5
    up = spearman(x, [[0.1, 0.2, 0.3]] * 5)
    assert (up.value, up.low, up.high) == pytest.approx((1, 1, 1))
    assert spearman(x, [[0.3, 0.2, 0.1]] * 5).value == pytest.approx(-1)


def test_clusters_are_drawn_whole():
    """Points of a cluster that only repeat each other make nothing surer."""
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(2, 12, 1))
    y = y + 0.5 * x
    once, often = spearman(x, y), spearman(np.tile(x, 20), np.tile(y, 20))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_what_is_undefined():
    flat = spearman([[1, 2]] * 3, [[0.5, 0.5]] * 3)
    assert (flat.value, flat.low, flat.high) == (None, None, None), "a side that does not vary has no correlation"
    alone = spearman([[1, 2, 3]], [[0.1, 0.3, 0.2]])
    assert alone.value == pytest.approx(0.5)
    assert (alone.low, alone.high) == (None, None), "one cluster cannot be resampled"
    assert spearman([], []).value is None
