# pytest tests/metrics/test_category.py
"""The state of one (method, category): keys by level, counts, reasons, and labels that contradict masks."""

from __future__ import annotations

import math

import pytest
import torch

from zsad_bench.errors import DatasetError
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.metrics.category import CategoryMetrics

SCORES, LABELS = torch.tensor([0.1, 0.9, 0.4]), torch.tensor([0, 1, 1])
MASKS = torch.zeros(3, 6, 6, dtype=torch.bool)
MASKS[1, :2, :2] = MASKS[1, 4, 4] = MASKS[2, 3, :] = True
MAPS = torch.arange(108.0).reshape(3, 6, 6) % 7


@pytest.mark.parametrize(
    ("level", "keys"), [("image", IMAGE_KEYS), ("pixel", PIXEL_KEYS), ("both", IMAGE_KEYS + PIXEL_KEYS)]
)
def test_keys_counts_and_scores(level: str, keys: tuple[str, ...]) -> None:
    metrics = CategoryMetrics(level)
    metrics.update(SCORES[:2], LABELS[:2], MAPS[:2], MASKS[:2])
    metrics.update(SCORES[2:], LABELS[2:], MAPS[2:], MASKS[2:])
    result = metrics.result()
    assert tuple(metrics.compute()) == tuple(result.values) == keys
    undefined = {key for key, (value, reason) in result.values.items() if math.isnan(value) or reason is not None}
    assert undefined == {"pixel_aupimo"} & set(keys), "these few pixels are too few for AUPIMO alone"
    assert (result.n_images, result.n_anomalous) == (3, 2)
    assert result.n_regions == (None if level == "image" else 3)
    assert result.scores.tolist() == SCORES.double().tolist(), "per-image scores changed on the way"
    assert result.labels.tolist() == [False, True, True]


def test_image_level_needs_no_maps_and_the_others_say_what_is_missing() -> None:
    metrics = CategoryMetrics("image")
    metrics.update(SCORES, LABELS, None, None)
    assert metrics.compute()["image_auroc"].value == 1
    with pytest.raises(ValueError, match="found no maps"):
        CategoryMetrics("both").update(SCORES, LABELS, None, MASKS)
    with pytest.raises(ValueError, match="found no masks"):
        CategoryMetrics("pixel").update(SCORES, LABELS, MAPS, None)
    with pytest.raises(ValueError, match="level must be one of image, pixel, both"):
        CategoryMetrics("region")


def test_undefined_values_carry_their_reason() -> None:
    no_normal, no_anomaly = CategoryMetrics("both"), CategoryMetrics("both")
    no_normal.update(SCORES[1:], LABELS[1:], MAPS[1:], MASKS[1:])
    values = no_normal.compute()
    assert math.isnan(values["image_auroc"].value)
    assert values["image_auroc"].reason == "no normal image"
    assert values["image_ap"].value == values["image_f1max"].value == 1
    assert not math.isnan(values["pixel_aupro"].value), "pixel metrics need no normal image"
    no_anomaly.update(SCORES[:1], LABELS[:1], MAPS[:1], MASKS[:1])
    for key, value in no_anomaly.compute().items():
        assert math.isnan(value.value), f"{key} has a value without an anomaly"
        assert value.reason == ("no anomalous image" if key in IMAGE_KEYS else "no anomalous pixel")
    assert {value.reason for value in CategoryMetrics("both").compute().values()} == {"no image"}


def test_a_normal_image_with_a_mask_is_an_error_and_is_not_kept() -> None:
    metrics = CategoryMetrics("both")
    with pytest.raises(DatasetError, match="image 1 of this batch is labelled normal"):
        metrics.update(SCORES, torch.tensor([0, 0, 1]), MAPS, MASKS)
    assert metrics.result().n_images == 0


def test_anomalous_images_without_a_marked_pixel_are_counted() -> None:
    metrics = CategoryMetrics("both")
    for _ in range(2):
        metrics.update(SCORES, torch.tensor([1, 1, 1]), MAPS, MASKS)
    result = metrics.result()
    assert (result.n_anomalous, result.n_regions, result.n_vanished) == (6, 6, 2)
    metrics.reset()
    assert metrics.result().n_vanished == 0


def test_bad_image_scores_leave_no_pixels_behind() -> None:
    metrics = CategoryMetrics("both")
    with pytest.raises(ValueError, match="image metrics: 1 of 3 scores are not finite"):
        metrics.update(torch.tensor([0.0, math.nan, 1.0]), LABELS, MAPS, MASKS)
    assert metrics.result().n_regions == 0, "the maps of a refused batch were kept"


def test_reset_forgets() -> None:
    metrics = CategoryMetrics("both")
    metrics.update(SCORES, LABELS, MAPS, MASKS)
    metrics.reset()
    assert (metrics.result().n_images, metrics.result().n_regions) == (0, 0)
