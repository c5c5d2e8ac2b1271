"""The pictures of a page: which of those on disk go in, small enough, each image once."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zsad_bench.leaderboard.page.outline import outline
from zsad_bench.leaderboard.page.provenance import packed
from zsad_bench.leaderboard.tables.leaderboard_tables import Report
from zsad_bench.leaderboard.tables.mixed_rows import LINE
from zsad_bench.results.pictures import Kind, Picture, read_pictures

SIDE = 128  # pixels of the longer side, at most
QUALITY = {"image": 80, "map": 60}  # of WebP; a map is smooth, and its colours are the page's own
PICTURE = "data:image/webp;base64,"  # what each picture of a page begins with
_KINDS: tuple[Kind, ...] = ("largest", "worst", "best", "false_alarm")  # what goes in first where not all fit
_CARD = 150  # bytes of a card's own text, about


@dataclass
class Gallery:
    """cards: one per picture shown. images: data URI, outline, width and height. maps: data URIs.

    values: names of the per-image metrics, as a card's `values` has them. private: titles of the targets whose pictures
    are shown but may not be passed on; withheld: target title -> such pictures that are not shown. too_many: what did
    not fit. licences: target title -> licence of what is shown.
    """

    cards: list[dict[str, Any]] = field(default_factory=list)
    images: list[list[Any]] = field(default_factory=list)
    maps: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    private: list[str] = field(default_factory=list)
    withheld: dict[str, int] = field(default_factory=dict)
    too_many: int = 0
    licences: dict[str, str] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """As JSON can hold it, the cards as columns."""
        names = self.cards[0] if self.cards else ()
        columns = {name: packed([card[name] for card in self.cards]) for name in names}
        return vars(self) | {"cards": columns, "n": len(self.cards)}


def gather(report: Report, folder: Path, limit: int, photos: bool = False) -> Gallery:
    """The pictures of each line's first run (the lowest draw, then seed) on each target, up to `limit` bytes.

    photos: also those of datasets that may not be redistributed.

    Raises:
        RowError: a damaged picture.
    """
    gallery, shown = Gallery(), []
    for line, target, key, picture in sorted(_found(report, folder), key=_order):
        title = report.layout.title(target)
        free = picture.about.get("redistribute") is True
        if photos or free:
            shown.append((line, target, key, picture))
            if not free and title not in gallery.private:
                gallery.private.append(title)
            gallery.licences[title] = str(picture.about.get("licence") or "not known")
        else:
            gallery.withheld[title] = gallery.withheld.get(title, 0) + 1
    gallery.values = list(dict.fromkeys(name for *_, picture in shown for name in picture.values))
    images: dict[str, int] = {}
    maps: dict[str, int] = {}
    for line, target, key, picture in shown:
        name, map_ = picture.files["image"], _map(picture)
        image = [] if name in images else _image(picture)
        limit -= _CARD + sum(map(len, image[:2])) + (0 if map_ in maps else len(map_ or ""))
        if limit < 0:
            gallery.too_many += 1
            continue
        if image:
            gallery.images.append(image)
        gallery.cards.append({
            "line": line, "target": target, "category": picture.category, "kind": picture.kind, "key": key,
            "id": picture.id, "label": picture.label, "score": _short(picture.score), "low": _short(picture.low),
            "high": _short(picture.high), "values": tuple(_short(picture.values.get(n)) for n in gallery.values),
            "image": images.setdefault(name, len(images)), "map": maps.setdefault(map_, len(maps)) if map_ else None,
        })  # fmt: skip
    gallery.maps = list(maps)
    return gallery


def _found(report: Report, folder: Path) -> Iterator[tuple[int, str, str, Picture]]:
    """Line, target, key and picture of the first run of each line on each target that has any."""
    lines = report.places()
    keys: dict[tuple[int, str], set[tuple[int, int, str]]] = defaultdict(set)
    cells = set(map(attrgetter("target", "draw", "seed", "key", *LINE), report.rows))
    for target, draw, seed, key, *values in cells:
        if (folder / key).is_dir():
            keys[lines[tuple(values)], target].add((draw, seed, key))
    for (line, target), runs in keys.items():
        key = min(runs)[2]
        yield from ((line, target, key, picture) for picture in read_pictures(folder, key))


def _order(found: tuple[int, str, str, Picture]) -> tuple:
    line, target, _, picture = found
    return _KINDS.index(picture.kind), target, picture.category, line


def _image(picture: Picture) -> list[Any]:
    image, mask = Image.fromarray(picture.image()).convert("RGB"), picture.mask()
    image = image.resize(_size(image.size), Image.Resampling.BOX)
    path = ""
    if mask is not None and mask.any():
        small = Image.fromarray(mask.astype(np.uint8) * 255).resize(image.size, Image.Resampling.BOX)
        path = outline(np.asarray(small) > 127)
    return [_uri(image, QUALITY["image"]), path, *image.size]


def _map(picture: Picture) -> str | None:
    values = picture.map()
    if values is None:
        return None
    grey = Image.fromarray(np.round(values * 255).astype(np.uint8))
    return _uri(grey.resize(_size(grey.size), Image.Resampling.BOX).convert("RGB"), QUALITY["map"])


def _size(size: tuple[int, int]) -> tuple[int, int]:
    share = min(1, SIDE / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def _uri(image: Image.Image, quality: int) -> str:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality, method=4)
    return PICTURE + base64.b64encode(content.getvalue()).decode()


def _short(value: float | None) -> float | None:
    """Five digits that count: enough for a caption."""
    return None if value is None else float(f"{value:.5g}")
