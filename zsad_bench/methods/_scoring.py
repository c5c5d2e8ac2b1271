"""From patch features and a pair of texts to probability maps: the steps that CLIP-based methods share.

Axes: B images, N patches, D joint width, H W pixels; state 0 normal, 1 anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from zsad_bench.types import Features, Pooled, Prediction, Tap


def l2_normalize(x: Tensor) -> Tensor:
    """L2-normalised along the last axis, without epsilon, as the reference implementations do."""
    length: Tensor = x.norm(dim=-1, keepdim=True)
    return x / length


def added(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors, in their order; a plain `sum` would start from a 0 that is not a tensor."""
    return reduce(torch.add, terms)


def state_logits(feature_BD: Tensor, text_B2D: Tensor, temperature: float) -> Tensor:
    """(B,2): cosine of each image feature with its normal and anomalous text, over the temperature.

    feature need not be normalised; text must be.
    """
    return torch.einsum("bd,bsd->bs", l2_normalize(feature_BD), text_B2D) / temperature


def patch_probabilities(patches_BND: Tensor, text_B2D: Tensor, temperature: float) -> Tensor:
    """(B,N,2): softmax over the two states for every patch."""
    return (torch.einsum("bnd,bsd->bns", l2_normalize(patches_BND), text_B2D) / temperature).softmax(-1)


def pooled_name(ln_post: bool) -> Pooled:
    """The class token's feature with or without the norm in front of the projection (`global_ln_post`)."""
    return "cls" if ln_post else "cls_raw"


def upsample(probs_BN2: Tensor, features: Features, align_corners: bool = False) -> Tensor:
    """(B,2,H,W): patch probabilities laid on their grid and brought to the size of the image, bilinear."""
    rows, cols = features.grid
    grid = probs_BN2.unflatten(1, (rows, cols)).movedim(-1, 1)
    return F.interpolate(grid, size=features.image_size, mode="bilinear", align_corners=align_corners)


def scaled_sigma(sigma: float, image_size: int, reference_size: int = 518) -> float:
    """A Gaussian's sigma in pixels, scaled from the image size that it was published for."""
    return sigma * image_size / reference_size


def scaled_over_set(values: Tensor) -> Tensor:
    """All values brought to 0..1 together; 0 where they are all the same."""
    low, high = values.aminmax()
    return torch.where(high > low, (values - low) / (high - low), torch.zeros_like(values))


def smooth(map_BHW: Tensor, sigma: float) -> Tensor:
    """Gaussian-filtered maps, each image by itself: `scipy.ndimage.gaussian_filter` with its defaults.

    Half-sample symmetric border, radius int(4*sigma + 0.5); sigma in pixels, 0 returns the input. On the CPU scipy
    does it; elsewhere two separable convolutions in float64 agree to 1e-7, and in a graph that is exported two matrix
    products.
    """
    if sigma == 0:
        return map_BHW
    if torch.compiler.is_compiling():
        return _smooth_in_graph(map_BHW, sigma)
    if map_BHW.device.type == "cpu":
        from scipy.ndimage import gaussian_filter  # a plan has methods as well, and smooths nothing

        filtered = gaussian_filter(map_BHW.detach().numpy(), (0, sigma, sigma))
        return torch.from_numpy(filtered)
    return _smooth_on_device(map_BHW, sigma)


def _smooth_on_device(map_BHW: Tensor, sigma: float) -> Tensor:
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=map_BHW.device, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    out = map_BHW.double()
    for _ in range(2):  # filter the last axis, then swap the axes: twice gives both and the old order
        length = out.shape[-1]
        index = torch.arange(-radius, length + radius, device=out.device) % (2 * length)
        index = torch.where(index >= length, 2 * length - 1 - index, index)
        padded = out[..., index]
        out = F.conv1d(padded.reshape(-1, 1, padded.shape[-1]), kernel).reshape(out.shape).transpose(1, 2)
    return out.to(map_BHW.dtype)


def _smooth_in_graph(map_BHW: Tensor, sigma: float) -> Tensor:
    """Along each axis the filter is a matrix, which no image changes: a graph holds both as constants.

    Runtimes of ONNX have no convolution in float64, and in float32 a matrix product is as exact.
    """
    rows, cols = (_smoothing_matrix(length, sigma).to(map_BHW.dtype) for length in map_BHW.shape[1:])
    return rows @ map_BHW @ cols.mT


def _smoothing_matrix(length: int, sigma: float) -> Tensor:
    """(length,length) float64: row i has what each place of a line adds to place i of the smoothed line."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    places = (torch.arange(length)[:, None] + torch.arange(-radius, radius + 1)) % (2 * length)
    places = torch.where(places >= length, 2 * length - 1 - places, places)
    weights = (kernel / kernel.sum()).expand(length, -1)
    return torch.zeros(length, length, dtype=torch.float64).scatter_add(1, places, weights)


def predict_from(
    features: Features,
    tap: Tap,
    pooled: Pooled,
    text_B2D: Tensor,
    temperature: float,
    sigma: float,
    align_corners: bool = False,
) -> Prediction:
    """The plainest prediction from one pair of texts per image: score from a pooled feature, map from one tap.

    Score: anomalous probability of the pooled feature. Map: anomalous probability of the patches, up-sampled, smoothed.
    """
    score = state_logits(features.pooled(pooled), text_B2D, temperature).softmax(-1)[:, 1]
    patches = patch_probabilities(features.patches(tap), text_B2D, temperature)
    return Prediction(score, smooth(upsample(patches, features, align_corners)[:, 1], sigma))
