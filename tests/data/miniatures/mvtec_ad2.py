"""MVTec AD 2: a public test set under several lights, equal names for normal and anomalous images, two private sets."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta
from zsad_bench.data.datasets.mvtec_ad2 import MvtecAd2

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
LIGHTS = ("regular", "overexposed", "shift_1")
_GREY = ("vial",)


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "raw":
        return write_download(root / "mvtec_ad_2")
    expected, records = [], {}
    for card in MvtecAd2.category_cards:
        records[card.name] = []
        for kind in ("good", "bad"):
            for light in LIGHTS:
                image = f"{card.name}/test/{kind}/000_{light}.png"
                mask = f"{card.name}/ground_truth/bad/000_{light}_mask.png" if kind == "bad" else ""
                _draw(root, card.name, image, mask)
                expected.append(Expected(image, (mask,) if mask else (), int(bool(mask)), card.name, kind))
                records[card.name].insert(0, record(image, mask, card.name, kind, int(bool(mask))))
    if layout == "meta_json":
        write_meta(root / "meta.json", {"train": {name: [] for name in records}, "test": records})
    return expected


def write_download(root: Path) -> list[Expected]:
    """Below the root itself, with its private test sets; returns the samples of the public one."""
    expected = []
    write_junk(root, ("license.txt", "readme.txt"))
    for card in MvtecAd2.category_cards:
        for kind in ("good", "bad"):
            for light in LIGHTS:
                image = f"{card.name}/test_public/{kind}/000_{light}.png"
                mask = f"{card.name}/test_public/ground_truth/bad/000_{light}_mask.png" if kind == "bad" else ""
                _draw(root, card.name, image, mask)
                expected.append(Expected(image, (mask,) if mask else (), int(bool(mask)), card.name, kind))
        for other in ("train/good/000_regular", "validation/good/000_regular", "test_private/000_regular",
                      "test_private/001_regular", "test_private_mixed/000_mixed"):  # fmt: skip
            _draw(root, card.name, f"{card.name}/{other}.png", "")
    return expected


def _draw(root: Path, category: str, image: str, mask: str) -> None:
    write_image(root / image, mode="L" if category in _GREY else "RGB")
    if mask:
        write_mask(root / mask)
