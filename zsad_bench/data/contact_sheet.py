"""A contact sheet: a row of small images per category, normal ones left, anomalous ones right, their masks outlined;
or a grid of images in any order.

Pure functions of images; nothing here knows a dataset. Axes: H W of an image as it is shown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from zsad_bench.types import Sample

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont  # the second where Pillow lacks FreeType
T = TypeVar("T")

BOX = 168  # longest side of an image as shown, pixels
_RING, _EDGE = 2, 1  # widths of the outline: bright, then dark around it
_FRAME = _RING + _EDGE  # around every image, so that an outline at its border has room
_GAP, _MARGIN, _LABEL = 10, 20, 136  # between images; around the sheet; most of the width of a category's label
_BRIGHT, _DARK = (0, 229, 255), (0, 0, 0)  # cyan is rare in products and in bodies; black shows where cyan would not
_PAPER, _LINE, _INK, _GREY, _RED = (255, 255, 255), (225, 225, 225), (20, 20, 20), (90, 90, 90), (178, 24, 43)
_MOST_LINES = 3  # of a piece of text


class Cell(NamedTuple):
    """An image as shown, RGB with the outline drawn, and what stands below it, one piece under the other."""

    picture: Image.Image
    captions: tuple[str, ...]


class Row(NamedTuple):
    """A category: its name, and the images of either label."""

    label: str
    normal: Sequence[Cell]
    anomalous: Sequence[Cell]


def choose(samples: Iterable[Sample], count: int) -> dict[str, tuple[list[Sample], list[Sample]]]:
    """category -> (at most `count` normal samples, at most `count` anomalous ones), categories in the order given.

    Normal ones are spread evenly over the table; anomalous ones take the types in turn, as many types as fit.
    """
    by_category: dict[str, tuple[list[Sample], list[Sample]]] = {}
    for sample in samples:
        by_category.setdefault(sample.category, ([], []))[sample.label].append(sample)
    return {name: (_spread(normal, count), _in_turn(bad, count)) for name, (normal, bad) in by_category.items()}


def cell(image: Image.Image, mask: Image.Image | None, captions: tuple[str, ...], box: int = BOX) -> Cell:
    """The image fitted into a square of `box` pixels, its aspect kept, the mask's regions outlined from outside.

    image: RGB, any size. mask: mode L of the same size, non-zero is anomalous; a single pixel of it stays visible.
    """
    scale = box / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    picture = Image.new("RGB", (width + 2 * _FRAME, height + 2 * _FRAME), _PAPER)
    picture.paste(_LINE, (_FRAME - 1, _FRAME - 1, _FRAME + width + 1, _FRAME + height + 1))  # white images have an edge
    picture.paste(small, (_FRAME, _FRAME))
    if mask is not None:
        region = np.pad(_shrunk(np.asarray(mask) > 0, height, width), _FRAME)
        ring, edge = _grown(region, _RING), _grown(region, _FRAME)
        pixels = np.array(picture)
        pixels[edge & ~ring], pixels[ring & ~region] = _DARK, _BRIGHT
        picture = Image.fromarray(pixels)
    return Cell(picture, captions)


def sheet(title: str, subtitle: str, rows: Sequence[Row], box: int = BOX) -> Image.Image:
    """The whole sheet, RGB: columns of equal width, rows as high as their highest image and longest caption."""
    fonts = {size: ImageFont.load_default(size) for size in (12, 15, 22)}
    labels = [_lines(row.label, fonts[15], _LABEL) for row in rows]
    normals = max((len(row.normal) for row in rows), default=0)
    anomalous = max((len(row.anomalous) for row in rows), default=0)
    pitch = box + 2 * _FRAME + _GAP
    start = (
        _MARGIN + round(max((fonts[15].getlength(line) for label in labels for line in label), default=0)) + 2 * _GAP
    )
    second = start + normals * pitch + (2 * _GAP if normals and anomalous else 0)
    width = max(second + anomalous * pitch - _GAP + _MARGIN, 480)
    heads = [(line, 22, _INK) for line in _lines(title, fonts[22], width - 2 * _MARGIN)]
    heads += [(line, 12, _GREY) for line in _lines(subtitle, fonts[12], width - 2 * _MARGIN)]
    words = _MARGIN + sum(_step(size) for _, size, _ in heads) + _GAP  # where `normal` and `anomalous` stand
    top = words + _step(15) + 2 * _GAP
    laid = []  # (top, label's lines, [(x, cell, its lines)], height of the images) of each row
    for row, label in zip(rows, labels, strict=True):
        cells = [
            (x + i * pitch, cell, [line for text in cell.captions for line in _lines(text, fonts[12], box + _FRAME)])
            for x, side in ((start, row.normal), (second, row.anomalous))
            for i, cell in enumerate(side)
        ]
        images = max((cell.picture.height for _, cell, _ in cells), default=0)
        text = _step(12) * max((len(lines) for _, _, lines in cells), default=0)
        laid.append((top, label, cells, images))
        top += max(images + text, _step(15) * len(label) + _FRAME) + 2 * _GAP
    canvas = Image.new("RGB", (width, top - 2 * _GAP + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)
    y = _MARGIN
    for line, size, colour in heads:
        draw.text((_MARGIN, y), line, colour, fonts[size])
        y += _step(size)
    for x, word, colour, there in ((start, "normal", _INK, normals), (second, "anomalous", _RED, anomalous)):
        if there:
            draw.text((x + _FRAME, words), word, colour, fonts[15])
    for top, label, cells, images in laid:
        draw.line((_MARGIN, top - _GAP, width - _MARGIN, top - _GAP), _LINE)
        _write(draw, (_MARGIN, top + _FRAME), label, _INK, fonts[15], _step(15))
        for x, cell, lines in cells:
            canvas.paste(cell.picture, (x, top + images - cell.picture.height))  # captions of a row are level
            _write(draw, (x + _FRAME, top + images), lines, _GREY, fonts[12], _step(12))
    return canvas


def grid(title: str, subtitle: str, cells: Sequence[Cell], columns: int = 6, box: int = BOX) -> Image.Image:
    """A sheet of cells row by row, RGB; the rows as high as their highest image and longest captions."""
    fonts = {size: ImageFont.load_default(size) for size in (12, 22)}
    pitch = box + 2 * _FRAME + _GAP
    width = max(2 * _MARGIN + columns * pitch - _GAP, 480)
    heads = [(line, 22, _INK) for line in _lines(title, fonts[22], width - 2 * _MARGIN)]
    heads += [(line, 12, _GREY) for line in _lines(subtitle, fonts[12], width - 2 * _MARGIN)]
    top = _MARGIN + sum(_step(size) for _, size, _ in heads) + 2 * _GAP
    laid = []  # (top, [(cell, its lines)], height of the images) of each row
    for start in range(0, len(cells), columns):
        row = [
            (cell, [line for text in cell.captions for line in _lines(text, fonts[12], box + _FRAME)])
            for cell in cells[start : start + columns]
        ]
        images = max(cell.picture.height for cell, _ in row)
        laid.append((top, row, images))
        top += images + _step(12) * max(len(lines) for _, lines in row) + 2 * _GAP
    canvas = Image.new("RGB", (width, top - _GAP + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)
    y = _MARGIN
    for line, size, colour in heads:
        draw.text((_MARGIN, y), line, colour, fonts[size])
        y += _step(size)
    for top, row, images in laid:
        for i, (cell, lines) in enumerate(row):
            x = _MARGIN + i * pitch
            canvas.paste(cell.picture, (x, top + images - cell.picture.height))  # captions of a row are level
            _write(draw, (x + _FRAME, top + images), lines, _GREY, fonts[12], _step(12))
    return canvas


def _spread(items: Sequence[T], count: int) -> list[T]:
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _in_turn(items: list[Sample], count: int) -> list[Sample]:
    types: dict[str, list[Sample]] = {}
    for sample in items:
        types.setdefault(sample.anomaly_type, []).append(sample)
    groups = _spread([types[name] for name in sorted(types)], count)  # more types than images: some of all of them
    turns = (sample for turn in zip_longest(*groups) for sample in turn if sample is not None)
    return sorted((sample for sample, _ in zip(turns, range(count), strict=False)), key=lambda s: s.anomaly_type)


def _shrunk(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H,W) bool of a mask of any size: a pixel is set where any of the mask's pixels below it is."""
    for axis, size in enumerate((height, width)):
        starts = np.arange(size) * mask.shape[axis] // size
        mask = np.logical_or.reduceat(mask, starts, axis=axis)
    return mask


