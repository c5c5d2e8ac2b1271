"""BMAD RESC: optical coherence tomography of retinas with and without an edema, with masks."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.bmad import BmadDataModule


class BmadResc(BmadDataModule):
    """Counts are from a public audit of the benchmark's files; loaders of it were read, no copy was at hand.

    Masks of the original set mark kinds of lesions by grey values; every value above 0 is anomalous here.
    """

    title = "BMAD-RESC"
    level = "both"
    category_cards = (CategoryCard("retina", "retinal OCT", "organ"),)
    category_aliases = {"retinal": "retina"}
    anomaly_types = {"retina": ("edema",)}
    variants = {"benchmark": Expected(1041, 764, "S")}
    root_names = ("Retina_RESC_AD", "RESC")
    inside_bmad = ("Retina_RESC", "RetinaRESC_AD")
    how_to_get = "download Retina_RESC_AD.zip from the folder that its repository links, and unpack it"
