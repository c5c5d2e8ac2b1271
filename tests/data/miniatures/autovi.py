"""AutoVI: six categories unpacked side by side, masks called 0000.png in a folder for each anomalous image."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_mask, write_meta
from zsad_bench.data.datasets.autovi import Autovi

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = LAYOUTS


def write(root: Path, layout: str) -> list[Expected]:
    root = root / "AutoVI"
    expected, phases = [], {"train": {}, "test": {}}
    for card in Autovi.category_cards:
        size = (20, 20) if card.name in ("engine_wiring", "pipe_clip", "pipe_staple") else (24, 18)  # square, 4:3
        write_image(root / card.name / "train/good/0000.png", size)
        phases["train"][card.name] = [record(f"{card.name}/train/good/0000.png", "", card.name, "good")]
        phases["test"][card.name] = []
        for kind in ("good", *Autovi.anomaly_types[card.name]):
            image, label = f"{card.name}/test/{kind}/0089.png", int(kind != "good")
            mask = f"{card.name}/ground_truth/{kind}/0089/0000.png" if label else ""
            write_image(root / image, size)
            if mask:
                write_mask(root / mask, size)
            expected.append(Expected(image, (mask,) if mask else (), label, card.name, kind))
            phases["test"][card.name].insert(0, record(image, mask, card.name, kind, label))
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
