# pytest tests/leaderboard/test_paired.py
"""The paired bootstrap against what must come out, and what it refuses."""

from __future__ import annotations

import random

import numpy as np
import pytest

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.statistics.paired import paired_bootstrap
from zsad_bench.results.image_scores import Scores

IDS = [f"{i}.png" for i in range(40)]
LABELS = [int(i % 2) for i in range(40)]
PLACE = ("cloth", "carpet")


def auroc(scores, labels):
    pairs = scores[labels][:, None] - scores[~labels][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean()) if pairs.size else float("nan")


def noisy(seed, gap, labels=LABELS):
    generator = random.Random(seed)
    return Scores(IDS, list(labels), [gap * label + generator.gauss(0, 1) for label in labels])


def test_a_method_against_itself_is_exactly_nothing():
    one = {PLACE: [noisy(0, 1.0)]}
    found = paired_bootstrap(one, one, auroc, resamples=50)
    assert (found.value, found.low, found.high, found.below_zero) == (0, 0, 0, 1), (
        "the same images were not drawn for both"
    )


def test_a_clear_gain_and_its_sign():
    good, bad = {PLACE: [noisy(0, 3.0)]}, {PLACE: [noisy(1, 0.0)]}
    found = paired_bootstrap(good, bad, auroc, resamples=100)
    expected = auroc(np.array(good[PLACE][0].scores), np.array(LABELS) == 1)
    expected -= auroc(np.array(bad[PLACE][0].scores), np.array(LABELS) == 1)
    assert found.value == pytest.approx(expected)
    assert 0 < found.low < found.value < found.high
    assert found.below_zero == 0
    assert paired_bootstrap(bad, good, auroc, resamples=100).value == pytest.approx(-expected)
    assert (found.n_categories, found.n_images) == (1, 40)


def test_the_order_of_images_changes_nothing():
    good, bad = noisy(0, 1.0), noisy(1, 0.5)
    order = random.Random(2).sample(range(40), 40)
    shuffled = Scores(*([column[i] for i in order] for column in good[:3]))
    first = paired_bootstrap({PLACE: [good]}, {PLACE: [bad]}, auroc, resamples=30)
    assert paired_bootstrap({PLACE: [shuffled]}, {PLACE: [bad]}, auroc, resamples=30) == first


def test_datasets_weigh_alike_and_runs_are_averaged():
    places = [("cloth", "a"), ("cloth", "b"), ("parts", "c")]
    perfect = Scores(IDS, LABELS, [float(label) for label in LABELS])
    useless = Scores(IDS, LABELS, [0.0] * 40)
    first = {place: [perfect, perfect if place[0] == "cloth" else useless] for place in places}
    second = {place: [useless] for place in places} | {("only", "here"): [useless]}
    found = paired_bootstrap(first, second, auroc, resamples=5)
    assert found.value == pytest.approx((0.5 + 0.25) / 2), "cloth 0.5 and parts 0.25 (one of two runs), weighing alike"
    assert found.n_left_out == 1


def test_other_images_are_refused():
    other = Scores(["other.png", *IDS[1:]], LABELS, [0.0] * 40)
    with pytest.raises(RowError, match="cloth/carpet: the two methods saw other images"):
        paired_bootstrap({PLACE: [noisy(0, 1)]}, {PLACE: [other]}, auroc, resamples=2)
    with pytest.raises(RowError, match="no category in common"):
        paired_bootstrap({PLACE: [noisy(0, 1)]}, {("a", "b"): [other]}, auroc, resamples=2)
    normal = {PLACE: [noisy(0, 1, [0] * 40)]}
    with pytest.raises(RowError, match="undefined there"):
        paired_bootstrap(normal, normal, auroc, resamples=2)
