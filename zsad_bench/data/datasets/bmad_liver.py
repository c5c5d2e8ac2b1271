"""BMAD liver: slices of abdominal computed tomography, healthy ones from BTCV, tumours from LiTS, with masks."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.bmad import BmadDataModule


class BmadLiver(BmadDataModule):
    """Counts are from a public audit of the benchmark's files; loaders of it were read, no copy was at hand."""

    title = "BMAD-Liver"
    level = "both"
    category_cards = (CategoryCard("liver", "liver", "organ"),)
    category_aliases = {"Liver": "liver"}
    anomaly_types = {"liver": ("tumor",)}
    variants = {"benchmark": Expected(833, 660, "S")}
    root_names = ("Liver_AD", "hist_DIY")
    inside_bmad = ("Liver",)
    how_to_get = "download Liver_AD.zip from the folder that its repository links, and unpack it"
