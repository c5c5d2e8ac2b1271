"""A folder of images and a folder of masks, for the datasets that are no more than that, whatever the layout."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.miniatures import Expected
from tests.data.miniatures.files import SIZE, record, write_image, write_junk, write_meta

Levels = Callable[[np.random.Generator, np.ndarray], np.ndarray]  # inside? (H,W) bool -> grey levels (H,W) uint8
BOXES = ((4, 3, 13, 9), (1, 1, 20, 14), (10, 5, 23, 12), (0, 0, 6, 16), (7, 8, 12, 15))


def write_pairs(
    root: Path,
    images: str,
    masks: str,
    stems: Sequence[str],
    levels: Levels,
    image: str = "{stem}.png",
    mask: str = "{stem}.png",
    mode: str = "L",
    image_mode: str = "RGB",
) -> list[tuple[str, str]]:
    """Writes an image and a mask a stem, and what lies beside them; returns (image, mask) as paths below the root.

    The masks' content depends on the position of the stem alone, so that layouts can be compared.
    """
    pairs = []
    for i, stem in enumerate(stems):
        names = f"{images}/{image.format(stem=stem)}", f"{masks}/{mask.format(stem=stem)}"
        write_image(root / names[0], mode=image_mode)
        save_mask(root / names[1], i, levels, mode)
        pairs.append(names)
    write_junk(root / images)
    return pairs


def save_mask(path: Path, i: int, levels: Levels, mode: str = "L") -> Path:
    """Writes the i-th mask with the levels asked for; JPEG at a quality that keeps them apart."""
    rng = np.random.default_rng(zlib.crc32(b"mask %d" % i))
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(levels(rng, inside(i))).convert(mode).save(path, **options)
    return path


def inside(i: int) -> np.ndarray:
    """(H,W) bool: where the i-th defect is."""
    left, top, right, bottom = BOXES[i]
    found = np.zeros(SIZE[::-1], bool)
    found[top:bottom, left:right] = True
    return found


def clean(rng: np.random.Generator, where: np.ndarray) -> np.ndarray:
    """0 and 255."""
    return np.where(where, 255, 0).astype(np.uint8)


def between(rng: np.random.Generator, where: np.ndarray) -> np.ndarray:
    """Any level on the right side of the middle: an interpolated mask."""
    return np.where(where, rng.integers(140, 256, where.shape), rng.integers(0, 110, where.shape)).astype(np.uint8)


def junk(rng: np.random.Generator, where: np.ndarray) -> np.ndarray:
    """255 inside, and specks of 3 to 112 in a fifth of what is outside."""
    specks = rng.integers(3, 113, where.shape) * (rng.random(where.shape) < 0.2)
    return np.where(where, 255, specks).astype(np.uint8)


def ringing(rng: np.random.Generator, where: np.ndarray) -> np.ndarray:
    """0 to 7 outside and 248 to 255 inside: what JPEG leaves of a mask."""
    return np.where(where, 255 - rng.integers(0, 8, where.shape), rng.integers(0, 8, where.shape)).astype(np.uint8)


def expect(pairs: Sequence[tuple[str, str]], category: str, kind: str) -> list[Expected]:
    """The samples that these pairs are."""
    return [Expected(image, (mask,), 1, category, kind) for image, mask in pairs]


def write_script_meta(root: Path, pairs: Sequence[tuple[str, str]], category: str, prefix: str, kind: str = "") -> None:
    """Writes meta.json as the scripts do: the author's folder before each path, records in no order, no type."""
    records = [record(prefix + image, prefix + mask, category, kind, 1) for image, mask in reversed(pairs)]
    write_meta(root / "meta.json", {"train": {category: []}, "test": {category: records}})
