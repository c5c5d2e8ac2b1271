"""Organs and tissue as scanners, cameras and microscopes show them; each function returns one random healthy Scene.

The foreground is where a lesion can lie. Nothing here is anatomy: it only has to look alike within a class.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import SIZE, Scene, blend, blob_points, ellipse_mask, fill, polygon_mask, smooth_noise
from zsad_bench.data.demo.sheets import COLS, ROWS, fraction

SHAPE = (SIZE, SIZE)
MIDDLE = SIZE / 2


def _gray(values: np.ndarray) -> np.ndarray:
    """(H,W,3) from one channel."""
    return np.repeat(values[..., None].astype(np.float32), 3, 2)


def _rgb(values: np.ndarray | list[float]) -> np.ndarray:
    """The colour as float32: a double would turn every picture it touches into doubles."""
    return np.asarray(values, np.float32)


def _layers(base: np.ndarray, rgb: np.ndarray, *over: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(H,W,3): `rgb` at the brightness `base` (H,W), then each (colour, alpha (H,W)) painted on in turn.

    One matrix product: a third of the time of as many calls of blend.
    """
    weights = [base]
    for _, alpha in over:
        weights = [weight * (1 - alpha) for weight in weights] + [alpha]
    return np.stack(weights, -1) @ _rgb(np.stack([rgb, *(colour for colour, _ in over)]))


