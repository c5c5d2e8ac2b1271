# pytest tests/metrics/test_bootstrap.py
"""Bootstrap intervals: each resample equals the plain metric of the images drawn, and only the set of images counts."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional import bootstrap
from zsad_bench.metrics.functional.bootstrap import draws, image_intervals, image_pairs, pixel_auroc_interval
from zsad_bench.metrics.functional.ranking import auroc, average_precision, f1max
from zsad_bench.metrics.functional.sorted_pixels import split_pixels
from zsad_bench.metrics.pixel_state import PixelMetrics

DRAWS = settings(max_examples=25, deadline=None, derandomize=True)
scored = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=12).filter(
    lambda images: sum(label for _, label in images) > 1 and sum(not label for _, label in images) != 1
)


def arrays(images) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = zip(*images, strict=True)
    return np.array(scores, float), np.array(labels, bool)


def drawn_blocks(monkeypatch) -> list[np.ndarray]:
    """The draws that `bootstrap` makes from now on."""
    seen, original = [], bootstrap.draws

    def recording(*args):
        for block in original(*args):
            seen.append(block)
            yield block

    monkeypatch.setattr(bootstrap, "draws", recording)
    return seen


def between(values: list[float], level: float = 0.95) -> tuple[float, float]:
    return tuple(np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))


# --- image metrics ----------------------------------------------------------------------------------------------------


@DRAWS
@given(scored, st.sampled_from([1, 40]))
def test_every_resample_is_the_metric_of_the_images_drawn(images, at_a_time: int) -> None:
    scores, labels = arrays(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "_AT_A_TIME", at_a_time)
        blocks = drawn_blocks(patch)
        found = image_intervals(scores, labels, resamples=12, level=0.8)
    order = np.lexsort((labels, scores))[::-1]
    expected: dict[str, list[float]] = {"image_auroc": [], "image_ap": [], "image_f1max": []}
    for counts in np.concatenate(blocks):
        chosen = np.repeat(order, counts)
        assert labels[chosen].sum() == labels.sum(), "a resample has another number of anomalous images"
        assert chosen.size == labels.size
        for key, metric in zip(expected, (auroc, average_precision, f1max), strict=True):
            expected[key].append(metric(scores[chosen], labels[chosen]))
    for key, (low, high, level) in found.items():
        assert (low, high) == pytest.approx(between(expected[key], 0.8), abs=1e-12), f"{key}: another interval"
        assert level == 0.8
    assert ("image_auroc" in found) == (not labels.all()), "AUROC has an interval exactly where it has a value"
    assert {"image_ap", "image_f1max"} <= set(found)


@DRAWS
@given(scored, st.integers(0, 2**16))
def test_the_order_of_the_images_changes_nothing(images, seed: int) -> None:
    scores, labels = arrays(images)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert image_intervals(scores[order], labels[order], 50) == image_intervals(scores, labels, 50)


def test_known_cases() -> None:
    scores, labels = np.arange(40.0), np.arange(40) >= 25
    assert all(i[:2] == (1, 1) for i in image_intervals(scores, labels).values()), "a perfect ranking stays perfect"
    assert image_intervals(scores, np.zeros(40, bool)) == {}, "no anomalous image, no interval"
    rng = np.random.default_rng(3)
    noisy = scores + 20 * rng.standard_normal(40)
    low, high, level = image_intervals(noisy, labels)["image_auroc"]
    assert low < auroc(noisy, labels) < high
    assert level == 0.95
    assert 0.02 < (high - low) / 4 < 0.12, "far from the standard error that 15 and 25 images have"
    assert image_intervals(noisy, labels, seed=1) != image_intervals(noisy, labels, seed=0), "the seed is not used"


@pytest.mark.parametrize("labels", [[1, 0], [1, 0, 0, 0, 0], [0, 1, 1, 1], [1]])
def test_a_class_of_one_image_has_no_interval(labels: list[int]) -> None:
    metrics = CategoryMetrics("image")
    metrics.update(torch.linspace(0, 1, len(labels)), torch.tensor(labels))
    assert metrics.result().intervals == {}, "an interval of resamples that all draw the one image"
    assert image_intervals(np.linspace(0, 1, len(labels)), np.array(labels, bool)) == {}


def test_draws_are_stratified_and_even() -> None:
    labels = np.array([1, 0, 0, 1, 0], bool)
    counts = np.concatenate(list(draws(labels, 4000, np.random.default_rng(0))))
    assert counts.shape == (4000, 5)
    assert (counts[:, labels].sum(1) == 2).all()
    assert (counts[:, ~labels].sum(1) == 3).all()
    assert np.abs(counts.mean(0) - 1).max() < 0.06, "some image is drawn more often than the others"


@pytest.mark.parametrize("options", [{"resamples": 0}, {"level": 0.0}, {"level": 1.0}])
def test_wrong_options_are_errors(options) -> None:
    with pytest.raises(ValueError, match="resamples >= 1 and 0 < level < 1"):
        image_intervals(np.arange(2.0), np.array([False, True]), **options)


def test_a_category_has_them_by_default_at_little_cost() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    scores = torch.rand(400, generator=generator) + 0.3 * labels
    with_, without = CategoryMetrics("image"), CategoryMetrics("image", intervals=False)
    for metrics in (with_, without):
        metrics.update(scores, labels)
    before = time.process_time()
    result = with_.result()
    assert time.process_time() - before < 2, "a thousand resamples of 400 images take seconds"
    assert set(result.intervals) == {"image_auroc", "image_ap", "image_f1max"}
    for key, (low, high, level) in result.intervals.items():
        assert 0 <= low < result.values[key].value < high <= 1, key
        assert level == 0.95
    assert without.result().intervals == {}
    assert without.result().values == result.values, "intervals change a value"


# --- pixel AUROC ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(6, 8, 9, dtype=torch.bool)
    masks[1, 2:5, 3:7] = masks[3, 6:, :2] = masks[4, 0, 0] = True
    return (torch.rand(masks.shape, generator=generator) * 8).round() / 8 + 0.25 * masks, masks


def pairs_of(maps: torch.Tensor, masks: torch.Tensor) -> bootstrap.ImagePairs:
    parts = split_pixels(maps.numpy(), masks.numpy())
    marked = masks.flatten(1).sum(1).numpy()
    return image_pairs(parts.negatives, parts.positives, masks[0].numel() - marked, marked)


def test_pixel_auroc_resamples_whole_images(pixels, monkeypatch) -> None:
    maps, masks = pixels
    blocks = drawn_blocks(monkeypatch)
    found = pixel_auroc_interval(pairs_of(maps, masks), resamples=30)
    pairs = pairs_of(maps, masks)
    own = np.zeros(6, np.int64)
    own[pairs.anomalous] = pairs.twice.sum(1)
    order = np.lexsort((pairs.twice.sum(0), own, pairs.n_neg, pairs.n_pos))
    values = []
    for counts in np.concatenate(blocks):
        chosen = np.repeat(order, counts)
        values.append(auroc(maps[chosen].flatten().numpy(), masks[chosen].flatten().numpy()))
    assert found[:2] == pytest.approx(between(values), abs=1e-12), "not the AUROC of the resampled images"


def test_pixel_interval_is_an_option_of_the_exact_state(pixels) -> None:
    maps, masks = pixels
    expected = pixel_auroc_interval(pairs_of(maps, masks))
    for order, size in ((torch.arange(6), 6), (torch.tensor([4, 2, 0, 5, 1, 3]), 1)):
        metric = PixelMetrics(intervals=True)
        for chunk, mask in zip(maps[order].split(size), masks[order].split(size), strict=True):
            metric.update(chunk, mask)
        assert metric.kept_result().intervals == {"pixel_auroc": expected}, "it depends on the order of the images"
    plain = PixelMetrics()
    plain.update(maps, masks)
    assert plain.kept_result().intervals == {}, "an option is on by default"
    assert plain.kept_result().values == metric.kept_result().values


def test_no_pixel_interval_of_one_image_a_class(pixels) -> None:
    maps, masks = pixels
    assert pixel_auroc_interval(pairs_of(maps[:2], masks[:2])) is None, "one normal and one anomalous image"
    assert pixel_auroc_interval(pairs_of(maps[:3], masks[:3])) is None, "one anomalous image"
    assert pixel_auroc_interval(pairs_of(maps[1:5], masks[1:5])) is None, "one normal image"
    assert pixel_auroc_interval(pairs_of(maps[:4], masks[:4])) is not None, "two of each"


def test_no_pixel_interval_where_a_resample_has_none(pixels) -> None:
    maps, masks = pixels
    assert pixel_auroc_interval(pairs_of(maps, torch.zeros_like(masks))) is None
    assert pixel_auroc_interval(pairs_of(maps, torch.ones_like(masks))) is None
    mixed = torch.ones_like(masks)[:2]
    mixed[1, 0, 0] = False
    assert pixel_auroc_interval(pairs_of(maps[:2], mixed)) is None, "half of the resamples have no normal pixel"
