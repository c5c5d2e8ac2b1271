"""BTAD: three products, normal images in `ok`; in 01 an image is .bmp and its mask .png."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = LAYOUTS
SUFFIXES = {"01": (".bmp", ".png"), "02": (".png", ".png"), "03": (".bmp", ".bmp")}  # of images and of masks


def write(root: Path, layout: str) -> list[Expected]:
    root = root / "BTech_Dataset_transformed" if layout == "mvtec_style" else root
    expected, phases = [], {"train": {}, "test": {}}
    for category, (suffix, mask_suffix) in SUFFIXES.items():
        train = f"{category}/train/ok/0000{suffix}"
        write_image(root / train)
        phases["train"][category] = [record(train, "", category, "ok")]
        phases["test"][category] = []
        for number, kind in ((0, "ok"), (1, "ok"), (0, "ko"), (21, "ko")):
            image = f"{category}/test/{kind}/{number:04d}{suffix}"
            mask = "" if kind == "ok" else f"{category}/ground_truth/ko/{number:04d}{mask_suffix}"
            write_image(root / image)
            if mask:
                write_mask(root / mask, box=(2, 2, 8 + number // 3, 10))
            masks, label = (mask,) if mask else (), int(kind == "ko")
            expected.append(Expected(image, masks, label, category, "ko" if label else "good"))
            phases["test"][category].insert(0, record(image, mask, category, kind, label))
        write_junk(root / category / "ground_truth/ko")
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
