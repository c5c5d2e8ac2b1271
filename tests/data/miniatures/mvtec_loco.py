"""MVTec LOCO AD: two kinds of anomalies, a folder of masks for each anomalous image, normal images for validation."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import SIZE, record, write_image, write_junk, write_mask, write_meta
from zsad_bench.data.datasets.mvtec_loco import MvtecLoco

LAYOUTS = ("mvtec_style", "meta_json")  # the download is mvtec_style
SAME = ("mvtec_style",)  # a meta.json has room for one mask of an image
KINDS = ("good", "logical_anomalies", "structural_anomalies")
HALVES = ((0, 0, SIZE[0] // 2, SIZE[1]), (SIZE[0] // 2, 0, *SIZE))  # of the first and the second mask


def write(root: Path, layout: str) -> list[Expected]:
    root = root / "mvtec_loco_anomaly_detection"
    expected, phases = [], {"train": {}, "test": {}}
    for card in MvtecLoco.category_cards:
        top = root / card.name
        write_junk(top, ("license.txt", "readme.txt", "defects_config.json"))
        for phase in ("train", "validation"):
            write_image(top / phase / "good/000.png")
        phases["train"][card.name] = [record(f"{card.name}/train/good/000.png", "", card.name, "good")]
        phases["test"][card.name] = []
        for kind in KINDS:
            for number in range(2):  # of the anomalous ones the first has two masks
                image = f"{card.name}/test/{kind}/{number:03d}.png"
                write_image(root / image)
                folder, parts = f"{card.name}/ground_truth/{kind}/{number:03d}", 0 if kind == "good" else 2 - number
                masks = tuple(f"{folder}/{part:03d}.png" for part in range(parts))
                for path, box in zip(masks, HALVES, strict=False):
                    write_mask(root / path, box=box, value=255 - number)  # the grey value says which defect it is
                label = int(kind != "good")
                phases["test"][card.name].append(record(image, masks[0] if masks else "", card.name, kind, label))
                masks = masks[:1] if layout == "meta_json" else masks
                expected.append(Expected(image, masks, label, card.name, kind))
    if layout == "meta_json":
        write_meta(root / "meta.json", phases)
    return expected
