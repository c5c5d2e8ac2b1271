"""A made-up leaderboard on disk with rows and pictures, for the tests of the page; nothing in it was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.made_up_rows import make_row
from zsad_bench.results.pictures import Pick, write_pictures
from zsad_bench.results.row import Row
from zsad_bench.results.rows import append

# line -> category -> a value for each seed
VALUES = {
    ("dive", "rich"): {"carpet": (0.8, 0.9), "grid": (0.6, 0.7), "bolt": (0.9, 0.9), "cell": (0.5, 0.6)},
    ("dive", "limited"): {"carpet": (0.7,), "grid": (0.7,), "bolt": (None,), "cell": (0.4,)},
    ("random", "none"): {"carpet": (0.5,), "grid": (0.51,), "bolt": (0.49,), "cell": (0.5,)},
}
TARGET = {"carpet": "cloth", "grid": "cloth", "bolt": "parts", "cell": "photos"}


def write_board(folder: Path) -> Path:
    """The folder, with rows of three lines on three datasets and pictures of two; those of `photos` stay with us."""
    rows = [row for line, values in VALUES.items() for row in _rows(*line, values)]
    append(folder / "rows" / "made_up.jsonl", rows)
    for key in {row.key for row in rows if row.target in ("cloth", "photos")}:
        target = "cloth" if "cloth" in key else "photos"
        about = {"target": target, "licence": "Apache-2.0" if target == "cloth" else "not free",
                 "redistribute": target == "cloth"}  # fmt: skip
        category = "carpet" if target == "cloth" else "cell"
        picks = [pick("largest", target, len(key)), pick("false_alarm", target, len(key))]
        write_pictures(folder / "pictures", key, category, picks, about)
    return folder


def _rows(method: str, prior: str, values: dict[str, tuple[float | None, ...]]) -> list[Row]:
    return [
        make_row(
            method=method,
            prior=prior,
            prior_hash="" if prior == "none" else f"hash-of-{prior}",
            seed=seed,
            target=TARGET[category],
            category=category,
            metric=metric,
            value=value,
            draw=0,
            reason="made undefined" if value is None else None,
            run_id=f"run{seed}",
            ci_low=None if value is None else value - 0.1,
            ci_high=None if value is None else value + 0.1,
            ci_level=None if value is None else 0.95,
        )
        for category, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
        for metric in ("image_auroc", "pixel_aupro", "pixel_f1max")
        if metric == "image_auroc" or category != "cell"
    ]


def pick(kind: str, target: str, seed: int) -> Pick:
    """The image is the same for every cell, the map is the cell's own."""
    image = np.random.default_rng(len(kind) + len(target)).integers(0, 256, (64, 48, 3), np.uint8)
    mask = np.zeros((64, 48), bool)
    mask[20:30, 10:30] = kind == "largest"
    map_ = np.random.default_rng(seed).normal(0, 1, (64, 48)).astype(np.float32)
    values = {"auroc": 0.75, "aupro": None} if kind == "largest" else {}
    return Pick(kind, f"{target}/{kind}.png", int(kind == "largest"), 0.25, image, mask, map_,
                float(map_.min()), float(map_.max()), values)  # fmt: skip
