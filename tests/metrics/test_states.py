# pytest tests/metrics/test_states.py
"""The torchmetrics classes: what is kept between batches equals all at once, and bad input is named."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics import MetricCollection

from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.metrics.functional.aupro import aupro
from zsad_bench.metrics.image import ImageMetrics
from zsad_bench.metrics.pixel_state import PixelMetrics

Masked = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def category() -> Masked:
    """Maps (7,20,24) with scores from -5 to 30, far outside [0, 1], and masks."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(7, 20, 24, dtype=torch.bool)
    masks[0, 2:6, 3:9] = masks[2, 10:, 10:14] = masks[2, 0, 0] = masks[5, 7, :] = True
    maps = torch.rand(masks.shape, generator=generator) + masks * 0.3
    return -5 + 35 * maps / maps.max(), masks


def fed(maps: torch.Tensor, masks: torch.Tensor, size: int, **options) -> PixelMetrics:
    metric = PixelMetrics(**options)
    for chunk, mask in zip(maps.split(size), masks.split(size), strict=True):
        metric.update(chunk, mask)
    return metric


def test_pixel_scores_beyond_0_and_1_are_never_squashed(category: Masked) -> None:
    maps, masks = category
    at_once, one_by_one = fed(maps, masks, len(maps)).compute(), fed(maps, masks, 1).compute()
    assert at_once == one_by_one, "the batch size changes the values"
    expected = roc_auc_score(masks.flatten(), maps.flatten())
    assert one_by_one["pixel_auroc"].value == pytest.approx(expected, abs=1e-9), "not the AUROC of the raw scores"
    assert one_by_one["pixel_aupro"].value == aupro(maps, masks), "the state and the function disagree"


def test_image_scores_beyond_0_and_1_are_never_squashed() -> None:
    scores, labels = torch.linspace(-5, 30, 36), torch.arange(36) % 3 == 0
    metric = ImageMetrics()
    for score, label in zip(scores, labels, strict=True):
        metric.update(score[None], label[None])
    at_once = ImageMetrics()
    at_once.update(scores, labels)
    assert metric.compute() == at_once.compute(), "the batch size changes the values"
    assert metric.compute()["image_auroc"].value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_states_merge_as_if_fed_by_one(category: Masked) -> None:
    maps, masks = category
    left, right = fed(maps[:3], masks[:3], 2), fed(maps[3:], masks[3:], 2)
    left.merge_state(right)
    whole = fed(maps, masks, 7)
    for key, (value, _) in whole.compute().items():
        assert left.compute()[key].value == pytest.approx(value, abs=1e-12, nan_ok=True), f"{key} and the split"
    assert int(left.n_regions) == int(whole.n_regions) == 4


def test_images_of_two_sizes_pool(category: Masked) -> None:
    maps, masks = category
    metric = fed(maps, masks, 3)
    metric.update(maps[:, :10, :12], masks[:, :10, :12])
    assert len(metric.vector("negatives")) + len(metric.vector("positives")) == maps.numel() * 5 // 4


def test_a_channel_axis_and_integer_masks_are_taken(category: Masked) -> None:
    maps, masks = category
    metric = PixelMetrics()
    metric.update(maps[:, None], masks[:, None].to(torch.uint8) * 255)
    assert metric.compute() == fed(maps, masks, 7).compute()


def test_a_float_mask_is_cut_at_a_half_and_says_so(category: Masked) -> None:
    maps, masks = category
    metric = PixelMetrics()
    with pytest.warns(UserWarning, match="above 0.5 count as anomalous"):
        metric.update(maps, torch.where(masks, 0.6, 0.4))
    assert metric.compute() == fed(maps, masks, 7).compute()


def test_kept_scores_are_copies() -> None:
    scores, image = torch.zeros(2, dtype=torch.float64), ImageMetrics()
    image.update(scores, torch.tensor([0, 1]))
    scores += 1
    assert not image.vector("scores").any(), "the state is a view of scores that their owner may reuse"


