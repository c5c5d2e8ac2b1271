# pytest tests/leaderboard/test_gains.py
"""Gains by anomaly type: against AUROC counted by hand, and the direction of their intervals."""

from __future__ import annotations

import random

import numpy as np
import pytest

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics.gains import Pair, gains
from zsad_bench.leaderboard.statistics.paired import paired_bootstrap
from zsad_bench.results.image_scores import Scores

PLACE, RUN = ("cloth", "carpet"), (0, 0)
TYPES = ["good"] * 20 + ["cut"] * 10 + ["hole"] * 6
IDS = [f"{i}.png" for i in range(len(TYPES))]
LABELS = [int(kind != "good") for kind in TYPES]
PARTS = {kind: (lambda run, place, label, kind=kind: label == kind) for kind in ("cut", "hole")}


def scores(seed, **lift) -> Scores:
    """Noise, with anomalous images lifted by type."""
    generator = random.Random(seed)
    return Scores(IDS, LABELS, [lift.get(kind, 0) + generator.gauss(0, 1) for kind in TYPES], TYPES)


def auroc(values, labels) -> float:
    pairs = values[labels][:, None] - values[~labels][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def of_type(one: Scores, kind: str) -> float:
    kept = np.array([t in ("good", kind) for t in TYPES])
    return auroc(np.array(one.scores)[kept], np.array(LABELS)[kept] == 1)


def test_the_gain_of_a_type_is_against_all_normal_images():
    first, second = scores(0, cut=3, hole=0), scores(1, cut=0, hole=3)
    found = gains([Pair(RUN, PLACE, first, second)], PARTS, resamples=200)
    for kind in ("cut", "hole"):
        assert found[kind].value == pytest.approx(of_type(first, kind) - of_type(second, kind)), kind
    assert found["cut"].interval()[0] > 0 > found["hole"].interval()[1], "a clear gain and a clear loss"
    assert (found["cut"].n_types, found["cut"].n_images, found["cut"].n_runs) == (1, 30, 1)


def test_whole_categories_agree_with_the_paired_bootstrap():
    first, second = scores(0, cut=1, hole=1), scores(1, cut=0.5, hole=0.5)
    ours = gains([Pair(RUN, PLACE, first, second)])["all"]
    theirs = paired_bootstrap({PLACE: [first]}, {PLACE: [second]}, auroc, resamples=300)
    assert ours.value == pytest.approx(theirs.value)
    assert ours.interval() == pytest.approx((theirs.low, theirs.high), abs=0.05)


def test_a_method_against_itself_is_exactly_nothing():
    one = scores(0, cut=1)
    found = gains([Pair(RUN, PLACE, one, one)], PARTS, resamples=50)
    assert (found["cut"].value, *found["cut"].interval()) == (0, 0, 0), "the same images were not drawn for both"


def test_types_categories_datasets_and_runs_weigh_alike():
    perfect = Scores(IDS, LABELS, list(map(float, LABELS)), TYPES)
    flat = Scores(IDS, LABELS, [0.0] * len(IDS), TYPES)
    half = Scores(IDS, LABELS, [float(kind == "cut") for kind in TYPES], TYPES)
    parts = {"any": lambda run, place, label: run == (0, 0) or place[0] == "cloth"}
    pairs = [
        Pair((0, 0), ("cloth", "a"), perfect, flat),  # 0.5 in both types
        Pair((0, 0), ("cloth", "b"), flat, flat),
        Pair((0, 0), ("parts", "c"), half, flat),  # 0.5 in one of two types
        Pair((1, 0), ("cloth", "a"), perfect, flat),
        Pair((1, 0), ("parts", "c"), flat, perfect),  # in no part
    ]
    found = gains(pairs, parts, resamples=5)["any"]
    assert found.value == pytest.approx(((0.25 + 0.25) / 2 + 0.5) / 2)
    assert (found.n_runs, found.n_datasets, found.n_categories, found.n_types) == (2, 2, 3, 6)


def test_order_of_images_and_pairs_changes_nothing():
    first, second = scores(0, cut=1), scores(1)
    order = random.Random(2).sample(range(len(IDS)), len(IDS))
    shuffled = Scores(*([column[i] for i in order] for column in first))
    other = Pair((1, 0), PLACE, second, first)
    one = gains([Pair(RUN, PLACE, first, second), other], PARTS, resamples=20)
    two = gains([other, Pair(RUN, PLACE, shuffled, second)], PARTS, resamples=20)
    assert one["cut"].value == two["cut"].value
    assert np.array_equal(one["hole"].samples, two["hole"].samples)


def test_nothing_in_a_part_and_what_is_refused():
    one = scores(0)
    found = gains([Pair(RUN, PLACE, one, one)], {"none": lambda *_: False}, resamples=5)["none"]
    assert (found.value, found.interval(), found.n_images) == (None, None, 0)
    normal = Scores(["a"], [1], [0.5], ["cut"])
    assert gains([Pair(RUN, PLACE, normal, normal)])["all"].value is None, "no normal image, no AUROC"
    with pytest.raises(RowError, match="cloth/carpet: per-image scores without anomaly types"):
        gains([Pair(RUN, PLACE, one._replace(types=None), one)], PARTS, resamples=5)
    with pytest.raises(RowError, match="cloth/carpet: two methods or runs saw other images"):
        gains([Pair(RUN, PLACE, one, one._replace(ids=["new", *IDS[1:]]))], resamples=5)
