"""Scenes and what every renderer of the demo suite shares: colour, noise, pose, light.

Axes: H W rows and columns, 3 RGB. Images are float32 in [0, 1]; randomness comes from the generator passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

Colour = Sequence[float] | np.ndarray  # (3,), RGB
SIZE = 112  # side of every generated image, pixels

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.76, 0.18, 0.16),
    "orange": (0.87, 0.50, 0.17),
    "yellow": (0.86, 0.77, 0.27),
    "green": (0.25, 0.55, 0.27),
    "teal": (0.17, 0.56, 0.56),
    "blue": (0.20, 0.36, 0.72),
    "purple": (0.49, 0.28, 0.62),
    "pink": (0.88, 0.56, 0.64),
    "brown": (0.46, 0.30, 0.18),
    "gray": (0.52, 0.52, 0.53),
    "white": (0.90, 0.90, 0.88),
    "black": (0.12, 0.12, 0.13),
}


@dataclass
class Scene:
    """An image before light and lens, taken apart so that a defect can remove, bend or repaint what is in it.

    image, background: (H,W,3) float32 in [0,1]; background is what shows where the thing is missing
    (a dark or plain surface behind a texture). foreground: (H,W) bool, the thing itself.
    colour: the name of its main colour, or "" when it has none worth naming.
    """

    image: np.ndarray
    foreground: np.ndarray
    background: np.ndarray
    colour: str = ""


def pick_colour(rng: Generator, names: Sequence[str] | None = None, jitter: float = 0.05) -> tuple[str, np.ndarray]:
    """A colour name and a slightly varied RGB (3,) of it."""
    pool = list(names or COLOURS)
    name = pool[rng.integers(len(pool))]
    return name, np.clip(np.array(COLOURS[name]) + rng.normal(0, jitter, 3), 0, 1).astype(np.float32)


def fill(rgb: Colour, shape: tuple[int, int]) -> np.ndarray:
    """(H,W,3) of one colour."""
    return np.broadcast_to(np.asarray(rgb, np.float32), (*shape, 3)).copy()


def smooth_noise(rng: Generator, shape: tuple[int, int], scale: float, octaves: int = 3) -> np.ndarray:
    """(H,W) float32 value noise with mean 0 and standard deviation 1; `scale` is the size of its blobs in pixels."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(scale / 2**octave, 1.0)
        coarse = rng.standard_normal((int(height / step) + 3, int(width / step) + 3)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return (total - total.mean()) / (total.std() + 1e-6)


def blend(base: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`over` painted on `base` where alpha (H,W) in [0,1] says so; (H,W,3) float32."""
    alpha = alpha[..., None].astype(np.float32)
    return base * (1 - alpha) + over * alpha


def polygon_mask(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """(H,W) float32 in [0,1], antialiased, inside the polygon of (n,2) x, y points."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(points) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def ellipse_mask(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0
) -> np.ndarray:
    """(H,W) float32 in [0,1], antialiased, inside the ellipse; centre and radii as x, y; angle in degrees."""
    mask = np.zeros(shape, np.uint8)
    fixed = [tuple(round(v * 16) for v in pair) for pair in (centre, radii)]
    cv2.ellipse(mask, fixed[0], fixed[1], angle, 0, 360, 255, -1, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def line_mask(shape: tuple[int, int], points: np.ndarray, thickness: int) -> np.ndarray:
    """(H,W) float32 in [0,1], antialiased, along the open polyline of (n,2) x, y points."""
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(mask, [np.round(np.asarray(points) * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def blob_points(
    rng: Generator, centre: tuple[float, float], radius: float, wobble: float = 0.25, n: int = 24
) -> np.ndarray:
    """(n,2) x, y points of a smooth irregular closed outline around `centre`."""
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radii = np.ones(n)
    for harmonic in (2, 3, 5):
        radii += wobble / harmonic * rng.normal() * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    radii = radius * np.clip(radii, 0.35, 1.8)
    return np.stack([centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)], 1)


def plain_background(rng: Generator, size: int = SIZE) -> np.ndarray:
    """(size,size,3): a calm surface to lay an object on: plain, gently shaded or faintly grained."""
    _, rgb = pick_colour(rng, jitter=0.08)
    rgb = rgb * rng.uniform(0.25, 0.6) + rng.uniform(0.1, 0.5)
    surface = fill(np.clip(rgb, 0, 1), (size, size))
    if rng.random() < 0.6:
        surface += 0.025 * rng.uniform(0.3, 1) * smooth_noise(rng, (size, size), rng.uniform(3, 30))[..., None]
    return np.clip(surface, 0, 1)


def place(
    rng: Generator, rgba: np.ndarray, background: np.ndarray, *, fill_share: tuple[float, float] = (0.7, 1.15)
) -> tuple[np.ndarray, np.ndarray]:
    """A square RGBA drawing in a random pose on a background: (image, foreground bool), both background-sized.

    rgba: (h,h,4) float32, the thing about filling its canvas. Rotation is free, scale is a share of the side;
    shares above 0.9 and the shift leave the thing off-centre and now and then cropped, so that the middle of
    the image is no safe bet.
    """
    size, side = background.shape[0], rgba.shape[0]
    scale = rng.uniform(*fill_share) * size / side
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), rng.uniform(0, 360), scale)
    if rng.random() < 0.5:
        matrix[:, 0] *= -1
        matrix[:, 2] += -matrix[:, 0] * (side - 1)
    matrix[:, 2] += (size - side) / 2 + rng.uniform(-0.17, 0.17, 2) * size
    premultiplied = np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1).astype(np.float32)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if scale < 1:
        premultiplied = cv2.GaussianBlur(premultiplied, (0, 0), max(0.35 / scale, 0.3))
        flags = cv2.INTER_LINEAR
    moved = np.clip(cv2.warpAffine(premultiplied, matrix, (size, size), flags=flags), 0, 1)
    alpha = moved[..., 3]
    return background * (1 - alpha[..., None]) + moved[..., :3], alpha > 0.5


def crop_texture(rng: Generator, sheet: np.ndarray, size: int = SIZE, *, rotate: bool = True) -> np.ndarray:
    """A random turned and zoomed (size,size,3) view out of a larger square sheet (at least 1.6 times the size)."""
    side = sheet.shape[0]
    scale = rng.uniform(0.95, 1.2)
    angle = rng.uniform(0, 360) if rotate else rng.choice([0, 90, 180, 270]) + rng.uniform(-4, 4)
    slack = max((side - 1.42 * size / scale) / 2, 0)
    centre = (side - 1) / 2 + rng.uniform(-slack, slack, 2)
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), float(angle), scale)
    matrix[:, 2] += (size - 1) / 2 - centre
    return cv2.warpAffine(sheet, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def light_and_lens(rng: Generator, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same light, blur and noise on several (H,W,3) renders of one scene; uint8 in the same order."""
    size = images[0].shape[0]
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    direction = rng.uniform(0, 2 * np.pi)
    shade = 1 + rng.uniform(0, 0.25) * (rows * np.sin(direction) + cols * np.cos(direction))
    shade = shade * rng.uniform(0.8, 1.12)
    tint = 1 + rng.normal(0, 0.025, 3)
    gamma, blur = rng.uniform(0.85, 1.18), rng.uniform(0.0, 0.75)
    noise = rng.normal(0, rng.uniform(0.004, 0.02), images[0].shape)
    finished = []
    for image in images:
        lit = np.clip(image * shade[..., None] * tint, 0, 1) ** gamma
        if blur > 0.25:
            lit = cv2.GaussianBlur(lit.astype(np.float32), (0, 0), blur)
        finished.append(np.round(np.clip(lit + noise, 0, 1) * 255).astype(np.uint8))
    return finished
