"""AITEX: strips with masks apart, nested as in the Kaggle copy; prepared, the tiles as folders of defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
HEIGHT = 16  # 256 in the release; tiles are 256 wide all the same
FABRICS = (
    "2306881-210020u", "2306894-210033u", "2311517-195063u", "2311694-1930c7u", "2311694-2040n7u", "2311980-185026u",
    "2608691-202020u",
)  # fmt: skip
# strip -> its type, its width, the box of each mask file, and tile -> box there
STRIPS = {
    "0001_002_00": ("Broken_end", 512, [(300, 4, 400, 12)], {1: (44, 4, 144, 12)}),
    "0044_019_04": (
        "Fuzzyball", 512, [(40, 4, 140, 12), (300, 4, 400, 12)], {0: (40, 4, 140, 12), 1: (44, 4, 144, 12)},
    ),
    "0094_027_05": ("Knots", 300, [(260, 4, 296, 12)], {1: (4, 4, 40, 12)}),
    "0097_030_03": ("Nep", 512, [(30, 4, 80, 12), (80, 4, 140, 12)], {0: (30, 4, 140, 12)}),
} | {
    f"{number:04d}_{code}_01": (kind, 512, [(40, 4, 140, 12)], {0: (40, 4, 140, 12)})
    for number, (code, kind) in enumerate(
        [
            ("006", "Broken_yarn"), ("010", "Broken_pick"), ("016", "Weft_curling"), ("022", "Cut_selvage"),
            ("023", "Crease"), ("025", "Warp_ball"), ("029", "Contamination"), ("036", "Weft_crack"),
        ],
        2,
    )
}  # fmt: skip


def write(root: Path, layout: str) -> list[Expected]:
    flawless = [(fabric, f"{n:04d}_000_{n:02d}", tile) for n, fabric in enumerate(FABRICS, 1) for tile in (0, 1)]
    drawn = np.random.RandomState(42).permutation(14)[:4]
    tested = [flawless[i] for i in drawn]
    if layout == "raw":
        return _write_raw(root, flawless, tested)
    phases = {"train": {"AITEX": []}, "test": {"AITEX": []}}
    expected = []
    for tile in flawless:
        image = f"AITEX/{'test' if tile in tested else 'train'}/good/{tile[1]}_{tile[2]}.png"
        write_image(root / image, (256, HEIGHT), "L")
        phases["test" if tile in tested else "train"]["AITEX"].append(record(image, "", "AITEX", "good"))
        if tile in tested:
            expected.append(Expected(image, (), 0, "AITEX", "good"))
    for stem, (kind, width, _, tiles) in STRIPS.items():
        for tile, box in tiles.items():
            image = f"AITEX/test/{kind}/{stem}_{tile}.png"
            mask = f"AITEX/ground_truth/{kind}/{stem}_{tile}_mask.png"
            size = (min(256, width - 256 * tile), HEIGHT)
            write_image(root / image, size, "L")
            write_mask(root / mask, size, box)
            phases["test"]["AITEX"].insert(0, record(image, mask, "AITEX", kind, 1))
            expected.append(Expected(image, (mask,), 1, "AITEX", kind))
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected


def _write_raw(root: Path, flawless, tested) -> list[Expected]:
    defective, masks = root / "Defect_images/Defect_images", root / "Mask_images/Mask_images"
    write_junk(defective)
    write_junk(root, ("readme.txt",))
    write_image(defective / "0100_025_08.png", (512, HEIGHT), "L")  # has no mask
    expected = []
    for fabric, strip, tile in flawless:
        image = f"NODefect_images/{fabric}/{strip}.png"
        write_image(root / image, (512, HEIGHT), "L")
        if (fabric, strip, tile) in tested:
            expected.append(Expected(image, (), 0, "AITEX", "good", (256 * tile, 0, 256 * tile + 256, HEIGHT)))
    for stem, (kind, width, boxes, tiles) in STRIPS.items():
        write_image(defective / f"{stem}.png", (width, HEIGHT), "L")
        names = [f"{stem}_mask.png"] if len(boxes) == 1 else [f"{stem}_mask1.png", f"{stem}_mask2.png"]
        for name, box in zip(names, boxes, strict=True):
            mode = "RGBA" if kind == "Knots" else "RGB" if kind == "Nep" else "L"
            write_mask(masks / name, (width, HEIGHT), box, value=1 if kind == "Crease" else 255, mode=mode)
        for tile in tiles:
            crop = (256 * tile, 0, min(256 * tile + 256, width), HEIGHT)
            found = tuple(f"Mask_images/Mask_images/{name}" for name in names)
            expected.append(Expected(f"Defect_images/Defect_images/{stem}.png", found, 1, "AITEX", kind, crop))
    return expected
