"""How an image looks, in 256 bytes that survive re-encoding, resizing and mirroring, and which images look the same.

A signature is what the discrete cosine transform makes of the grey image at 64 x 64: its 16 x 16 lowest waves without
the mean, each as the square root of its size with its sign, as int8. Two images are as similar as the cosine of their
signatures, the largest over the eight mirrors and quarter turns of one of them, which only swap and negate waves.

An image is a near-duplicate of another when they are `SAME` similar; or when they are `ALIKE` similar and the match
stands out: its odds s^2 / (1 - s^2), what they share over what they do not, are `STANDS_OUT` times those of the image's
fifth best match among the others, and of what images of as few waves reach by chance (grids and gratings have few). The
first finds copies where everything looks alike, the second copies of textures, whose few low waves JPEG damages. What
that finds and misses is measured in docs/datasets.md, by `python benchmarks/near_duplicates.py`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RULE = 1  # of signatures: another rule's are never compared with these
SIDE, WAVES = 64, 16
SAME, ALIKE, STANDS_OUT, PEERS = 0.99, 0.75, 30, 5
CHANCE = 3.2  # similarity by chance of images of one wave; of n waves it is this over sqrt(n)
FLAT = 0.25  # standard deviation of grey levels at 64 x 64: below it there is nothing to recognise
_LARGE = 1024  # pixels on the short side; larger images are averaged down to about that first
_BLOCK = 256  # images compared at a time: 2 MB for a thousand others


class Look(NamedTuple):
    """The leak guard's data on an image file.

    pixels: 32 hex digits of the sha256 of width, height and the 8-bit RGB pixels as a run decodes them.
    signature: 256 int8, row-major waves; None where the image is flat (one colour, or nearly so).
    """

    width: int
    height: int
    pixels: str
    signature: bytes | None


def look(image: Image.Image) -> Look:
    """The look of a decoded RGB image."""
    digest = hashlib.sha256(f"{image.width}x{image.height}|".encode())
    digest.update(np.ascontiguousarray(np.asarray(image)).data)
    return Look(image.width, image.height, digest.hexdigest()[:32], signature(image))


def signature(image: Image.Image) -> bytes | None:
    """The 256 bytes of an image, or None when it is flat."""
    grey = image.convert("L")
    if (factor := min(image.size) // _LARGE) > 1:
        grey = grey.reduce(factor)
    small = np.asarray(grey.convert("F").resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)
    if small.std() < FLAT:
        return None
    waves = _COSINES @ small @ _COSINES.T
    waves[0, 0] = 0
    rooted = np.sign(waves) * np.sqrt(np.abs(waves))
    return np.rint(rooted * (127 / np.abs(rooted).max())).astype(np.int8).tobytes()


class Matches(NamedTuple):
    """Of M images their closest of N others: its position, how similar they are, and whether that is a copy."""

    closest: NDArray[np.int64]
    similarity: NDArray[np.float32]
    copies: NDArray[np.bool_]


def match(images: NDArray[np.int8], others: NDArray[np.int8]) -> Matches:
    """The closest of `others` (N,256), N > 0, to each of `images` (M,256); signatures of zeros match nothing.

    O(N) memory. A thousand images and a thousand others take some 0.1 s.
    """
    known, count = _unit(others), len(others)
    closest, similarity = np.zeros(len(images), np.int64), np.full(len(images), -1, np.float32)
    peer = np.full(len(images), -1, np.float32)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        best = np.full((len(images[part]), count), -1, np.float32)
        for turned in _turned(_unit(images[part])):
            np.maximum(best, turned @ known.T, out=best)
        closest[part] = best.argmax(1)
        similarity[part] = best.max(1)
        if count > 1:
            peer[part] = np.partition(best, -min(PEERS, count), axis=1)[:, -min(PEERS, count)]
    chance = np.maximum(_chance(images), _chance(others)[closest])
    usual = STANDS_OUT * _odds(np.maximum(peer, chance))
    stands_out = (similarity >= ALIKE) & (_odds(similarity) >= usual) & (count > 1)
    return Matches(closest, similarity, (similarity >= SAME) | stands_out)


def as_array(signatures: list[bytes | None]) -> NDArray[np.int8]:
    """(N,256) int8, zeros for an image without a signature."""
    filled = [one or bytes(WAVES * WAVES) for one in signatures]
    return np.frombuffer(b"".join(filled), np.int8).reshape(len(filled), WAVES * WAVES)


def _cosines() -> NDArray[np.float64]:
    """(16,64): the lowest waves of the orthonormal cosine transform."""
    wave, at = np.arange(WAVES)[:, None], np.arange(SIDE)[None]
    cosines = np.sqrt(2 / SIDE) * np.cos(np.pi * wave * (2 * at + 1) / (2 * SIDE))
    cosines[0] /= np.sqrt(2)
    return cosines


_COSINES = _cosines()


def _unit(signatures: NDArray[np.int8]) -> NDArray[np.float32]:
    values = signatures.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)


def _odds(similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    common = np.clip(similarity, 0, 1 - 1e-6) ** 2
    return common / (1 - common)


def _chance(signatures: NDArray[np.int8]) -> NDArray[np.float32]:
    """How similar images of so few waves are by chance; of n that matter, where n = (sum v^2)^2 / sum v^4."""
    power = signatures.astype(np.float32) ** 2
    return CHANCE * np.sqrt((power**2).sum(1)) / np.maximum(power.sum(1), 1)


def _turned(unit: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The signatures of the eight mirrors and quarter turns: odd waves change their sign, the axes are swapped."""
    waves = unit.reshape(-1, WAVES, WAVES)
    flip = (-1.0) ** np.arange(WAVES, dtype=np.float32)
    turned = []
    for axes in (waves, waves.transpose(0, 2, 1)):
        for rows in (axes, axes * flip[:, None]):
            turned += [rows, rows * flip]
    return [np.ascontiguousarray(one).reshape(len(unit), -1) for one in turned]
