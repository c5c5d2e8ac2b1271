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
from PIL import Image

from zsad_bench.errors import DatasetError

# Mean and standard deviation of the OpenAI CLIP training images, RGB in [0,1]; every published method uses them.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# What PIL raises on files that are truncated, mangled, or no images at all.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def open_rgb(path: Path) -> Image.Image:
    """The decoded image in RGB at its native size; the content decides the format, not the suffix.

    Conversion comes before any resize: a palette image would otherwise be resized by nearest neighbour.

    Raises:
        DatasetError: missing, unreadable or truncated; the message names the file.
    """
    return _decoded(path, "RGB", "image")


def open_mask(path: Path, threshold: int = 0) -> Image.Image:
    """The mask at its native size, mode L, 255 where the file's grey value is above `threshold`, else 0.

    Raises:
        DatasetError: missing, unreadable or truncated; the message names the file.
    """
    grey = np.asarray(_decoded(path, "L", "mask"))
    return Image.fromarray(np.where(grey > threshold, 255, 0).astype(np.uint8))


def image_array(image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(3,S,S) float32, normalised: bicubic with antialias straight to the square, aspect ratio not kept."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255
    return np.ascontiguousarray(((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1))


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
        raise DatasetError(
            f"cannot read {what} {path} ({reason}); replace the file or fetch the dataset again"
        ) from None
