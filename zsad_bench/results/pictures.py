"""Images worth a look, with their maps: beside the rows, for figures and the page.

    pictures/images/<hash>.png, <hash>_mask.png       an image as methods saw it, and its mask; shared by all cells
    pictures/<key>/<category>/<kind>.png              the map of one pick, grey: 0 is its lowest value, 255 its highest
    pictures/<key>/<category>/picks.json              what they are; written last

A map's colours run from the smallest to the largest value on that image: they show where, not how sure.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsad_bench.atomic import file_name, write_whole
from zsad_bench.errors import RowError

Kind = Literal["largest", "best", "worst", "false_alarm"]
LARGEST_SIDE = 256  # pixels, of what is kept
OUTLINE = (0, 230, 118)
# Dark to bright with rising lightness, so that it reads in grey and with any colour vision.
SCALE = np.array([(0, 0, 4), (60, 15, 110), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)], float)


@dataclass(frozen=True)
class Pick:
    """One image and what a method made of it.

    kind: "largest" has the largest mask of its category, the same image for every method; "best" and "worst" are the
    anomalous images with the highest and lowest AUROC within the image, or score where there are no masks;
    "false_alarm" is the normal image with the highest score.
    image: (h,w,3) uint8, as `shrunk` leaves it. mask: (h,w) bool or None. map: (h,w) float32 or None for a method
    without maps; low, high: its range before it was shrunk. values: per-image metrics of the map at full size.
    """

    kind: Kind
    id: str
    label: int
    score: float
    image: NDArray
    mask: NDArray | None
    map: NDArray | None
    low: float = 0.0
    high: float = 0.0
    values: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A pick on disk. about: of its dataset (target, title, licence, redistribute). low, high: range of its map."""

    folder: Path
    category: str
    kind: Kind
    id: str
    label: int
    score: float
    low: float
    high: float
    values: Mapping[str, float | None]
    about: Mapping[str, Any]
    files: Mapping[str, str]

    def image(self) -> NDArray:
        """(h,w,3) uint8, at most `LARGEST_SIDE` per side."""
        return _read(self.folder / self.files["image"])

    def mask(self) -> NDArray | None:
        """(h,w) bool, or None for an image without ground truth of pixels."""
        return _read(self.folder / self.files["mask"]) > 0 if "mask" in self.files else None

    def map(self) -> NDArray | None:
        """(h,w) float32 in [0, 1], from the map's lowest to its highest value; None for a method without maps."""
        return _read(self.folder / self.files["map"]).astype(np.float32) / 255 if "map" in self.files else None


def write_pictures(
    folder: str | Path, key: str, category: str, picks: Sequence[Pick], about: Mapping[str, Any]
) -> Path:
    """The file that tells of the pictures written for one category of one cell; a newer run of the key replaces them.

    Raises:
        RowError: the folder cannot be written.
    """
    folder = Path(folder)
    place = Path(key) / file_name(category)
    entries = []
    for pick in picks:
        files = _write_image(folder, pick)
        if pick.map is not None:
            files["map"] = str(place / f"{pick.kind}.png")
            write_whole(folder / files["map"], _png(np.round(_stretched(pick.map) * 255).astype(np.uint8)))
        entries.append({"kind": pick.kind, "id": pick.id, "label": pick.label, "score": pick.score, "low": pick.low,
                     "high": pick.high, "values": dict(pick.values), "files": files})  # fmt: skip
    content = {"category": category, "about": dict(about), "picks": entries}
    return write_whole(folder / place / "picks.json", (json.dumps(content, indent=1) + "\n").encode())


def read_pictures(folder: str | Path, key: str) -> list[Picture]:
    """Every picture of a cell, by category and kind; [] where none were kept.

    Raises:
        RowError: a damaged file.
    """
    found = []
    for file in sorted(Path(folder).glob(f"{key}/*/picks.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            shared = {"folder": Path(folder), "category": content["category"], "about": content["about"]}
            found += [Picture(**shared, **pick) for pick in content["picks"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RowError(
                f"{file}: cannot read pictures ({error}); remove that folder, or run its cell again"
            ) from error
    order = get_args(Kind)
    return sorted(found, key=lambda picture: (picture.category, order.index(picture.kind)))


def shrunk(array: NDArray) -> NDArray:
    """The array (H,W) or (H,W,3), uint8, float32 or bool, with at most `LARGEST_SIDE` per side; pixels are averaged."""
    share = LARGEST_SIDE / max(array.shape[:2])
    if share >= 1:
        return array
    picture = Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array)
    small = picture.resize([max(1, round(side * share)) for side in picture.size], Image.Resampling.BOX)
    return np.asarray(small) > 127 if array.dtype == bool else np.asarray(small)


def heat(values: NDArray) -> NDArray:
    """(H,W,3) uint8 colours of a map (H,W), from its smallest value to its largest; a constant map is black."""
    place, anchors = _stretched(values), np.linspace(0, 1, len(SCALE))
    return np.stack([np.interp(place, anchors, SCALE[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def outlined(picture: NDArray, mask: NDArray) -> NDArray:
    """The picture (H,W,3) uint8 with a line around the regions of a mask (H,W) bool."""
    from scipy.ndimage import binary_dilation

    line = binary_dilation(mask, iterations=max(1, len(mask) // 96)) & ~mask
    return np.where(line[..., None], np.array(OUTLINE, np.uint8), picture)


def _stretched(values: NDArray) -> NDArray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _write_image(folder: Path, pick: Pick) -> dict[str, str]:
    """The names of the image's files, written unless they are there: their names tell their content."""
    image = _png(pick.image)
    mask = b"" if pick.mask is None else _png(pick.mask)
    name = hashlib.sha256(image + mask).hexdigest()[:16]
    files = {"image": f"images/{name}.png"} | ({"mask": f"images/{name}_mask.png"} if mask else {})
    for path, content in zip(files.values(), (image, mask), strict=False):
        if not (folder / path).is_file():
            write_whole(folder / path, content)
    return files


def _png(array: NDArray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG", optimize=True)
    return content.getvalue()


def _read(path: Path) -> NDArray:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture)
    except OSError as error:
        raise RowError(f"{path}: cannot read this picture ({error}); run its cell again") from error
