# pytest tests/metrics/test_operating.py
"""Thresholds from normal images: what they promise, and what is counted at them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import confusion_matrix, f1_score

from zsad_bench import metric_keys
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.operating import Moments, conformal_threshold, f1_of, image_points, smallest_rate
from zsad_bench.metrics.operating import IMAGE_POINTS, PIXEL_POINTS, NormalScores, Thresholds
from zsad_bench.metrics.values import MetricValue


def test_the_threshold_lies_just_above_its_score():
    """20 normals at 5 %: the ceil(0.95 * 21) = 20th smallest, the largest; 19: the 19th. 18 allow no such rate."""
    for n in (19, 20):
        scores = np.random.default_rng(n).permutation(n).astype(np.float64)
        t = conformal_threshold(scores)
        assert t > n - 1
        assert np.nextafter(t, -math.inf) == n - 1
    assert math.isnan(conformal_threshold(np.arange(18.0)))
    assert smallest_rate(19) == 0.05
    assert np.nextafter(conformal_threshold(np.arange(99.0), 0.1), -math.inf) == 89.0, "the 90th of 99"
    assert math.isnan(conformal_threshold(np.zeros(0)))
    for rate in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="expected a number between 0 and 1"):
            conformal_threshold(np.arange(30.0), rate)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (60, 0.05), (60, 0.2)])
def test_false_alarms_on_further_normals_are_at_most_the_rate(n, rate, ties):
    """Over 4,000 draws of calibration scores and one more: exchangeable, so the promise is for the average of them."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(4000):
        scores = rng.exponential(size=n + 1)
        scores = np.round(scores) if ties else scores
        alarms += int(scores[-1] >= conformal_threshold(scores[:-1], rate))
    exact = (n + 1 - math.ceil(round((1 - rate) * (n + 1), 9))) / (n + 1)  # without ties
    low, high = binom.interval(0.999, 4000, exact)
    assert alarms <= high
    assert ties or alarms >= low, "lower than what so many images allow"


@pytest.mark.parametrize("parts", [1, 7])
def test_moments_are_those_of_all_numbers(parts):
    values = (np.random.default_rng(0).normal(1e3, 0.1, 5000)).astype(np.float32)
    moments = Moments()
    for part in np.array_split(values, parts):
        moments = moments.add(part)
    moments = moments.add(np.zeros(0))
    exact = values.astype(np.float64)
    assert moments.n == 5000
    assert moments.threshold() == pytest.approx(exact.mean() + 3 * exact.std(), rel=1e-13)
    assert math.isnan(Moments().threshold())


def test_points_of_images_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + labels, 1)
    for t in (-5.0, 0.3, float(scores.max()), 9.0):
        (tn, fp), (fn, tp) = confusion_matrix(labels, scores >= t)
        found = {key: value.value for key, value in image_points(scores, labels, t).items()}
        assert found == pytest.approx({
            "image_f1_cal": f1_score(labels, scores >= t, zero_division=0.0),
            "image_recall_cal": tp / (tp + fn),
            "image_specificity_cal": tn / (tn + fp),
        })  # fmt: skip


def test_points_without_images_of_a_kind():
    normal = image_points(np.array([0.1, 0.9]), np.array([False, False]), 0.5)
    assert normal["image_specificity_cal"] == MetricValue(0.5)
    assert {normal[key].reason for key in ("image_f1_cal", "image_recall_cal")} == {"no anomalous image"}
    anomalous = image_points(np.array([0.1, 0.9]), np.array([True, True]), 0.5)
    assert anomalous["image_specificity_cal"].reason == "no normal image"
    assert anomalous["image_recall_cal"] == MetricValue(0.5)
    assert f1_of(0, 5, 3) == MetricValue(0.0)
    assert f1_of(0, 5, 0).reason == "no anomalous pixel"


