"""CVC-ClinicDB: three shapes of the download, masks with junk levels, TIF frames whose header lies."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

from PIL import Image

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import clean, expect, junk, write_pairs, write_script_meta
from tests.data.miniatures.files import write_junk

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
STEMS = ("1", "2", "11", "612")
Shape = Literal["figshare", "kaggle", "original"]


def write(root: Path, layout: str, shape: Shape = "figshare") -> list[Expected]:
    if layout == "mvtec_style":  # AdaCLIP's copy, CVC-ClinicDB/ClinicDB
        (root / "ClinicDB/train/good").mkdir(parents=True)
        top = "ClinicDB/ground_truth/defect"
        pairs = write_pairs(root, "ClinicDB/test/defect", top, STEMS, clean, mask="{stem}_mask.png")
        return expect(pairs, "colon", "polyp")
    if shape == "figshare":
        pairs = write_pairs(root, "images", "masks", STEMS, junk)
    else:
        top = "TIF/" if shape == "kaggle" else ""
        pairs = write_tif(root, top)
    if shape == "kaggle":
        pairs = write_pairs(root, "PNG/Original", "PNG/Ground Truth", STEMS, junk)
        write_junk(root, ("metadata.csv",))
    if layout == "meta_json":
        write_script_meta(root, pairs, "colon", "/home/author/CVC-ClinicDB/")
    return expect(pairs, "colon", "polyp")


def write_tif(root: Path, top: str = "") -> list[tuple[str, str]]:
    """Pairs in `Original/` and `Ground Truth/`, the frames as the original TIF files are."""
    name = "{stem}.tif"
    pairs = write_pairs(root, f"{top}Original", f"{top}Ground Truth", STEMS, junk, image=name, mask=name)
    for image, _ in pairs:
        claim_grey(root / image)
    return pairs


def claim_grey(path: Path) -> None:
    """Sets the photometric tag (262) of an RGB TIF to grey (1), its three samples per pixel left as they are."""
    with Image.open(path) as image:
        rgb = image.tag_v2[262]
    data, field = path.read_bytes(), struct.pack("<HHI", 262, 3, 1)
    at = data.index(field) + len(field)
    path.write_bytes(data[:at] + struct.pack("<H", rgb - 1) + data[at + 2 :])
