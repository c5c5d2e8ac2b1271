# pytest tests/data/test_perlin.py
"""Perlin noise against a slow one written point by point, and its enlargement against Pillow's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import RandomState
from PIL import Image

from zsad_bench.data import perlin

EIGHT = [(1, 0), (-1, 0), (0, 1), (0, -1)] + [(a / math.sqrt(2), b / math.sqrt(2)) for a in (1, -1) for b in (1, -1)]


def at(y: float, x: float, gradients) -> float:
    """Perlin's definition: dot products with the gradients of the four corners, mixed by 6t^5 - 15t^4 + 10t^3."""
    row, column = int(y), int(x)
    total = 0.0
    for i in (row, row + 1):
        for j in (column, column + 1):
            weight = 1.0
            for distance in (abs(y - i), abs(x - j)):
                t = 1 - distance
                weight *= 6 * t**5 - 15 * t**4 + 10 * t**3
            towards = EIGHT[gradients[i, j]]
            total += weight * (towards[0] * (y - i) + towards[1] * (x - j))
    return total * math.sqrt(2)  # the largest value there can be is then 1


@pytest.mark.parametrize(("shape", "cells"), [((13, 8), (3, 2)), ((5, 40), (1, 16)), ((1, 1), (4, 4))])
def test_noise_is_perlins(shape, cells):
    found = perlin.noise(RandomState(3), shape, cells)
    rows, columns = min(cells[0], shape[0]), min(cells[1], shape[1])
    gradients = RandomState(3).randint(0, 8, (rows + 1, columns + 1))
    slow = [[at((i + 0.5) * rows / shape[0], (j + 0.5) * columns / shape[1], gradients) for j in range(shape[1])]
            for i in range(shape[0])]  # fmt: skip
    assert found == pytest.approx(np.array(slow), abs=1e-12)


def test_noise_fills_its_range_and_stays_in_it():
    fields = [
        make(RandomState(seed), (300, 500), (8, 4)) for seed in range(4) for make in (perlin.noise, perlin.fractal)
    ]
    assert max(np.abs(field).max() for field in fields) <= 1
    assert all(field.min() < -0.4 and field.max() > 0.4 and abs(field.mean()) < 0.2 for field in fields)


def test_enlarging_is_bilinear():
    field = RandomState(0).uniform(size=(7, 5))
    wanted = np.asarray(Image.fromarray(field.astype(np.float32)).resize((35, 21), Image.Resampling.BILINEAR))
    for rows, columns in ((slice(0, 21), slice(0, 35)), (slice(3, 8), slice(20, 21))):
        found = perlin.enlarged(field, (21, 35), (rows, columns))
        assert found == pytest.approx(wanted[rows, columns], abs=1e-5)
    assert (perlin.enlarged(field, (7, 5), (slice(0, 7), slice(0, 5))) == field).all()
