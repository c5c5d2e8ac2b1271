"""BMAD chest: X-rays of chests, normal or not, from the RSNA pneumonia challenge; image level only."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.bmad import BmadDataModule


class BmadChest(BmadDataModule):
    """Anomalous is whatever the challenge does not call normal, pneumonia or not.

    Not verified: 17,194 test images are stated for a copy; how many of them are normal is recalled, and fits the
    8,851 normal images of the challenge.
    """

    title = "BMAD-Chest"
    level = "image"
    category_cards = (CategoryCard("chest", "chest X-ray film", "organ"),)
    category_aliases = {"Chest": "chest"}
    anomaly_types = {"chest": ("abnormal",)}
    variants = {"benchmark": Expected(781, 16413, "R")}
    layout_order = ("meta_json", "raw")  # without masks, a copy laid out as MVTec AD looks the same
    root_names = ("Chest_AD", "Chest-RSNA")
    inside_bmad = ("Chest", "RSNA")
    how_to_get = "download Chest_AD.zip from the folder that its repository links, and unpack it"
