"""Images of a board with the maps that methods made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zsad_bench.errors import RowError, UsageError
from zsad_bench.leaderboard.figures.style import INK, is_plain, label
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.pictures import Picture, heat, read_pictures
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

VALUES = {"auroc": "AUROC", "aupro": "AUPRO", "rcpro": "RCPRO"}  # of a picture, as printed


class CellChoice(NamedTuple):
    """Which cell's maps are shown. seed, draw: of methods that are trained; others have one cell, or the seed's."""

    prior: str
    seed: int = 0
    draw: int = 0


@dataclass(frozen=True)
class ImageMaps:
    """One image, and its picture by label of the method; methods without a map of it are missing.

    n: how many categories of its dataset have pictures.
    """

    dataset: str
    category: str
    id: str
    pictures: Mapping[str, Picture]

    @property
    def any(self) -> Picture:
        return next(iter(self.pictures.values()))

    def map(self, method: str) -> NDArray | None:
        """(h,w) in [0, 1], None where none of that method was kept."""
        return self.pictures[method].map() if method in self.pictures else None

    @property
    def redistribute(self) -> bool:
        """Whether the licence of the dataset lets its images be passed on."""
        return bool(self.any.about.get("redistribute"))


def cells(rows: Iterable[Row], chosen: CellChoice, facts: Facts) -> dict[str, list[str]]:
    """Label of a method -> keys of its cells under that prior, seed and draw, those that learn nothing first.

    Ablations and sanity methods are out.
    """
    keys: dict[tuple[bool, str], dict[str, None]] = {}
    seeds: dict[str, set[int]] = {}
    rows = [row for row in rows if is_plain(row.variant) and row.backbone != "none"]
    for row in rows:
        if row.prior == "none":
            seeds.setdefault(row.method, set()).add(row.seed)
    for row in rows:
        fixed = row.prior == "none" and (row.seed == chosen.seed or len(seeds[row.method]) == 1)
        if fixed or (row.prior, row.seed, row.draw) == tuple(chosen):
            keys.setdefault((row.prior != "none", label(row.method, row.variant, facts)), {})[row.key] = None
    return {name: list(some) for (_, name), some in sorted(keys.items(), key=lambda one: one[0])}


def image_maps(folder: str | Path, keys: Mapping[str, Sequence[str]]) -> list[ImageMaps]:
    """Every image that pictures were kept of, those with the largest defects and the most methods first.

    Raises:
        RowError: no pictures there, or damaged ones.
    """
    by_place: dict[tuple[str, str, str], dict[str, Picture]] = {}
    largest: set[tuple[str, str, str]] = set()
    for name, of in keys.items():
        for key in of:
            for picture in read_pictures(folder, key):
                place = (picture.about["target"], picture.category, picture.id)
                if "map" in picture.files:
                    by_place.setdefault(place, {}).setdefault(name, picture)
                    largest |= {place} if picture.kind == "largest" else set()
    if not by_place:
        raise RowError(f"{folder}: no pictures of these methods, prior, seed and draw; run `zsad-bench bench` again")
    images = [ImageMaps(*place, pictures) for place, pictures in by_place.items()]
    order = {place: (place not in largest, -len(pictures)) for place, pictures in by_place.items()}
    return sorted(images, key=lambda image: (*order[image.dataset, image.category, image.id], image.id))


def choose(images: Sequence[ImageMaps], asked: Sequence[str], datasets: Sequence[str], at_most: int) -> list[ImageMaps]:
    """The image with the largest defect of each category, the datasets taking turns, `at_most` in all; or those asked.

    asked: parts of image ids. Images that may not be passed on are shown where nothing else is there or they, or their
    dataset, are asked for.

    Raises:
        UsageError: nothing kept has such an id, or is of such a dataset.
    """
    if asked:
        picked = []
        for text in asked:
            fitting = [image for image in images if text in image.id]
            if not fitting:
                known = ", ".join(dict.fromkeys(image.id for image in images[:6]))
                raise UsageError(f"--image {text}: no kept picture has this in its id; some that are kept: {known}")
            picked.append(fitting[0])
        return picked
    if datasets and (unknown := [name for name in datasets if name not in {image.dataset for image in images}]):
        known = ", ".join(dict.fromkeys(image.dataset for image in images))
        raise UsageError(f"--dataset {unknown[0]}: no pictures of it; there are pictures of {known}")
    free = [image for image in images if image.redistribute] or images
    pool = [image for image in images if image.dataset in datasets] if datasets else free
    first = {(image.dataset, image.category): image for image in reversed(pool)}
    turns: Counter[str] = Counter()
    ranked = []
    for place in sorted(first):
        ranked.append((turns[place[0]], first[place]))
        turns[place[0]] += 1
    picked = [image for _, image in sorted(ranked, key=lambda pair: pair[0])[:at_most]]
    return sorted(picked, key=lambda image: (image.dataset, image.category))


def licences(images: Iterable[ImageMaps]) -> str:
    """The note on images that may not be passed on; "" where all may."""
    bound = {image.any.about["title"]: image.any.about["licence"] for image in images if not image.redistribute}
    titles = " and ".join(f"{title} ({licence})" for title, licence in bound.items())
    return f"Images of {titles}: not to be passed on." if titles else ""


def tile(axes: Axes, pixels: NDArray, mask: NDArray | None, *, smooth: bool = True) -> None:
    """Draws pixels (h,w,3) uint8, or a map (h,w) in its colours, with the mask's outline where there is one."""
    from matplotlib.patheffects import withStroke

    height, width = (mask if mask is not None else pixels).shape[:2]
    axes.imshow(heat(pixels) if pixels.ndim == 2 else pixels, extent=(0, width, height, 0), aspect="equal",
                interpolation="bilinear" if smooth else "nearest")  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if mask is not None and mask.any():
        grown = np.pad(mask.astype(float), 1)  # a mask at the border has a line there too
        at = np.arange(-0.5, width + 1), np.arange(-0.5, height + 1)
        line = axes.contour(*at, grown, levels=[0.5], colors="white", linewidths=0.9)
        line.set_path_effects([withStroke(linewidth=2.2, foreground=INK)])
        axes.set(xlim=(0, width), ylim=(height, 0))
