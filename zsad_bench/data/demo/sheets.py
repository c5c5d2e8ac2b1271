"""What the textures share: turned coordinates, line and cell patterns, and the surface behind a texture.

Axes: H W rows and columns, 3 RGB, both sides canvas.SIZE unless said otherwise. Lengths are pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import SIZE, Scene, fill, pick_colour

SHEET = 180  # side of a sheet that crop_texture cuts a turned view out of
MARGIN = 8  # pixels drawn around a cell pattern, so that the cells at its edge are whole
ROWS, COLS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def turned_axes(rng: Generator, wobble: float = 0.0, free: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Two (H,W) float32 coordinates in pixels, along and across a pattern in a random pose.

    wobble: how far, in pixels, a smooth bending moves them. free: the share of poses at any angle; the others are
    within six degrees of upright, as surfaces are mostly photographed.
    """
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() >= free:
        angle = rng.integers(4) * np.pi / 2 + np.deg2rad(rng.uniform(-6, 6))
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    along = cos * COLS + sin * ROWS + rng.uniform(1000, 2000)  # far from 0: cell numbers are positive
    across = cos * ROWS - sin * COLS + rng.uniform(1000, 2000)
    if wobble:
        bend = wobble * np.sin(across / rng.uniform(12, 22) + rng.uniform(0, 6))
        across = across + wobble * np.sin(along / rng.uniform(12, 22) + rng.uniform(0, 6))
        along = along + bend
    return along, across


def to_line(axis: np.ndarray, pitch: float) -> np.ndarray:
    """Distance to the nearest of the lines that repeat every `pitch`; 0 to pitch/2."""
    turns = axis / pitch
    return np.abs(turns - np.rint(turns)) * pitch


def fraction(values: np.ndarray) -> np.ndarray:
    """What is left of each value above its whole part; [0, 1). Faster than % on arrays."""
    return values - np.floor(values)


def within(distance: np.ndarray, reach: float) -> np.ndarray:
    """1 where distance < reach, 0 beyond, with an edge one pixel soft."""
    return np.clip(reach - distance + 0.5, 0, 1)


def per_cell(rng: Generator, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """About a standard normal number for each cell of a lattice, over the pixels of the cell; float32.

    Held within 1.6: a cell that stands out would look like a defect.
    """
    table = np.clip(rng.standard_normal(4096), -1.6, 1.6).astype(np.float32)
    return table[(i.astype(np.int32) & 63) * 64 + (j.astype(np.int32) & 63)]


def pebbles(rng: Generator, pitch: float, jitter: float = 0.4, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Cells around the jittered points of a turned lattice: (labels (H,W) int32 from 1, inner (H,W) float32).

    inner is the distance to the border of the pixel's own cell. stretch > 1 makes the cells longer one way.
    """
    side = SIZE + 2 * MARGIN
    reach = 0.75 * side
    xs, ys = np.meshgrid(np.arange(-reach, reach, pitch * stretch), np.arange(-reach, reach, pitch))
    xs[1::2] += pitch * stretch / 2
    points = np.stack([xs.ravel(), ys.ravel()]) + rng.uniform(-jitter, jitter, (2, xs.size)) * pitch
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cells = np.round(turn @ points + side / 2).astype(int)
    cols, rows = cells[:, ((cells >= 0) & (cells < side)).all(0)]
    sites = np.full((side, side), 255, np.uint8)
    sites[rows, cols] = 0
    labels = cv2.distanceTransformWithLabels(sites, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    inside = np.full((side, side), 255, np.uint8)
    inside[:, 1:][labels[:, 1:] != labels[:, :-1]] = 0
    inside[1:][labels[1:] != labels[:-1]] = 0
    inner = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    view = slice(MARGIN, MARGIN + SIZE)
    return labels[view, view], inner[view, view]


def behind(rng: Generator, rgb: np.ndarray) -> np.ndarray:
    """(H,W,3): a dark or plain surface whose brightness clearly differs from that of `rgb`."""
    level = float(rgb @ LUMA)
    shade = rng.uniform(0.02, 0.14) + rng.normal(0, 0.01, 3)
    if level < 0.4 or rng.random() < 0.3:
        _, shade = pick_colour(rng)
        wanted = rng.uniform(0.6, 0.9) if level < 0.45 else level - rng.uniform(0.3, 0.45)
        shade = np.clip(shade * 0.5 + max(wanted, 0.02) - 0.5 * float(shade @ LUMA), 0, 1)
    return fill(np.clip(shade, 0, 1), (SIZE, SIZE))


def coloured(rgb: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """(H,W,3): one colour times a brightness (H,W) around 1."""
    return shade[..., None] * rgb


def surface(
    rng: Generator, image: np.ndarray, rgb: np.ndarray, name: str, background: np.ndarray | None = None
) -> Scene:
    """The Scene of a texture: everything is foreground; `behind` is laid under it unless a background is given."""
    background = behind(rng, rgb) if background is None else background
    return Scene(np.clip(image, 0, 1, dtype=np.float32), np.ones((SIZE, SIZE), bool), background, name)
