"""What can be wrong with a thing: `DEFECTS[name](scene, rng)` is a new (H,W,3) float32 image of it, damaged.

Defects lie on the foreground, anywhere on it. Whether one can be seen is checked in `generate.py`, which redraws.
Strokes (scratch, crack, thread…) are in `defects_lines.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import Scene, blob_points, polygon_mask, smooth_noise
from zsad_bench.data.demo.defects_lines import contamination, crack, cut, scratch, thread
from zsad_bench.data.demo.defects_paint import blob_on, boundary_point, contrasting, mix, soften, spot, tissue_tone
from zsad_bench.errors import UnknownNameError
from zsad_bench.registry import did_you_mean


def hole(scene: Scene, rng: Generator) -> np.ndarray:
    """A ragged dark opening with a lit lower lip."""
    mask = blob_on(scene, rng, rng.uniform(8, 15), wobble=0.12)
    lip = np.clip(cv2.GaussianBlur(np.roll(mask, (2, 2), (0, 1)), (0, 0), 1) - mask, 0, 1) * scene.foreground
    image = mix(scene.image, np.minimum(scene.image + 0.35, 1), lip)
    return mix(image, scene.background * rng.uniform(0.1, 0.35), mask)


def stain(scene: Scene, rng: Generator) -> np.ndarray:
    """A spilt spot of another colour with a darker rim; what lies under it shimmers through."""
    mask = blob_on(scene, rng, rng.uniform(8, 15.5), wobble=0.3)
    soft = soften(mask, rng.uniform(0.8, 2)) * scene.foreground
    tint = contrasting(scene, mask, rng, ("brown", "black", "blue", "green", "purple", "red", "yellow"))
    rim = np.clip(soft - soften(mask, 3), 0, 1)
    image = mix(scene.image, tint, soft * rng.uniform(0.6, 0.85))
    return mix(image, tint * 0.5, np.clip(rim * 1.5, 0, 0.7))


def discoloration(scene: Scene, rng: Generator) -> np.ndarray:
    """A soft-edged area whose hue has turned, or that has bleached or darkened."""
    mask = blob_on(scene, rng, rng.uniform(9, 16), wobble=0.3)
    soft = soften(mask, rng.uniform(1.5, 3.5)) * scene.foreground
    choice = rng.integers(3)
    if choice == 0:
        changed = scene.image[..., rng.permutation(3)[[1, 2, 0]]] * 0.6 + 0.4 * contrasting(scene, mask, rng)
    elif choice == 1:
        changed = scene.image * 0.45 + 0.52
    else:
        changed = scene.image * rng.uniform(0.3, 0.5)
    return mix(scene.image, changed, soft * rng.uniform(0.8, 1))


def missing(scene: Scene, rng: Generator) -> np.ndarray:
    """A part broken or torn away, mostly from the edge; exactly the background shows."""
    x, y = boundary_point(scene, rng)
    # Few corners: a broken edge. Large, because much of it falls outside the thing.
    points = blob_points(rng, (x, y), rng.uniform(12, 19), 0.3, n=int(rng.integers(7, 12)))
    points += rng.normal(0, 1.5, points.shape)
    mask = polygon_mask(scene.foreground.shape, points)
    return mix(scene.image, scene.background, mask)


def scramble(scene: Scene, rng: Generator) -> np.ndarray:
    """A patch whose tiles have been shuffled, turned and dimmed or brightened."""
    height, width = scene.foreground.shape
    tile = int(rng.integers(5, 8))
    side = tile * int(rng.integers(3, 5))
    x, y = spot(scene, rng)
    left, top = np.clip(int(x) - side // 2, 0, width - side), np.clip(int(y) - side // 2, 0, height - side)
    n = side // tile
    image = scene.image.copy()
    patch = image[top : top + side, left : left + side].copy()
    order = rng.permutation(n * n)
    for target, source in enumerate(order):
        row, column = divmod(int(source), n)
        piece = np.rot90(
            patch[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile], int(rng.integers(4))
        )
        row, column = divmod(target, n)
        piece = piece * rng.uniform(0.55, 1.3) + rng.uniform(-0.06, 0.12)
        image[top + row * tile : top + (row + 1) * tile, left + column * tile : left + (column + 1) * tile] = piece
    return mix(scene.image, np.clip(image, 0, 1), scene.foreground.astype(np.float32))


def bent(scene: Scene, rng: Generator) -> np.ndarray:
    """A long thing kinked at a hinge, a compact one dented from its edge. Objects only."""
    rows, columns = np.nonzero(scene.foreground)
    points = np.stack([columns, rows], 1).astype(np.float32)
    (xx, xy), (_, yy) = np.cov(points.astype(np.float64).T)
    # The long axis from the second moments; an eigenvector's sign may differ between linear algebra libraries.
    turn, spread = 0.5 * np.arctan2(2 * xy, xx - yy), np.hypot(xx - yy, 2 * xy)
    grid_y, grid_x = np.mgrid[0 : scene.foreground.shape[0], 0 : scene.foreground.shape[1]].astype(np.float32)
    if xx + yy + spread > 2.5 * (xx + yy - spread):  # its squared length over its squared width
        axis = np.array((np.cos(turn), np.sin(turn)))
        along = points @ axis
        # Towards the thin end: a turned round head looks as before.
        if along.max() + along.min() < 2 * along.mean():
            axis, along = -axis, -along
        # The hinge leaves a fifth to two fifths of the thing beyond it.
        at = np.quantile(along, rng.uniform(0.6, 0.82))
        pivot = points[np.abs(along - at) < 1.5].mean(0)
        beyond = np.clip(((grid_x - pivot[0]) * axis[0] + (grid_y - pivot[1]) * axis[1]) / 8, 0, 1)
        angle = beyond * rng.uniform(0.4, 0.75) * rng.choice([-1, 1])
        dx, dy = grid_x - pivot[0], grid_y - pivot[1]
        source_x = pivot[0] + np.cos(angle) * dx + np.sin(angle) * dy
        source_y = pivot[1] - np.sin(angle) * dx + np.cos(angle) * dy
    else:
        x, y = boundary_point(scene, rng)
        inward = points.mean(0) - (x, y)
        inward /= np.linalg.norm(inward) + 1e-6
        reach = rng.uniform(8, 12)
        weight = np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / (2 * reach**2)) * rng.uniform(0.7, 1.0) * reach
        source_x, source_y = grid_x - weight * inward[0], grid_y - weight * inward[1]
    moved = np.hypot(source_x - grid_x, source_y - grid_y) > 0.4
    alpha = cv2.GaussianBlur(scene.foreground.astype(np.float32), (0, 0), 0.6)
    source = source_x.astype(np.float32), source_y.astype(np.float32)
    thing = cv2.remap(scene.image, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(alpha, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return mix(scene.image, mix(scene.background, thing, alpha), moved)


def bump(scene: Scene, rng: Generator) -> np.ndarray:
    """A swelling: what is on it is magnified, one flank lit and the other in shade."""
    x, y = spot(scene, rng)
    radius = rng.uniform(10, 15.5)
    grid_y, grid_x = np.mgrid[0 : scene.foreground.shape[0], 0 : scene.foreground.shape[1]].astype(np.float32)
    dx, dy = (grid_x - x) / radius, (grid_y - y) / radius
    height = np.exp(-2 * (dx**2 + dy**2))
    pull = 1 - 0.45 * height
    source = (x + dx * radius * pull).astype(np.float32), (y + dy * radius * pull).astype(np.float32)
    swollen = cv2.remap(scene.image, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    light = rng.uniform(0, 2 * np.pi)
    flank = 2.33 * (dx * np.cos(light) + dy * np.sin(light)) * height  # in [-1, 1] or so
    strength = rng.uniform(0.3, 0.42)
    lit = swollen * (1 + 0.8 * strength * flank)[..., None] + (strength * flank * 0.7)[..., None]
    inside = np.clip((height - 0.03) * 12, 0, 1) * scene.foreground
    return mix(scene.image, np.clip(lit, 0, 1), inside)


def burn(scene: Scene, rng: Generator) -> np.ndarray:
    """A charred core in a scorched brown halo."""
    x, y = spot(scene, rng)
    shape = scene.foreground.shape
    outline = blob_points(rng, (x, y), rng.uniform(10, 15), 0.35)
    halo = soften(polygon_mask(shape, outline), 2.5) * scene.foreground
    core = soften(polygon_mask(shape, (outline - (x, y)) * rng.uniform(0.5, 0.75) + (x, y)), 1.2) * scene.foreground
    flakes = smooth_noise(rng, shape, 3, 1)
    image = mix(scene.image, scene.image * 0.35 + np.array((0.2, 0.1, 0.03), np.float32), halo)
    char = np.array((0.07, 0.05, 0.045), np.float32) * np.clip(1 + 0.6 * flakes, 0.3, 2.5)[..., None]
    return mix(image, char, core * 0.95)


def lesion(scene: Scene, rng: Generator) -> np.ndarray:
    """A roundish soft spot, brighter or darker than the tissue around it."""
    mask = blob_on(scene, rng, rng.uniform(8, 15), wobble=0.12)
    soft = soften(mask, rng.uniform(1, 2.5)) * scene.foreground
    level = float(scene.image[mask > 0.5].mean()) if (mask > 0.5).any() else 0.5
    bright = rng.random() < np.clip(1.3 - 1.6 * level, 0.05, 0.95)
    tone = np.array((0.95, 0.9, 0.8) if bright else (0.2, 0.1, 0.09), np.float32) * rng.uniform(0.85, 1.1)
    return mix(scene.image, tissue_tone(scene, mask, tone), soft * rng.uniform(0.5, 0.85))


def tumor(scene: Scene, rng: Generator) -> np.ndarray:
    """An irregular, lobed growth with a mottled inside and a rim of its own."""
    mask = blob_on(scene, rng, rng.uniform(9, 15), wobble=0.55)
    soft = soften(mask, 1) * scene.foreground
    level = float(scene.image[mask > 0.5].mean()) if (mask > 0.5).any() else 0.5
    tone = np.array((0.62, 0.5, 0.46), np.float32) if level < 0.4 else np.array((0.34, 0.14, 0.18), np.float32)
    if rng.random() < 0.4:
        tone = np.array((0.9, 0.82, 0.7), np.float32) if level < 0.55 else np.array((0.25, 0.2, 0.28), np.float32)
    tone = tissue_tone(scene, mask, tone)
    mottled = np.clip(tone * (1 + 0.3 * smooth_noise(rng, mask.shape, 5, 2))[..., None], 0, 1)
    rim = np.clip(soft - soften(cv2.erode(mask, np.ones((3, 3))), 1), 0, 1)
    image = mix(scene.image, mottled, soft * rng.uniform(0.8, 1))
    return mix(image, tone * (1.5 if level < 0.4 else 0.4), np.clip(rim * 1.3, 0, 0.8))


DEFECTS: dict[str, Callable[[Scene, Generator], np.ndarray]] = {
    make.__name__: make
    for make in (
        *(hole, scratch, stain, discoloration, missing, cut, contamination, scramble),
        *(thread, crack, bent, bump, burn, lesion, tumor),
    )
}
OBJECTS_ONLY = frozenset({"bent"})  # a bend of a texture cannot be told from the texture


def apply(scene: Scene, defect: str, rng: Generator) -> np.ndarray:
    """(H,W,3) float32 in [0,1]: the scene with one defect; the scene itself is not changed.

    Raises:
        UnknownNameError: no such defect.
    """
    if defect not in DEFECTS:
        raise UnknownNameError(did_you_mean("defect", defect, DEFECTS))
    return np.clip(DEFECTS[defect](scene, rng), 0, 1).astype(np.float32)
