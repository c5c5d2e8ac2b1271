"""MVTec AD: grey images in three categories, types as folders, masks called `_mask`."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta
from zsad_bench.data.datasets.mvtec import Mvtec

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = LAYOUTS
_GREY = ("grid", "screw", "zipper")


def write(root: Path, layout: str) -> list[Expected]:
    expected, phases = [], {"train": {}, "test": {}}
    for card in Mvtec.category_cards:
        category = card.name
        mode = "L" if category in _GREY else "RGB"
        write_junk(root / category, ("license.txt", "readme.txt"))
        write_image(root / category / "train/good/000.png", mode=mode)
        phases["train"][category] = [record(f"{category}/train/good/000.png", "", category)]
        phases["test"][category] = []
        for kind in ("good", *Mvtec.anomaly_types[category]):
            image = f"{category}/test/{kind}/000.png"
            mask = "" if kind == "good" else f"{category}/ground_truth/{kind}/000_mask.png"
            write_image(root / image, mode=mode)
            if mask:
                write_mask(root / mask)
            expected.append(Expected(image, (mask,) if mask else (), int(kind != "good"), category, kind))
            phases["test"][category].append(record(image, mask, category, kind, int(kind != "good")))
        phases["test"][category].reverse()  # scripts list folders in any order
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
