"""A pool of generated pairs on disk, at the size of the model, shared by candidate runs through memory maps."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zsad_bench.data.demo.classes import CLASSES
from zsad_bench.data.demo.generate import pair, rng_for

IMAGE, PATCH = 96, 12
GRID = IMAGE // PATCH


@dataclass
class Pool:
    """images: (N,2,96,96,3) uint8, normal then anomalous. coverage: (N,8,8) float16, share of a patch that is
    defective. name, defect, colour: N strings. Opened read-only; N*55 KB on disk."""

    images: np.ndarray
    coverage: np.ndarray
    name: list[str]
    defect: list[str]
    colour: list[str]


def build(folder: Path, split: str, per_class: int, seed: int) -> Pool:
    """The pool of a split of the class table, generated on first use (the list of labels is written last)."""
    labels = folder / "labels.json"
    if not labels.exists():
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [(name, index, seed) for name, c in CLASSES.items() if c.split == split for index in range(per_class)]
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (len(jobs), 2, IMAGE, IMAGE, 3))
        coverage = np.lib.format.open_memmap(folder / "coverage.npy", "w+", np.float16, (len(jobs), GRID, GRID))
        rows = []
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as workers:
            for at, (image, cover, row) in enumerate(workers.imap(_one, jobs, chunksize=64)):
                images[at], coverage[at] = image, cover
                rows.append(row)
        images.flush(), coverage.flush()
        labels.write_text(json.dumps(rows))
    rows = json.loads(labels.read_text())
    return Pool(
        np.load(folder / "images.npy", mmap_mode="r"),
        np.load(folder / "coverage.npy", mmap_mode="r"),
        *([row[key] for row in rows] for key in ("name", "defect", "colour")),
    )


def _one(job: tuple[str, int, int]) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    name, index, seed = job
    made = pair(name, rng_for("pretraining", name, seed, index))
    images = np.stack([_resize(made.normal), _resize(made.anomalous)])
    mask = np.asarray(Image.fromarray(made.mask.astype(np.uint8) * 255).resize((IMAGE, IMAGE), Image.BILINEAR)) / 255
    coverage = mask.reshape(GRID, PATCH, GRID, PATCH).mean((1, 3))
    return images, coverage.astype(np.float16), {"name": name, "defect": made.defect, "colour": made.colour}


def _resize(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((IMAGE, IMAGE), Image.BICUBIC))
