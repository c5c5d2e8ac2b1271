"""Augmentation of training images that are normalised already, for methods whose papers train with it.

The images of a data module may be augmented before (`--augment`, data/augment.py). This is what a method does by itself
in `augmented`, where borders are filled with zeros of the normalised image. All draws come from a generator.
Axes: 3 channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """One number between the two."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def chance(probability: float, generator: torch.Generator) -> bool:
    """True with this probability."""
    return uniform(0, 1, generator) < probability


def jittered(
    image_3HW: Tensor, mean: Sequence[float], std: Sequence[float], strength: float, generator: torch.Generator
) -> Tensor:
    """The image with brightness, contrast and saturation times 1 - strength to 1 + strength, in a drawn order.

    image: normalised by mean and std; colours are changed and cut off within [0, 1], as before the normalisation.
    """
    from torchvision.transforms.v2 import functional as changes

    adjust = (changes.adjust_brightness, changes.adjust_contrast, changes.adjust_saturation)
    m, s = (image_3HW.new_tensor(values)[:, None, None] for values in (mean, std))
    colours = (image_3HW * s + m).clamp(0, 1)
    order = torch.randperm(len(adjust), generator=generator).tolist()
    for factor, change in [(uniform(1 - strength, 1 + strength, generator), adjust[i]) for i in order]:
        colours = change(colours, factor)
    return (colours - m) / s


def moved(image_3HW: Tensor, mask_HW: Tensor, degrees: float, shift: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Image (bilinear) and bool mask (nearest) turned clockwise about the middle, then shifted; zeros come in.

    shift: to the right and downwards, as shares of width and height. Neither changes anything at (0, (0, 0)).
    """
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as changes

    if not (degrees or any(shift)):
        return image_3HW, mask_HW
    height, width = mask_HW.shape

    def change(picture: Tensor, how: InterpolationMode) -> Tensor:
        pixels = [shift[0] * width, shift[1] * height]
        out: Tensor = changes.affine(picture, degrees, pixels, 1.0, [0.0, 0.0], interpolation=how)
        return out

    turned = change(mask_HW[None].float(), InterpolationMode.NEAREST)[0] > 0.5
    return change(image_3HW, InterpolationMode.BILINEAR), turned


def flipped(image_3HW: Tensor, mask_HW: Tensor, across: bool, down: bool) -> tuple[Tensor, Tensor]:
    """Both with left and right swapped where `across`, up and down where `down`."""
    axes = [axis for axis, swap in ((-1, across), (-2, down)) if swap]
    return image_3HW.flip(axes), mask_HW.flip(axes)
