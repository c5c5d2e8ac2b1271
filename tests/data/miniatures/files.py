"""Small image and mask files of any mode and format, each with pixels of its own."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (24, 16)  # width, height: not square, so that a swap of the two shows


def write_image(path: Path, size: tuple[int, int] = SIZE, mode: str = "RGB", format: str | None = None) -> Path:
    """Writes noise that depends on the path's name; `format` overrides what the suffix says."""
    rng = np.random.default_rng(zlib.crc32(path.as_posix().encode("utf-8", "surrogateescape")))
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format=format)
    return path


def write_mask(
    path: Path,
    size: tuple[int, int] = SIZE,
    box: tuple[int, int, int, int] | None = (4, 3, 12, 9),
    value: int = 255,
    mode: str = "L",
    format: str | None = None,
) -> Path:
    """Writes a mask that is `value` inside the box (left, top, right, bottom) and 0 elsewhere; None is an empty one."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    if box is not None:
        left, top, right, bottom = box
        mask[top:bottom, left:right] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).convert(mode).save(path, format=format)
    return path


def write_meta(path: Path, phases: dict[str, dict[str, Sequence[dict[str, Any]]]]) -> Path:
    """Writes a meta.json; records as `record` makes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(phases))
    return path


def record(image: str, mask: str = "", category: str = "", kind: str = "", anomaly: int = 0) -> dict[str, Any]:
    """One record of a meta.json, in the fields that the published scripts write."""
    return {"img_path": image, "mask_path": mask, "cls_name": category, "specie_name": kind, "anomaly": anomaly}


def write_junk(folder: Path, names: Iterable[str] = ("Thumbs.db", ".DS_Store", "readme.txt")) -> None:
    """What lies beside images in real downloads and is no image."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"junk")
