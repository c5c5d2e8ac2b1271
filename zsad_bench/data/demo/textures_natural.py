"""Textures that do not repeat: stone, hide, wood, paper. Each function returns one random, flawless Scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import SIZE, Scene, blend, crop_texture, pick_colour, smooth_noise
from zsad_bench.data.demo.sheets import SHEET, coloured, pebbles, surface, turned_axes

SHAPE = (SIZE, SIZE)


def _stretched(rng: Generator, across: float, ratio: float, octaves: int = 2) -> np.ndarray:
    """(SHEET,SHEET) noise whose blobs are `across` pixels high and `ratio` times as long."""
    short = smooth_noise(rng, (SHEET, max(int(SHEET / ratio), 4)), across, octaves)
    return cv2.resize(short, (SHEET, SHEET), interpolation=cv2.INTER_CUBIC)


def wood(rng: Generator) -> Scene:
    """Long grain with gently waving growth bands."""
    name, rgb = pick_colour(rng, ["brown", "orange", "yellow", "red", "gray", "black"])
    rgb = np.clip(rgb * 0.62 + 0.38 * np.array([0.6, 0.42, 0.27], np.float32), 0, 1)
    rows = np.arange(SHEET, dtype=np.float32)[:, None]
    bands = np.sin(2 * np.pi * rows / rng.uniform(9, 20) + rng.uniform(1.2, 2.6) * _stretched(rng, 40, 3, 1))
    fibre = _stretched(rng, rng.uniform(2, 3), 14)
    sheet = 1 + rng.uniform(0.07, 0.13) * bands + rng.uniform(0.05, 0.09) * fibre
    return surface(rng, coloured(rgb, crop_texture(rng, sheet.astype(np.float32), SIZE)), rgb, name)


def marble(rng: Generator) -> Scene:
    """Polished stone with many soft, cloudy veins running one way."""
    name, rgb = pick_colour(rng, ["white", "gray", "black", "green", "pink", "teal", "brown"])
    along, across = turned_axes(rng, free=1.0)
    clouds = smooth_noise(rng, SHAPE, rng.uniform(30, 45))
    phase = across / rng.uniform(13, 22) * 2 * np.pi + rng.uniform(1.2, 2.0) * clouds + along / 40
    veins = np.clip(0.5 + 0.5 * np.sin(phase), 0, 1) ** rng.uniform(2, 4)
    base = coloured(rgb, 1 + 0.06 * clouds + 0.015 * smooth_noise(rng, SHAPE, 4, octaves=1))
    vein = rgb * 0.6 if rgb.mean() > 0.45 else rgb * 0.6 + 0.4
    return surface(rng, blend(base, vein, rng.uniform(0.45, 0.8) * veins), rgb, name)


def concrete(rng: Generator) -> Scene:
    """Matt mineral grey, clouded and finely sanded."""
    name, rgb = pick_colour(rng, ["gray", "white", "brown"])
    rgb = (0.4 * rgb + 0.6 * rgb.mean()) * 0.85 + 0.04  # concrete is hardly coloured
    clouds = rng.uniform(0.03, 0.06) * smooth_noise(rng, SHAPE, rng.uniform(14, 26))
    sand = rng.uniform(0.04, 0.075) * smooth_noise(rng, SHAPE, 2.2, octaves=1)
    return surface(rng, coloured(rgb, 0.95 + clouds + sand), rgb, name)


def paper(rng: Generator) -> Scene:
    """Pale sheet with faint fibre, smooth or laid in fine ribs."""
    name, rgb = pick_colour(rng, ["white", "yellow", "pink", "gray", "blue", "green", "orange"])
    rgb = np.clip(rgb * 0.6 + 0.36, 0, 1)
    fibre = crop_texture(rng, _stretched(rng, 1.6, 3, 1), SIZE)
    shade = 1 + rng.uniform(0.012, 0.028) * fibre + 0.012 * smooth_noise(rng, SHAPE, 10, octaves=2)
    if rng.random() < 0.4:
        _, across = turned_axes(rng, free=0.2)
        shade = shade + 0.025 * np.sin(2 * np.pi * across / rng.uniform(3.0, 4.5))
    return surface(rng, coloured(rgb, shade), rgb, name)


def blotchy(rng: Generator) -> Scene:
    """Camouflage: close-set patches of three tones all over."""
    name, rgb = pick_colour(rng)
    scale = rng.uniform(9, 18)
    sharp = rng.uniform(2.5, 7)
    second = np.clip(rgb * rng.uniform(0.55, 0.75) + rng.uniform(-0.05, 0.08, 3), 0, 1)
    third = np.clip(rgb * 0.75 + rng.uniform(0.18, 0.28) + rng.uniform(-0.06, 0.06, 3), 0, 1)
    image = rgb
    for tone in (second, third):
        patch = np.clip(0.5 + sharp * (smooth_noise(rng, SHAPE, scale, octaves=2) - 0.45), 0, 1)
        image = blend(image, tone.astype(np.float32), patch)
    image = image * (1 + 0.02 * smooth_noise(rng, SHAPE, 2.5, octaves=1))[..., None]
    return surface(rng, image, rgb, name)


def leather(rng: Generator) -> Scene:
    """Pebbled hide: small soft cells between creases, with a dull sheen."""
    name, rgb = pick_colour(rng)
    _, inner = pebbles(rng, rng.uniform(4.5, 7.5), jitter=0.48, stretch=rng.uniform(1.0, 1.5))
    relief = cv2.GaussianBlur(np.minimum(inner, 2.4), (0, 0), 0.9)
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 1 if rng.random() < 0.3 else 0) * (1.0 if rng.random() < 0.5 else -1.0)
    shade = 0.78 + 0.11 * relief + 0.022 * slope + 0.04 * smooth_noise(rng, SHAPE, 30, octaves=1)
    sheen = rng.uniform(0.0, 0.05) * np.clip(slope, 0, 3)
    return surface(rng, coloured(rgb, shade) + sheen[..., None], rgb, name)


def gravel(rng: Generator) -> Scene:
    """A bed of packed stones of mixed tones with dark gaps."""
    name, rgb = pick_colour(rng, ["gray", "brown", "white", "orange", "black"], jitter=0.03)
    pitch = rng.uniform(8, 14)
    labels, inner = pebbles(rng, pitch, jitter=0.42, stretch=rng.uniform(1.0, 1.3))
    count = int(labels.max()) + 1
    light_or_dark = rng.uniform(0.06, 0.1) * rng.standard_normal((count, 1)).clip(-1.6, 1.6)
    tones = rgb + light_or_dark + 0.02 * rng.standard_normal((count, 3))
    dome = np.clip(inner / (0.38 * pitch), 0, 1)
    light = cv2.Sobel(cv2.GaussianBlur(dome, (0, 0), 1.2), cv2.CV_32F, 1, 0)
    shade = (0.3 + 0.75 * np.sqrt(dome) + 0.12 * light).astype(np.float32)
    sheet = np.clip(tones, 0.08, 1).astype(np.float32)[labels] * shade[..., None]
    image = cv2.GaussianBlur(sheet, (0, 0), 0.5)
    return surface(rng, image * (1 + 0.06 * smooth_noise(rng, SHAPE, 2.5, octaves=1))[..., None], rgb, name)


def terrazzo(rng: Generator) -> Scene:
    """Angular stone chips of a few colours, strewn densely in a plain binder."""
    name, rgb = pick_colour(rng, ["white", "gray", "pink", "yellow", "teal", "green", "black"])
    chips = np.stack([pick_colour(rng)[1] for _ in range(rng.integers(2, 5))])
    pitch = rng.uniform(8.5, 13)
    ys, xs = np.mgrid[0 : SIZE + pitch : pitch, 0 : SIZE + pitch : pitch]
    n = ys.size
    centres = np.stack([xs.ravel(), ys.ravel()], 1) + rng.uniform(-0.35, 0.35, (n, 2)) * pitch
    angles = (np.arange(6) + rng.uniform(-0.35, 0.35, (n, 6)) + rng.uniform(0, 1, (n, 1))) * np.pi / 3
    radii = pitch * rng.uniform(0.28, 0.6, (n, 1)) * rng.uniform(0.7, 1.15, (n, 6))
    corners = centres[:, None] + radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    corners = np.round(corners * 16).astype(np.int32)
    tones = np.clip(chips[rng.integers(len(chips), size=n)] + rng.normal(0, 0.03, (n, 1)), 0, 1) * 255
    canvas = np.empty((*SHAPE, 3), np.uint8)
    canvas[:] = np.round(rgb * 255)
    for polygon, tone in zip(corners, tones, strict=True):
        cv2.fillPoly(canvas, [polygon], tone.tolist(), cv2.LINE_AA, shift=4)
    image = canvas.astype(np.float32) / 255
    return surface(rng, image * (1 + 0.025 * smooth_noise(rng, SHAPE, 2.5, octaves=1))[..., None], rgb, name)
