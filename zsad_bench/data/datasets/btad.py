"""BTAD: body and surface defects of three industrial products, with masks."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.fetch import Download
from zsad_bench.data.public import PublicDataModule


class Btad(PublicDataModule):
    """The official test split, `ok` and `ko`; images are .bmp in 01 and 03, masks .png in 01 and 02.

    The products have no names: published prompts call each of them "object". Category 03 has 400 of the 451 normal
    images and 02 has 200 of the 290 anomalous ones, so a mean over images says little about the others.
    """

    title = "BTAD"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://avires.dimi.uniud.it/papers/btad/btad.zip"
    citation = (
        "Mishra et al., VT-ADL: a vision transformer network for image anomaly detection and localization, "
        "IEEE International Symposium on Industrial Electronics (2021)"
    )
    category_cards = (
        CategoryCard("01", "object", "object", friendly="round product"),
        CategoryCard("02", "object", "texture", friendly="wooden texture"),
        CategoryCard("03", "object", "object", friendly="round product"),
    )
    variants = {"official": Expected(451, 290, "V")}
    root_names = ("BTech_Dataset_transformed", "btad", "BTAD")
    how_to_get = "download btad.zip from its home page and unpack it"
    downloads = (
        Download(
            "https://avires.dimi.uniud.it/papers/btad/btad.zip",
            "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",  # as pinned by anomalib
            "zip",
        ),
    )
    ask_consent = True
    raw_is_mvtec_style = True
    normal_folders = ("ok", "good")  # `good` in copies renamed for MVTec AD loaders
    anomaly_types = {"01": ("ko",), "02": ("ko",), "03": ("ko",)}
