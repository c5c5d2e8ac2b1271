"""Which images of a test are worth a look: kept while the test runs, and drawn on one sheet when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from zsad_bench.metrics.functional.compiled import has_numba
from zsad_bench.metrics.functional.per_image import map_auroc, map_values
from zsad_bench.results.pictures import Kind, Pick, heat, outlined, shrunk
from zsad_bench.types import Batch, Prediction

TILE, GAP, HEAD, SIDE = 144, 6, 26, 96  # pixels


class Picks:
    """The picks of one method on one category, as `Pick` defines them; of equals, the first. One image per kind."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)
        self.kept: dict[Kind, tuple[float, Pick]] = {}

    def update(self, batch: Batch, said: Prediction, at: list[int]) -> None:
        """Looks at images `at` of a batch."""
        for i in at:
            map_ = None if said.map is None else said.map[i].cpu().numpy()
            mask = None if batch.masks is None else batch.masks[i].cpu().numpy()
            label, score = int(batch.labels[i]), float(said.score[i])
            for kind, rank in _ranks(label, score, map_, mask).items():
                if kind not in self.kept or rank > self.kept[kind][0]:
                    pick = Pick(kind, batch.samples[i].id, label, score, self._picture(batch, i), mask, map_)
                    self.kept[kind] = (rank, pick)

    def chosen(self) -> list[Pick]:
        """The picks so far, with their per-image metrics."""
        return [_measured(pick) for _, pick in self.kept.values()]

    def _picture(self, batch: Batch, i: int) -> NDArray:
        image = (batch.images if batch.pixels is None else batch.pixels)[i].movedim(0, -1).cpu().numpy()
        if image.dtype == np.uint8:
            return image
        return np.round((image * self.std + self.mean).clip(0, 1) * 255).astype(np.uint8)


def _ranks(label: int, score: float, map_HW: NDArray | None, mask_HW: NDArray | None) -> dict[Kind, float]:
    """The rank of this image for each kind; the highest is kept."""
    if not label:
        return {"false_alarm": score}
    if mask_HW is None or map_HW is None:
        return {"best": score, "worst": -score}
    if not mask_HW.any():
        return {}
    value = map_auroc(map_HW, mask_HW).value
    shown: dict[Kind, float] = {"largest": float(mask_HW.sum())}
    return shown if np.isnan(value) else {**shown, "best": value, "worst": -value}


def _measured(pick: Pick) -> Pick:
    """Small, with the AUROC, AUPRO and RCPRO of its map, where it has any; RCPRO without numba would take seconds."""
    values: dict[str, float | None] = {}
    if pick.mask is not None and pick.map is not None and pick.mask.any():
        found = map_values(pick.map, pick.mask, rcpro=has_numba())
        values = {name: None if np.isnan(value.value) else value.value for name, value in found.items()}
    low, high = (0.0, 0.0) if pick.map is None else (float(pick.map.min()), float(pick.map.max()))
    mask, map_ = (None if array is None else shrunk(array) for array in (pick.mask, pick.map))
    return replace(pick, image=shrunk(pick.image), mask=mask, map=map_, low=low, high=high, values=values)


def draw_sheet(categories: Mapping[str, Mapping[str, Pick]], titles: Mapping[str, str], file: Path) -> None:
    """Draws one row per category: its largest defect outlined, and the map of every method, black without maps.

    categories: name -> label -> its pick. titles: label -> heading of its column.
    """
    rows = {}
    for name, picks in categories.items():
        first = next(iter(picks.values()))
        image = first.image if first.mask is None else outlined(first.image, first.mask)
        maps = [picks[label].map for label in titles]
        tiles = [image, *(np.zeros_like(image) if values is None else heat(values) for values in maps)]
        rows[name] = [Image.fromarray(tile) for tile in tiles]
    file.parent.mkdir(parents=True, exist_ok=True)
    _sheet(rows, ["image, mask", *titles.values()]).save(file)


def _sheet(rows: Mapping[str, list[Image.Image]], headings: list[str]) -> Image.Image:
    """One row per name, one column per heading, on white."""
    step = TILE + GAP
    size = (SIDE + len(headings) * step, HEAD + len(rows) * step)
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for column, heading in enumerate(headings):
        draw.text((SIDE + column * step + TILE / 2, HEAD / 2), heading, "black", font, anchor="mm")
    for row, (name, tiles) in enumerate(rows.items()):
        top = HEAD + row * step
        draw.text((SIDE - 8, top + TILE / 2), name, "black", font, anchor="rm")
        for column, tile in enumerate(tiles):
            page.paste(tile.resize((TILE, TILE), Image.Resampling.BICUBIC), (SIDE + column * step, top))
    return page