def test_kept_maps_are_copies() -> None:
    maps, masks = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    metric = PixelMetrics()
    metric.update(maps, masks)
    maps += 1
    metric.compute()
    assert not metric.vector("negatives").any(), "the state is a view of a map that its owner may reuse"


def test_float64_maps_are_kept_only_when_asked() -> None:
    maps = torch.tensor([[[1.0, 1.0 + 1e-12]]], dtype=torch.float64)
    masks = torch.tensor([[[False, True]]])
    assert fed(maps, masks, 1).compute()["pixel_auroc"].value == 0.5, "float32 cannot tell the two apart"
    assert fed(maps, masks, 1, dtype=torch.float64).compute()["pixel_auroc"].value == 1
    with pytest.raises(ValueError, match=r"found torch\.float16"):
        PixelMetrics(dtype=torch.float16)


def test_compute_before_update_warns_and_is_undefined() -> None:
    for metric, keys in ((ImageMetrics(), IMAGE_KEYS), (PixelMetrics(), PIXEL_KEYS)):
        with pytest.warns(UserWarning, match="before the ``update`` method"):
            values = metric.compute()
        assert tuple(values) == keys
        assert all(math.isnan(value.value) and value.reason == "no image" for value in values.values())


def test_compute_reset_pickle_and_collection(category: Masked) -> None:
    maps, masks = category
    metric = fed(maps, masks, 2)
    before = str(metric.compute())  # as text: a nan is not equal to itself
    metric.update(maps[:0], masks[:0])  # an empty batch is no news
    assert str(metric.compute()) == before, "computing, or an empty batch, changed the state"
    assert str(pickle.loads(pickle.dumps(metric)).compute()) == before, "pickling lost state"
    assert str(metric.to("cpu").compute()) == before
    collection = MetricCollection({"pixel": PixelMetrics()})
    collection.update(maps, masks)
    assert str(collection.compute()) == before, "the collection changed the values"
    metric.reset()
    metric.update(maps[:1], masks[:1])
    assert str(metric.compute()) == str(fed(maps[:1], masks[:1], 1).compute()), "reset kept something"


def test_bad_scores_are_named_and_nothing_is_kept(category: Masked) -> None:
    maps, masks = category
    broken = maps.clone()
    broken.view(-1)[[41, 100]] = torch.tensor([math.nan, -math.inf])
    metric = PixelMetrics()
    with pytest.raises(ValueError, match=r"pixel metrics: 2 of 3360 scores are not finite, the first at flat index 41"):
        metric.update(broken, masks)
    assert not metric.vector("negatives").size, "a batch that was refused left pixels behind"
    with pytest.raises(ValueError, match="image metrics: 1 of 2 scores"):
        ImageMetrics().update(torch.tensor([0.0, math.inf]), torch.tensor([0, 1]))
    PixelMetrics(check_finite=False).update(broken, masks)


@pytest.mark.parametrize("masks_shape", [(7, 20, 25), (6, 20, 24), (20, 24)])
def test_shapes_that_differ_are_named(category: Masked, masks_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"found \(7, 20, 24\) and"):
        PixelMetrics().update(category[0], torch.zeros(masks_shape, dtype=torch.bool))


def test_wrong_options_are_errors_at_once() -> None:
    with pytest.raises(ValueError, match="fpr_limit"):
        PixelMetrics(fpr_limit=0)
    with pytest.raises(ValueError, match="connectivity"):
        PixelMetrics(connectivity=6)


def test_half_precision_maps_become_float32() -> None:
    maps, masks = torch.tensor([[[0.5, 2.0]]], dtype=torch.bfloat16), torch.tensor([[[False, True]]])
    metric = fed(maps, masks, 1)
    assert metric.vector("positives").dtype == np.float32
    assert metric.compute()["pixel_auroc"].value == 1


def test_the_package_is_free_of_torch_at_import() -> None:
    code = "import sys, zsad_bench.metrics as m; assert m.METRIC_VERSION; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "zsad_bench.metrics imports torch"
