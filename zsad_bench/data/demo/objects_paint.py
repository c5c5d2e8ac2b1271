"""What the object renderers share: a square RGBA drawing in progress, its shapes and how it becomes a scene.

Coordinates are x to the right and y down, in units of half the canvas: (0, 0) is the middle, 1 an edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import (
    Colour,
    Scene,
    ellipse_mask,
    line_mask,
    place,
    plain_background,
    polygon_mask,
    smooth_noise,
)

SIDE = 128  # of a drawing, pixels: a little above the finished size, so that `place` seldom has to magnify
SHAPE = (SIDE, SIDE)
HALF = SIDE / 2
# Where every pixel of the canvas is, in both kinds of coordinates.
ys, xs = (np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) - (HALF - 0.5)) / HALF
radii = np.hypot(xs, ys)
angles = np.arctan2(ys, xs)


def pixels(points: np.ndarray | Sequence[tuple[float, float]]) -> np.ndarray:
    """(n,2) canvas pixels of points in half-canvas units."""
    return np.asarray(points, np.float32) * HALF + (HALF - 0.5)


def disc(radius: float, centre: tuple[float, float] = (0, 0)) -> np.ndarray:
    """(S,S) antialiased disc."""
    return oval(radius, radius, centre)


def oval(width: float, height: float, centre: tuple[float, float] = (0, 0), angle: float = 0) -> np.ndarray:
    """(S,S) antialiased ellipse; half axes, degrees."""
    x, y = pixels([centre])[0]
    return ellipse_mask(SHAPE, (float(x), float(y)), (width * HALF, height * HALF), angle)


def polygon(points: np.ndarray | Sequence[tuple[float, float]]) -> np.ndarray:
    """(S,S) antialiased polygon."""
    return polygon_mask(SHAPE, pixels(points))


def line(points: np.ndarray | Sequence[tuple[float, float]], thickness: float) -> np.ndarray:
    """(S,S) antialiased open polyline; thickness in percent of the side."""
    return line_mask(SHAPE, pixels(points), max(1, round(thickness * SIDE / 100)))


def round_box(width: float, height: float, corner: float, centre: tuple[float, float] = (0, 0)) -> np.ndarray:
    """(S,S) antialiased box with round corners; half width, half height, corner radius."""
    dx = np.abs(xs - centre[0]) - (width - corner)
    dy = np.abs(ys - centre[1]) - (height - corner)
    distance = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner
    return np.clip(0.5 - distance * HALF, 0, 1)


def ring_points(n: int, radius: float, start: float = 0) -> np.ndarray:
    """(n,2) points evenly on a circle: the corners of a regular polygon."""
    turns = start + np.arange(n) * (2 * np.pi / n)
    return radius * np.stack([np.cos(turns), np.sin(turns)], 1)


def dome(radius: float, centre: tuple[float, float] = (0, 0)) -> np.ndarray:
    """(S,S) in [-1,1]: how a round pillow of this radius catches light from the upper left."""
    x, y = (xs - centre[0]) / radius, (ys - centre[1]) / radius
    return np.clip(-(x + y) * 0.75, -1, 1) * np.clip(np.hypot(x, y), 0, 1) ** 1.5


class Drawing:
    """An RGBA canvas: `paint` colours, `shade` lights, `clear` cuts openings; each returns the drawing itself.

    Kept as colour planes (3,S,S), and painted only in a mask's bounding box: several times faster than (S,S,3).
    """

    def __init__(self, rgb: Colour):
        self.planes = np.empty((3, *SHAPE), np.float32)
        self.planes[:] = np.asarray(rgb, np.float32)[:, None, None]
        self.alpha = np.zeros(SHAPE, np.float32)

    def body(self, mask: np.ndarray, rgb: Colour | None = None) -> Drawing:
        """Extends the thing by `mask`, in its own colour or a given one."""
        np.maximum(self.alpha, mask, out=self.alpha)
        return self if rgb is None else self.paint(mask, rgb)

    def paint(self, mask: np.ndarray, rgb: Colour, opacity: float = 1.0) -> Drawing:
        """Colours what is already there."""
        left, top, width, height = cv2.boundingRect((mask > 0.004).astype(np.uint8))
        box = np.s_[top : top + height, left : left + width]
        part = self.planes[:, box[0], box[1]]
        part += (np.clip(np.asarray(rgb, np.float32), 0, 1)[:, None, None] - part) * (mask[box] * np.float32(opacity))
        return self

    def shade(self, amount: np.ndarray, mask: np.ndarray | float = 1.0) -> Drawing:
        """Brightens (positive) or darkens (negative) by a share of the colour, plus a little white for sheen."""
        amount = (amount * mask).astype(np.float32)
        self.planes *= 1 + amount
        self.planes += 0.15 * np.maximum(amount, 0)
        np.clip(self.planes, 0, 1, out=self.planes)
        return self

    def grain(self, rng: Generator, strength: float, scale: float) -> Drawing:
        """A faint natural unevenness."""
        return self.shade(strength * smooth_noise(rng, SHAPE, scale, octaves=2))

    def clear(self, mask: np.ndarray) -> Drawing:
        """Cuts a regular opening: the background shows."""
        self.alpha *= 1 - mask
        return self

    def scene(self, rng: Generator, colour: str, fill_share: tuple[float, float] = (0.75, 1.2)) -> Scene:
        """The drawing in a random pose on a plain surface that it stands out from."""
        mean = (self.planes * self.alpha).sum((1, 2)) / max(float(self.alpha.sum()), 1.0)
        background = plain_background(rng).astype(np.float32)
        surface = np.array(cv2.mean(background)[:3])
        # A thing in the colour of its surface would hide what is missing from it.
        if np.abs(surface - mean).max() < 0.2:
            background = np.clip(background + np.float32(0.3 if mean.mean() < 0.5 else -0.3), 0, 1)
        image, foreground = place(rng, cv2.merge([*self.planes, self.alpha]), background, fill_share=fill_share)
        return Scene(np.clip(image, 0, 1).astype(np.float32), foreground, background, colour)
