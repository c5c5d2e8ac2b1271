"""Generated anomalies on normal images: a prior for methods that are to see no real anomaly.

Each normal image also carries one defect, of four kinds that take turns within a category:

| kind | what |
|---|---|
| `cut_paste` | a rectangle of the image pasted elsewhere, its colours slightly changed |
| `scar` | a thin, rotated rectangle of the image pasted elsewhere, likewise |
| `noise_texture` | a region of ragged outline, thresholded Perlin noise, blended with a cloudy texture of two colours |
| `noise_shuffle` | such a region, blended with shuffled tiles of the image itself |

Written from the ideas of CutPaste (Li et al., CVPR 2021, arXiv 2104.04015: patches and scars), DRAEM (Zavrtanik et al.,
ICCV 2021, arXiv 2108.07610: thresholded Perlin noise, a texture blended in with a drawn opacity) and MemSeg (Yang et
al., EAAI 2023, arXiv 2205.00908: shuffled tiles of the image as a texture, defects on what stands before a plain
ground). Ours differs: there is no outside texture (DRAEM and MemSeg take DTD's), so nothing but the image is needed;
noise is gathered around a point, so that an image has one defect and not a sprinkle over all of it; scars scale with
the image; and a defect that would hardly show is drawn again.

Masks are exact: outside of it not one byte of the image differs, and a part of a region where nothing changed, as where
plain ground was pasted onto plain ground, is not in it. Pixels depend on the pixels of the image, its id in the dataset
and the draw alone, and are the same bits on every machine: all arithmetic is of integers, or of sums, products,
quotients and square roots of floats, and draws come from numpy's frozen `RandomState`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from zsad_bench.data import perlin
from zsad_bench.types import Sample

RULE = 1  # in the hash of every such prior: another number means other pixels
TRIES = 8  # places and contents drawn of a defect before it is only made brighter or darker
_GREY = 8  # levels that the channels of an image may differ by and still be grey (lossy files)
_PLAIN = 24  # levels around the median of its border within which an image's ground is plain
_SMALL = 256  # pixels of the longer side, or a few more, at which ground and noise are computed
_TILES = 8  # rows and columns of shuffled tiles, as in MemSeg's 4 x 8 and finer

Range = tuple[float, float]


@dataclass(frozen=True)
class Parameters:
    """Areas are shares of the image's, lengths shares of its shorter side, levels are of 255.

    patch_area, patch_aspect, jitter: as in CutPaste; an aspect is turned over half of the time. scar_length,
    scar_width: ours; CutPaste has 10 to 25 and 2 to 16 pixels at 256, of which little is left where a tower reads
    96. noise_area: of the region. noise_spread: the distance from its middle at which a region ends, or nearly.
    cells: of the noise over the image, powers of two. opacity: of the texture; DRAEM draws 0.2 to 1. least_area:
    of a mask. least_change: mean over the mask of the most changed channel. unchanged: levels below which a pixel
    counts as it was.
    """

    patch_area: Range = (0.02, 0.15)
    patch_aspect: Range = (0.3, 1.0)
    jitter: float = 0.1
    scar_length: Range = (0.15, 0.4)
    scar_width: Range = (0.03, 0.07)
    noise_area: Range = (0.01, 0.12)
    noise_spread: Range = (0.15, 0.35)
    cells: tuple[int, int] = (2, 16)
    opacity: Range = (0.5, 1.0)
    least_area: float = 0.003
    least_change: int = 16
    unchanged: int = 4

    def __str__(self) -> str:
        return " ".join(f"{field.name}={value}" for field, value in zip(fields(self), astuple(self), strict=True))


class Region(NamedTuple):
    """What is put where: the box of a region, its pixels within, their new colours, and how opaque these are.

    box: rows and columns of the image. inside: (h,w) bool. content: (h,w,3) float64. opacity: (h,w) float64 in (0, 1].
    """

    box: tuple[slice, slice]
    inside: np.ndarray
    content: np.ndarray
    opacity: np.ndarray


class Painter:
    """Calls give (image (H,W,3) uint8 with a defect of a kind, its mask (H,W) uint8 of 0 and 255).

    draw: of the prior; another one gives other defects.
    """

    def __init__(self, draw: int, parameters: Parameters | None = None) -> None:
        self.draw, self.parameters = draw, parameters or Parameters()

    @property
    def rule(self) -> str:
        """Everything that decides about the pixels, beside the images and their ids: for hashes."""
        return f"rule {RULE}, draw {self.draw}, {self.parameters}"

    def table(self, normals: Iterable[Sample]) -> list[Sample]:
        """The normal samples, and behind each of them one that carries a defect; kinds take turns in a category."""
        by_category: dict[str, dict[str, Sample]] = defaultdict(dict)
        for sample in normals:
            by_category[sample.category][sample.id] = sample
        rows = []
        for category, of in by_category.items():
            first = _digest(f"kind|{self.draw}|{category}")[0]
            for turn, name in enumerate(sorted(of, key=lambda name: (_digest(f"turn|{self.draw}|{name}"), name))):
                kind = KINDS[(first + turn) % len(KINDS)]
                rows += [of[name], replace(of[name], label=1, anomaly_type=kind, generated=True)]
        return rows

    def __call__(self, image: np.ndarray, kind: str, key: str) -> tuple[np.ndarray, np.ndarray]:
        """kind: of `KINDS`. key: the id of the sample. The image given stays as it is."""
        rng = RandomState(np.frombuffer(_digest(f"{RULE}|{self.draw}|{key}"), "<u4"))
        scene = Scene(image, self.parameters)
        tries = 0
        while True:
            region = _MAKERS[kind](scene, rng)
            after, inside = self._put(scene, region)
            tries += 1
            if self._shows(scene, region, after, inside):
                break
            if tries == TRIES:  # nothing that the image holds shows on it, as on one of a single colour
                after, inside = self._put(scene, _shifted(scene, region))
                break
        painted, mask = image.copy(), np.zeros(scene.shape, np.uint8)
        painted[region.box][inside] = after[inside]
        mask[region.box][inside] = 255
        return painted, mask

    def _put(self, scene: Scene, region: Region) -> tuple[np.ndarray, np.ndarray]:
        """(the box of a region in its new colours, its pixels that are marked: all but parts where nothing changed)."""
        before = scene.image[region.box]
        blended = before + region.opacity[..., None] * (region.content - before)
        after = np.floor(blended.clip(0, 255) + 0.5).astype(np.uint8)
        changed = region.inside & (most_changed(before, after) >= self.parameters.unchanged)
        return after, region.inside & (counted(changed, scene.reach) > 0)

    def _shows(self, scene: Scene, region: Region, after: np.ndarray, inside: np.ndarray) -> bool:
        pixels, (height, width) = int(np.count_nonzero(inside)), scene.shape
        if pixels < max(1, self.parameters.least_area * height * width):
            return False
        change = int(most_changed(scene.image[region.box][inside], after[inside]).sum(dtype=np.int64))
        return change >= self.parameters.least_change * pixels


class Scene:
    """An image with what all kinds of defect ask of it.

    side: the shorter one. reach: pixels within which a change makes its neighbours part of a mask. small: every n-th
    row and column (h,w,3), n being `step`. thing: (h,w) bool, where defects may be: what stands before a plain ground,
    or everything. grey: no colours.
    """

    def __init__(self, image: np.ndarray, parameters: Parameters) -> None:
        self.image, self.parameters = image, parameters
        self.shape: tuple[int, int] = (image.shape[0], image.shape[1])
        self.side = min(self.shape)
        self.reach = max(1, self.side // 64)
        self.step = -(-max(self.shape) // _SMALL)
        self.small = image[:: self.step, :: self.step]
        channels = self.small.astype(np.int16)
        spread = channels.max(2) - channels.min(2)
        self.grey = bool(np.count_nonzero(spread > _GREY) <= 0.01 * spread.size)
        self.thing = self._thing()
        self.places = np.flatnonzero(self.thing)

    def _thing(self) -> np.ndarray:
        """Where the image differs from its border, if that is of one colour and enough differs; else everywhere."""
        everything = np.ones(self.small.shape[:2], bool)
        edge = max(1, min(everything.shape) // 32)
        inner = np.zeros_like(everything)
        inner[edge:-edge, edge:-edge] = True
        border = self.small[~inner]
        colour = np.sort(border, axis=0)[len(border) // 2]
        like_it = most_changed(self.small, np.broadcast_to(colour, self.small.shape)) <= _PLAIN
        if np.count_nonzero(like_it[~inner]) < 0.9 * len(border):
            return everything
        thing = 2 * counted(~like_it, edge) > counted(everything, edge)  # most pixels around: no specks of a texture
        return thing if np.count_nonzero(thing) > 0.05 * thing.size else everything

    def place(self, rng: RandomState) -> tuple[int, int]:
        """Row and column of a pixel where a defect may be."""
        small = divmod(int(self.places[rng.randint(len(self.places))]), self.thing.shape[1])
        row, column = (min(at * self.step + int(rng.randint(self.step)), side - 1)
                       for at, side in zip(small, self.shape, strict=True))  # fmt: skip
        return row, column

    def things_in(self, box: tuple[slice, slice]) -> np.ndarray:
        """(h,w) bool: where in a box of the image defects may be."""
        rows, columns = (np.arange(of.start, of.stop) // self.step for of in box)
        return np.asarray(self.thing[rows][:, columns])

    def colour(self, rng: RandomState) -> np.ndarray:
        """(3,) float64: any colour, half way to its grey; a grey where the image has no colours."""
        drawn = rng.uniform(0, 255, 3)
        grey = (drawn[0] + drawn[1] + drawn[2]) / 3
        return np.full(3, drawn[0]) if self.grey else np.asarray((drawn + grey) / 2)

    def jittered(self, pixels: np.ndarray, rng: RandomState) -> np.ndarray:
        """(h,w,3) float64: brighter or darker, and tinted where the image has colours."""
        jitter = self.parameters.jitter
        gain = rng.uniform(1 - jitter, 1 + jitter, 3)
        return np.asarray(pixels * (gain[:1] if self.grey else gain))


def most_changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(…) int16: levels between two arrays (…,3) uint8, of the channel that differs most."""
    return np.asarray(np.abs(before.astype(np.int16) - after).max(-1))


