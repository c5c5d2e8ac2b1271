"""From a detector's boxes to a place in the image and a region of it: what FiLo makes of Grounding DINO's answer.

No network is needed for anything here. Written from the paper (arXiv 2404.13671) and the observed behaviour of the
released code (CASIA-IVA-Lab/FiLo, Apache-2.0, commit 36ff29c). Each `Reading` says what one step does: `official` as
the released code, `clean` as the step is described.

Axes: n boxes, H W pixels of a square image of `size`. Boxes are relative, (centre x, centre y, width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Reading = Literal["clean", "official"]

SIDE = 3  # cells in a row and in a column of the partition
ALL = -1  # the position of an image of which no cell is known: all nine


class Found(NamedTuple):
    """A detector's answer for one image. boxes: (n,4) relative. scores: (n,) in [0, 1]. phrases: n lower-case texts."""

    boxes: Tensor
    scores: Tensor
    phrases: list[str]


class Placed(NamedTuple):
    """position: a cell, row by row from the top left, or `ALL`. center: (x, y) in pixels.

    inside: (H,W) bool, the union of the accepted boxes; outside of it a map is attenuated.
    """

    position: int
    center: tuple[float, float]
    inside: Tensor


def candidates(boxes: Tensor, scores: Tensor, threshold: float, largest: float, no_box: Reading) -> Tensor:
    """(k,) numbers of the boxes whose score is above `threshold` and whose area is below `largest`, in their order.

    Without such a box, `official` takes the best of all boxes at any score and area, and `clean` takes no box.
    """
    passed = ((scores > threshold) & (boxes[:, 2] * boxes[:, 3] < largest)).nonzero()[:, 0]
    if no_box == "official" and not len(passed) and len(scores):
        return scores.argmax()[None]
    return passed


def is_accepted(phrase: str, wanted: Sequence[str], reading: Reading) -> bool:
    """Whether one of the wanted texts is part of a phrase.

    `official` compares letter by letter: a phrase is in lower case, so that a text with a capital letter, or a blank
    behind it, is never found. `clean` compares the texts in lower case and without blanks around them.
    """
    if reading == "clean":
        wanted = [text.strip().lower() for text in wanted]
    return any(text in phrase for text in wanted)


def best(scores: Tensor, reading: Reading) -> int:
    """The number of the best of one or more boxes.

    `official` compares the first four characters of each score, two decimals, and takes the last of equal ones;
    `clean` takes the highest score.
    """
    if reading == "clean":
        return int(scores.argmax())
    cut = [float(str(score)[:4]) for score in scores.tolist()]
    return max(range(len(cut)), key=lambda number: (cut[number], number))


def cell(center: tuple[float, float], size: int, reading: Reading) -> int:
    """The cell of the 3 x 3 partition that a point (x, y) in pixels is in, row by row.

    `official` has closed cells of whole pixels, at 518 px 0..172, 173..344 and 345..517; a point between two of them,
    or outside all, is in no cell: `ALL`. `clean` takes the nearest one.
    """
    edges = [round(size * part / SIDE) for part in range(SIDE + 1)]
    spans = [(first, after - 1) for first, after in pairwise(edges)]
    places = []
    for value in center:
        if reading == "clean":
            distances = [max(first - value, value - last) for first, last in spans]
            places.append(distances.index(min(distances)))
            continue
        within = [i for i, (first, last) in enumerate(spans) if first <= value <= last]
        if not within:
            return ALL
        places.append(within[0])
    column, row = places
    return row * SIDE + column


def inside(boxes_xyxy: Tensor, size: int, reading: Reading) -> Tensor:
    """(H,W) bool: the union of boxes (n,4) given by their corners in pixels.

    Corners are cut to whole pixels. `official` takes a negative one for a distance from the far edge, as a Python slice
    does, which leaves most such boxes empty; `clean` moves all corners into the image first.
    """
    region = torch.zeros(size, size, dtype=torch.bool, device=boxes_xyxy.device)
    for left, top, right, bottom in boxes_xyxy.clamp(0, size).tolist() if reading == "clean" else boxes_xyxy.tolist():
        region[int(top) : int(bottom), int(left) : int(right)] = True
    return region


def place(
    boxes: Tensor,
    scores: Tensor,
    accepted: Sequence[bool],
    size: int,
    cells: Reading = "clean",
    best_box: Reading = "clean",
    no_box: Reading = "clean",
    region: Reading = "clean",
) -> Placed:
    """What the boxes (n,4), with their scores (n,) and whether their phrase was accepted, say of an image.

    Where none is accepted, `no_box` decides: `official` takes the centre for the place and attenuates the whole map,
    `clean` knows no place and attenuates nothing.
    """
    kept = torch.tensor([number for number, yes in enumerate(accepted) if yes], dtype=torch.int64, device=boxes.device)
    if not len(kept):
        middle = (size / 2, size / 2)
        untouched = torch.full((size, size), no_box == "clean", device=boxes.device)
        return Placed(cell(middle, size, cells) if no_box == "official" else ALL, middle, untouched)
    pixels = boxes[kept] * size
    # In the released code's order of operations: another order rounds some corners to another pixel.
    first = pixels[:, :2] - pixels[:, 2:] / 2
    last = pixels[:, 2:] + first
    x, y = ((first + last) / 2)[best(scores[kept], best_box)].tolist()
    return Placed(cell((x, y), size, cells), (x, y), inside(torch.cat([first, last], 1), size, region))
