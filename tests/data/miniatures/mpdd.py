"""MPDD: six metal parts as MVTec AD's folders, below the folder that its archive makes."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = LAYOUTS
TYPES = {
    "bracket_black": ("hole", "scratches"),
    "bracket_brown": ("bend_and_parts_mismatch", "parts_mismatch"),
    "bracket_white": ("defective_painting", "scratches"),
    "connector": ("parts_mismatch",),
    "metal_plate": ("major_rust", "scratches", "total_rust"),
    "tubes": ("anomalous",),
}


def write(root: Path, layout: str) -> list[Expected]:
    root = root / "anomaly_dataset" if layout == "mvtec_style" else root
    expected, phases = [], {"train": {}, "test": {}}
    for category, kinds in TYPES.items():
        train = f"{category}/train/good/000.png"
        write_image(root / train)
        phases["train"][category] = [record(train, "", category, "good")]
        phases["test"][category] = []
        for kind in ("good", *kinds):
            image = f"{category}/test/{kind}/000.png"
            mask = "" if kind == "good" else f"{category}/ground_truth/{kind}/000_mask.png"
            write_image(root / image)
            if mask:
                write_mask(root / mask)
            expected.append(Expected(image, (mask,) if mask else (), int(kind != "good"), category, kind))
            phases["test"][category].insert(0, record(image, mask, category, kind, int(kind != "good")))
        write_junk(root / category / "test/good")
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
