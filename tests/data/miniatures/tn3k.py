"""TN3K: grey JPEG pairs in two folders of the test split; the names of trainval are the same."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import clean, expect, ringing, write_pairs, write_script_meta
from tests.data.miniatures.files import write_junk

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
STEMS = ("0000", "0001", "0613")


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "mvtec_style":  # AdaCLIP's copy, TN3K/tn3k
        (root / "tn3k/train/good").mkdir(parents=True)
        pairs = write_pairs(root, "tn3k/test/defect", "tn3k/ground_truth/defect", STEMS, clean, image="{stem}.jpg")
        return expect(pairs, "thyroid", "nodule")
    here = root
    if layout == "raw":  # the folder given is that of the archive
        (root / "Thyroid Dataset" / "DDTI").mkdir(parents=True)
        here = root / "Thyroid Dataset" / "tn3k"
    name = {"image": "{stem}.jpg", "mask": "{stem}.jpg", "image_mode": "L"}
    pairs = write_pairs(here, "test-image", "test-mask", STEMS, ringing, **name)
    write_pairs(here, "trainval-image", "trainval-mask", STEMS[:2], clean, **name)
    write_junk(here, ("tn3k-trainval-fold0.json", "label4test.csv"))
    if layout == "meta_json":
        write_script_meta(root, pairs, "tn3k", "../datasets/Thyroid Dataset/tn3k/")
    return expect(pairs, "thyroid", "nodule")
