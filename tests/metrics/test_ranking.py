# pytest tests/metrics/test_ranking.py
"""AUROC, AP and F1-max of vectors against scikit-learn, ties and edge cases included."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from zsad_bench.metrics.functional.ranking import auroc, average_precision, f1max

DRAWS = settings(max_examples=60, deadline=None, derandomize=True)
# few distinct values make ties the rule; wide floats reach far beyond [0, 1]
scored_items = st.lists(
    st.tuples(st.one_of(st.integers(-3, 3).map(float), st.floats(-5, 30, width=32)), st.booleans()),
    min_size=2,
    max_size=60,
).filter(lambda items: len({label for _, label in items}) == 2)


def sklearn_f1max(scores: np.ndarray, labels: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(labels, scores)
    return max(2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True) if p + r > 0)


@DRAWS
@given(scored_items)
def test_equals_scikit_learn(items: list[tuple[float, bool]]) -> None:
    scores, labels = np.array([s for s, _ in items]), np.array([y for _, y in items])
    assert abs(auroc(scores, labels) - roc_auc_score(labels, scores)) < 1e-9, "AUROC is not scikit-learn's"
    expected = average_precision_score(labels, scores)
    assert abs(average_precision(scores, labels) - expected) < 1e-9, "AP is not scikit-learn's"
    assert abs(f1max(scores, labels) - sklearn_f1max(scores, labels)) < 1e-9, "F1-max is not that of the PR curve"


@DRAWS
@given(scored_items)
def test_unchanged_by_order_duplication_and_a_strictly_increasing_map(items: list[tuple[float, bool]]) -> None:
    scores, labels = np.array([s for s, _ in items]), np.array([y for _, y in items])
    ranks = np.unique(scores, return_inverse=True)[1]
    for metric in (auroc, average_precision, f1max):
        value = metric(scores, labels)
        assert abs(metric(scores[::-1], labels[::-1]) - value) < 1e-12, f"{metric.__name__} depends on the order"
        doubled = metric(np.tile(scores, 2), np.tile(labels, 2))
        assert abs(doubled - value) < 1e-12, f"{metric.__name__} changes when every item is there twice"
        assert metric(ranks**3 - 5.0, labels) == value, f"{metric.__name__} depends on more than the order of scores"


def test_values_worked_by_hand() -> None:
    # descending: 0.9 anomalous | 0.5 one anomalous, one normal | 0.1 normal
    scores, labels = [0.5, 0.9, 0.5, 0.1], [1, 1, 0, 0]
    assert auroc(scores, labels) == (4 - 0.5) / 4, "a tie must count half"
    assert average_precision(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3), "a tie group must move as one"
    assert f1max(scores, labels) == pytest.approx(4 / 5), "best threshold is 0.5: TP 2, FP 1, FN 0"


def test_perfect_reversed_and_constant_scores() -> None:
    labels = np.array([0, 0, 0, 1])
    for metric in (auroc, average_precision, f1max):
        assert metric([1, 2, 3, 4], labels) == 1, f"{metric.__name__} of perfect scores"
    assert auroc([4, 3, 2, 1], labels) == 0, "AUROC of reversed scores"
    constant = [7.5] * 4
    assert auroc(constant, labels) == 0.5, "AUROC of constant scores"
    assert average_precision(constant, labels) == 0.25, "AP of constant scores is the prevalence p"
    assert f1max(constant, labels) == pytest.approx(2 * 0.25 / 1.25), "F1-max of constant scores is 2p/(1+p)"


def test_undefined_is_nan_and_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in (auroc, average_precision, f1max):
            assert math.isnan(metric([1.0, 2.0], [0, 0])), f"{metric.__name__} without an anomalous item"
            assert math.isnan(metric([], [])), f"{metric.__name__} of nothing"
        assert math.isnan(auroc([1.0, 2.0], [1, 1])), "AUROC without a normal item"
        assert average_precision([1.0, 2.0], [1, 1]) == 1, "AP without a normal item"
        assert f1max([1.0, 2.0], [1, 1]) == 1, "F1-max without a normal item"


def test_both_zeros_are_one_score_and_half_precision_tensors_are_taken() -> None:
    assert auroc(np.array([-0.0, 0.0], np.float32), [0, 1]) == 0.5, "-0.0 and 0.0 must tie"
    scores = torch.tensor([0.25, 0.5, 1.0], dtype=torch.bfloat16)
    assert auroc(scores, torch.tensor([0, 1, 1])) == 1, "a bfloat16 tensor"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error_with_count_and_place(bad: float) -> None:
    with pytest.raises(ValueError, match=r"auroc: 2 of 5 scores are not finite, the first at flat index 1"):
        auroc([0.0, bad, 1.0, bad, 2.0], [0, 1, 0, 1, 0])


def test_wrong_shapes_and_labels_are_errors() -> None:
    with pytest.raises(ValueError, match=r"f1max: .*\(3,\) and \(2,\)"):
        f1max([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="labels must be 0"):
        f1max([1, 2, 3], [0, 1, 2])
