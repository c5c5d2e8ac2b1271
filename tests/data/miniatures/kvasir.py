"""Kvasir-SEG: the original's JPEG masks of three channels that ring, boxes in JSON; figshare's PNG pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import clean, expect, ringing, write_pairs, write_script_meta
from tests.data.miniatures.files import write_junk

LAYOUTS = ("raw", "meta_json")
SAME = LAYOUTS
STEMS = ("cju0qkwl35piu0993l0dewei2", "cju0roawvklrq0799vmjorwfv", "cju2zy1e49pqk0817t9tncfxa")
Shape = Literal["original", "figshare"]


def write(root: Path, layout: str, shape: Shape = "original") -> list[Expected]:
    if shape == "figshare":
        pairs = write_pairs(root, "images", "masks", STEMS, clean)
    else:
        name = "{stem}.jpg"
        pairs = write_pairs(root, "images", "masks", STEMS, ringing, image=name, mask=name, mode="RGB")
        write_junk(root, ("kavsir_bboxes.json",))
    if layout == "meta_json":
        write_script_meta(root, pairs, "colon", "/data/author/Kvasir-SEG/")
    return expect(pairs, "colon", "polyp")