def counted(marked: np.ndarray, reach: int) -> np.ndarray:
    """(H,W) int64: how many marked pixels lie within `reach` rows and columns of each; none beyond the border."""
    total = np.zeros((marked.shape[0] + 1, marked.shape[1] + 1), np.int64)
    total[1:, 1:] = marked.cumsum(0, dtype=np.int64).cumsum(1)
    rows, columns = (np.arange(side) for side in marked.shape)
    top, bottom = (rows - reach).clip(0), (rows + reach + 1).clip(max=marked.shape[0])
    left, right = (columns - reach).clip(0), (columns + reach + 1).clip(max=marked.shape[1])
    of_rows = total[bottom] - total[top]
    return np.asarray(of_rows[:, right] - of_rows[:, left])


# The kinds.


def _cut_paste(scene: Scene, rng: RandomState) -> Region:
    """A rectangle of the image, upright and with hard edges."""
    height, width = scene.shape
    area = rng.uniform(*scene.parameters.patch_area) * height * width
    aspect = rng.uniform(*scene.parameters.patch_aspect)
    aspect = aspect if rng.random_sample() < 0.5 else 1 / aspect
    tall = max(1, min(height, int(np.sqrt(area * aspect) + 0.5), int(area)))
    wide = max(1, min(width, int(area / tall)))
    row, column = scene.place(rng)
    top, left = _fitted(row - tall // 2, height - tall), _fitted(column - wide // 2, width - wide)
    from_top, from_left = rng.randint(height - tall + 1), rng.randint(width - wide + 1)
    content = scene.jittered(scene.image[from_top : from_top + tall, from_left : from_left + wide], rng)
    box = slice(top, top + tall), slice(left, left + wide)
    return Region(box, np.ones((tall, wide), bool), content, np.ones((tall, wide)))


def _scar(scene: Scene, rng: RandomState) -> Region:
    """A thin rectangle of the image, turned by any angle, with hard edges."""
    height, width = scene.shape
    length, thick = (max(1.0, rng.uniform(*of) * scene.side)
                     for of in (scene.parameters.scar_length, scene.parameters.scar_width))  # fmt: skip
    # The tangent of half an angle gives sine and cosine without calling either; up to 45 degrees, then turned over.
    tangent = rng.uniform(-0.41421356, 0.41421356)
    cosine, sine = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
    cosine, sine = (cosine, sine) if rng.random_sample() < 0.5 else (sine, cosine)
    row, column = scene.place(rng)
    reach = int(length + thick)
    box = (slice(max(0, row - reach), min(height, row + reach + 1)),
           slice(max(0, column - reach), min(width, column + reach + 1)))  # fmt: skip
    down = np.arange(box[0].start, box[0].stop)[:, None] - row
    right = np.arange(box[1].start, box[1].stop)[None] - column
    along, across = right * cosine + down * sine, down * cosine - right * sine
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= thick / 2)
    from_row = np.floor(across + rng.uniform(thick / 2, max(thick / 2, height - thick / 2))).astype(np.int64)
    from_column = np.floor(along + rng.uniform(length / 2, max(length / 2, width - length / 2))).astype(np.int64)
    content = scene.image[from_row.clip(0, height - 1), from_column.clip(0, width - 1)]
    return Region(box, inside, scene.jittered(content, rng), np.ones(inside.shape))


