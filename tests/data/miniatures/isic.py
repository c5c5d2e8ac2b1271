"""ISIC 2016: two folders of long names, masks with an ending of their own; AnomalyCLIP's copy keeps them in one."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import clean, expect, write_pairs, write_script_meta
from tests.data.miniatures.files import write_image

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
STEMS = ("ISIC_0000003", "ISIC_0000012", "ISIC_0011361")
DATA, TRUTH = "ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"


def write(root: Path, layout: str, mask: str = "{stem}_Segmentation.png") -> list[Expected]:
    images, masks = (DATA, TRUTH) if layout == "raw" else (f"skin/test/{DATA}", f"skin/{TRUTH}")
    pairs = write_pairs(root, images, masks, STEMS, clean, image="{stem}.jpg", mask=mask)
    write_image(root / images / f"{STEMS[0]}_superpixels.png")
    if layout == "meta_json":
        write_script_meta(root, pairs, "skin", "", DATA)
    return expect(pairs, "skin", "lesion")


def write_adaclip(root: Path) -> list[Expected]:
    """AdaCLIP's copy, ISIC/isic."""
    (root / "isic/train/good").mkdir(parents=True)
    pairs = write_pairs(root, "isic/test/defect", "isic/ground_truth/defect", STEMS, clean, image="{stem}.jpg")
    return expect(pairs, "skin", "lesion")
