"""Defects drawn as strokes: scratch, cut, crack, thread and contamination."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import Scene, blob_points, line_mask, polygon_mask
from zsad_bench.data.demo.defects_paint import contrasting, mix, soften, spot


def _arc(rng: Generator, start: tuple[float, float], length: float, angle: float, curl: float) -> np.ndarray:
    """(n,2) points of a smooth stroke with `start` at a random place on it; curl in radians along its length."""
    headings = angle + np.linspace(-0.5, 0.5, 14) * curl
    steps = np.stack([np.cos(headings), np.sin(headings)], 1) * length / 14
    path = np.cumsum(steps, 0)
    return path - path[rng.integers(3, 11)] + start


def scratch(scene: Scene, rng: Generator) -> np.ndarray:
    """A few nearly parallel thin scores, all lighter or all darker than the surface."""
    shape, at = scene.foreground.shape, spot(scene, rng)
    angle, curl = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.4)
    across = np.array((-np.sin(angle), np.cos(angle)))
    strokes = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        begin = at + across * rng.normal(0, 5)
        path = _arc(rng, tuple(begin), rng.uniform(30, 65), angle + rng.normal(0, 0.06), curl)
        strokes = np.maximum(strokes, line_mask(shape, path, int(rng.integers(1, 4))))
    strokes *= scene.foreground
    level = float((scene.image.mean(2) * strokes).sum() / max(float(strokes.sum()), 1.0))
    light = rng.random() < np.clip(1.25 - 1.5 * level, 0, 1)
    tone = np.minimum(scene.image + rng.uniform(0.35, 0.5), 1) if light else scene.image * rng.uniform(0.2, 0.4)
    return mix(scene.image, tone, strokes)


def cut(scene: Scene, rng: Generator) -> np.ndarray:
    """A clean slit, wide in the middle and pointed at both ends, with raised pale lips."""
    shape = scene.foreground.shape
    path = _arc(rng, spot(scene, rng), rng.uniform(34, 60), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.5))
    tangent = np.gradient(path, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    width = np.sin(np.linspace(0, np.pi, len(path)))[:, None] * rng.uniform(2, 4)
    slit, lips = (
        polygon_mask(shape, np.concatenate([path + normal * w, (path - normal * w)[::-1]])) * scene.foreground
        for w in (width, width * 1.2 + 1.6)
    )
    image = mix(scene.image, np.minimum(scene.image * 0.8 + 0.32, 1), lips * 0.8)
    return mix(image, scene.background * 0.25, slit)


def crack(scene: Scene, rng: Generator) -> np.ndarray:
    """A jagged dark line with side branches."""
    shape = scene.foreground.shape
    dark = np.zeros(shape, np.float32)
    heading, at = rng.uniform(0, 2 * np.pi), np.array(spot(scene, rng))
    starts: list[tuple[np.ndarray | None, float, float, int]] = [
        (at, heading, 2.1, 10),
        (at, heading + np.pi + rng.normal(0, 0.3), 2.1, 8),
    ]
    for _ in range(int(rng.integers(2, 5))):
        starts.append((None, heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2), 1.6, 6))
    trunk: list[np.ndarray] = []
    for begin, angle, thickness, steps in starts:
        here = trunk[rng.integers(len(trunk))] if begin is None else begin
        path = [here]
        for _ in range(steps):
            turn = angle + rng.normal(0, 0.55)
            path.append(path[-1] + rng.uniform(2.5, 5.5) * np.array((np.cos(turn), np.sin(turn))))
        if begin is not None:
            trunk += path
        middle = len(path) // 2
        dark = np.maximum(dark, line_mask(shape, np.array(path[: middle + 1]), round(thickness + rng.random())))
        dark = np.maximum(dark, line_mask(shape, np.array(path[middle:]), max(1, round(thickness - 0.8))))
    dark *= scene.foreground
    edge = np.clip(np.roll(dark, (1, 1), (0, 1)) - dark, 0, 1) * scene.foreground
    level = float((scene.image.mean(2) * dark).sum() / max(float(dark.sum()), 1.0))
    # On a nearly black thing a crack shows by its bright broken edges.
    core = np.minimum(scene.image * 0.2, 0.08) if level > 0.24 else np.array((0.55, 0.53, 0.5), np.float32)
    return mix(mix(scene.image, np.minimum(scene.image + 0.25, 1), edge * 0.7), core, dark)


def thread(scene: Scene, rng: Generator) -> np.ndarray:
    """A loose curled thread lying across, with its shadow."""
    shape = scene.foreground.shape
    curl = rng.normal(0, 2.5) * np.linspace(0, 1, 44)
    headings = rng.uniform(0, 2 * np.pi) + curl + np.cumsum(rng.normal(0, 0.3, 44))
    path = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], 1), 0) * rng.uniform(1, 2)
    path += spot(scene, rng) - path[rng.integers(12, 32)]
    path = cv2.GaussianBlur(path[None], (7, 1), 2, borderType=cv2.BORDER_REPLICATE)[0]
    thickness = int(rng.integers(2, 5))
    # A loose end may hang over the rim of the thing, but not far.
    near = soften(cv2.dilate(scene.foreground.astype(np.uint8), np.ones((9, 9), np.uint8)), 0.7)
    stroke = line_mask(shape, path, thickness) * near
    shadow = line_mask(shape, path + 1.6, thickness) * near
    rgb = contrasting(scene, stroke, rng) * rng.uniform(0.85, 1.1)
    twist = (0.9 + 0.1 * np.sin(np.arange(shape[1]) * 1.9 + np.arange(shape[0])[:, None] * 1.3))[..., None]
    image = mix(scene.image, scene.image * 0.55, shadow * 0.8)
    return mix(image, np.clip(rgb * twist, 0, 1), stroke)


def contamination(scene: Scene, rng: Generator) -> np.ndarray:
    """Foreign matter: a cluster of specks, often with a short fibre."""
    shape, (x, y) = scene.foreground.shape, spot(scene, rng)
    dirt = np.zeros(shape, np.float32)
    spread = rng.uniform(5, 10)
    for _ in range(int(rng.integers(6, 16))):
        centre = x + rng.normal(0, spread), y + rng.normal(0, spread)
        dirt = np.maximum(dirt, polygon_mask(shape, blob_points(rng, centre, rng.uniform(1.5, 4), 0.3, n=10)))
    if rng.random() < 0.6:
        fibre = _arc(rng, (x, y), rng.uniform(18, 36), rng.uniform(0, 2 * np.pi), rng.normal(0, 2))
        dirt = np.maximum(dirt, line_mask(shape, fibre, 2))
    dirt *= scene.foreground
    return mix(scene.image, contrasting(scene, dirt, rng) * rng.uniform(0.8, 1.1), dirt)
