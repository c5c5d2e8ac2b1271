"""Corruptions of test images in five severities: what a camera, a lamp, a file or a fixture may do to a picture.

They are applied to the upright picture at its own size, to a crop behind the crop, before the resize to what a backbone
reads. There a camera or a file would do it, every method reads the same corrupted picture whatever its image size, and
a rotated mask goes the way of any mask. Lengths are given for a picture whose shorter side is 224 pixels, as ImageNet-C
has them, and scale with the picture, so that a severity takes the same detail away whatever the size of the files.
Grains of noise and the pixels of `low_resolution` are as large as at 224, and never finer than a pixel of the file.
JPEG alone counts in pixels of the file, since its blocks do.

What is drawn depends on the name of the corruption and the id of the image alone: the same bits in each call, process
and run, with the same versions of numpy, OpenCV and Pillow, and the same noise and direction at every severity.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from zsad_bench.conditions import SEVERITIES, Condition
from zsad_bench.data.augment import libraries
from zsad_bench.errors import UnknownNameError
from zsad_bench.registry import did_you_mean

RULE = "1"  # in the data hash of every corrupted target: another number means other pixels
REFERENCE = 224  # shorter side, in pixels, that lengths are given for: the side of ImageNet-C's pictures

Pixels: TypeAlias = np.ndarray  # (H,W,3) uint8
Operation = Callable[[Pixels, float, float, np.random.Generator], Pixels]  # value, unit: pixels per length of 1


@dataclass(frozen=True)
class Corruption:
    """One corruption as data. what: it does, with the unit of its values. values: of severities 1 to 5.

    source: where the values are from, and how ours differs from it.
    """

    what: str
    values: tuple[float, float, float, float, float]
    source: str


_IMAGENET_C = "ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261; released code), "
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(
        "Gaussian noise; standard deviation, of grey values from 0 to 1",
        (0.08, 0.12, 0.18, 0.26, 0.38),
        _IMAGENET_C + "gaussian_noise; ours has square grains of 1/224 of the shorter side in larger pictures",
    ),
    "gaussian_blur": Corruption(
        "Gaussian blur; standard deviation, in pixels at 224",
        (1, 2, 3, 4, 6),
        _IMAGENET_C + "gaussian_blur (extra set); ours scales with the picture",
    ),
    "defocus_blur": Corruption(
        "a disk, as of a lens out of focus; radius, in pixels at 224",
        (3, 4, 6, 8, 10),
        _IMAGENET_C + "defocus_blur; ours scales with the picture, and its edge is linear over one pixel of the file "
        "instead of blurred by 0.1 or 0.5 pixels",
    ),
    "brightness": Corruption(
        "added to the value of hue, saturation and value, from 0 to 1",
        (0.1, 0.2, 0.3, 0.4, 0.5),
        _IMAGENET_C + "brightness; ours converts in 8 bits, with hue in steps of 2 degrees",
    ),
    "jpeg": Corruption(
        "JPEG; quality of Pillow's encoder, chroma at half resolution",
        (25, 18, 15, 10, 7),
        _IMAGENET_C + "jpeg_compression; at the size of the file, so that blocks are smaller parts of a larger picture",
    ),
    "low_resolution": Corruption(
        "down to this share of a picture of 224 pixels by area, and up again, linear",
        (0.6, 0.5, 0.4, 0.3, 0.25),
        _IMAGENET_C + "pixelate; ours is enlarged smoothly instead of in squares, as a viewer enlarges",
    ),
    "rotation": Corruption(
        "degrees about the middle, to a side that the image decides; mirrored at the border, as the mask is",
        (5, 10, 15, 20, 30),
        "ours: parts that lie askew; 30 degrees is the most of AugMix (Hendrycks et al., ICLR 2020, arXiv 1912.02781)",
    ),
}


def check(name: str) -> None:
    """Nothing where there is a corruption of this name.

    Raises:
        UnknownNameError: there is none; lists the nearest.
    """
    if name not in CORRUPTIONS:
        raise UnknownNameError(did_you_mean("corruption", name, CORRUPTIONS))


class Corruptor:
    """Calls give (image (H,W,3) uint8, mask (H,W) uint8 of 0 and 255, or None) of an image, corrupted; the size stays.

    Only `rotation` changes a mask: by nearest neighbour, with the border of the image, so that what is mirrored into
    the picture is marked as it was. A region may leave the picture.

    Raises:
        UnknownNameError: no such corruption.
    """

    def __init__(self, condition: Condition) -> None:
        check(condition.name)
        self.name, self.severity = condition.name, condition.severity

    @property
    def value(self) -> float:
        return CORRUPTIONS[self.name].values[SEVERITIES.index(self.severity)]

    def __call__(
        self, image: Pixels, mask: np.ndarray | None = None, key: str = ""
    ) -> tuple[Pixels, np.ndarray | None]:
        """key: the id of the image."""
        drawn = hashlib.sha256(f"{self.name}|{key}".encode(errors="surrogateescape")).digest()
        generator = np.random.default_rng(int.from_bytes(drawn[:8]))
        if self.name == "rotation":
            return _rotated(image, mask, self.value * (1 if generator.random() < 0.5 else -1))
        unit = min(image.shape[:2]) / REFERENCE
        return _OPERATIONS[self.name](image, self.value, unit, generator), mask


def _gaussian_noise(image: Pixels, sigma: float, unit: float, generator: np.random.Generator) -> Pixels:
    grain = max(unit, 1.0)
    rows, columns = (np.floor(np.arange(side) / grain).astype(int) for side in image.shape[:2])
    field = generator.standard_normal((rows[-1] + 1, columns[-1] + 1, 3), np.float32)
    noisy = image + 255 * np.float32(sigma) * field[rows][:, columns]
    return np.asarray(np.rint(noisy).clip(0, 255), np.uint8)


def _gaussian_blur(image: Pixels, sigma: float, unit: float, generator: np.random.Generator) -> Pixels:
    A, _ = libraries()
    return _applied(A.GaussianBlur(blur_limit=0, sigma_limit=(sigma * unit, sigma * unit), p=1), image)


def _defocus_blur(image: Pixels, radius: float, unit: float, generator: np.random.Generator) -> Pixels:
    # The Defocus of albumentations has whole radii alone, of which two severities of a small picture would be one.
    _, cv2 = libraries()
    return np.asarray(cv2.filter2D(image, -1, _disk(radius * unit), borderType=cv2.BORDER_REFLECT_101))


def _disk(radius: float) -> np.ndarray:
    """(K,K) float32, K odd: a disk whose edge falls from one to zero within a pixel; its sum is 1."""
    reach = math.ceil(radius)
    away = np.arange(-reach, reach + 1)
    kernel = (radius + 0.5 - np.hypot(*np.meshgrid(away, away))).clip(0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _brightness(image: Pixels, share: float, unit: float, generator: np.random.Generator) -> Pixels:
    A, _ = libraries()
    added = (255 * share, 255 * share)
    return _applied(A.HueSaturationValue((0, 0), (0, 0), added, p=1), image)


def _jpeg(image: Pixels, quality: float, unit: float, generator: np.random.Generator) -> Pixels:
    # By Pillow: the ImageCompression of albumentations gives OpenCV red for blue, and so weighs the wrong one less.
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=int(quality))
    return np.asarray(Image.open(file).convert("RGB"))


def _low_resolution(image: Pixels, share: float, unit: float, generator: np.random.Generator) -> Pixels:
    A, cv2 = libraries()
    scale = max(share / max(unit, 1.0), 1 / min(image.shape[:2]))  # a pixel is left of the smallest picture
    if scale >= 1:
        return image
    ways = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    return _applied(A.Downscale(scale_range=(scale, scale), interpolation_pair=ways, p=1), image)


def _rotated(image: Pixels, mask: np.ndarray | None, degrees: float) -> tuple[Pixels, np.ndarray | None]:
    A, cv2 = libraries()
    turn = A.Rotate(limit=(degrees, degrees), border_mode=cv2.BORDER_REFLECT_101, p=1)
    if mask is None:
        return _applied(turn, image), None
    both = turn(image=image, mask=mask)
    return both["image"], both["mask"]


def _applied(transform: Any, image: Pixels) -> Pixels:
    changed: Pixels = transform(image=image)["image"]
    return changed


_OPERATIONS: dict[str, Operation] = {
    "gaussian_noise": _gaussian_noise,
    "gaussian_blur": _gaussian_blur,
    "defocus_blur": _defocus_blur,
    "brightness": _brightness,
    "jpeg": _jpeg,
    "low_resolution": _low_resolution,
}
