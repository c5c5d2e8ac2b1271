"""HeadCT: numbered PNG files, some RGBA, and a labels.csv with unpadded ids and a space in its header."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
ANOMALOUS, NORMAL = (0, 1, 2), (100, 101, 102, 103, 104)  # ids 0-99 and 100-199 of the download
_RGBA = (1, 103)


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "raw":
        write_labels(root / "labels.csv")  # as the zip unpacks
        return write_images(root / "head_ct" / "head_ct")
    category = "brain" if layout == "mvtec_style" else "headct"  # AnomalyCLIP's copy, AdaCLIP's copy
    root = root / "HeadCT_anomaly_detection"
    expected, records = [], []
    for kind, ids in (("good", NORMAL), ("hemorrhage", ANOMALOUS)):
        for number in ids:
            image, label = f"{category}/test/{kind}/{number:03d}.png", int(kind != "good")
            write_image(root / image, mode=_mode(number))
            expected.append(Expected(image, (), label, "brain", kind))
            records.append(record(image, "", category, kind, label))
    write_image(root / category / "train/good/150.png")
    write_mask(root / category / "ground_truth/hemorrhage/000.png")
    if layout == "meta_json":
        write_meta(root / "meta.json", {"train": {category: []}, "test": {category: records[::-1]}})
    return expected


def write_labels(path: Path) -> None:
    lines = [f"{n},1" for n in ANOMALOUS] + [f"{n},0" for n in NORMAL]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["id, hemorrhage", *lines]) + "\n")


def write_images(folder: Path) -> list[Expected]:
    for number in ANOMALOUS + NORMAL:
        write_image(folder / f"{number:03d}.png", mode=_mode(number))
    write_junk(folder)
    expected = [Expected(f"{n:03d}.png", (), 0, "brain", "good") for n in NORMAL]
    return expected + [Expected(f"{n:03d}.png", (), 1, "brain", "hemorrhage") for n in ANOMALOUS]


def _mode(number: int) -> str:
    return "RGBA" if number in _RGBA else "RGB"
