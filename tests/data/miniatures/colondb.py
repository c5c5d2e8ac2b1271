"""CVC-ColonDB: numbered PNG pairs inside an archive of several polyp sets, masks grey or RGB with levels between."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures._pairs import between, clean, expect, save_mask, write_pairs, write_script_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
STEMS = ("1", "2", "10", "380")


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "mvtec_style":  # AdaCLIP's copy, CVC-ColonDB/ColonDB
        for empty in ("train/good", "test/good"):
            (root / "ColonDB" / empty).mkdir(parents=True)
        pairs = write_pairs(root, "ColonDB/test/defect", "ColonDB/ground_truth/defect", STEMS, clean)
        return expect(pairs, "colon", "polyp")
    if layout == "raw":  # the folder given is that of figshare's archive
        write_pairs(root, "Kvasir/images", "Kvasir/masks", ("cju0",), clean)
        root = root / "CVC-ColonDB"
    pairs = write_pairs(root, "images", "masks", STEMS, between)
    save_mask(root / pairs[2][1], 2, between, "RGB")
    if layout == "meta_json":
        write_script_meta(root, pairs, "colon", "/remote-home/author/data/CVC-ColonDB/")
    return expect(pairs, "colon", "polyp")
