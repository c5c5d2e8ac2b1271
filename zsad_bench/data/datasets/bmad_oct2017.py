"""BMAD OCT2017: optical coherence tomography of retinas, healthy or with one of three diseases; image level only."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.bmad import BmadDataModule


class BmadOct2017(BmadDataModule):
    """Not verified: the counts are those of the original test set (four classes of 242 images), recalled."""

    title = "BMAD-OCT2017"
    level = "image"
    category_cards = (CategoryCard("retina", "retinal OCT", "organ"),)
    category_aliases = {"retinal": "retina"}
    anomaly_types = {"retina": ("disease",)}
    variants = {"benchmark": Expected(242, 726, "R")}
    layout_order = ("meta_json", "raw")  # without masks, a copy laid out as MVTec AD looks the same
    root_names = ("Retina_OCT2017_AD", "OCT2017")
    inside_bmad = ("Retina_OCT2017", "RetinaOCT2017_AD")
    how_to_get = "download Retina_OCT2017_AD.zip from the folder that its repository links, and unpack it"
