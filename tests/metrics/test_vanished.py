# pytest tests/metrics/test_vanished.py
"""An anomalous image whose mask has no pixel left is no normal image to any metric, in any mode; and it is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from zsad_bench.metrics.category import CategoryMetrics, CategoryResult
from zsad_bench.metrics.functional.aupimo import aupimo
from zsad_bench.metrics.functional.bootstrap import image_pairs, pixel_auroc_interval
from zsad_bench.metrics.functional.rcpro import rcpro
from zsad_bench.metrics.functional.sorted_pixels import split_pixels
from zsad_bench.metrics.pixel_state import PixelMetrics, has_numba

pytestmark = [
    pytest.mark.filterwarnings("ignore:aupimo. .* normal pixels are too few"),
    pytest.mark.filterwarnings("ignore:binned pixel_aupro may be off"),
]
SIDE = 96  # eleven normal images are enough pixels for the lowest budget of AUPIMO


def category(seed: int, n_lost: int) -> tuple[np.ndarray, ...]:
    """maps, masks, labels: 12 normal images, 3 with a marked square, and `n_lost` whose defect no mask marks."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [12, 3 + n_lost])
    maps = rng.normal(0, 1, (labels.size, SIDE, SIDE)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[12:15, 20:30, 20:40] = True
    maps[masks] += 3
    maps[15:, 50:60, 50:60] += 9  # as a good method does where the defect is
    return maps, masks, labels


def measured(maps, masks, labels, order=None, size=4, **options) -> CategoryResult:
    metrics = CategoryMetrics("both", intervals=False, **options)
    order = np.arange(labels.size) if order is None else order
    scores = torch.from_numpy(maps.max((1, 2)))
    for at in np.split(order, range(size, order.size, size)):
        metrics.update(scores[at], *(torch.from_numpy(part[at]) for part in (labels, maps, masks)))
    return metrics.result()


def by_definition(maps, masks, labels) -> float:
    """AUPIMO in one line a budget: false positives are those of images that are normal."""
    low, high, normal, per = 1e-5, 1e-4, np.sort(maps[labels == 0].ravel()), []
    for map_, mask in zip(maps, masks, strict=True):
        if mask.any():
            rate = (normal.size - np.searchsorted(normal, map_[mask], side="left")) / normal.size
            per.append(np.mean(1 - np.log(np.clip(rate, low, high) / low) / np.log(high / low)))
    return float(np.mean(per))


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(0, 2**16), st.integers(1, 5), st.sampled_from([1, 3, 20]))
def test_they_change_neither_aupimo_nor_rcpro(seed: int, n_lost: int, size: int) -> None:
    maps, masks, labels = category(seed, n_lost)
    order = np.random.default_rng(seed).permutation(labels.size)
    found, without = measured(maps, masks, labels, order, size), measured(maps[:15], masks[:15], labels[:15])
    assert found.values["pixel_aupimo"].value == pytest.approx(by_definition(maps, masks, labels), abs=1e-12)
    for key in ("pixel_aupimo", "pixel_rcpro"):
        assert found.values[key].value == pytest.approx(without.values[key].value, abs=1e-12, nan_ok=True), key
    assert (found.n_vanished, without.n_vanished) == (n_lost, 0)
    assert aupimo(maps, masks, labels=labels)[0] == pytest.approx(found.values["pixel_aupimo"].value, abs=1e-12)


@pytest.mark.skipif(not has_numba(), reason="RCPRO needs numba to be quick")
def test_rcpro_would_have_been_another_number() -> None:
    maps, masks, labels = category(0, 4)
    found = measured(maps, masks, labels).values["pixel_rcpro"].value
    assert found == pytest.approx(rcpro(maps[:15], masks[:15]), abs=1e-12)
    assert abs(found - rcpro(maps, masks)) > 1e-3, "the made-up category does not tell the two apart"


@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_pooled_metrics_take_its_pixels_as_no_mask_marks_them(mode: str) -> None:
    maps, masks, labels = category(3, 2)
    values = measured(maps, masks, labels, mode=mode).values
    near = 1e-9 if mode == "exact" else 1e-3
    assert values["pixel_auroc"].value == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=near)
    assert values["pixel_ap"].value == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=near)


@pytest.mark.parametrize("options", [{"mode": "exact"}, {"mode": "binned"}, {"budget": 3 * SIDE * SIDE}])
def test_they_are_counted_in_every_mode(options) -> None:
    assert measured(*category(1, 3), size=2, **options).n_vanished == 3
    assert CategoryMetrics("image").result().n_vanished == 0


def test_without_labels_an_image_is_what_its_mask_says() -> None:
    maps, masks, labels = category(1, 2)
    state = PixelMetrics()
    state.update(torch.from_numpy(maps), torch.from_numpy(masks))
    assert int(state.n_vanished) == 0
    assert state.compute()["pixel_aupimo"].value == pytest.approx(aupimo(maps, masks)[0], abs=1e-12)
    with pytest.raises(ValueError, match="image 12 is labelled normal but its mask marks"):
        PixelMetrics().update(torch.from_numpy(maps), torch.from_numpy(masks), torch.zeros(labels.size))
    with pytest.raises(ValueError, match=r"found labels .3,. for 17 images"):
        PixelMetrics().update(torch.from_numpy(maps), torch.from_numpy(masks), torch.zeros(3))


def test_where_only_they_would_be_normal_images_there_is_no_aupimo() -> None:
    maps, masks, labels = category(1, 4)
    value = measured(maps[12:], masks[12:], labels[12:]).values["pixel_aupimo"]
    assert value.reason == "no normal image"


def test_a_bootstrap_draws_them_among_themselves() -> None:
    maps, masks, labels = category(2, 3)
    parts, marked = split_pixels(maps, masks), masks.sum((1, 2))
    pairs = image_pairs(parts.negatives, parts.positives, SIDE * SIDE - marked, marked, labels > 0)
    found = pixel_auroc_interval(pairs, resamples=200)
    blind = pixel_auroc_interval(pairs._replace(labels=marked > 0), resamples=200)
    assert found.low <= roc_auc_score(masks.ravel(), maps.ravel()) <= found.high
    # three images with an outlier each move the false positives; as three of fifteen normal ones they come and go
    assert found.high - found.low < blind.high - blind.low
