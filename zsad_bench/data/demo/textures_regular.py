"""Textures that repeat: made by people, drawn from coordinates. Each function returns one random, flawless Scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import SIZE, Scene, blend, pick_colour, smooth_noise
from zsad_bench.data.demo.sheets import (
    behind,
    coloured,
    fraction,
    pebbles,
    per_cell,
    surface,
    to_line,
    turned_axes,
    within,
)

SHAPE = (SIZE, SIZE)


def _grain(rng: Generator, amount: float, scale: float = 2.5) -> np.ndarray:
    return amount * smooth_noise(rng, SHAPE, scale, octaves=1)


def _hump(fraction: np.ndarray) -> np.ndarray:
    """0 at both ends of a cell, 1 in its middle."""
    return np.sin(np.pi * fraction)


def woven(rng: Generator) -> Scene:
    """Thick threads over and under each other, plain or twill, in one or two tones."""
    name, rgb = pick_colour(rng)
    pitch = rng.uniform(7, 13)
    u, v = turned_axes(rng, wobble=0.6)
    u, v = u / pitch, v / (pitch * rng.uniform(0.85, 1.2))
    i, j = np.floor(u), np.floor(v)
    a, b = _hump(u - i), _hump(v - j)
    period, over = [(2, 1), (3, 2), (4, 2)][rng.integers(3)]
    warp_up = (i + j).astype(np.int32) % period < over
    warp = np.sqrt(a) * (0.7 + 0.3 * b) * (1 + 0.05 * per_cell(rng, i, np.zeros_like(i)))
    weft = np.sqrt(b) * (0.7 + 0.3 * a) * (1 + 0.05 * per_cell(rng, np.zeros_like(j), j))
    second = np.clip(rgb * rng.uniform(0.6, 0.95) + rng.uniform(0, 0.2), 0, 1)
    depth = rng.uniform(0.5, 0.8)
    shade = 1 - depth + depth * np.where(warp_up, warp, weft) + _grain(rng, 0.02)
    image = coloured(np.stack([second, rgb])[warp_up.astype(np.int8)], shade)
    return surface(rng, image, rgb, name)


def linen(rng: Generator) -> Scene:
    """Fine plain weave of natural thread, each thread a little lighter or darker."""
    name, rgb = pick_colour(rng, ["white", "yellow", "brown", "gray", "blue", "green", "pink"])
    rgb = np.clip(rgb * 0.75 + np.array([0.2, 0.18, 0.14], np.float32), 0, 1)
    pitch = rng.uniform(2.8, 4.2)
    u, v = turned_axes(rng, wobble=0.8)
    i, j = np.floor(u / pitch), np.floor(v / pitch)
    zero = np.zeros_like(i)
    knots = np.cos(np.pi * u / pitch) * np.cos(np.pi * v / pitch)
    threads = per_cell(rng, i, zero) * (0.65 + 0.35 * np.sign(knots))
    threads += per_cell(rng, zero, j) * (0.65 - 0.35 * np.sign(knots))
    shade = 0.9 + 0.1 * np.abs(knots) + rng.uniform(0.05, 0.09) * knots + rng.uniform(0.02, 0.04) * threads
    return surface(rng, coloured(rgb, shade + _grain(rng, 0.02)), rgb, name)


def knit(rng: Generator) -> Scene:
    """Columns of V-shaped stitches."""
    name, rgb = pick_colour(rng)
    width = rng.uniform(8, 15)
    height = width * rng.uniform(0.6, 0.85)
    u, v = turned_axes(rng, wobble=1.0)
    a = fraction(u / width)
    phase = v / height - np.abs(a - 0.5) * rng.uniform(1.1, 1.7)
    yarn = np.sqrt(_hump(fraction(phase))) * np.sqrt(_hump(fraction(2 * a)))
    strands = 0.06 * np.cos(2 * np.pi * 3 * phase)
    heather = 0.03 * per_cell(rng, np.floor(2 * u / width), np.floor(phase))
    shade = 0.35 + 0.7 * yarn + strands + heather + _grain(rng, 0.03)
    return surface(rng, coloured(rgb, shade), rgb, name)


def _wire(distance: np.ndarray, half: float, ring: float) -> np.ndarray:
    """Brightness of a round wire by the distance to its middle line."""
    return 1 - ring * np.clip(distance / half, 0, 1) ** 2


def grid(rng: Generator) -> Scene:
    """Straight bars crossing at right angles; plain surface seen between them."""
    name, rgb = pick_colour(rng)
    pitch = rng.uniform(12, 23)
    half = pitch * rng.uniform(0.11, 0.19)
    other = pitch * (1.0 if rng.random() < 0.5 else rng.uniform(1.2, 1.6))
    u, v = turned_axes(rng)
    d, e = to_line(u, pitch), to_line(v, other)
    ring = rng.uniform(0.35, 0.6)
    under, top = within(d, half), within(e, half)
    background = behind(rng, rgb)
    image = blend(background, coloured(rgb, 0.85 * _wire(d, half, ring)), under)
    image = blend(image, coloured(rgb, 1.1 * _wire(e, half, ring)), top)
    return surface(rng, image + _grain(rng, 0.01)[..., None], rgb, name, background)


def _to_hexagon_edge(u: np.ndarray, v: np.ndarray, pitch: float) -> np.ndarray:
    """Distance to the nearest edge of a honeycomb whose cells are `pitch` wide."""
    row = pitch * float(np.sqrt(3))
    reach = []
    for shift in (0.0, 0.5):  # two rectangular lattices make up the honeycomb's centres
        x, y = to_line(u + shift * pitch, pitch), to_line(v + shift * row, row)
        reach.append(np.maximum(x, 0.5 * x + float(np.sqrt(0.75)) * y))
    return pitch / 2 - np.minimum(reach[0], reach[1])


def mesh(rng: Generator) -> Scene:
    """Honeycomb or diamond netting of thin strands; plain surface seen through it."""
    name, rgb = pick_colour(rng)
    background = behind(rng, rgb)
    pitch = rng.uniform(11, 19)
    half = rng.uniform(1.0, 1.0 + 0.07 * pitch)
    u, v = turned_axes(rng, wobble=0.5)
    if rng.random() < 0.5:
        distance = _to_hexagon_edge(u, v, pitch)
        strand, lit = within(distance, half), _wire(distance, half, 0.45)
    else:
        lean = rng.uniform(0.42, 0.6)  # radians; far enough from a square grid
        sin, cos = float(np.sin(lean)), float(np.cos(lean))
        first, second = to_line(u * sin + v * cos, pitch * 0.75), to_line(u * sin - v * cos, pitch * 0.75)
        distance = np.minimum(first, second)
        strand = within(distance, half)
        lit = _wire(distance, half, 0.4) * np.where(first < second, np.float32(1.1), np.float32(0.8))
    image = blend(background, coloured(rgb, lit), strand)
    return surface(rng, image + _grain(rng, 0.01)[..., None], rgb, name, background)


def perforated(rng: Generator) -> Scene:
    """A sheet with equal round openings in straight or staggered rows."""
    name, rgb = pick_colour(rng)
    background = behind(rng, rgb)
    pitch = rng.uniform(11, 20)
    radius = pitch * rng.uniform(0.24, 0.34)
    row = pitch * (float(np.sqrt(0.75)) if (staggered := rng.random() < 0.6) else 1.0)
    u, v = turned_axes(rng)
    j = np.floor(v / row)
    odd = 2 * fraction(0.5 * j) if staggered else 0
    x = (fraction(u / pitch + 0.5 * odd) - 0.5) * pitch
    y = (v / row - j - 0.5) * row
    distance = np.hypot(x, y)
    light = rng.uniform(0, 2 * np.pi)
    facing = (x * float(np.cos(light)) + y * float(np.sin(light))) / radius
    rim = 0.25 * facing * within(np.abs(distance - radius - 1), 1.2)
    brushed = per_cell(rng, np.floor(v * 1.2), np.zeros_like(v)) * rng.uniform(0.0, 0.03)
    sheet = coloured(rgb, 1 + rim + brushed + _grain(rng, 0.012))
    return surface(rng, blend(sheet, background, within(distance, radius)), rgb, name, background)


def tile(rng: Generator) -> Scene:
    """Square glazed tiles with grout, in one colour or chequered."""
    name, rgb = pick_colour(rng)
    pitch = rng.uniform(20, 38)
    half = rng.uniform(0.8, 1.7)
    u, v = turned_axes(rng)
    i, j = np.floor(u / pitch), np.floor(v / pitch)
    edge = np.minimum(to_line(u, pitch), to_line(v, pitch))
    bevel = 0.12 * within(np.abs(edge - half - 1.2), 0.9)
    shade = 1 + 0.035 * per_cell(rng, i, j) + bevel + 0.02 * smooth_noise(rng, SHAPE, 20, octaves=2)
    if rng.random() < 0.4:
        shade = shade * (1 - rng.uniform(0.4, 0.76) * fraction(0.5 * (i + j)))  # fraction: 0 or 0.5
    grout = rng.uniform(0.55, 0.85) if rgb.mean() < 0.5 else rng.uniform(0.15, 0.4)
    joint = np.full((*SHAPE, 3), grout, np.float32) + _grain(rng, 0.03)[..., None]
    return surface(rng, blend(coloured(rgb, shade), joint, within(edge, half)), rgb, name)


def brick(rng: Generator) -> Scene:
    """Running bond of rough bricks in mortar."""
    name, rgb = pick_colour(rng, ["red", "brown", "orange", "gray", "yellow", "white"])
    height = rng.uniform(11, 19)
    length = height * rng.uniform(2.0, 2.6)
    half = rng.uniform(0.8, 1.6)
    u, v = turned_axes(rng, wobble=0.7, free=0.3)
    j = np.floor(v / height)
    along = u + length * fraction(0.5 * j)
    edge = np.minimum(to_line(along, length), to_line(v, height))
    edge = edge + 0.35 * smooth_noise(rng, SHAPE, 4, octaves=1)
    tone = per_cell(rng, np.floor(along / length), j)
    shade = 1 + rng.uniform(0.05, 0.11) * tone + _grain(rng, 0.06, 3) - 0.15 * within(edge, half + 1.3)
    mortar = rng.uniform(0.6, 0.85) if rgb.mean() < 0.58 else rng.uniform(0.25, 0.4)
    joint = np.array([mortar, mortar * 0.98, mortar * 0.94], np.float32) + _grain(rng, 0.035)[..., None]
    return surface(rng, blend(coloured(rgb, shade), joint, within(edge, half)), rgb, name)


def corrugated(rng: Generator) -> Scene:
    """Parallel rounded ridges of sheet or board, lit from one side."""
    name, rgb = pick_colour(rng)
    pitch = rng.uniform(9, 20)
    u, v = turned_axes(rng, wobble=0.5)
    angle = 2 * np.pi * v / pitch
    light = rng.uniform(0.3, 0.9)
    shade = 0.85 + 0.24 * np.cos(angle) * light + 0.18 * np.sin(angle + 0.5 * np.cos(angle)) * (1.2 - light)
    shine = rng.uniform(0, 0.25) * np.clip(np.cos(angle - 0.9), 0, 1) ** 6
    brushed = 0.015 * per_cell(rng, np.floor(v), np.zeros_like(u))
    image = coloured(rgb, shade + brushed + _grain(rng, 0.012)) + shine[..., None]
    return surface(rng, image, rgb, name)


def carpet(rng: Generator) -> Scene:
    """Dense pile of small loops in heathered tones of one colour."""
    name, rgb = pick_colour(rng)
    labels, inner = pebbles(rng, rng.uniform(4.2, 6.2), jitter=0.3, stretch=rng.uniform(1.0, 1.4))
    tones = rng.uniform(0.08, 0.18) * rng.standard_normal(int(labels.max()) + 1).astype(np.float32)
    loops = np.clip(inner / 2.4, 0, 1)
    shade = 0.5 + 0.55 * np.sqrt(loops) + tones[labels] * loops
    shade = cv2.GaussianBlur(shade.astype(np.float32), (0, 0), 0.5)
    return surface(rng, coloured(rgb, shade + _grain(rng, 0.11, 1.5)), rgb, name)
