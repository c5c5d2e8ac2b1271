"""KSDD2: two folders of numbered images, a mask beside each, all zero where nothing is wrong; and prepared copies."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
SIZE = (9, 24)  # upright
BOXES = {20000: None, 20001: (2, 3, 6, 9), 20002: None, 20003: (0, 20, 9, 24), 20004: None}  # of the test split


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "raw":
        for phase, boxes in (("train", {10000: (1, 1, 4, 4), 10001: None, 10301: None}), ("test", BOXES)):
            for number, box in boxes.items():
                write_image(root / f"KolektorSDD2/{phase}/{number}.png", SIZE)
                write_mask(root / f"KolektorSDD2/{phase}/{number}_GT.png", SIZE, box)
        write_image(root / "KolektorSDD2/train/10301 (copy).png", SIZE)
        masks = {number: (f"test/{number}_GT.png",) for number, box in BOXES.items() if box}
        return [
            Expected(f"test/{n}.png", masks.get(n, ()), int(n in masks), "metal", "defect" if n in masks else "good")
            for n in BOXES
        ]
    expected, records = [], []
    for number, box in BOXES.items():
        kind = "bad" if box else "good"
        image = f"KSDD2/test/{kind}/{number}.png"
        mask = f"KSDD2/ground_truth/bad/{number}_mask.png" if box else ""
        write_image(root / image, SIZE)
        if box:
            write_mask(root / mask, SIZE, box)
        expected.append(Expected(image, (mask,) if box else (), int(bool(box)), "metal", "defect" if box else "good"))
        records.insert(0, record(image, mask, "KSDD2", kind, int(bool(box))))
    if layout == "meta_json":
        write_meta(root / "meta.json", {"train": {"KSDD2": []}, "test": {"KSDD2": records}})
    return expected


def write_prepared(root: Path, category: str, names: tuple[str, str]) -> None:
    """A copy as Bayes-PFL prepares it: two crops with a defect and two without; names: how each kind begins."""
    for kind, begin in zip(("anomaly", "good"), names, strict=True):
        for number in range(2):
            stem = f"{begin}{number:06d}_{number:010d}"
            write_image(root / category / "test" / kind / f"{stem}.bmp")
            if kind == "anomaly":
                write_mask(root / category / "ground_truth/anomaly" / f"{stem}.png")
    (root / category / "train/good").mkdir(parents=True)
