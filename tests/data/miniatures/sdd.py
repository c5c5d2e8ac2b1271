"""SDD: fifty folders of tall grey JPEGs, each with a BMP mask beside it that is nearly always all zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
WIDTH = 9
EDGES = {30: (0, 10, 20, 30), 31: (0, 10, 20, 31), 32: (0, 10, 21, 32)}  # height -> where the three parts meet
# (folder, photograph) -> the defect, and in which parts it lies, with its box there
DEFECTS = {
    ("kos01", "Part1"): ((2, 12, 7, 18), {1: (2, 2, 7, 8)}),
    ("kos02", "Part3"): ((2, 6, 7, 14), {0: (2, 6, 7, 10), 1: (2, 0, 7, 4)}),
    ("kos03", "Part5"): ((2, 22, 7, 28), {2: (2, 2, 7, 8)}),
}


def photographs() -> list[tuple[str, str, int]]:
    """(folder, name, height) of all, sorted by path."""
    every = [(f"kos{n:02d}", "Part0", 30 + n % 3) for n in range(1, 51)]
    return sorted(every + [(kos, part, 30 + int(kos[3:]) % 3) for kos, part in DEFECTS])


def write(root: Path, layout: str) -> list[Expected]:
    parts = [(kos, part, height, third) for kos, part, height in photographs() for third in range(3)]
    bad = {(kos, part, third): box for (kos, part), (_, where) in DEFECTS.items() for third, box in where.items()}
    normal = [key for key in parts if (key[0], key[1], key[3]) not in bad]
    drawn = np.random.RandomState(42).permutation(len(normal))[: -(-len(normal) // 4)]
    tested = {normal[i] for i in drawn}
    if layout == "raw":
        return _write_raw(root, parts, bad, tested)
    expected, phases = [], {"train": {"electrical commutators": []}, "test": {"electrical commutators": []}}
    for kos, part, height, third in parts:
        box, size = bad.get((kos, part, third)), (WIDTH, EDGES[height][third + 1] - EDGES[height][third])
        stem = f"{kos}_{part}_{third}"
        split = "test" if box or (kos, part, height, third) in tested else "train"
        image = f"electrical commutators/{split}/{'defect' if box else 'good'}/{stem}.png"
        mask = f"electrical commutators/ground_truth/defect/{stem}_mask.png" if box else ""
        write_image(root / image, size, "L")
        if box:
            write_mask(root / mask, size, box)
        if split == "test":
            kind = "defect" if box else "good"
            expected.append(Expected(image, (mask,) if box else (), int(bool(box)), "SDD", kind))
        phases[split]["electrical commutators"].insert(
            0, record(image, mask, "electrical commutators", "defect" if box else "good", int(bool(box)))
        )
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected


def _write_raw(root, parts, bad, tested) -> list[Expected]:
    for kos, part, height in photographs():
        box, _ = DEFECTS.get((kos, part), (None, None))
        write_image(root / kos / f"{part}.jpg", (WIDTH, height), "L")
        write_mask(root / kos / f"{part}_label.bmp", (WIDTH, height), box, value=1 if kos == "kos03" else 255)
    expected = []
    for kos, part, height, third in parts:
        crop = (0, EDGES[height][third], WIDTH, EDGES[height][third + 1])
        if (kos, part, third) in bad:
            masks = (f"{kos}/{part}_label.bmp",)
            expected.append(Expected(f"{kos}/{part}.jpg", masks, 1, "SDD", "defect", crop))
        elif (kos, part, height, third) in tested:
            expected.append(Expected(f"{kos}/{part}.jpg", (), 0, "SDD", "good", crop))
    return expected
