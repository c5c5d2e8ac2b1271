"""CVC-ColonDB: frames of colonoscopies, a polyp in each, with masks; pixel level only."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.image_mask_pairs import PairedDataModule


class ColonDB(PairedDataModule):
    """Masks hold grey levels between 0 and 255, so the polyp is what lies above 127."""

    title = "CVC-ColonDB"
    domain = "medical"
    level = "pixel"
    licence = "research use (original terms)"
    redistribute = False
    url = "http://mv.cvc.uab.es/projects/colon-qa/cvccolondb"
    citation = (
        "Bernal et al., Towards automatic polyp detection with a polyp appearance model, Pattern Recognition 45 (2012)"
    )
    category_cards = (CategoryCard("colon", "colon", "organ"),)
    category_aliases = {"ColonDB": "colon", "Colon_colonDB": "colon"}
    anomaly_types = {"colon": ("polyp",)}
    variants = {"all": Expected(0, 380, "V")}
    root_names = ("CVC-ColonDB",)
    how_to_get = (
        "unpack Polyp_DataSet.zip from https://figshare.com/articles/figure/Polyp_DataSet_zip/21221579, "
        "which holds CVC-ColonDB"
    )
    raw_looks_like = "images/ beside masks/"
    mask_threshold = 127
