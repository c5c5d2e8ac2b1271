"""BMAD histopathology: patches of lymph nodes with and without metastases, from Camelyon16; image level only."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.bmad import BmadDataModule


class BmadHistopathology(BmadDataModule):
    """Not verified: counts are recalled, loaders of it were read."""

    title = "BMAD-Histopathology"
    level = "image"
    category_cards = (CategoryCard("histopathology", "histopathological image", "organ"),)
    category_aliases = {"Histopathology": "histopathology"}
    anomaly_types = {"histopathology": ("metastasis",)}
    variants = {"benchmark": Expected(997, 1000, "R")}
    layout_order = ("meta_json", "raw")  # without masks, a copy laid out as MVTec AD looks the same
    root_names = ("Histopathology_AD", "camelyon16_256")
    inside_bmad = ("Histopathology", "camelyon16")
    how_to_get = "download Histopathology_AD.zip from the folder that its repository links, and unpack it"