def _grown(region: np.ndarray, pixels: int) -> np.ndarray:
    """(H,W) bool: the region and everything within so many pixels of it, diagonals included."""
    return np.asarray(Image.fromarray(region).convert("L").filter(ImageFilter.MaxFilter(2 * pixels + 1))) > 0


def _step(size: int) -> int:
    return size * 4 // 3


def _lines(text: str, font: Font, width: int) -> list[str]:
    """The text in at most `_MOST_LINES` lines of this width, broken at spaces and underscores; the rest is cut off."""
    lines: list[str] = []
    rest = " ".join(text.encode("utf-8", "replace").decode().split())
    while rest and len(lines) < _MOST_LINES:
        fits = len(rest)
        if font.getlength(rest) > width:
            last = len(lines) == _MOST_LINES - 1
            more = "…" if last else ""
            fitting = bisect_right(range(len(rest)), float(width), key=lambda n: font.getlength(rest[:n] + more))
            fits = max(1, fitting - 1)
            breaks = [i + 1 for i, letter in enumerate(rest[:fits]) if letter in " _-,/"]
            fits = fits if last or not breaks else breaks[-1]
            if last:
                lines.append(rest[:fits] + more)
                break
        lines.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    return lines


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    lines: Sequence[str],
    colour: tuple[int, int, int],
    font: Font,
    step: int,
) -> None:
    for i, line in enumerate(lines):
        draw.text((at[0], at[1] + i * step), line, colour, font)
