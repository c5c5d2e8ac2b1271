"""Renderers of made things: metal, rubber, plastic. Each returns a defect-free `Scene` in a random pose."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import Scene, pick_colour
from zsad_bench.data.demo.objects_paint import (
    HALF,
    SHAPE,
    Drawing,
    angles,
    disc,
    dome,
    line,
    oval,
    polygon,
    radii,
    ring_points,
    round_box,
    xs,
    ys,
)

METALS = ("gray", "white", "yellow", "brown", "orange", "black", "blue", "teal")
STRONG = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown")


def _metal(rng: Generator, names: tuple[str, ...] = METALS) -> tuple[str, np.ndarray]:
    """A metallic base colour: the named one, drawn a little towards gray."""
    name, rgb = pick_colour(rng, names)
    return name, rgb * 0.8 + 0.12


def _threads(drawing: Drawing, mask: np.ndarray, pitch: float, phase: float, slant: float = 0.12) -> None:
    """Screw threads along x inside a mask."""
    drawing.shade(0.42 * np.sin((xs + slant * ys) * (2 * np.pi / pitch) + phase), mask)


def bolt(rng: Generator) -> Scene:
    """A hexagon-head bolt, from above or lying on its side."""
    name, rgb = _metal(rng)
    drawing = Drawing(rgb)
    if rng.random() < 0.5:
        flange = rng.uniform(0.8, 0.95)
        drawing.body(disc(flange)).shade(0.3 * dome(flange))
        head = polygon(ring_points(6, flange * rng.uniform(0.75, 0.9)))
        drawing.paint(head, rgb * 1.15).shade(-0.18 * (xs + ys) * head)
        drawing.paint(head - polygon(ring_points(6, flange * 0.68)) * head, rgb * 0.75, 0.8)
        top = disc(flange * rng.uniform(0.4, 0.55))
        return drawing.shade(0.12 * top).scene(rng, name)
    thick, head_end = rng.uniform(0.2, 0.3), rng.uniform(-0.6, -0.45)
    upper = [(head_end, -thick), (0.85, -thick), (0.93, -thick * 0.7)]
    shank = polygon(upper + [(x, -y) for x, y in upper[::-1]])
    drawing.body(shank).shade(0.35 * np.cos(ys / thick * 1.6 + 0.5) - 0.15, shank)
    _threads(drawing, shank * (xs > rng.uniform(-0.3, 0.1)), rng.uniform(0.09, 0.13), rng.uniform(0, 6))
    tall = thick * rng.uniform(1.8, 2.3)
    head = round_box((head_end + 0.95) / 2, tall, 0.05, ((head_end - 0.95) / 2, 0))
    drawing.body(head, rgb)
    for low, high, light in ((-1, -0.5, 0.2), (-0.5, 0.5, 0.05), (0.5, 1, -0.25)):
        drawing.shade(light * ((ys >= low * tall) & (ys < high * tall)), head)
    return drawing.scene(rng, name, (0.85, 1.25))


def washer(rng: Generator) -> Scene:
    """A flat ring."""
    name, rgb = _metal(rng)
    inner = rng.uniform(0.3, 0.55)
    drawing = Drawing(rgb).body(disc(0.95)).clear(disc(inner))
    brushed = 0.06 * np.sin(radii * rng.uniform(60, 90))
    sheen = 0.16 * np.cos(2 * (angles - rng.uniform(0, 6)))
    edge = (radii > 0.87).astype(np.float32) * 0.15 - (radii < inner + 0.06) * 0.2
    return drawing.shade(brushed + sheen + edge).scene(rng, name)


def coin(rng: Generator) -> Scene:
    """A round coin with a milled rim and a star or ringed relief."""
    name, rgb = _metal(rng, ("yellow", "gray", "brown", "orange", "white"))
    drawing = Drawing(rgb).body(disc(0.94)).shade(0.15 * dome(0.94))
    drawing.shade(0.22 * np.sin(angles * rng.integers(40, 60)), (radii > 0.84).astype(np.float32))
    drawing.shade(np.where((radii > 0.78) & (radii < 0.83), -0.35, 0.0))
    corners = int(rng.integers(4, 9))
    star = ring_points(2 * corners, rng.uniform(0.5, 0.62), rng.uniform(0, 6))
    star[1::2] *= rng.uniform(0.45, 0.75)
    relief = polygon(star)
    drawing.paint(polygon(star + 0.025), rgb * 0.5, 0.8).paint(relief, rgb * 1.25)
    if rng.random() < 0.6:
        drawing.paint(disc(rng.uniform(0.12, 0.2)), rgb * 0.65)
    return drawing.scene(rng, name)


def button(rng: Generator) -> Scene:
    """A sewing button with two or four holes and a raised rim."""
    name, rgb = pick_colour(rng)
    drawing = Drawing(rgb).body(disc(0.93)).shade(0.35 * dome(0.93))
    well = rng.uniform(0.6, 0.74)
    drawing.paint(disc(well), rgb * 0.82).shade(-0.3 * dome(well), disc(well))
    for point in ring_points(int(rng.choice([2, 4])), rng.uniform(0.2, 0.28)):
        drawing.clear(disc(rng.uniform(0.085, 0.1), tuple(point)))
    return drawing.scene(rng, name)


def gear(rng: Generator) -> Scene:
    """A toothed wheel with a bore, sometimes with spokes cut out."""
    name, rgb = _metal(rng)
    teeth, depth = int(rng.integers(9, 18)), rng.uniform(0.12, 0.2)
    profile = 0.94 - depth / 2 + depth / 2 * np.clip(2.2 * np.sin(angles * teeth), -1, 1)
    drawing = Drawing(rgb).body(np.clip((profile - radii) * HALF + 0.5, 0, 1))
    drawing.shade(0.2 * dome(0.95) - 0.2 * (np.abs(radii - 0.7) < 0.02))
    hub = rng.uniform(0.26, 0.34)
    if rng.random() < 0.6:
        for point in ring_points(int(rng.integers(4, 7)), 0.49):
            drawing.clear(disc(rng.uniform(0.12, 0.13), tuple(point)))
    drawing.paint(disc(hub), rgb * 1.2).clear(disc(hub * rng.uniform(0.45, 0.65)))
    return drawing.scene(rng, name)


def candle(rng: Generator) -> Scene:
    """A wax candle from the side with wick and flame."""
    name, rgb = pick_colour(rng)
    width, top = rng.uniform(0.24, 0.42), rng.uniform(-0.45, -0.3)
    wax = round_box(width, (0.95 - top) / 2, 0.06, (0, (0.95 + top) / 2))
    drawing = Drawing(rgb).body(wax).shade(0.4 * np.cos((xs / width + 0.35) * 1.4) - 0.2, wax)
    drawing.paint(oval(width * 0.9, 0.06, (0, top + 0.05)), rgb * 0.6 + 0.38)
    drawing.body(line([(0, top + 0.03), (0.02, top - 0.14)], 2.5), (0.12, 0.1, 0.1))
    drawing.body(oval(0.095, 0.2, (0.02, top - 0.26)), (0.96, 0.62, 0.16))
    drawing.paint(oval(0.045, 0.11, (0.02, top - 0.21)), (0.99, 0.93, 0.6))
    if rng.random() < 0.5:
        for height in np.arange(0.0, 0.9, rng.uniform(0.2, 0.3)):
            drawing.shade(-0.3 * (np.abs(ys - height) < 0.025), wax)
    return drawing.scene(rng, name, (0.9, 1.25))


def nut(rng: Generator) -> Scene:
    """A hexagon nut from above with a threaded bore."""
    name, rgb = _metal(rng)
    drawing = Drawing(rgb).body(polygon(ring_points(6, 0.97)))
    drawing.shade(-0.2 * (xs + ys) - 0.12 * (radii > 0.84))
    bore = rng.uniform(0.4, 0.5)
    drawing.paint(disc(bore + 0.1), rgb * 1.25).paint(disc(bore + 0.03), rgb * 0.5)
    drawing.shade(0.35 * np.sin(radii * 120), disc(bore + 0.03)).clear(disc(bore - 0.06))
    return drawing.scene(rng, name)


def chip(rng: Generator) -> Scene:
    """A dark integrated circuit with legs on two or four sides, a pin mark and printed lines."""
    name, rgb = pick_colour(rng, ("black", "gray", "blue", "green", "brown"), 0.03)
    rgb = rgb * 0.8
    wide, high = rng.uniform(0.6, 0.74), rng.uniform(0.5, 0.74)
    drawing = Drawing(rgb)
    legs, metal = int(rng.integers(4, 8)), np.array((0.74, 0.74, 0.72)) * rng.uniform(0.85, 1.1)
    pins = np.zeros(SHAPE, bool)
    for spread, along, across in ((wide, xs, ys),) + (((high, ys, xs),) if rng.random() < 0.5 else ()):
        comb = np.cos((along / spread + 1) * np.pi * legs + np.pi) > 0.1
        pins |= comb & (np.abs(along) < spread) & (np.abs(across) < 0.95)
    drawing.body(pins.astype(np.float32), metal).shade(-0.3 * (np.maximum(np.abs(xs), np.abs(ys)) > 0.88))
    box = round_box(wide, high, 0.05)
    drawing.body(box, rgb).shade(0.15 * (np.abs(xs) > wide - 0.06) - 0.1 * (xs + ys), box)
    drawing.paint(disc(0.065, (-wide + 0.17, -high + 0.17)), rgb * 0.4)
    ink = np.array((0.85, 0.85, 0.8)) * rng.uniform(0.6, 1)
    for row in range(int(rng.integers(1, 4))):
        reach = rng.uniform(0.1, wide - 0.15)
        drawing.paint(line([(-wide + 0.22, 0.14 * row), (reach, 0.14 * row)], 3), ink, 0.85)
    return drawing.scene(rng, name)


def gasket(rng: Generator) -> Scene:
    """A flat rubber or fibre seal: round, square or two-lobed outline, a big opening and bolt holes."""
    name, rgb = pick_colour(rng, ("black", "gray", "red", "green", "blue", "brown", "orange"))
    n = int(rng.choice([2, 3, 4, 6]))
    lobe = 0.13 if n > 2 else 0.2
    profile = 0.95 - lobe + lobe * np.cos(angles * n)
    drawing = Drawing(rgb).body(np.clip((profile - radii) * HALF + 0.5, 0, 1))
    inner = rng.uniform(0.36, 0.45)
    drawing.shade(-0.25 * (np.abs(radii - inner - 0.07) < 0.02)).grain(rng, 0.05, 3)
    for point in ring_points(n, 0.78):
        drawing.clear(disc(0.08, tuple(point)))
    return drawing.clear(disc(inner)).scene(rng, name)


def bottle(rng: Generator) -> Scene:
    """A glass bottle: concentric rings seen from above, or its silhouette from the side."""
    name, rgb = pick_colour(rng, ("green", "brown", "blue", "teal", "gray", "white", "red", "purple"))
    drawing = Drawing(rgb * 0.75)
    if rng.random() < 0.6:
        drawing.body(disc(0.95)).shade(0.3 * dome(0.95))
        for radius, light in ((rng.uniform(0.78, 0.86), 1.35), (rng.uniform(0.6, 0.7), 0.45), (0.5, 1.0), (0.32, 0.35)):
            drawing.paint(disc(radius), rgb * light)
        gleam = np.clip(np.cos(angles - rng.uniform(0, 6)) - 0.55, 0, 1) * 1.6
        return drawing.shade(gleam, (np.abs(radii - 0.73) < 0.13).astype(np.float32)).scene(rng, name)
    wide, neck, shoulder = rng.uniform(0.32, 0.42), rng.uniform(0.11, 0.15), rng.uniform(-0.4, -0.2)
    heights = np.linspace(-0.85, 0.95, 40)
    blend_in = 1 / (1 + np.exp(-(heights - shoulder) * 14))
    half = neck + (wide - neck) * blend_in - 0.05 * np.clip(heights - 0.88, 0, 1) * 10
    outline = np.concatenate([np.stack([half, heights], 1), np.stack([-half[::-1], heights[::-1]], 1)])
    glass = polygon(outline)
    drawing.body(glass, rgb * 0.9).shade(0.5 * np.cos((xs / wide + 0.4) * 2.4) - 0.15, glass)
    drawing.body(round_box(neck * 1.25, 0.08, 0.02, (0, -0.87)), pick_colour(rng, METALS)[1])
    label = round_box(wide * 0.99, rng.uniform(0.18, 0.28), 0.01, (0, 0.35)) * glass
    drawing.paint(label, pick_colour(rng)[1] * 0.5 + 0.45).shade(0.2 * np.cos(xs / wide * 1.5) - 0.1, label)
    return drawing.scene(rng, name, (0.95, 1.3))


def screw(rng: Generator) -> Scene:
    """A wood screw on its side: conical head, threaded shank, point."""
    name, rgb = _metal(rng)
    thick, neck = rng.uniform(0.13, 0.19), rng.uniform(-0.72, -0.6)
    tip = rng.uniform(0.6, 0.75)
    drawing = Drawing(rgb)
    shank = polygon([(neck, -thick), (tip, -thick), (0.97, 0), (tip, thick), (neck, thick)])
    drawing.body(shank).shade(0.4 * np.cos(ys / thick * 1.5 + 0.5) - 0.15, shank)
    pitch = rng.uniform(0.11, 0.15)
    start = rng.uniform(-0.4, -0.1)
    for x in np.arange(start, tip, pitch):
        drawing.body(line([(x, -thick * 1.25), (x + pitch * 0.45, thick * 1.25)], 3), rgb * 1.3)
        drawing.paint(line([(x + 0.045, -thick), (x + 0.045 + pitch * 0.45, thick)], 2), rgb * 0.45)
    wide = thick * rng.uniform(2.0, 2.5)
    upper = [(-0.97, -wide), (-0.88, -wide), (neck + 0.05, -thick)]
    head = polygon(upper + [(x, -y) for x, y in upper[::-1]])
    drawing.body(head, rgb * 1.05).shade(0.4 * np.cos(ys / wide * 1.5 + 0.5) - 0.2, head)
    drawing.paint(line([(-0.88, -wide), (-0.88, wide)], 1.4), rgb * 0.6)
    return drawing.scene(rng, name, (1.0, 1.4))


def key(rng: Generator) -> Scene:
    """A door key: bow with an opening, shaft with a groove, cut teeth."""
    name, rgb = _metal(rng, ("yellow", "gray", "brown", "white", "orange", "black"))
    bow, thick = rng.uniform(0.34, 0.42), rng.uniform(0.1, 0.14)
    middle = -0.95 + bow
    drawing = Drawing(rgb)
    head = disc(bow, (middle, 0)) if rng.random() < 0.5 else round_box(bow, bow * 0.95, bow * 0.4, (middle, 0))
    teeth = int(rng.integers(4, 7))
    stations = np.linspace(0.15, 0.86, 2 * teeth)
    depths = thick + np.repeat(rng.uniform(0.04, 0.17, teeth), 2)
    blade = [(middle, -thick), (0.9, -thick), (0.97, 0), (0.9, thick), *zip(stations[::-1], depths, strict=True)]
    drawing.body(polygon([*blade, (0.12, thick), (middle, thick)])).body(head)
    drawing.shade(0.2 * np.cos(ys / 0.25 + 0.6)).paint(line([(middle + bow, -0.02), (0.82, -0.02)], 2), rgb * 0.5)
    drawing.paint(head - np.clip(disc(bow * 0.8, (middle, 0)), 0, 1) * head, rgb * 1.2, 0.8)
    drawing.clear(disc(bow * rng.uniform(0.3, 0.45), (middle - bow * 0.25, 0)))
    return drawing.scene(rng, name, (1.0, 1.4))


def cable(rng: Generator) -> Scene:
    """The cross-section of a cable: three insulated wires with copper strands in one sheath."""
    name, rgb = pick_colour(rng, ("white", "gray", "black", "orange", "teal", "purple"))
    drawing = Drawing(rgb).body(disc(0.95)).shade(0.15 * dome(0.95))
    drawing.paint(disc(rng.uniform(0.84, 0.88)), rgb * 0.35 + rng.uniform(0.1, 0.4))
    strands = ring_points(6, 0.095)
    choices = rng.permutation(STRONG)
    for wire, place_at in enumerate(ring_points(3, 0.44, rng.uniform(0, 6))):
        insulation = pick_colour(rng, (choices[wire],))[1]
        at = tuple(place_at)
        drawing.paint(disc(0.37, at), insulation).shade(0.25 * dome(0.37, at), disc(0.37, at))
        drawing.paint(disc(0.21, at), (0.35, 0.2, 0.1))
        for dx, dy in [*strands * 1.25, (0.0, 0.0)]:
            drawing.paint(disc(0.058, (at[0] + dx, at[1] + dy)), (0.88, 0.58, 0.33))
    return drawing.scene(rng, name)
