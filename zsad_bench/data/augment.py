"""Training augmentation by albumentations: chosen by name, off by default; image and mask move together.

| name | with probability | what |
|---|---|---|
| `flip` | 0.5 each | left and right; up and down |
| `rotate` | 0.5 | -10 to 10 degrees about the middle, mirrored at the border; the size stays |
| `colour` | 0.5 | brightness, contrast and saturation times 0.8 to 1.2, hue turned by -0.02 to 0.02 of the circle |
| `blur` | 0.3 | Gaussian, sigma 0.3 to 1.5 pixels of the file |

The strengths are ours: small enough that a normal image stays normal. The methods' papers train without.
They are applied in the order of this table, whatever the order of the names.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from zsad_bench.errors import UsageError
from zsad_bench.registry import did_you_mean

NAMES = ("flip", "rotate", "colour", "blur")


class Augmentation:
    """Calls give (image (H,W,3) uint8, mask (H,W) uint8 or None), changed alike; the size stays.

    What is drawn depends on the names, the seed and the `key` of a call, and on nothing that went before: the same in
    any worker process. Give each image of each epoch a key of its own.
    """

    def __init__(self, names: Iterable[str], seed: int) -> None:
        self.names, self.seed = check(names), seed

    def __call__(
        self, image: np.ndarray, mask: np.ndarray | None = None, key: str = ""
    ) -> tuple[np.ndarray, np.ndarray | None]:
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}|{key}".encode(errors="surrogateescape")).digest()[:8])
        self._compose.set_random_state(np.random.default_rng(drawn), random.Random(drawn))
        if mask is None:
            return self._compose(image=image)["image"], None
        changed = self._compose(image=image, mask=mask)
        return changed["image"], changed["mask"]

    def __getstate__(self) -> dict[str, Any]:
        return {"names": self.names, "seed": self.seed}  # a worker builds its own

    @cached_property
    def _compose(self) -> Any:
        A, cv2 = libraries()
        known = {
            "flip": [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)],
            "rotate": [A.Rotate(limit=(-10, 10), border_mode=cv2.BORDER_REFLECT_101, p=0.5)],
            "colour": [A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=0.5)],
            "blur": [A.GaussianBlur(sigma_limit=(0.3, 1.5), p=0.3)],
        }
        return A.Compose([step for name in self.names for step in known[name]])


def libraries() -> tuple[Any, Any]:
    """albumentations and cv2, imported when they are first used, as this process may use them."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for newer versions
    import albumentations as A
    import cv2
    from torch.utils.data import get_worker_info

    if get_worker_info() is not None:
        cv2.setNumThreads(0)  # a forked process cannot use its parent's threads, and the workers share the cores
    return A, cv2


def build(names: Iterable[str], seed: int) -> Augmentation:
    """The augmentation of these names.

    Raises:
        UsageError: an unknown name.
    """
    return Augmentation(names, seed)


def check(names: Iterable[str]) -> tuple[str, ...]:
    """The names once each, in the order of application; a string is names with commas. Imports no albumentations.

    Raises:
        UsageError: an unknown name.
    """
    asked = names.split(",") if isinstance(names, str) else list(names)
    for name in asked:
        if name not in NAMES:
            raise UsageError(did_you_mean("augmentation", str(name), NAMES))
    return tuple(name for name in NAMES if name in asked)
