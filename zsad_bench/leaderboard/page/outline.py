"""The outline of a mask as an SVG path, sharp at any size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_Corner = tuple[int, int]


def outline(mask_HW: NDArray) -> str:
    """The border of a mask (bool), as closed lines of an SVG path; "" for an empty mask.

    One unit is one pixel, (0, 0) the corner of the first. The lines go through the middles of the edges between
    anomalous and normal pixels, so that slopes are not stairs. Holes have a line too.
    """
    after = _edges(np.pad(mask_HW.astype(bool), 1))
    parts = []
    while after:
        here = min(after)
        line = [here]
        while here in after:
            ends = after[here]
            end = ends.pop()
            if not ends:
                del after[here]
            here = end
            line.append(here)
        parts.append(_path(line))
    return "".join(parts)


def _edges(mask: NDArray) -> dict[_Corner, list[_Corner]]:
    """Corner (x, y) -> the corners that edges lead to from there, one pixel away, with the region on their right."""
    after: dict[_Corner, list[_Corner]] = {}
    # Of each side: where the neighbour is, then start and end of the edge relative to the pixel's corner.
    for dy, dx, (x0, y0), (x1, y1) in (
        (-1, 0, (0, 0), (1, 0)),
        (0, 1, (1, 0), (1, 1)),
        (1, 0, (1, 1), (0, 1)),
        (0, -1, (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(mask & ~np.roll(mask, (-dy, -dx), (0, 1))).tolist():
            after.setdefault((x - 1 + x0, y - 1 + y0), []).append((x - 1 + x1, y - 1 + y1))
    return after


def _path(line: list[_Corner]) -> str:
    """The closed subpath through the middles of the steps of a closed line; equal strokes become one."""
    middles = [((x0 + x1) / 2, (y0 + y1) / 2) for (x0, y0), (x1, y1) in pairwise(line)]
    strokes: list[list[float]] = []
    for (x0, y0), (x1, y1) in pairwise(middles):
        dx, dy = x1 - x0, y1 - y0
        if strokes and strokes[-1][:2] == [dx, dy]:
            strokes[-1][2] += 1
        else:
            strokes.append([dx, dy, 1])
    drawn = "".join(f"l{dx * n:g} {dy * n:g}" for dx, dy, n in strokes)
    return f"M{middles[0][0]:g} {middles[0][1]:g}{drawn}z"
