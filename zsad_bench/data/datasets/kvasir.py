"""Kvasir-SEG: gastrointestinal endoscopies, a polyp in each image, with masks; pixel level only."""

from __future__ import annotations

from pathlib import Path

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.image_mask_pairs import PairedDataModule


class Kvasir(PairedDataModule):
    """The original's masks are JPEG: levels 0 to 7 and 248 to 255, so the polyp is what lies above 127."""

    title = "Kvasir"
    domain = "medical"
    level = "pixel"
    licence = "research and education (Kvasir-SEG page)"
    redistribute = False
    url = "https://datasets.simula.no/kvasir-seg/"
    citation = (
        "Jha et al., Kvasir-SEG: a segmented polyp dataset, International Conference on MultiMedia Modeling (2020)"
    )
    category_cards = (CategoryCard("colon", "colon", "organ"),)
    anomaly_types = {"colon": ("polyp",)}
    variants = {"all": Expected(0, 1000, "V")}
    root_names = ("Kvasir-SEG", "Kvasir", "kvasir-seg")
    how_to_get = "unpack the zip from its home page, or take Kvasir from figshare's Polyp_DataSet.zip"
    raw_looks_like = "images/ beside masks/"
    mask_threshold = 127

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """HyperKvasir is another dataset, whose segmented part has folders of the same names."""
        plain = root.name.lower().replace("-", "").replace("_", "")
        hyper = plain.startswith("hyperkvasir") or "segmented-images" in (root.name, *files.folders(root))
        return "HyperKvasir, another dataset" if hyper else None
