"""GoodsAD: names of six digits, JPEG images, masks called as their image without a suffix of their own."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_mask, write_meta
from zsad_bench.data.datasets.goods_ad import GoodsAd

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = LAYOUTS
KINDS = ("cap_half_open", "cap_open", "surface_damage")  # of drink_bottle; the others have types of their own


def write(root: Path, layout: str) -> list[Expected]:
    root = root / "GoodsAD"
    expected, phases = [], {"train": {}, "test": {}}
    for card in GoodsAd.category_cards:
        write_image(root / card.name / "train/good/000000.jpg")
        phases["train"][card.name] = [record(f"{card.name}/train/good/000000.jpg", "", card.name, "good")]
        phases["test"][card.name] = []
        for number, kind in enumerate(("good", *(KINDS if card.name == "drink_bottle" else ("opened",)))):
            image, label = f"{card.name}/test/{kind}/00100{number}.jpg", int(kind != "good")
            mask = f"{card.name}/ground_truth/{kind}/00100{number}.png" if label else ""
            write_image(root / image)
            if mask:
                write_mask(root / mask)
            expected.append(Expected(image, (mask,) if mask else (), label, card.name, kind))
            phases["test"][card.name].insert(0, record(image, mask, card.name, kind, label))
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
