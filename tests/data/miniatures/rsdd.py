"""RSDD: two types of rails side by side, equal names in both, JPEG masks that ring; prepared as one category."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import ringing, save_mask
from tests.data.miniatures.files import SIZE, record, write_image, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = ("mvtec_style", "meta_json")  # the masks of the download are JPEG, and those of the others drawn anew
COUNTS = {"Type-I": 2, "Type-II": 3}


def write(root: Path, layout: str) -> list[Expected]:
    expected, records = [], []
    for kind, count in COUNTS.items():
        for number in range(1, count + 1):
            image, mask = f"{kind} RSDDs dataset/Rail surface images/rail_{number}.jpg", ""
            if layout == "raw":
                mask = f"{kind} RSDDs dataset/GroundTruth/rail_{number}.jpg"
                write_image(root / "RSDDs dataset" / image, SIZE, "L")
                save_mask(root / "RSDDs dataset" / mask, number, ringing)
            else:
                image = f"rail/test/bad/{kind}_{number}.png"
                mask = f"rail/ground_truth/bad/{kind}_{number}.png"
                write_image(root / image, SIZE, "L")
                write_mask(root / mask)
            expected.append(Expected(image, (mask,), 1, "rail", "defect"))
            records.insert(0, record(image, mask, "rail", "bad", 1))
    if layout == "meta_json":
        write_meta(root / "meta.json", {"train": {"rail": []}, "test": {"rail": records}})
    return expected