def _noise_texture(scene: Scene, rng: RandomState) -> Region:
    """A ragged region under a cloudy texture of two colours."""
    box, inside, opacity = _ragged(scene, rng)
    first, second = scene.colour(rng), scene.colour(rng)
    small = perlin.fractal(rng, scene.thing.shape, _cells(scene, rng))
    clouds = (perlin.enlarged(small, scene.shape, box) * 1.5).clip(-1, 1)  # noise is seldom far from its mean
    content = first + (clouds / 2 + 0.5)[..., None] * (second - first)
    return Region(box, inside, content, opacity)


def _noise_shuffle(scene: Scene, rng: RandomState) -> Region:
    """A ragged region under tiles of the image, each from another place of it."""
    box, inside, opacity = _ragged(scene, rng)
    height, width = scene.shape
    down, right = (rng.randint(0, side, (_TILES, _TILES)) for side in scene.shape)
    rows, columns = (np.arange(of.start, of.stop) for of in box)
    tile = (rows * _TILES // height)[:, None], (columns * _TILES // width)[None]
    content = scene.image[(rows[:, None] + down[tile]) % height, (columns[None] + right[tile]) % width]
    return Region(box, inside, scene.jittered(content, rng), opacity)


def _ragged(scene: Scene, rng: RandomState) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """(box, inside, opacity): where noise, less the further from a point, is highest; edges are softened inwards."""
    share, (height, width) = rng.uniform(*scene.parameters.noise_area), scene.thing.shape
    row, column = scene.place(rng)
    # A smaller region is nearer to its middle.
    spread = rng.uniform(*scene.parameters.noise_spread) * scene.side * np.sqrt(share / scene.parameters.noise_area[1])
    down, right = np.arange(height) * scene.step - row, np.arange(width) * scene.step - column
    away = (down * down)[:, None] + (right * right)[None]
    score = perlin.noise(rng, scene.thing.shape, _cells(scene, rng)) - away / max(1.0, spread * spread)
    count = max(1, min(len(scene.places), int(share * height * width)))
    least = np.partition(score[scene.thing], len(scene.places) - count)[len(scene.places) - count]
    marked = scene.thing & (score >= least)
    box = _box(marked.any(1), scene.step, scene.shape[0]), _box(marked.any(0), scene.step, scene.shape[1])
    fine, allowed = perlin.enlarged(score, scene.shape, box), scene.things_in(box)
    inside = allowed & (fine >= least)
    if not inside.any():  # between the points of the small image nothing is as high
        inside.flat[int(np.argmax(np.where(allowed, fine, -np.inf)))] = True
    edge = max(1, scene.side // 128)
    soft = counted(inside, edge) / (2 * edge + 1) ** 2
    return box, inside, soft * rng.uniform(*scene.parameters.opacity)


def _box(marked: np.ndarray, step: int, side: int) -> slice:
    """The rows of an image, or its columns, from the first marked one of the small image to the last, and around."""
    at = np.flatnonzero(marked)
    return slice(max(0, (int(at[0]) - 1) * step), min(side, (int(at[-1]) + 2) * step))


def _shifted(scene: Scene, region: Region) -> Region:
    """The same region, its pixels a quarter of the range brighter where they are dark, darker where they are bright."""
    before = scene.image[region.box].astype(np.float64)
    shift = np.where(before < 128, 64.0, -64.0)
    return Region(region.box, region.inside, before + shift, np.ones(region.inside.shape))


_MAKERS: dict[str, Callable[[Scene, RandomState], Region]] = {
    "cut_paste": _cut_paste,
    "scar": _scar,
    "noise_texture": _noise_texture,
    "noise_shuffle": _noise_shuffle,
}
KINDS = tuple(_MAKERS)


def _cells(scene: Scene, rng: RandomState) -> tuple[int, int]:
    """Cells of noise over the height and over the width, each a power of two."""
    least, most = (int(of).bit_length() - 1 for of in scene.parameters.cells)
    return 1 << int(rng.randint(least, most + 1)), 1 << int(rng.randint(least, most + 1))


def _fitted(start: int, most: int) -> int:
    return max(0, min(start, most))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
