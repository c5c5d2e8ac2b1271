"""A sheet of maps a run leaves behind: one anomalous image a category, its mask, and what every method made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation
from torch import Tensor

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.types import Batch, Category, Prediction

TILE, GAP, HEAD, SIDE = 144, 6, 26, 96  # pixels
OUTLINE = (0, 230, 118)
# Dark to bright with rising lightness, so that it reads in grey and with any colour vision.
SCALE = np.array([(0, 0, 4), (60, 15, 110), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)], float)


class Gallery(Callback):
    """Draws `file` when a test ends; only for data with masks.

    The image of a category is its anomalous one with the largest mask. A map's colours run from the smallest to the
    largest value that it takes on that image: they show where, not how sure.
    titles: label -> heading of its column; labels that are missing get none.
    """

    def __init__(self, data: ZeroShotDataModule, titles: Mapping[str, str], file: Path) -> None:
        self.data, self.titles, self.file = data, titles, file
        self.picked: dict[Category, tuple[int, list[Image.Image]]] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch.masks is None:
            return
        predictions: Mapping[str, Prediction] = outputs
        for at, area in enumerate(batch.masks.flatten(1).sum(1).tolist()):
            category = batch.samples[at].category
            if area <= self.picked.get(category, (0, []))[0]:
                continue
            picture = self._picture(batch.images[at])
            maps = [heat(predictions[label].map[at].cpu().numpy()) for label in self.titles]
            self.picked[category] = (
                area,
                [outlined(picture, batch.masks[at].cpu().numpy()), *map(Image.fromarray, maps)],
            )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.picked:
            rows = {category.name: tiles for category, (_, tiles) in self.picked.items()}
            self.file.parent.mkdir(parents=True, exist_ok=True)
            sheet(rows, ["image, mask", *self.titles.values()]).save(self.file)

    def _picture(self, image: Tensor) -> np.ndarray:
        mean, std = (np.array(v, np.float32) for v in (self.data.mean, self.data.std))
        pixels = image.movedim(0, -1).cpu().numpy() * std + mean
        return np.round(pixels.clip(0, 1) * 255).astype(np.uint8)


def heat(values: np.ndarray) -> np.ndarray:
    """(H,W,3) uint8 colours of a map (H,W), from its smallest value to its largest; a constant map is black."""
    low, high = float(values.min()), float(values.max())
    place = (values - low) / (high - low) if high > low else np.zeros_like(values)
    anchors = np.linspace(0, 1, len(SCALE))
    return np.stack([np.interp(place, anchors, SCALE[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The picture (H,W,3) uint8 with a line around the regions of a mask (H,W) bool."""
    line = binary_dilation(mask, iterations=max(1, len(mask) // 96)) & ~mask
    return Image.fromarray(np.where(line[..., None], np.uint8(OUTLINE), picture))


def sheet(rows: Mapping[str, list[Image.Image]], headings: list[str]) -> Image.Image:
    """One row a name, one column a heading, on white."""
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
