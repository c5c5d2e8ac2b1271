"""Pairs of the demo suite: one scene without and with a defect, and the mask of the difference.

Everything is a function of (suite, class, seed, index): the same draws on every platform, and equal pixels under
equal versions of numpy and OpenCV.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from zsad_bench.data.demo.canvas import Scene, light_and_lens
from zsad_bench.data.demo.classes import CLASSES
from zsad_bench.data.demo.defects import OBJECTS_ONLY, apply
from zsad_bench.data.demo.medical import ORGANS
from zsad_bench.data.demo.objects import OBJECTS
from zsad_bench.data.demo.textures import TEXTURES
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError
from zsad_bench.registry import did_you_mean

RENDERERS: dict[str, Callable[[Generator], Scene]] = {**TEXTURES, **OBJECTS, **ORGANS}
AREA = (0.006, 0.15)  # smallest and largest share of the image that a defect may change
CHANGE = 0.10  # least mean change inside the mask, of the most changed channel
SCENES, TRIES = 12, 4  # scenes drawn before giving up, and defects drawn on each


@dataclass
class Pair:
    """The same scene twice, under the same light and noise.

    normal, anomalous: (H,W,3) uint8. mask: (H,W) bool. colour: "" when the scene has none worth naming.
    """

    normal: np.ndarray
    anomalous: np.ndarray
    mask: np.ndarray
    defect: str
    colour: str


def rng_for(suite: str, name: str, seed: int, index: int) -> Generator:
    """The generator of one image: independent streams, the same on every platform and in every process."""
    digest = hashlib.sha256(f"{suite}\n{name}\n{seed}\n{index}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def pair(name: str, rng: Generator, defects: Sequence[str] | None = None) -> Pair:
    """A normal and an anomalous image of class `name`, with one defect of `defects` (default: of its class).

    The defect is drawn once and kept. While it cannot be seen, or covers too much, it is placed anew, then on a
    new scene, so that every kind is as frequent as it was asked for.

    Raises:
        UnknownNameError: no such class or defect.
        UsageError: a defect that needs an outline was asked of a texture.
        DatasetError: no visible defect in 12 scenes of 4 tries.
    """
    if name not in CLASSES:
        raise UnknownNameError(did_you_mean("demo class", name, CLASSES))
    pool = list(CLASSES[name].defects if defects is None else defects)
    defect = pool[rng.integers(len(pool))]
    if defect in OBJECTS_ONLY and CLASSES[name].group == "textures":
        raise UsageError(f"demo class '{name}' is a texture and cannot be '{defect}'; ask for it of an object")
    for _ in range(SCENES):
        scene = RENDERERS[name](rng)
        for _ in range(TRIES):
            damaged = apply(scene, defect, rng)
            mask = difference_mask(scene, damaged, defect)
            if mask is not None:
                normal, anomalous = light_and_lens(rng, [scene.image, damaged])
                return Pair(normal, anomalous, mask, defect, scene.colour)
    raise DatasetError(
        f"demo class '{name}': no visible '{defect}' in {SCENES} scenes of {TRIES} tries; "
        f"choose among its own defects: {', '.join(CLASSES[name].defects)}"
    )


def difference_mask(scene: Scene, damaged: np.ndarray, defect: str) -> np.ndarray | None:
    """(H,W) bool where the defect changed the scene, or None when that is too little, too much or too faint."""
    change = cv2.absdiff(damaged, scene.image).max(2)
    mask = (cv2.blur(change, (3, 3)) > 0.05).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))) > 0
    if defect == "bent":
        # The thing as it was and as it is now; what surrounds both has not changed.
        now = cv2.absdiff(damaged, scene.background).max(2) > 0.03
        mask &= scene.foreground | now
    if not AREA[0] <= mask.mean() <= AREA[1] or change[mask].mean() <= CHANGE:
        return None
    return mask
