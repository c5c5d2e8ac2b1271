"""Augmentation of training images that are normalised already, for methods whose papers train with it.

The images of a data module may be augmented before (`--augment`, data/augment.py). This is what a method does by itself
in `augmented`, where borders are filled with zeros of the normalised image. All draws come from a generator.
Axes: 3 channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zsad_bench.types import sent


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """One number between the two."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def chance(probability: float, generator: torch.Generator) -> bool:
    """True with this probability."""
    return uniform(0, 1, generator) < probability


def recoloured(
    image_3HW: Tensor, mean: Sequence[float], std: Sequence[float], change: Callable[[Tensor], Tensor]
) -> Tensor:
    """The image after a change of its colours, which gets them in [0, 1] as they were before the normalisation.

    image: normalised by mean and std; it is again afterwards.
    """
    m, s = (image_3HW.new_tensor(values)[:, None, None] for values in (mean, std))
    return (change((image_3HW * s + m).clamp(0, 1)) - m) / s


def jittered(
    image_3HW: Tensor, mean: Sequence[float], std: Sequence[float], strength: float, generator: torch.Generator
) -> Tensor:
    """The image with brightness, contrast and saturation times 1 - strength to 1 + strength, in a drawn order.

    image: normalised by mean and std; colours are changed and cut off within [0, 1], as before the normalisation.
    """
    from torchvision.transforms.v2 import functional as changes

    adjust = (changes.adjust_brightness, changes.adjust_contrast, changes.adjust_saturation)
    order = torch.randperm(len(adjust), generator=generator).tolist()
    drawn = [(uniform(1 - strength, 1 + strength, generator), adjust[i]) for i in order]

    def change(colours: Tensor) -> Tensor:
        for factor, each in drawn:
            colours = each(colours, factor)
        return colours

    return recoloured(image_3HW, mean, std, change)


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


def varied(
    image_3HW: Tensor, mask_HW: Tensor, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Image and bool mask of a square image as Bayes-PFL's training sees them; each change has a chance of one half.

    A rotation by up to 30 degrees, and quarter turns, of both; brightness and contrast; noise; one of blur, other
    colours and Gaussian blur. Their strengths are our choice: a factor of 0.8 to 1.2, noise of 0.02 of the largest
    value, windows of 3 to 7 pixels.
    """
    from torchvision.transforms.v2 import functional as changes

    half = 0.5
    image, mask = moved(image_3HW, mask_HW, uniform(-30, 30, generator) if chance(half, generator) else 0.0, (0.0, 0.0))
    if chance(half, generator):
        turns = _one_of(3, generator) + 1
        image, mask = image.rot90(turns, (-2, -1)), mask.rot90(turns, (-2, -1))
    if chance(half, generator):
        light, contrast = uniform(0.8, 1.2, generator), uniform(0.8, 1.2, generator)
        image = recoloured(
            image, mean, std, lambda x: changes.adjust_contrast(changes.adjust_brightness(x, light), contrast)
        )
    if chance(half, generator):
        noise = sent(0.02 * torch.randn(image.shape, generator=generator), image.device)
        image = recoloured(image, mean, std, lambda x: (x + noise).clamp(0, 1))
    if chance(half, generator):
        which, side = _one_of(3, generator), 3 + 2 * _one_of(3, generator)
        if which == 0:
            image = F.avg_pool2d(F.pad(image[None], [side // 2] * 4, mode="reflect"), side, stride=1)[0]
        elif which == 1:
            image = jittered(image, mean, std, 0.2, generator)
        else:
            image = changes.gaussian_blur(image, [side, side])
    return image, mask


def _one_of(count: int, generator: torch.Generator) -> int:
    """0 to count - 1, each alike."""
    return int(torch.randint(count, (), generator=generator))
