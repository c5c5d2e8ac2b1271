"""Br35H: a normal image with a capital N, PNG data in .jpg files, pred/ and copies beside the two folders."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
NO = (("no0.jpg", "RGB", "JPEG"), ("no1.jpg", "L", "JPEG"), ("No12.jpg", "RGB", "PNG"))  # there is no no12.jpg
YES = (("y0.jpg", "L", "JPEG"), ("y1.jpg", "RGB", "JPEG"), ("y10.jpg", "RGB", "PNG"))


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "mvtec_style":
        return _prepared(root)
    for folder, images in (("no", NO), ("yes", YES)):
        for name, mode, format in images:
            write_image(root / folder / name, mode=mode, format=format)
        write_junk(root / folder)
    write_image(root / "pred/pred0.jpg")
    for part, name in (("TRAIN", "y0.jpg"), ("TEST", "y1.jpg"), ("VAL", "y10.jpg")):
        write_image(root / "Br35H-Mask-RCNN" / part / name)
    write_junk(root / "Br35H-Mask-RCNN", ("annotations_all.json",))
    if layout == "meta_json":
        write_meta(root / "meta.json", {"train": {"brain": []}, "test": {"brain": _records()}})
    kind = "tumor" if layout == "raw" else "yes"
    return _expected("no", NO, 0, "good") + _expected("yes", YES, 1, kind)


def _records() -> list[dict]:
    """As the script lists them: every entry of every folder of its root, anomalous unless the folder is `no`."""
    folders = {"yes": YES, "pred": [("pred0.jpg",)], "no": NO}
    folders["Br35H-Mask-RCNN"] = [("TRAIN",), ("annotations_all.json",), ("VAL",), ("TEST",)]
    prefix = "../data/Br35H"  # relative to where the script ran
    return [
        record(f"{prefix}/{folder}/{name}", "", "brain", folder, int(folder != "no"))
        for folder, images in folders.items()
        for name, *_ in images
    ]


def _expected(folder: str, images: tuple, label: int, kind: str) -> list[Expected]:
    return [Expected(f"{folder}/{name}", (), label, "brain", kind) for name, *_ in images]


def _prepared(root: Path) -> list[Expected]:
    """AdaCLIP's copy: `Br35h_anomaly_detection/br35h`."""
    top = root / "Br35h_anomaly_detection" / "br35h"
    write_image(top / "train/good/no7.jpg")
    for kind, images in (("good", NO), ("defect", YES)):
        for name, mode, format in images:
            write_image(top / "test" / kind / name, mode=mode, format=format)
    write_mask(top / "ground_truth/defect/y0.png")
    return _expected("br35h/test/good", NO, 0, "good") + _expected("br35h/test/defect", YES, 1, "defect")
