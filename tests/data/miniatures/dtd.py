"""DTD-Synthetic: twelve textures in a nested folder; masks called after the image, with or without `_mask`, or not."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = LAYOUTS
# In the order of a published script, which is not that of the alphabet.
CATEGORIES = (
    "Woven_001", "Woven_127", "Woven_104", "Stratified_154", "Blotchy_099", "Woven_068", "Woven_125", "Marbled_078",
    "Perforated_037", "Mesh_114", "Fibrous_183", "Matted_069",
)  # fmt: skip
UNALIKE = "Mesh_114"  # its masks have names of their own, with the numbers of its images


def mask_name(category: str, number: int) -> str:
    if category == UNALIKE:
        return f"painted-{number}.png"
    return f"{number:03d}_mask.png" if category < "N" else f"{number:03d}.png"


def write(root: Path, layout: str) -> list[Expected]:
    root = root / "DTD-Synthetic/DTD-Synthetic" if layout == "mvtec_style" else root
    expected, phases = [], {"train": {}, "test": {}}
    for category in CATEGORIES:
        train = f"{category}/train/good/000.png"
        write_image(root / train)
        phases["train"][category] = [record(train, "", category, "good")]
        phases["test"][category] = []
        for number, kind in ((0, "good"), (0, "bad"), (1, "bad")):
            image = f"{category}/test/{kind}/{number:03d}.png"
            mask = "" if kind == "good" else f"{category}/ground_truth/bad/{mask_name(category, number)}"
            write_image(root / image)
            if mask:  # the edge of a painted stroke is soft: grey counts
                write_mask(root / mask, box=(4, 3, 10 + 6 * number, 12), value=255 if number else 60)
            label = int(kind == "bad")
            expected.append(Expected(image, (mask,) if mask else (), label, category, kind))
            phases["test"][category].insert(0, record(image, mask, category, kind, label))
        write_junk(root / category / "ground_truth/bad")
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
