# pytest tests/metrics/test_views.py
"""Sample metrics, of objects that several images show: against another computation, their laws, and their state."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS, SAMPLE_KEYS
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.image import image_values
from zsad_bench.metrics.functional.views import largest_of_each, sample_values

VIEWS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 8)), min_size=1, max_size=40)


def values_of(scores, labels, groups) -> dict[str, float]:
    found = sample_values(*largest_of_each(np.asarray(scores, float), np.asarray(labels, bool), groups))
    return {key: value.value for key, value in found.items()}


def by_hand(scores, labels, groups) -> dict[str, float]:
    """By dictionaries and comparison of all pairs; AP and F1 over the distinct scores, largest first."""
    objects: dict[int, tuple[float, bool]] = {}
    for score, label, group in zip(scores, labels, groups, strict=True):
        largest, anomalous = objects.get(group, (-math.inf, False))
        objects[group] = (max(largest, score), anomalous or label)
    good = [score for score, anomalous in objects.values() if not anomalous]
    bad = [score for score, anomalous in objects.values() if anomalous]
    if not bad:
        return dict.fromkeys(SAMPLE_KEYS, math.nan)
    wins = [(one > other) + (one == other) / 2 for one, other in product(bad, good)]
    precision, best, recall_before = 0.0, 0.0, 0.0
    for threshold in sorted({*good, *bad}, reverse=True):
        hits, taken = (sum(score >= threshold for score in of) for of in (bad, good + bad))
        precision += hits / taken * (hits / len(bad) - recall_before)
        recall_before = hits / len(bad)
        best = max(best, 2 * hits / (taken + len(bad)))
    return {
        "sample_auroc": sum(wins) / len(wins) if good else math.nan,
        "sample_ap": precision,
        "sample_f1max": best,
    }


@given(VIEWS)
def test_as_another_computation(views):
    assert values_of(*zip(*views, strict=True)) == pytest.approx(by_hand(*zip(*views, strict=True)), nan_ok=True)


@given(VIEWS, st.randoms())
def test_neither_order_nor_lower_views_nor_a_monotone_scale_change_a_value(views, random):
    scores, labels, groups = zip(*views, strict=True)
    wanted = values_of(scores, labels, groups)
    lowest = [(-1, label, group) for _, label, group in views]  # further views, with less of a score
    more = [*views, *lowest]
    random.shuffle(more)
    assert values_of(*zip(*more, strict=True)) == pytest.approx(wanted, nan_ok=True)
    assert values_of(np.exp(np.array(scores) / 3), labels, [7 * group for group in groups]) == pytest.approx(
        wanted, nan_ok=True
    )


@given(VIEWS)
def test_objects_of_one_view_have_the_image_metrics(views):
    scores, labels, _ = zip(*views, strict=True)
    of_images = image_values(np.asarray(scores, float), np.asarray(labels, bool))
    found = values_of(scores, labels, range(len(views)))
    for key, value in found.items():
        assert value == pytest.approx(of_images[key.replace("sample", "image")].value, nan_ok=True)


def test_a_view_on_which_a_defect_is_not_seen_counts_for_samples_as_its_object():
    """The normal view of the defective object has the largest score: wrong by images, right by objects."""
    scores, labels, groups = [0.2, 0.9, 0.1, 0.5], [True, False, False, False], [0, 0, 1, 1]
    assert image_values(np.array(scores), np.array(labels))["image_auroc"].value == pytest.approx(1 / 3)
    assert values_of(scores, labels, groups)["sample_auroc"] == 1


@pytest.mark.parametrize("level", ["image", "pixel", "both"])
def test_keys_of_a_grouped_state(level):
    """Sample metrics are beside the others, whose values stay; where there are no image metrics there are none."""
    scores, labels = torch.tensor([0.1, 0.7, 0.6, 0.2, 0.3]), torch.tensor([0, 0, 1, 0, 1])
    masks = torch.zeros(5, 6, 6, dtype=torch.bool)
    masks[labels == 1, 1:4, 2:5] = True
    maps = masks * 0.5 + torch.rand(masks.shape, generator=torch.Generator().manual_seed(0))
    plain, grouped = CategoryMetrics(level), CategoryMetrics(level, grouped=True)
    for rows in (slice(0, 3), slice(3, 5)):  # an object is cut by the batches
        batch = scores[rows], labels[rows], maps[rows], masks[rows]
        plain.update(*batch)
        grouped.update(*batch, groups=[5, 9, 9, 5, 9][rows])
    found, without = grouped.result(), plain.result()
    wanted = {"image": IMAGE_KEYS + SAMPLE_KEYS, "pixel": PIXEL_KEYS, "both": IMAGE_KEYS + SAMPLE_KEYS + PIXEL_KEYS}
    assert tuple(found.values) == wanted[level]
    assert str({k: value for k, value in found.values.items() if k not in SAMPLE_KEYS}) == str(without.values)
    assert found.n_images == 5, "images are counted, not objects"
    if level != "pixel":
        assert found.values["sample_auroc"].value == 1
        assert set(found.intervals) - set(without.intervals) <= set(SAMPLE_KEYS)
    grouped.reset()
    assert grouped.result().n_images == 0


def test_reasons_are_of_samples():
    metrics = CategoryMetrics("image", grouped=True)
    metrics.update([0.1, 0.2], [0, 1], groups=[0, 0])
    found = metrics.compute()
    assert found["sample_auroc"].reason == "no normal sample"
    assert found["image_auroc"].reason is None


@pytest.mark.parametrize(("grouped", "groups"), [(True, None), (False, [0, 1]), (True, [0])])
def test_groups_that_are_missing_or_too_many_are_refused_and_nothing_is_kept(grouped, groups):
    metrics = CategoryMetrics("image", grouped=grouped)
    with pytest.raises(ValueError, match=r"the object of each image|expected none"):
        metrics.update([0.1, 0.2], [0, 1], groups=groups)
    assert metrics.result().n_images == 0
