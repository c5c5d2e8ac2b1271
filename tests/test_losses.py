# pytest tests/test_losses.py
"""Focal and Dice against loops over pixels, and against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from zsad_bench.losses import batch_dice, class_mean_focal, dice, focal, mask_losses, squared_cosines

EPSILON = 1e-5


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """(3,2,5,4) float64 probabilities and (3,5,4) bool masks, one of them empty."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    masks = torch.rand(3, 5, 4, generator=generator) > 0.7
    masks[1] = False
    return torch.stack([1 - probabilities, probabilities], 1), masks


def slow_focal(probabilities: torch.Tensor, masks: torch.Tensor, gamma: float) -> float:
    """Each pixel by itself: one-hot of the mask, smoothed, against the two channels."""
    terms = []
    for image, mask in zip(probabilities.tolist(), masks.tolist(), strict=True):
        for y, row in enumerate(mask):
            for x, anomalous in enumerate(row):
                target = [EPSILON, EPSILON]
                target[int(anomalous)] = 1 - EPSILON
                q = target[0] * image[0][y][x] + target[1] * image[1][y][x] + EPSILON
                terms.append(-((1 - q) ** gamma) * math.log(q))
    return sum(terms) / len(terms)


def slow_dice(maps: torch.Tensor, targets: torch.Tensor) -> float:
    overlaps = []
    for one, target in zip(maps.tolist(), targets.tolist(), strict=True):
        pairs = [(p, t) for row, wanted in zip(one, target, strict=True) for p, t in zip(row, wanted, strict=True)]
        both = sum(p * t for p, t in pairs)
        overlaps.append((2 * both + 1) / (sum(p for p, _ in pairs) + sum(t for _, t in pairs) + 1))
    return 1 - sum(overlaps) / len(overlaps)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_is_the_loop_over_pixels(drawn, gamma):
    assert float(focal(*drawn, gamma)) == pytest.approx(slow_focal(*drawn, gamma), rel=1e-12)


def test_dice_is_the_loop_over_images(drawn):
    probabilities, masks = drawn
    assert float(dice(probabilities[:, 1], masks)) == pytest.approx(slow_dice(probabilities[:, 1], masks), rel=1e-12)


def test_dice_per_row_is_the_loop_over_rows_taken_for_images(drawn):
    probabilities, masks = drawn
    anomalous = probabilities[:, 1]
    rows = slow_dice(anomalous.reshape(15, 1, 4), masks.reshape(15, 1, 4))
    assert float(dice(anomalous, masks, "per_row")) == pytest.approx(rows, rel=1e-12)
    assert abs(rows - slow_dice(anomalous, masks)) > 0.01, "the two readings agree here, and the test shows nothing"


def test_dice_per_row_by_hand():
    """One image of two rows: the mask and half of what is found in the first, nothing but a false alarm below."""
    target = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]]], dtype=torch.bool)
    found = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 0, 1]]])
    assert float(dice(found, target)) == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert float(dice(found, target, "per_row")) == pytest.approx(1 - ((2 + 1) / (1 + 2 + 1) + 1 / (1 + 0 + 1)) / 2)


def test_both_dice_terms_of_the_mask_losses_may_be_per_row(drawn):
    probabilities, masks = drawn
    expected = [float(term) for term in mask_losses(*drawn)][:1]
    for channel, target in ((1, masks), (0, ~masks)):
        expected.append(slow_dice(probabilities[:, channel].reshape(15, 1, 4), target.reshape(15, 1, 4)))
    assert [float(term) for term in mask_losses(*drawn, dice_over="per_row")] == pytest.approx(expected, rel=1e-12)


def test_mask_losses_are_focal_and_a_dice_of_each_channel(drawn):
    probabilities, masks = drawn
    expected = (slow_focal(*drawn, 2.0), slow_dice(probabilities[:, 1], masks), slow_dice(probabilities[:, 0], ~masks))
    assert [float(term) for term in mask_losses(*drawn)] == pytest.approx(expected, rel=1e-12)


