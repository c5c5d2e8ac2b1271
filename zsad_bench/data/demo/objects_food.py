"""Renderers of things to swallow, and of shapeless ones. Each returns a defect-free `Scene` in a random pose."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import Scene, blob_points, pick_colour, polygon_mask, smooth_noise
from zsad_bench.data.demo.objects_paint import (
    HALF,
    SHAPE,
    Drawing,
    angles,
    disc,
    dome,
    line,
    oval,
    radii,
    round_box,
    xs,
    ys,
)


def pill(rng: Generator) -> Scene:
    """A round or oval tablet, plain or scored, sometimes speckled."""
    name, rgb = pick_colour(rng)
    rgb = rgb * 0.7 + 0.25
    height = rng.uniform(0.55, 0.94)
    mask = oval(0.94, height)
    distance = np.hypot(xs / 0.94, ys / height)
    drawing = Drawing(rgb).body(mask).shade(-0.22 * (xs + ys) * distance**2 - 0.12 * (distance > 0.88))
    if rng.random() < 0.4:
        drawing.paint((smooth_noise(rng, SHAPE, 4, 1) > 1.7).astype(np.float32), rgb * 0.7, 0.6)
    if rng.random() < 0.7:
        reach = height * 0.85
        drawing.paint(line([(0, -reach), (0, reach)], 2.5), rgb * 0.62)
        drawing.paint(line([(0.035, -reach), (0.035, reach)], 1.4), rgb * 1.2)
    return drawing.scene(rng, name)


def capsule(rng: Generator) -> Scene:
    """A two-part gelatine capsule with a seam and a streak of light."""
    name, rgb = pick_colour(rng)
    other = pick_colour(rng)[1]
    thick, seam = rng.uniform(0.32, 0.42), rng.uniform(-0.15, 0.25)
    mask = round_box(0.95, thick, thick - 0.01)
    drawing = Drawing(rgb).body(mask).paint((xs > seam).astype(np.float32), other * 0.8 + 0.15)
    drawing.shade(0.45 * np.cos(ys / thick * 1.6 + 0.6) - 0.25)
    drawing.shade(-0.35 * (np.abs(xs - seam) < 0.02) + 0.2 * (np.abs(xs - seam + 0.05) < 0.02))
    streak = line([(-0.62, -thick * 0.5), (0.62, -thick * 0.5)], 3)
    return drawing.paint(streak, (1, 1, 1), 0.45).scene(rng, name, (0.85, 1.3))


def cookie(rng: Generator) -> Scene:
    """A baked round with an uneven rim and dark or coloured chips."""
    name, rgb = pick_colour(rng, ("brown", "orange", "yellow", "white", "black"))
    rgb = rgb * 0.75 + np.array((0.17, 0.1, 0.03))
    outline = blob_points(rng, (HALF, HALF), HALF * 0.88, 0.06)
    drawing = Drawing(rgb).body(polygon_mask(SHAPE, outline))
    drawing.shade(0.2 * dome(0.95) - 0.3 * np.clip(radii - 0.6, 0, 1))
    drawing.grain(rng, 0.07, rng.uniform(3, 7))
    chip_rgb = pick_colour(rng, ("brown", "black", "red", "green"))[1] * rng.uniform(0.5, 0.9)
    spots = rng.uniform(-0.62, 0.62, (int(rng.integers(9, 18)), 2))
    for spot in spots:
        size = rng.uniform(0.06, 0.1)
        drawing.paint(oval(size, size * rng.uniform(0.7, 1), tuple(spot), rng.uniform(0, 180)), chip_rgb)
    return drawing.scene(rng, name)


def cracker(rng: Generator) -> Scene:
    """A pale square biscuit with a scalloped edge and a regular grid of small pits."""
    name, rgb = pick_colour(rng, ("yellow", "orange", "brown", "white"))
    rgb = rgb * 0.6 + np.array((0.34, 0.26, 0.12))
    waves = int(rng.integers(8, 13))
    scallop = 0.025 * np.cos(xs * np.pi * waves) * (np.abs(ys) > np.abs(xs)) + 0.025 * np.cos(ys * np.pi * waves) * (
        np.abs(xs) >= np.abs(ys)
    )
    edge = 0.86 + scallop - np.maximum(np.abs(xs), np.abs(ys))
    drawing = Drawing(rgb).body(np.clip(edge * HALF + 0.5, 0, 1)).shade(-0.4 * np.clip(0.1 - edge, 0, 0.1) / 0.1)
    drawing.grain(rng, 0.05, rng.uniform(6, 14))
    rows = int(rng.integers(3, 6))
    for x in np.linspace(-0.6, 0.6, rows):
        for y in np.linspace(-0.6, 0.6, rows):
            drawing.paint(disc(0.05, (x, y)), rgb * 0.5)
    return drawing.scene(rng, name, (0.75, 1.1))


def hazelnut(rng: Generator) -> Scene:
    """A nut in its shell: streaked brown drop with a pale rough base."""
    name, rgb = pick_colour(rng, ("brown", "orange"))
    rgb = rgb * 0.8 + 0.06
    narrow = rng.uniform(0.75, 0.9)
    profile = narrow + (0.95 - narrow) * np.cos(angles * 2) ** 2 * np.clip(np.cos(angles), 0, 1)
    mask = np.clip((profile - radii) * HALF + 0.5, 0, 1)
    drawing = Drawing(rgb).body(mask)
    drawing.shade(0.1 * np.sin(ys / (0.6 + 0.4 * (1 - xs**2)) * rng.uniform(22, 34) + smooth_noise(rng, SHAPE, 40, 1)))
    base = mask * np.clip((-xs - rng.uniform(0.4, 0.55) + 0.08 * np.cos(ys * 4)) * HALF * 0.4, 0, 1)
    drawing.paint(base, rgb * 0.5 + np.array((0.42, 0.34, 0.24)), 0.85)
    drawing.grain(rng, 0.05, 3).shade(0.45 * dome(0.98) - 0.25 * np.clip(radii - 0.6, 0, 1))
    return drawing.scene(rng, name)


def blob(rng: Generator) -> Scene:
    """A random smooth shape with a random regular skin: plain, striped, dotted or mottled."""
    name, rgb = pick_colour(rng)
    mask = polygon_mask(SHAPE, blob_points(rng, (HALF, HALF), HALF * rng.uniform(0.68, 0.8), 0.35))
    drawing = Drawing(rgb).body(mask)
    other = np.clip(rgb + rng.uniform(0.12, 0.3) * rng.choice([-1, 1]), 0, 1)
    skin, pitch, turn = rng.integers(4), rng.uniform(14, 40), rng.uniform(0, np.pi)
    along = xs * np.cos(turn) + ys * np.sin(turn)
    across = ys * np.cos(turn) - xs * np.sin(turn)
    if skin == 1:
        drawing.paint(np.clip(np.sin(along * pitch) * 3, 0, 1), other)
    elif skin == 2:
        drawing.paint(np.clip((np.sin(along * pitch) * np.sin(across * pitch) - 0.4) * 6, 0, 1), other)
    elif skin == 3:
        drawing.grain(rng, 0.12, rng.uniform(4, 20))
    return drawing.shade(0.35 * rng.uniform(0.3, 1) * dome(0.9)).scene(rng, name)
