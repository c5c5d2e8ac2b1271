"""From a decoded picture to what a batch holds: one antialiased resize to a square, still uint8.

The same path for training without augmentation and for testing. Masks take their own: threshold at native size,
resize, threshold again, as in the published evaluations, so that metrics never resize anything.
Axes: 3 channels, S the side of the square.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

from zsad_bench.data import decode
from zsad_bench.data.decode import Size, UnreadableError
from zsad_bench.errors import DatasetError

__all__ = ["UnreadableError"]

# Mean and standard deviation of the OpenAI CLIP training images, RGB in [0,1]; every published method uses them.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class GeometryError(DatasetError):
    """An image and its mask were stored in one geometry and are shown in two."""


class Masks(NamedTuple):
    """The masks of an image as one: mode L, 255 where any of them marks, else 0.

    resized: those that had another size than the image, with theirs. done: what decoding did, pairs for `decode.said`.
    """

    union: Image.Image
    resized: dict[Path, Size]
    done: tuple[tuple[str, str], ...]


def open_masks(paths: Sequence[Path], threshold: int | None, size: Size, stored: Size | None = None) -> Masks:
    """The union of the masks of an image.

    size: width and height of the image as it stands upright. stored: those of its file, before its EXIF orientation
    was applied. A mask of another size than `size` is brought to it by nearest neighbour.

    Raises:
        GeometryError: a mask has the shape of the stored image and not that of the upright one.
        DatasetError: one cannot be read.
    """
    union, resized, done = Image.new("L", size), {}, []
    for path in paths:
        mask, _, _, _, did = decode.read_mask(path, threshold)
        done += [(key, str(path)) for key in did]
        if mask.size != size:
            require_one_geometry(path, mask.size, size, size if stored is None else stored)
            resized[path] = mask.size
            mask = mask.resize(size, Image.Resampling.NEAREST)
        union = ImageChops.lighter(union, mask)
    return Masks(union, resized, tuple(done))


def require_one_geometry(mask: Path, its: Size, shown: Size, stored: Size) -> None:
    """Nothing, unless a mask has the shape of its image's file and not that of the image turned upright.

    its, shown, stored: width and height of the mask, of the upright image, and of the image in its file.

    Raises:
        GeometryError: it has; names the mask and both sizes.
    """
    if _like(its, stored) and not _like(its, shown):
        raise GeometryError(
            f"mask {mask} is {_wide(its)} as its image is stored, and the image is {_wide(shown)} as its EXIF "
            "orientation says it is shown; turn the mask, or remove the orientation from the image"
        )


def image_pixels(image: Image.Image, size: int) -> np.ndarray:
    """(S,S,3) uint8: bicubic with antialias straight to the square, aspect ratio not kept."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def channels_first(pixels: np.ndarray) -> np.ndarray:
    """(3,S,S) of (S,S,3), as a batch has it: uint8 until `types.normalised` on the device."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def content_of(pixels: np.ndarray) -> str:
    """A hash of (S,S,3) uint8 pixels and their shape: equal for what is encoded equally, whatever file it came from."""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def mask_array(mask: Image.Image, size: int) -> np.ndarray:
    """(S,S) bool: bilinear with antialias on 0/255, then above one half."""
    return np.asarray(mask.resize((size, size), Image.Resampling.BILINEAR)) > 127


def _like(one: Size, other: Size) -> bool:
    """Whether both are equally wide for their height."""
    return one[0] * other[1] == one[1] * other[0]


def _wide(size: Size) -> str:
    return f"{size[0]} x {size[1]} (width x height)"
