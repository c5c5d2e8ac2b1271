"""DIVE's figure 3: images in lines, methods in columns, a map with the outline of the mask in each place."""

from __future__ import annotations

from collections.abc import Sequence

from zsad_bench.leaderboard.figures.map_grid import ImageMaps, licences, tile
from zsad_bench.leaderboard.figures.style import Drawn, sheet
from zsad_bench.leaderboard.tables.published import Facts

AT_MOST = 8  # images
_TILE, _HEAD = 1.05, 0.75  # inches


def draw(images: Sequence[ImageMaps], facts: Facts, note: Sequence[str]) -> Drawn:
    """A line per image: itself, and the map of each method that has one. note: first sentences of the caption."""
    methods = list(dict.fromkeys(name for image in images for name in image.pictures))
    size = (1.0 + _TILE * (len(methods) + 1), _HEAD + _TILE * len(images) + 0.3)
    caption = [
        *note,
        "The image with the largest defect of a category unless it was named, the same for every method. The colours "
        "of a map run from its lowest to its highest value: they show where, not how sure. The line is the outline of "
        "the mask.",
        licences(images),
    ]
    drawn = sheet(*size, "Anomaly maps", caption)
    grid = drawn.figure.subplots(len(images), len(methods) + 1, squeeze=False)
    for line, image in zip(grid, images, strict=True):
        mask = image.any.mask()
        tile(line[0], image.any.image(), mask)
        line[0].set_ylabel(f"{facts.title(image.dataset)}\n{image.category}", rotation=0, ha="right", va="center")
        for panel, method in zip(line[1:], methods, strict=True):
            map_ = image.map(method)
            if map_ is not None:
                tile(panel, map_, mask)
            else:
                panel.set_axis_off()
                panel.text(0.5, 0.5, "not kept", ha="center", va="center", transform=panel.transAxes)
    for panel, name in zip(grid[0], ["image, mask", *methods], strict=True):
        panel.set_title(name)
    return drawn
