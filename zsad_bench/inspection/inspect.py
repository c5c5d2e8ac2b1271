"""Scores and maps of photos, one by one: read, scored in batches, tiles put together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.inspection import tiles
from zsad_bench.inspection.photos import Photo
from zsad_bench.inspection.reading import ReadPhoto, Unread, read
from zsad_bench.inspection.region import Region, require_fit
from zsad_bench.inspection.scorer import Scorer
from zsad_bench.inspection.tiles import Tiling
from zsad_bench.types import Category, ImageBatch, SampleInfo


@dataclass(frozen=True)
class Setting:
    """What decides a score beside the scorer.

    category: what the photos show. tiling: None scores each photo as a whole. region: None is everywhere.

    The score of a photo is the scorer's own; of a photo in tiles the highest of its tiles, since one defect is enough;
    with a region the highest value of the map within, since a scorer's own score knows no regions.
    """

    category: Category
    tiling: Tiling | None = None
    region: Region | None = None

    def described(self) -> dict[str, Any]:
        """As JSON: equal for two settings whose scores can be compared."""
        region = None
        if self.region is not None:
            packed = np.packbits(np.asarray(self.region.mask) > 0).tobytes()
            region = {"size": list(self.region.mask.size), "sha256": hashlib.sha256(packed).hexdigest()[:16]}
        return {
            "name": self.category.prompt_name, "kind": self.category.kind, "domain": self.category.domain,
            "tile_size": self.tiling.side if self.tiling else None,
            "tile_overlap": self.tiling.overlap if self.tiling else None, "region": region,
        }  # fmt: skip


@dataclass(frozen=True)
class Inspected:
    """A photo and what was found on it; higher is more anomalous.

    map: (h,w) float32, final: of the scorer's size (S,S) without tiles, of the photo's own size with tiles; None where
    the scorer has none. views: into how many tiles it was cut, or 1. scaled: whether the region's mask has another size
    than the photo. The rest is as of `ReadPhoto`.
    """

    photo: Photo
    score: float
    map: NDArray[np.float32] | None
    width: int
    height: int
    thumbnail: NDArray[np.uint8]
    views: int
    done: tuple[str, ...]
    scaled: bool = False


def inspect(
    photos: Sequence[Photo], scorer: Scorer, setting: Setting, batch_size: int = 8, workers: int | None = None
) -> Iterator[Inspected | Unread]:
    """Each photo, scored; or why it could not be. Those that could not be read may come before their turn.

    Memory: some photos in tiles, two arrays of a photo's size, and a batch.

    Raises:
        UsageError: a region or tiles, and a scorer without maps. What the scorer raises.
    """
    waiting: list[ReadPhoto] = []
    for item in read(photos, scorer.image_size, setting.tiling, workers):
        if isinstance(item, ReadPhoto) and setting.region is not None:
            try:
                require_fit(setting.region, item.photo.name, item.width, item.height)
            except DatasetError as error:
                item = Unread(item.photo, str(error))
        if isinstance(item, Unread):
            yield item
            continue
        waiting.append(item)
        if sum(len(each.views) for each in waiting) >= batch_size:
            yield from _score(waiting, scorer, setting, batch_size)
            waiting = []
    if waiting:
        yield from _score(waiting, scorer, setting, batch_size)


def _score(photos: Sequence[ReadPhoto], scorer: Scorer, setting: Setting, batch_size: int) -> Iterator[Inspected]:
    views = np.concatenate([photo.views for photo in photos])
    samples = [
        SampleInfo(photo.photo.name if len(photo.boxes) == 1 else f"{photo.photo.name}#{number}", setting.category)
        for photo in photos for number in range(len(photo.boxes))
    ]  # fmt: skip
    sizes = [(box.height, box.width) for photo in photos for box in photo.boxes]
    scores: list[float] = []
    maps: list[NDArray[np.float32]] = []
    for start in range(0, len(views), batch_size):
        part = slice(start, start + batch_size)
        images = torch.from_numpy(views[part])
        found = scorer(ImageBatch(images, samples[part], sizes[part], scorer.normalisation))
        scores += found.score.tolist()
        maps += [] if found.map is None else list(found.map.numpy())
    if not maps and (setting.tiling or setting.region):
        raise UsageError(f"{scorer.title} gives no maps, which tiles and a region need; leave out --tiles and --roi")
    start = 0
    for photo in photos:
        part = slice(start, start + len(photo.boxes))
        start = part.stop
        yield _together(photo, scores[part], maps[part], setting)


def _together(
    photo: ReadPhoto, scores: Sequence[float], maps: Sequence[NDArray[np.float32]], setting: Setting
) -> Inspected:
    score, map_, scaled = max(scores), maps[0] if maps else None, False
    if setting.tiling is not None:
        of_boxes = [tiles.resized(one, box.width, box.height) for one, box in zip(maps, photo.boxes, strict=True)]
        map_ = tiles.blend(of_boxes, photo.boxes, photo.width, photo.height)
    if setting.region is not None and map_ is not None:
        inside = setting.region.at(map_.shape[1], map_.shape[0])
        if not inside.any():
            raise DatasetError(
                f"{photo.photo.name}: the region is smaller than a pixel of the map ({map_.shape[1]} x "
                f"{map_.shape[0]}); give a larger region, or --tiles"
            )
        score = float(map_[inside].max())
        scaled = (photo.width, photo.height) != setting.region.mask.size
    return Inspected(
        photo.photo, score, map_, photo.width, photo.height, photo.thumbnail, len(photo.boxes), photo.done, scaled
    )