def test_hand_values():
    """2 x 4 pixels, 3 of them anomalous."""
    mask = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0]]], dtype=torch.bool)
    perfect = torch.stack([~mask, mask], 1).double()
    inverted = 1 - perfect
    undecided = torch.full_like(perfect, 0.5)
    assert [float(v) for v in mask_losses(perfect, mask)] == pytest.approx([0, 0, 0], abs=1e-12)
    focal_inverted = -((1 - 2e-5) ** 2) * math.log(2e-5)  # q = e + e: 10.82, finite
    assert [float(v) for v in mask_losses(inverted, mask)] == pytest.approx(
        [focal_inverted, 1 - 1 / (5 + 3 + 1), 1 - 1 / (3 + 5 + 1)], rel=1e-9
    )
    q = 0.5 + 1e-5
    assert [float(v) for v in mask_losses(undecided, mask)] == pytest.approx(
        [-((1 - q) ** 2) * math.log(q), 1 - (3 + 1) / (4 + 3 + 1), 1 - (5 + 1) / (4 + 5 + 1)], rel=1e-9
    )


def test_an_empty_mask_asks_for_an_empty_map():
    empty, maps = torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4)
    assert float(dice(maps, empty)) == 0, "nothing found where nothing is: no loss, and no 0/0"
    assert float(dice(maps + 1, empty)) == pytest.approx(1 - 1 / 17)


def test_one_image_is_a_batch_and_images_count_equally(drawn):
    probabilities, masks = drawn
    for loss in (focal, lambda p, m: dice(p[:, 1], m), lambda p, m: dice(p[:, 1], m, "per_row")):
        alone = [float(loss(probabilities[i : i + 1], masks[i : i + 1])) for i in range(3)]
        assert float(loss(probabilities, masks)) == pytest.approx(sum(alone) / 3, rel=1e-12)


@pytest.mark.parametrize("certainty", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_probabilities_end(certainty, dtype):
    masks = torch.tensor([[[True, False]]])
    anomalous = torch.full((1, 1, 2), certainty, dtype=dtype).requires_grad_()
    total = sum(mask_losses(torch.stack([1 - anomalous, anomalous], 1), masks))
    total.backward()
    assert total.isfinite(), f"loss at p={certainty} is {total}"
    assert anomalous.grad.isfinite().all(), f"gradient at p={certainty}: {anomalous.grad}"
    on_defect, beside = anomalous.grad.flatten().tolist()
    assert on_defect < 0 < beside, f"at p={certainty} it pulls away from the mask: {on_defect}, {beside}"


def test_losses_of_bayes_pfl_are_loops_over_a_batch(drawn):
    """Each kind of pixel has its own mean over all images, and Dice is one overlap; an empty mask is in both."""
    probabilities, masks = drawn
    maps, terms = probabilities[:, 1], {True: [], False: []}
    both = total = 0.0
    for p, anomalous in zip(maps.flatten().tolist(), masks.flatten().tolist(), strict=True):
        q = p if anomalous else 1 - p
        terms[anomalous].append(-((1 - q) ** 2) * math.log(q + 1e-8))
        both, total = both + p * anomalous, total + p + anomalous
    expected = sum(sum(of) / (len(of) + 1e-8) for of in terms.values())
    assert float(class_mean_focal(maps.logit(), masks)) == pytest.approx(expected, rel=1e-9)
    assert float(batch_dice(maps, masks)) == pytest.approx(1 - (2 * both + 1e-5) / (total + 1e-5), rel=1e-9)
    empty = torch.zeros_like(masks)
    assert float(class_mean_focal(torch.full_like(maps, -50), empty)) == pytest.approx(0, abs=1e-6)
    assert float(batch_dice(torch.zeros_like(maps), empty)) == 0


def test_squared_cosines_by_hand():
    """Two sets of two vectors, orthogonal ones and ones at 60 degrees: 0 and 2 / 4 of a quarter."""
    rows = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, math.sqrt(0.75)]]])
    assert float(squared_cosines(rows)) == pytest.approx((0 + 2 * 0.25 / 4) / 2)
