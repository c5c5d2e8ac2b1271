# pytest tests/backbones/test_maps.py
"""The steps from patch features to maps, each against an independent way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from zsad_bench.methods._scoring import (
    _smooth_on_device,
    l2_normalize,
    patch_probabilities,
    smooth,
    state_logits,
    upsample,
)
from zsad_bench.types import Features


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# A radius of 16 reaches beyond the whole of the smallest map, so that its border is mirrored more than once.
@pytest.mark.parametrize("sigma", [0.3, 0.741, 4.0])
@pytest.mark.parametrize("size", [(37, 37), (24, 41), (5, 13)])
def test_smoothing_is_scipys_image_by_image(size, sigma):
    maps = drawn(3, *size)
    expected = np.stack([gaussian_filter(one.numpy(), sigma) for one in maps])
    on_cpu, on_device = smooth(maps, sigma), _smooth_on_device(maps, sigma)
    assert np.array_equal(on_cpu, expected), f"off by {np.abs(on_cpu - expected).max():.1e}"
    assert np.allclose(on_device, expected, rtol=0, atol=1e-6), f"off by {np.abs(on_device - expected).max():.1e}"
    assert on_cpu.dtype == on_device.dtype == torch.float32


def test_smoothing_keeps_images_apart_and_constants_as_they_are():
    spike = torch.zeros(2, 9, 9)
    spike[0, 4, 4] = 1
    for found in (smooth(spike, 1.0), _smooth_on_device(spike, 1.0)):
        assert not found[1].any(), "one image leaked into the next"
        assert float(found[0].sum()) == pytest.approx(1, abs=1e-5)
    flat = torch.full((1, 6, 7), 0.25)
    assert torch.allclose(smooth(flat, 3.0), flat), "the border pulls a constant map down"
    assert smooth(spike, 0) is spike, "sigma 0 is no smoothing"


def test_smoothing_takes_a_map_that_carries_gradients():
    maps = drawn(1, 6, 6).requires_grad_()
    assert not smooth(maps, 1.0).requires_grad, "smoothed maps are final: nothing is learned through them"


def slow_bilinear(grid: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Rows, then columns, by one-dimensional interpolation that holds the border's value beyond it."""
    for axis, target in enumerate(size):
        source = grid.shape[axis]
        if align_corners:
            at = np.arange(target) * (source - 1) / (target - 1)
        else:
            at = (np.arange(target) + 0.5) * source / target - 0.5
        grid = np.apply_along_axis(lambda line: np.interp(at, np.arange(source), line), axis, grid)  # noqa: B023
    return grid


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsampling_lays_patches_on_their_grid(align_corners):
    probabilities = drawn(2, 3 * 5, 2).softmax(-1)
    features = Features({}, {}, grid=(3, 5), image_size=(24, 40))
    found = upsample(probabilities, features, align_corners)
    assert found.shape == (2, 2, 24, 40)
    for image in range(2):
        for state in range(2):
            grid = probabilities[image, :, state].double().numpy().reshape(3, 5)  # row-major
            expected = slow_bilinear(grid, (24, 40), align_corners)
            assert np.allclose(found[image, state], expected, atol=1e-6), f"image {image}, state {state}"
    assert torch.allclose(found.sum(1), torch.ones(2, 24, 40), atol=1e-6), "probabilities no longer sum to one"


def test_l2_normalized_has_length_one_along_the_last_axis():
    x = drawn(3, 4, 7)
    assert np.allclose(l2_normalize(x), x.numpy() / np.linalg.norm(x.numpy(), axis=-1, keepdims=True), atol=1e-7)
    assert torch.allclose(l2_normalize(1e-12 * x), l2_normalize(x), atol=1e-6), "an epsilon would shrink small features"


def test_logits_are_cosines_over_the_temperature():
    feature = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.8, -0.6]]])  # each image has its own pair
    found = state_logits(feature, text, 0.1)
    assert torch.allclose(found, torch.tensor([[6.0, 8.0], [8.0, -6.0]])), found


def test_patch_probabilities_are_those_of_each_patch():
    patches, text = drawn(2, 4, 6), l2_normalize(drawn(2, 2, 6, seed=1))
    found = patch_probabilities(patches, text, 0.07)
    assert found.shape == (2, 4, 2)
    for patch in range(4):
        expected = state_logits(patches[:, patch], text, 0.07).softmax(-1)
        assert torch.allclose(found[:, patch], expected, atol=1e-6), f"patch {patch}"
