"""ISIC 2016: dermoscopic photographs of the challenge's test set, a lesion in each, with masks; pixel level only."""

from __future__ import annotations

import re
from pathlib import Path

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.fetch import Download
from zsad_bench.data.image_mask_pairs import Pair, PairedDataModule

_IMAGES, _MASKS = "ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"
_LATER = re.compile(r"isic[-_ ]?201[78]", re.IGNORECASE)


class Isic(PairedDataModule):
    """The releases of 2017 and 2018 share names with it and are other datasets."""

    title = "ISIC"
    domain = "medical"
    level = "pixel"
    licence = "CC0 (as listed by an index of the challenge)"
    redistribute = False  # probably allowed, but known from an index only
    url = "https://challenge.isic-archive.com/landing/2016/37"
    citation = (
        "Gutman et al., Skin lesion analysis toward melanoma detection: a challenge at the International Symposium on "
        "Biomedical Imaging (ISBI) 2016, hosted by the International Skin Imaging Collaboration (ISIC), "
        "arXiv:1605.01397 (2016)"
    )
    category_cards = (CategoryCard("skin", "skin", "organ"),)
    category_aliases = {"isic": "skin", "isic2016": "skin"}
    anomaly_types = {"skin": ("lesion",)}
    variants = {"official": Expected(0, 379, "S")}
    root_names = ("ISIC", "ISBI", "ISIC2016")
    how_to_get = f"unpack {_IMAGES}.zip and {_MASKS}.zip from its home page side by side in a folder ISIC"
    downloads = tuple(
        Download(f"https://isic-challenge-data.s3.amazonaws.com/2016/{folder}.zip", None, "zip", folder)
        for folder in (_IMAGES, _MASKS)
    )
    raw_looks_like = f"{_IMAGES}/ beside {_MASKS}/"
    mask_threshold = 0
    folders = (Pair(_IMAGES, _MASKS),)
    no_images = ("_superpixels",)  # later releases put them beside the images
    mask_folders = (_MASKS,)  # in AnomalyCLIP's prepared copy, ISBI/skin

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """By the names of the folders: only some later releases name their masks as such."""
        below = files.folders(root)
        if cls.is_raw(root) or any("2016" in name for name in below):
            return None
        later = [name for name in (root.name, *below) if _LATER.match(name)]
        return f"a later release of ISIC ({later[0]}), another dataset" if later else None
