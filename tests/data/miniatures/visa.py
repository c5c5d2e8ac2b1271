"""VisA: .JPG images, masks of class ids, a split file, label cells with commas; and the reorganised `1cls/`."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("raw", "meta_json", "mvtec_style")
SAME = LAYOUTS
# Label cells of the anomalous images, each with the class id that its mask holds.
LABELS = {
    "candle": (("chunk of wax missing", 1), ("weird candle wick,other", 8)),
    "capsules": (("bubble", 1), ("bubble,discolor,scratch", 3)),
    "cashew": (("other", 9), ("small holes", 5)),
    "chewinggum": (("corner missing", 2), ("other", 6)),
    "fryum": (("burnt", 1), ("fryum stuck together", 4)),
    "macaroni1": (("small cracks", 5), ("small cracks,small scratches", 6)),
    "macaroni2": (("different color spot", 3), ("other", 7)),
    "pcb1": (("bent", 1), ("melt,scratch", 3)),
    "pcb2": (("melt", 2), ("missing", 4)),
    "pcb3": (("scratch", 3), ("bent", 1)),
    "pcb4": (("wrong place", 6), ("dirt", 7)),
    "pipe_fryum": (("stuck together", 7), ("similar colour spot", 5)),
}
FOUR_DIGITS = ("candle", "macaroni1", "pcb1", "pcb2", "pcb3", "pcb4", "macaroni2")  # of the normal images' names


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "mvtec_style":
        return write_reorganised(root / "1cls")
    lines, expected = [], []
    for category, labels in LABELS.items():
        lines_here, expected_here = write_category(root, category, labels)
        lines = lines_here[::-1] + lines  # the official file is in no order
        expected += expected_here
    write_csv(root / "split_csv/1cls.csv", ["object", "split", "label", "image", "mask"], lines)
    if layout == "meta_json":
        phases: dict[str, dict[str, list[dict]]] = {"train": {}, "test": {}}
        for category, split, label, image, mask in lines:
            made = record(image, mask, category, "", int(label == "anomaly"))
            phases[split].setdefault(category, []).append(made)
        write_meta(root / "meta.json", phases)
    return expected


def write_category(root: Path, category: str, labels) -> tuple[list[list[str]], list[Expected]]:
    """One category as downloaded; its lines of the split file and its test samples."""
    data, digits = f"{category}/Data", 4 if category in FOUR_DIGITS else 3
    lines, notes, expected = [], [], []
    for number, split in enumerate(("train", "test")):
        image = f"{data}/Images/Normal/{number:0{digits}d}.JPG"
        write_image(root / image)
        lines.append([category, split, "normal", image, ""])
        notes.append([image, "normal", ""])
        if split == "test":
            expected.append(Expected(image, (), 0, category, "good"))
    for number, (label, class_id) in enumerate(labels):
        image, mask = f"{data}/Images/Anomaly/{number:03d}.JPG", f"{data}/Masks/Anomaly/{number:03d}.png"
        write_image(root / image)
        write_mask(root / mask, box=(3, 3, 9 + 5 * number, 11), value=class_id)
        lines.append([category, "test", "anomaly", image, mask])
        notes.append([image, label, mask])
        expected.append(Expected(image, (mask,), 1, category, label))
    write_csv(root / category / "image_anno.csv", ["image", "label", "mask"], notes)
    return lines, expected


def write_reorganised(root: Path) -> list[Expected]:
    """The tree that the release's own script makes: masks of 255, no types."""
    expected = []
    for category, labels in LABELS.items():
        write_image(root / f"{category}/train/good/0000.JPG")
        write_image(root / f"{category}/test/good/0001.JPG")
        expected.append(Expected(f"{category}/test/good/0001.JPG", (), 0, category, "good"))
        for number in range(len(labels)):
            image, mask = f"{category}/test/bad/{number:03d}.JPG", f"{category}/ground_truth/bad/{number:03d}.png"
            write_image(root / image)
            write_mask(root / mask, box=(3, 3, 9 + 5 * number, 11))
            expected.append(Expected(image, (mask,), 1, category, "bad"))
        write_junk(root / category / "test/bad")
    return expected


def write_csv(path: Path, header: list[str], lines: list[list[str]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *lines])