def batches() -> list[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for labels in ([0, 1, 1], [0], [1, 0, 0, 1]):
        masks = torch.zeros(len(labels), 6, 5, dtype=torch.bool)
        masks[torch.tensor(labels) == 1, 1:3, 2:5] = True
        maps = torch.rand(masks.shape, generator=generator) + 0.3 * masks
        made.append((maps.amax((1, 2)), torch.tensor(labels), maps, masks))
    return made


@pytest.mark.parametrize("options", [{}, {"mode": "binned"}])
def test_a_category_counts_them_as_its_images_come(options):
    thresholds = Thresholds(0.98, 0.7)
    metrics = CategoryMetrics("both", thresholds=thresholds, intervals=False, **options)
    for batch in batches():
        metrics.update(*batch)
    scores, labels, maps, masks = (torch.cat(parts).numpy() for parts in zip(*batches(), strict=True))
    found = metrics.compute()
    assert tuple(found) == (*IMAGE_KEYS, *PIXEL_KEYS, *IMAGE_POINTS, *PIXEL_POINTS)
    assert found["pixel_f1_cal"].value == pytest.approx(f1_score(masks.ravel(), (maps >= 0.7).ravel()))
    assert found["image_f1_cal"].value == pytest.approx(f1_score(labels, scores >= 0.98))
    assert metrics.compute() == found, "computing changed what was counted"
    metrics.reset()
    metrics.update(*batches()[0])
    assert metrics.compute()["pixel_f1_cal"].value == pytest.approx(
        f1_score(batches()[0][3].numpy().ravel(), (batches()[0][2] >= 0.7).numpy().ravel())
    )
    plain = CategoryMetrics("both", intervals=False, **options)
    for batch in batches():
        plain.update(*batch)
    assert {key: found[key] for key in plain.compute()} == plain.compute(), "other metrics moved"


@pytest.mark.parametrize(
    ("level", "keys"), [("image", IMAGE_POINTS), ("pixel", PIXEL_POINTS), ("both", (*IMAGE_POINTS, *PIXEL_POINTS))]
)
def test_without_thresholds_there_is_the_reason(level, keys):
    metrics = CategoryMetrics(level, thresholds=Thresholds.none("why not"), intervals=False)
    metrics.update(*batches()[0])
    found = metrics.compute()
    assert {key: found[key].reason for key in keys} == dict.fromkeys(keys, "why not")
    assert set(found) - set(keys) == {"image": set(IMAGE_KEYS), "pixel": set(PIXEL_KEYS),
                                      "both": {*IMAGE_KEYS, *PIXEL_KEYS}}[level]  # fmt: skip


def test_normal_scores_give_both_thresholds_or_say_why_not():
    normals = NormalScores()
    assert math.isnan(normals.thresholds().image)
    rng = np.random.default_rng(0)
    scores, maps = rng.random(25).astype(np.float32), rng.random((25, 4, 3)).astype(np.float32)
    for at in (slice(0, 10), slice(10, 25)):
        normals.update(torch.from_numpy(scores[at]), torch.from_numpy(maps[at]))
    found = normals.thresholds()
    assert found.image == conformal_threshold(scores.astype(np.float64))
    assert found.pixel == pytest.approx(maps.astype(np.float64).mean() + 3 * maps.astype(np.float64).std(), rel=1e-12)
    few = normals.thresholds(rate=0.01)
    assert few.why_image == "25 normal images allow no rate of false alarms below 3.8%"
    bare = NormalScores()
    bare.update(torch.from_numpy(scores), None)
    assert bare.thresholds().why_pixel == "no map of a normal image"


def test_optional_metrics_are_no_part_of_a_complete_cell():
    optional = {*metric_keys.keys(optional=True)}
    assert optional == {*IMAGE_POINTS, *PIXEL_POINTS}
    assert not optional & {*metric_keys.keys(), *metric_keys.columns(), *metric_keys.headline()}
    assert optional <= metric_keys.titles().keys()
    assert len(metric_keys.notes({"image_f1_cal", "pixel_f1_cal"})) == 1, "one note for all of them"
