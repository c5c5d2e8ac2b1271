"""Datasets of the papers in miniature, as their downloads and prepared copies look on disk: names, modes and quirks.

One file per dataset: `LAYOUTS`, and `write(root, layout)`, which writes the files below `root` (the folder a user would
point to) and returns the test samples that a reader must find, as tuples of `Expected`. `SAME` names the layouts whose
samples must agree in labels, types and masks' content. Files are drawn by `files.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import NamedTuple


class Expected(NamedTuple):
    """A test sample as the miniature's writer knows it; paths below the dataset's root, crop as `Sample.crop`."""

    image: str
    masks: tuple[str, ...]
    label: int
    category: str
    anomaly_type: str
    crop: tuple[int, int, int, int] | None = None


def names() -> list[str]:
    """Datasets that have a miniature."""
    found = (info.name for info in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name != "files" and not name.startswith("_"))


def load(name: str):
    return importlib.import_module(f"tests.data.miniatures.{name}")
