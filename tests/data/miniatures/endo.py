"""EndoTect: JPEG pairs, the folder of images called as it may be; a folder pred/ that a script once counted."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import clean, expect, ringing, write_pairs, write_script_meta
from tests.data.miniatures.files import write_image

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
STEMS = ("ckcu8ty6z00073b5yzfaezbs5", "ckcu95a6o000q3b5yhqnk4oxf", "ckcv1fgqt00093b5y1vhm3wbv")


def write(root: Path, layout: str, folder: str = "images") -> list[Expected]:
    if layout == "mvtec_style":  # AdaCLIP's copy, EndoTect/endo
        pairs = write_pairs(root, "endo/test/other", "endo/ground_truth/other", STEMS, clean, image="{stem}.JPG")
        return expect(pairs, "colon", "polyp")
    name = "{stem}.jpg"
    pairs = write_pairs(root, folder, "masks", STEMS, ringing, image=name, mask=name)
    if layout == "meta_json":
        write_image(root / "pred" / "a.jpg")
        listed = [*pairs, ("pred/a.jpg", "masks/")]
        write_script_meta(root, listed, "colon", "/home/author/EndoTect_2020_Segmentation_Test_Dataset/")
    return expect(pairs, "colon", "polyp")
