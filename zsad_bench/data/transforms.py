"""From a file to what a backbone sees: PIL decode, RGB, one antialiased resize to a square, mean and std.

The same path for training without augmentation and for testing. Masks take their own: threshold at native size,
resize, threshold again, as in the published evaluations, so that metrics never resize anything.
Axes: 3 channels, S the side of the square.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from zsad_bench.errors import DatasetError

# Mean and standard deviation of the OpenAI CLIP training images, RGB in [0,1]; every published method uses them.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# What PIL raises on files that are truncated, mangled, or no images at all.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class UnreadableError(DatasetError):
    """A file that is there and cannot be decoded."""


def open_rgb(path: Path) -> Image.Image:
    """The decoded image in RGB at its native size; the content decides the format, not the suffix.

    Conversion comes before any resize: a palette image would otherwise be resized by nearest neighbour.

    Raises:
        DatasetError: missing, or (UnreadableError) unreadable or truncated; the message names the file.
    """
    return _decoded(path, "RGB", "image")


def open_mask(path: Path, threshold: int = 0) -> Image.Image:
    """The mask at its native size, mode L, 255 where the file's grey value is above `threshold`, else 0.

    Raises:
        DatasetError: missing, or (UnreadableError) unreadable or truncated; the message names the file.
    """
    grey = np.asarray(_decoded(path, "L", "mask"))
    return Image.fromarray((grey > threshold).astype(np.uint8) * np.uint8(255))


def open_masks(
    paths: Sequence[Path], threshold: int, size: tuple[int, int]
) -> tuple[Image.Image, dict[Path, tuple[int, int]]]:
    """(union of the masks, as `open_mask` gives each; those that had another size than `size`, with theirs).

    size: width and height of the image. A mask of another size is brought to it by nearest neighbour.

    Raises:
        DatasetError: one cannot be read.
    """
    union, resized = Image.new("L", size), {}
    for path in paths:
        mask = open_mask(path, threshold)
        if mask.size != size:
            resized[path] = mask.size
            mask = mask.resize(size, Image.Resampling.NEAREST)
        union = ImageChops.lighter(union, mask)
    return union, resized


def image_array(image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(3,S,S) float32, normalised: bicubic with antialias straight to the square, aspect ratio not kept."""
    return normalised(image_pixels(image, size), mean, std)


def image_pixels(image: Image.Image, size: int) -> np.ndarray:
    """(S,S,3) uint8: the first half of `image_array`, whose result can be kept."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def normalised(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(3,S,S) float32 of (S,S,3) uint8: the second half of `image_array`."""
    scaled = (pixels.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def mask_array(mask: Image.Image, size: int) -> np.ndarray:
    """(S,S) bool: bilinear with antialias on 0/255, then above one half."""
    return np.asarray(mask.resize((size, size), Image.Resampling.BILINEAR)) > 127


def _decoded(path: Path, mode: str, what: str) -> Image.Image:
    try:
        with Image.open(path) as file:
            return file.convert(mode)
    except FileNotFoundError:
        raise DatasetError(f"{what} {path} does not exist; restore the file or fetch the dataset again") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(
            f"cannot read {what} {path} ({reason}); replace the file or fetch the dataset again"
        ) from None
