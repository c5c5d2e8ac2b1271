"""Br35H: magnetic resonance slices of heads, half of them with a tumour; image level only."""

from __future__ import annotations

import re
from pathlib import Path

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.binary_folders import TwoFolders
from zsad_bench.data.public import PublicDataModule
from zsad_bench.types import Sample

_RAW = TwoFolders("no", "yes", "brain", "tumor")


class Br35h(PublicDataModule):
    """Every image of yes/ and no/ is tested; seven normal ones are called No12.jpg and so on, with a capital N.

    `pred/` holds images without labels and `Br35H-Mask-RCNN/` copies of those in yes/; neither is read.
    Not independent of BrainMRI: 140 tumour images and 61 normal ones lie there byte for byte, one and 21 more encoded
    again. Two normal images are the same file; both are kept, as in the published counts.
    """

    title = "Br35H"
    domain = "medical"
    level = "image"
    licence = "not established"
    redistribute = False
    url = "https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection"
    citation = "Hamada, Br35H :: Brain tumor detection 2020, Kaggle (2020)"
    category_cards = (CategoryCard("brain", "brain", "organ"),)
    category_aliases = dict.fromkeys(("br35", "br35h"), "brain")
    anomaly_types = {"brain": ("tumor",)}
    variants = {"all": Expected(1500, 1500, "V")}
    shares_images_with = ("brainmri",)
    root_names = ("Br35H", "br35", "Br35h", "Br35h_anomaly_detection")
    how_to_get = "download the zip from its Kaggle page (an account is needed) and unpack it"
    raw_looks_like = "yes/y0.jpg, … and no/no0.jpg, …"

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return _RAW.lies_in(root)

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """BrainMRI has the same two folders, with other names inside."""
        for folder in files.nested(root, (*cls.root_names, "brain_tumor_dataset")):
            stems = [files.stem_and_suffix(name)[0] for name in _RAW.anomalous_in(folder)]
            if stems and not any(re.fullmatch(r"y\d+", stem) for stem in stems):
                return "another dataset with folders yes/ and no/, perhaps BrainMRI: none of yes/ is called y<number>"
        return None

    def read_raw(self, root: Path) -> list[Sample]:
        normal, anomalous = _RAW.read(self.name, root, self.notes if self.partial else None)
        return normal + anomalous
