"""Gradient noise (Perlin, An image synthesizer, SIGGRAPH 1985; Improving noise, SIGGRAPH 2002), equal bits everywhere.

Sums, products and comparisons of float64 are exact to the bit on every processor, which sines are not: gradients point
along eight directions. All draws come from the legacy `RandomState`, whose streams numpy has frozen.
"""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

_HALF = 0.7071067811865476  # the square root of a half
_DIRECTIONS = np.array(
    [(1, 0), (-1, 0), (0, 1), (0, -1), (_HALF, _HALF), (_HALF, -_HALF), (-_HALF, _HALF), (-_HALF, -_HALF)]
)
_OCTAVES = 3


def noise(rng: RandomState, shape: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """(H,W) float64 of mean 0, within [-1, 1]; cells: of the lattice, over the height and over the width, from 1."""
    (height, width), (rows, columns) = shape, (min(most, side) for most, side in zip(cells, shape, strict=True))
    gradients = _DIRECTIONS[rng.randint(0, len(_DIRECTIONS), (rows + 1, columns + 1))]
    row, down = _within(height, rows)
    column, right = _within(width, columns)
    corners = []
    for below in (0, 1):
        for beside in (0, 1):
            pull = gradients[row + below][:, column + beside]
            corners.append(pull[..., 0] * (down - below)[:, None] + pull[..., 1] * (right - beside)[None])
    fade_down, fade_right = _fade(down)[:, None], _fade(right)[None]
    top = corners[0] + fade_right * (corners[1] - corners[0])
    bottom = corners[2] + fade_right * (corners[3] - corners[2])
    # A dot product with a unit gradient is at most the square root of a half in the middle of a cell.
    return np.asarray((top + fade_down * (bottom - top)) / _HALF)


def fractal(rng: RandomState, shape: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """(H,W) float64 within [-1, 1]: noise of three octaves, each half as strong and twice as fine as the one before."""
    total, weight = np.zeros(shape), 0.0
    for octave in range(_OCTAVES):
        share = 0.5**octave
        total = total + share * noise(rng, shape, (cells[0] << octave, cells[1] << octave))
        weight += share
    return np.asarray(total / weight)


def enlarged(field: np.ndarray, shape: tuple[int, int], box: tuple[slice, slice]) -> np.ndarray:
    """(h,w) float64: a box of what the field is at another size (H,W), bilinear."""
    for axis, (wanted, part) in enumerate(zip(shape, box, strict=True)):
        size = field.shape[axis]
        place = ((np.arange(part.start, part.stop) + 0.5) * size / wanted - 0.5).clip(0, size - 1)
        first = np.floor(place).astype(np.int64)
        share = (place - first)[:, None] if axis == 0 else place - first
        low, high = field.take(first, axis), field.take(np.minimum(first + 1, size - 1), axis)
        field = low + share * (high - low)
    return field


def _within(size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(the cell of each pixel's middle, how far across the cell it lies, in [0, 1))."""
    place = (np.arange(size) + 0.5) * cells / size
    cell = np.minimum(np.floor(place).astype(np.int64), cells - 1)
    return cell, place - cell


def _fade(share: np.ndarray) -> np.ndarray:
    """Perlin's curve of 2002, whose first two derivatives vanish at both ends."""
    return np.asarray(share * share * share * (share * (share * 6 - 15) + 10))
