"""BMAD brain: slices of magnetic resonance images with and without a tumour, from BraTS2021, with masks."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.bmad import BmadDataModule


class BmadBrain(BmadDataModule):
    """Counts are from a public audit of the benchmark's files; loaders of it were read, no copy was at hand."""

    title = "BMAD-Brain"
    level = "both"
    category_cards = (CategoryCard("brain", "brain", "organ"),)
    category_aliases = {"Brain": "brain"}
    anomaly_types = {"brain": ("tumor",)}
    variants = {"benchmark": Expected(640, 3075, "S")}
    root_names = ("Brain_AD", "BraTS2021_slice")
    inside_bmad = ("Brain",)
    how_to_get = "download Brain_AD.zip from the folder that its repository links, and unpack it"
