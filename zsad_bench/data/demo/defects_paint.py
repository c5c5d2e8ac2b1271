"""What the defects share: a place on the foreground, a patch there, a colour that shows, and mixing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import COLOURS, Scene, blob_points, polygon_mask

MARGIN = 5  # pixels


def mix(base: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H,W,3) float32: `over` (a picture or one colour) on `base`, where alpha (H,W) in [0,1] says so."""
    rows, columns = np.nonzero(alpha.any(1))[0], np.nonzero(alpha.any(0))[0]
    mixed = base.copy()
    if len(rows):
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part = mixed[box]
        over = np.asarray(over, np.float32)
        part += ((over[box] if over.ndim == 3 else over) - part) * alpha[box].astype(np.float32)[..., None]
    return mixed


def soften(mask: np.ndarray, sigma: float) -> np.ndarray:
    """(H,W) float32: the mask with a soft edge."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def spot(scene: Scene, rng: Generator) -> tuple[float, float]:
    """x, y of a random foreground pixel: anywhere on the thing, not only in its middle.

    Only the outermost rows and columns are left out, where all but a sliver of the defect would be cut off.
    """
    within = np.zeros_like(scene.foreground)
    within[MARGIN:-MARGIN, MARGIN:-MARGIN] = scene.foreground[MARGIN:-MARGIN, MARGIN:-MARGIN]
    inside = np.flatnonzero(within if within.any() else scene.foreground)
    row, column = divmod(int(inside[rng.integers(len(inside))]), scene.foreground.shape[1])
    return float(column), float(row)


def boundary_point(scene: Scene, rng: Generator) -> tuple[float, float]:
    """x, y of a random pixel on the outline of the thing, or of any of its pixels when it has none (a texture)."""
    solid = scene.foreground.astype(np.uint8)
    edge = np.flatnonzero(solid - cv2.erode(solid, np.ones((3, 3), np.uint8), borderValue=1))
    if len(edge) == 0:
        return spot(scene, rng)
    row, column = divmod(int(edge[rng.integers(len(edge))]), scene.foreground.shape[1])
    return float(column), float(row)


def blob_on(scene: Scene, rng: Generator, radius: float, wobble: float) -> np.ndarray:
    """(H,W) float32 in [0,1]: an irregular patch around a random spot, cut to the foreground."""
    return polygon_mask(scene.foreground.shape, blob_points(rng, spot(scene, rng), radius, wobble)) * scene.foreground


def tissue_tone(scene: Scene, mask: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """(3,) RGB: `tone` drawn towards the hue of what is under `mask`; nearly all the way in a gray-scale scan."""
    under = scene.image[mask > 0.5].mean(0) if (mask > 0.5).any() else scene.image.mean((0, 1))
    gray = (under.max() - under.min()) / (under.max() + 1e-3) < 0.3
    same_hue = under / (under.mean() + 1e-3) * tone.mean()
    return np.clip(tone + (0.92 if gray else 0.35) * (same_hue - tone), 0, 1)


def contrasting(scene: Scene, mask: np.ndarray, rng: Generator, names: Sequence[str] = tuple(COLOURS)) -> np.ndarray:
    """(3,) RGB of one of the named colours that stands out from what is under `mask`."""
    under = scene.image[mask > 0.5].mean(0) if (mask > 0.5).any() else scene.image.mean((0, 1))
    colours = np.array([COLOURS[name] for name in names], np.float32)
    away = np.abs(colours - under).max(1)
    clear = colours[away > 0.35]
    return clear[rng.integers(len(clear))] if len(clear) else colours[away.argmax()]