def _scene(image: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> Scene:
    return Scene(np.clip(image, 0, 1, dtype=np.float32), foreground, np.clip(background, 0, 1, dtype=np.float32))


def _soft(mask: np.ndarray, sigma: float = 0.8) -> np.ndarray:
    return cv2.GaussianBlur(mask, (0, 0), sigma)


def _radius(centre: np.ndarray, radii: np.ndarray, angle: float = 0.0) -> np.ndarray:
    """(H,W): 0 at the centre, 1 on the ellipse of these radii (x, y), turned by `angle` radians."""
    x, y = COLS - float(centre[0]), ROWS - float(centre[1])
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    across, down = (cos * x + sin * y) / float(radii[0]), (cos * y - sin * x) / float(radii[1])
    return np.sqrt(across * across + down * down)


def _speckle(rng: Generator, amount: float, scale: float = 2.5) -> np.ndarray:
    return amount * smooth_noise(rng, SHAPE, scale, octaves=1)


def liver(rng: Generator) -> Scene:
    """A grey slice through the trunk with one large even organ; the organ is foreground."""
    centre = MIDDLE + rng.uniform(-5, 5, 2)
    body = ellipse_mask(SHAPE, tuple(centre), (rng.uniform(50, 58), rng.uniform(42, 52)), rng.uniform(-8, 8))
    inner = _soft(cv2.erode(body, np.ones((7, 7), np.uint8)))
    side = int(rng.choice([-1, 1]))
    fat, muscle = rng.uniform(0.14, 0.24), rng.uniform(0.3, 0.4)
    flesh = fat + (muscle - fat) * inner + _speckle(rng, 0.015, 6)
    spot = (float(centre[0] - side * rng.uniform(6, 14)), float(centre[1] + rng.uniform(26, 32)))
    spine = _soft(ellipse_mask(SHAPE, spot, (rng.uniform(7, 9), rng.uniform(6, 8))))
    around = (flesh * (1 - spine) + 0.85 * spine) * body
    middle = (float(centre[0] + side * rng.uniform(6, 12)), float(centre[1] - rng.uniform(3, 8)))
    outline = blob_points(rng, middle, rng.uniform(26, 32), wobble=0.18)
    outline[:, 0] = middle[0] + (outline[:, 0] - middle[0]) * rng.uniform(1.0, 1.25)
    organ = _soft(polygon_mask(SHAPE, outline) * (inner > 0.9) * (1 - spine), 0.7)
    tissue = rng.uniform(0.52, 0.66) + _speckle(rng, 0.02) + _speckle(rng, 0.012, 20)
    image = around * (1 - organ) + tissue * organ
    return _scene(_gray(image), organ > 0.6, _gray(around))


def kidney(rng: Generator) -> Scene:
    """A bean with bright rind and darker rays toward its hollow side, on dim tissue; the bean is foreground."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    dent = rng.uniform(0.3, 0.45)
    bend = 1 - dent * np.exp(-((np.angle(np.exp(1j * angles)) / 0.55) ** 2))
    long, wide = rng.uniform(38, 48), rng.uniform(25, 31)
    bean = np.stack([wide * bend * np.cos(angles), long * np.sin(angles)], 1)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = MIDDLE + rng.uniform(-7, 7, 2)
    mask = _soft(polygon_mask(SHAPE, bean @ rotation.T + centre), 0.7)
    core_points = bean * [0.45, 0.6] + [wide * 0.12, 0]
    core = _soft(polygon_mask(SHAPE, core_points @ rotation.T + centre), 2.2)
    about = np.arctan2(ROWS - float(centre[1]), COLS - float(centre[0])) - turn
    rays = np.cos(int(rng.integers(9, 13)) * about) * (1 - core) * 0.035
    cortex, sinus = rng.uniform(0.5, 0.62), rng.uniform(0.72, 0.85)
    tissue = cortex + (sinus - cortex) * core + rays + _speckle(rng, 0.03)
    around = rng.uniform(0.1, 0.2) + _speckle(rng, 0.025, 5)
    return _scene(_gray(around * (1 - mask) + tissue * mask), mask > 0.6, _gray(around))


def skin(rng: Generator) -> Scene:
    """Skin filling the frame, with fine criss-cross lines, pores and many faint hairs lying one way."""
    light, dark = np.array([0.93, 0.76, 0.66]), np.array([0.50, 0.33, 0.25])
    share = rng.beta(1.2, 1.8)
    rgb = _rgb(light * (1 - share) + dark * share + rng.normal(0, 0.012, 3))
    bend = 1.5 * smooth_noise(rng, SHAPE, 14, octaves=1)
    first = rng.uniform(0, np.pi)
    lines = np.zeros(SHAPE, np.float32)
    for angle in (first, first + rng.uniform(1.0, 1.4)):
        across = float(np.cos(angle)) * COLS + float(np.sin(angle)) * ROWS + bend
        lines += np.cos(across * (2 * np.pi / rng.uniform(5, 8)))
    shade = 1 + 0.012 * lines + _speckle(rng, 0.025, 2) + _speckle(rng, 0.015, 25)
    flush = _speckle(rng, 0.008, 18)[..., None] * np.array([0.3, -1.0, -1.0], np.float32)
    hairs = np.zeros(SHAPE, np.uint8)
    lie = rng.uniform(0, 2 * np.pi)
    n = int(rng.integers(14, 30))
    roots, lean = rng.uniform(-10, SIZE + 10, (n, 2)), lie + rng.normal(0, 0.2, n)
    steps = np.linspace(0, 1, 6)[None] * rng.uniform(12, 22, (n, 1))
    curve = lean[:, None] + steps * rng.normal(0, 0.012, (n, 1))
    paths = roots[:, None] + steps[..., None] * np.stack([np.cos(curve), np.sin(curve)], -1)
    cv2.polylines(hairs, list(np.round(paths * 16).astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    strength = rng.uniform(0.1, 0.3) / 255 * _soft(hairs.astype(np.float32), 0.5)
    image = blend(np.clip(rgb * shade[..., None] + flush, 0, 1), rgb * 0.45, strength)
    return _scene(image, np.ones(SHAPE, bool), fill(rgb * rng.uniform(0.3, 0.5), SHAPE))


def _vessels(rng: Generator, root: np.ndarray, side: int) -> list[tuple[np.ndarray, int]]:
    """Paths (n,2) and thicknesses of vessels that leave `root`, arch to the far side, and fork."""
    paths = []
    for way in (-1, 1):
        for start, arch in ((1.15, rng.uniform(0.9, 1.2)), (2.2, rng.uniform(-0.3, 0.2))):
            steps = np.linspace(0, 1, 14)
            heading = way * (start - arch * steps) + rng.normal(0, 0.12, 14).cumsum() * 0.35
            move = np.stack([-side * np.cos(heading), np.sin(heading)], 1) * rng.uniform(5.5, 7)
            trunk = root + move.cumsum(0)
            paths.append((np.vstack([root, trunk]), 2))
            knots = rng.permutation(11)[:4] + 1
            turns = heading[knots] + rng.choice([-1, 1], 4) * rng.uniform(0.5, 0.9, 4)
            bends = turns[:, None] + rng.normal(0, 0.12, (4, 6)).cumsum(1)
            twigs = np.stack([-side * np.cos(bends), np.sin(bends)], -1) * rng.uniform(3, 5, (4, 1, 1))
            stems = trunk[knots][:, None]
            paths += [(path, 1) for path in np.concatenate([stems, stems + twigs.cumsum(1)], 1)]
    return paths


def retina(rng: Generator) -> Scene:
    """An orange-red disc on black with a bright nerve head on one side and vessels from it; the disc is foreground."""
    centre = MIDDLE + rng.uniform(-3, 3, 2)
    size = rng.uniform(48, 54)
    disc = ellipse_mask(SHAPE, tuple(centre), (size, size))
    rgb = _rgb(np.array([0.82, 0.40, 0.18]) * rng.uniform(0.75, 1.1) + rng.normal(0, 0.03, 3))
    side = int(rng.choice([-1, 1]))
    root = centre + np.array([side * size * rng.uniform(0.45, 0.6), rng.uniform(-6, 6)])
    shade = 1.08 - 0.3 * _radius(centre, np.array([size, size])) ** 2 + _speckle(rng, 0.015, 12)
    macula = np.exp(-(_radius(centre - [side * size * 0.15, 0], np.array([10.0, 10.0])) ** 2))
    red = np.zeros(SHAPE, np.uint8)
    paths = _vessels(rng, root, side)
    for thickness in (1, 2):
        drawn = [np.round(path * 16).astype(np.int32) for path, width in paths if width == thickness]
        cv2.polylines(red, drawn, False, 255, thickness, cv2.LINE_AA, 4)
    glow = _soft(ellipse_mask(SHAPE, tuple(root), (rng.uniform(6, 8), rng.uniform(7, 9))), 1.3)
    blood = rng.uniform(0.6, 0.85) / 255 * _soft(red.astype(np.float32), 0.5)
    dark = rng.uniform(0.0, 0.04, 3)
    nerve = (_rgb([0.98, 0.85, 0.55]), 0.9 * glow)
    vessels = (rgb * _rgb([0.62, 0.35, 0.4]), blood)
    image = _layers(shade - 0.18 * macula, rgb, nerve, vessels, (dark, 1 - disc))
    return _scene(image, disc > 0.5, fill(dark, SHAPE))


def lung(rng: Generator) -> Scene:
    """A chest X-ray: two dark lobes crossed by ribs, bright between and around; the lobes are foreground."""
    centre = (MIDDLE + rng.uniform(-4, 4), MIDDLE + rng.uniform(-4, 4))
    body = rng.uniform(0.55, 0.7)
    middle = np.exp(-(((np.arange(SIZE, dtype=np.float32)[None] - centre[0]) / 9) ** 2))
    around = body + 0.18 * middle + _speckle(rng, 0.02, 25) + np.zeros(SHAPE, np.float32)
    lobes = np.zeros(SHAPE, np.float32)
    wide, high, gap = rng.uniform(17, 21), rng.uniform(36, 44), rng.uniform(23, 27)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    for side in (-1, 1):
        x = np.cos(angles) * wide * rng.uniform(0.92, 1.05) * (1 + 0.25 * np.sin(angles))  # wider toward the base
        y = np.sin(angles) * high * rng.uniform(0.95, 1.03)
        y = np.where(y > 0, y * 0.85, y)
        lobe = np.stack([centre[0] + side * gap + x - side * 0.12 * y * (y < 0), centre[1] + y], 1)
        lobes = np.maximum(lobes, polygon_mask(SHAPE, lobe))
    lobes = _soft(lobes, 1.3)
    off = np.abs(COLS - centre[0])
    drop = ROWS + 0.012 * (off - 20) ** 2 - 0.35 * off
    ribs = np.clip(np.cos(2 * np.pi * drop / rng.uniform(13, 17)), 0, 1)
    markings = np.exp(-off / 18) * 0.08 + _speckle(rng, 0.018, 5)
    air = rng.uniform(0.18, 0.3) + rng.uniform(0.06, 0.12) * ribs + markings
    image = around * (1 - lobes) + air * lobes + 0.04 * ribs * (1 - lobes)
    return _scene(_gray(image), lobes > 0.7, _gray(around))


def brain(rng: Generator) -> Scene:
    """A grey slice: skull ring, folded rind, midline and two mirrored dark chambers; the tissue is foreground."""
    centre = MIDDLE + rng.uniform(-4, 4, 2)
    angle = rng.uniform(-0.3, 0.3)
    radii = np.array([rng.uniform(38, 43), rng.uniform(46, 52)])
    far = _radius(centre, radii, angle) + 0.012 * smooth_noise(rng, SHAPE, 30, octaves=1)
    scale = float(radii.mean())
    ring = np.clip(1.5 - np.abs(far - 0.96) * scale / 1.6, 0, 1)
    inside = np.clip((0.86 - far) * scale + 0.5, 0, 1)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    right, down = COLS - float(centre[0]), ROWS - float(centre[1])
    x, y = cos * right + sin * down, cos * down - sin * right
    swing = 1.1 * smooth_noise(rng, SHAPE, 11, octaves=2)
    folds = np.cos(2 * np.pi * (far * scale / rng.uniform(7, 9)) + 2.2 * swing)
    rind = np.clip((far - 0.42) / 0.2, 0, 1)
    white, grey = rng.uniform(0.58, 0.7), rng.uniform(0.36, 0.46)
    if rng.random() < 0.3:  # the other weighting of the scanner: rind brighter than core
        white, grey = grey, white
    tissue = white + (grey - white) * rind * (0.5 + 0.5 * folds) + _speckle(rng, 0.015)
    cleft = np.exp(-((x / 1.2) ** 2)) * (np.abs(y) > 0.3 * float(radii[1]))
    tissue = tissue * (1 - 0.6 * cleft)
    lean, reach, wide = rng.uniform(0.2, 0.35), rng.uniform(10, 13), rng.uniform(2.6, 3.6)
    away = np.abs(x) - (3.5 + lean * np.abs(y))
    chamber = _soft(np.clip(1.5 - np.hypot(away / wide, y / reach) ** 2, 0, 1), 0.6)
    tissue = tissue * (1 - 0.8 * chamber)
    dark = rng.uniform(0.01, 0.05)
    around = dark + ring * rng.uniform(0.6, 0.85)
    image = around * (1 - inside) + tissue * inside
    return _scene(_gray(image), (inside > 0.7) & (chamber < 0.3), _gray(np.full(SHAPE, dark, np.float32)))


def colon(rng: Generator) -> Scene:
    """A wet pink tube seen along its length: ring folds into the dark, glints, round view; the wall is foreground."""
    centre = MIDDLE + rng.uniform(-22, 22, 2)
    far = _radius(centre, np.array([60.0, 60.0]) * rng.uniform(0.85, 1.1, 2), rng.uniform(0, np.pi))
    far = np.maximum(far + 0.045 * smooth_noise(rng, SHAPE, 38, octaves=2), 0.02)
    saw = fraction(np.log(far + 0.12) * rng.uniform(2.2, 3.2) + rng.uniform(0, 1))
    fold = np.where(saw < 0.85, saw / 0.85, (1 - saw) / 0.15)  # slowly brighter, then a sharp edge
    depth = np.clip(far / 0.45, 0, 1) ** 0.7
    rgb = _rgb(np.array([0.86, 0.44, 0.40]) * rng.uniform(0.85, 1.1) + rng.normal(0, 0.015, 3))
    shade = (0.6 + 0.5 * _soft(fold, 1.0)) * (0.22 + 0.78 * depth) + _speckle(rng, 0.02, 6)
    wet = smooth_noise(rng, SHAPE, 5, octaves=1) + 1.8 * fold
    glint = 0.8 * np.clip((wet - 3.1) * 1.2, 0, 1) * np.clip(depth * 5 - 4, 0, 1)
    view = _radius(np.array([MIDDLE, MIDDLE]), np.full(2, rng.uniform(56, 64)))
    lens = np.clip((1 - view) * 60 + 0.5, 0, 1)
    image = _layers(shade, rgb, (np.ones(3), glint)) * (lens * (1.05 - 0.35 * view * view))[..., None]
    return _scene(image, (lens > 0.5) & (far > 0.3), fill(rng.uniform(0.0, 0.03, 3), SHAPE))


def cell(rng: Generator) -> Scene:
    """A stained smear: many round cells with a darker nucleus each on a pale ground; all of it is foreground."""
    stain = np.array([[0.62, 0.38, 0.66], [0.80, 0.48, 0.60], [0.45, 0.50, 0.74], [0.50, 0.62, 0.56]])
    body = _rgb(stain[rng.integers(4)] + rng.normal(0, 0.03, 3))
    ground = np.clip(_rgb(body * 0.2 + rng.uniform(0.68, 0.76) + rng.normal(0, 0.015, 3)), 0, 1)
    pitch = rng.uniform(16, 23)
    ys, xs = np.mgrid[-2 : SIZE + pitch : pitch * 0.87, -2 : SIZE + pitch : pitch]
    xs[1::2] -= pitch / 2
    n = ys.size
    centres = np.stack([xs.ravel(), ys.ravel()], 1) + rng.uniform(-0.16, 0.16, (n, 2)) * pitch
    radii = pitch * rng.uniform(0.38, 0.5, (n, 1)) * rng.uniform(0.9, 1.1, (n, 2))
    nuclei, shifts = radii * rng.uniform(0.38, 0.5, (n, 1)), rng.uniform(-0.18, 0.18, (n, 2)) * radii
    turns = rng.uniform(0, 360, n)
    canvas = np.zeros((*SHAPE, 3), np.uint8)  # channels: cell, membrane, nucleus
    fixed = [np.round(v * 16).astype(int).tolist() for v in (centres, radii, centres + shifts, nuclei)]
    for centre, radius, middle, kernel, turn in zip(*fixed, turns.tolist(), strict=True):
        cv2.ellipse(canvas, centre, radius, turn, 0, 360, (255, 255, 0), -1, cv2.LINE_AA, 4)
        cv2.ellipse(canvas, centre, [max(r - 22, 8) for r in radius], turn, 0, 360, (255, 0, 0), -1, cv2.LINE_AA, 4)
        cv2.ellipse(canvas, middle, kernel, turn, 0, 360, (255, 0, 255), -1, cv2.LINE_AA, 4)
    cover = _soft(canvas.astype(np.float32) / 255, 0.6)
    flesh = body * 0.45 + ground * 0.55
    light = (1 + _speckle(rng, 0.02)) * (1 + _speckle(rng, 0.008, 8))
    membrane, nucleus = (body * 0.85, 0.7 * cover[..., 1]), (body * 0.5, 0.9 * cover[..., 2])
    image = _layers(np.ones_like(light), ground, (flesh, cover[..., 0]), membrane, nucleus) * light[..., None]
    return _scene(image, np.ones(SHAPE, bool), fill(ground, SHAPE))


ORGANS: dict[str, Callable[[Generator], Scene]] = {
    "liver": liver,
    "kidney": kidney,
    "skin": skin,
    "retina": retina,
    "lung": lung,
    "brain": brain,
    "colon": colon,
    "cell": cell,
}
