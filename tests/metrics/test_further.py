# pytest tests/metrics/test_further.py
"""What datasets alone have whose authors define it, and what is left of a test set whose labels are not public."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zsad_bench import metric_keys
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.aupro import aupro
from zsad_bench.metrics.functional.pixel import FURTHER_LIMITS
from zsad_bench.metrics.operating import IMAGE_POINTS, PIXEL_POINTS, Thresholds
from zsad_bench.metrics.pixel_state import PixelMetrics


def category(side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    masks = np.zeros((4, side, side), bool)
    masks[0, 3:9, 4:12] = masks[1, 15, 15] = True
    return (rng.standard_normal(masks.shape) + 2 * masks).astype(np.float32), masks


def test_every_further_key_has_its_limit():
    assert tuple(FURTHER_LIMITS) == metric_keys.further_keys()
    assert not set(FURTHER_LIMITS) & {*metric_keys.keys(), *metric_keys.keys(optional=True)}


@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_aupro_up_to_a_smaller_rate(mode):
    """The function itself is compared with brute force at this limit in `test_aupro.py`."""
    maps, masks = category()
    plain, metric = PixelMetrics(mode=mode), PixelMetrics(mode=mode, further=("pixel_aupro_005",))
    for state in (plain, metric):
        state.update(maps, masks)
    found = metric.kept_result()
    assert tuple(found.values) == (*PIXEL_KEYS, "pixel_aupro_005")
    assert {key: found.values[key] for key in PIXEL_KEYS} == plain.kept_result().values, "others moved"
    off = abs(found.values["pixel_aupro_005"].value - aupro(maps, masks, 0.05))
    assert off <= found.error_bounds.get("pixel_aupro_005", 1e-12)
    assert abs(aupro(maps, masks, 0.05) - aupro(maps, masks)) > 0.01, "the two limits would not be told apart"


def test_a_key_that_is_none_of_them():
    with pytest.raises(ValueError, match="further must be of pixel_aupro_005, found pixel_x"):
        PixelMetrics(further=("pixel_x",))


@pytest.mark.parametrize(("level", "keys"), [
    ("image", (*IMAGE_KEYS, *IMAGE_POINTS)),
    ("pixel", (*PIXEL_KEYS, "pixel_aupro_005", *PIXEL_POINTS)),
    ("both", (*IMAGE_KEYS, *PIXEL_KEYS, "pixel_aupro_005", *IMAGE_POINTS, *PIXEL_POINTS)),
])  # fmt: skip
def test_without_labels_scores_stay_and_every_metric_has_the_reason(level, keys):
    maps, masks = category()
    further = {} if level == "image" else {"further": ("pixel_aupro_005",)}
    metrics = CategoryMetrics(level, unlabelled="nobody says", thresholds=Thresholds(0.0, 0.0), **further)
    scores = torch.arange(4.0)
    metrics.update(scores, torch.full((4,), -1), torch.from_numpy(maps), torch.zeros(masks.shape, dtype=torch.bool))
    found = metrics.result()
    assert set(found.values) == set(keys)
    assert {value.reason for value in found.values.values()} == {"nobody says"}
    assert found.scores.tolist() == scores.tolist()
    assert found.labels.tolist() == [-1] * 4
    assert (found.n_images, found.n_anomalous, found.n_regions) == (4, 0, None)
    with pytest.raises(ValueError, match="not finite"):
        metrics.update(scores * np.nan, torch.full((4,), -1), torch.from_numpy(maps), torch.from_numpy(masks))
