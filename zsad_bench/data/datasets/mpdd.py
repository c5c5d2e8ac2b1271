"""MPDD: painted and rusty metal parts, six kinds, photographed from several sides, with masks."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule


class Mpdd(PublicDataModule):
    """The official test split; a category's types are its folders of `test/`, in `tubes` the one type `anomalous`.

    Downloads that lack whole categories are common: all six must be there.
    """

    title = "MPDD"
    domain = "industrial"
    level = "both"
    licence = "not stated in the repository"
    redistribute = False
    url = "https://github.com/stepanje/MPDD"
    citation = (
        "Jezek et al., Deep learning-based defect detection of metal parts: evaluating current methods in complex "
        "conditions, International Congress on Ultra Modern Telecommunications and Control Systems (2021)"
    )
    category_cards = (
        CategoryCard("bracket_black", "bracket black", "object", friendly="black bracket"),
        CategoryCard("bracket_brown", "bracket brown", "object", friendly="brown bracket"),
        CategoryCard("bracket_white", "bracket white", "object", friendly="white bracket"),
        CategoryCard("connector", "connector", "object"),
        CategoryCard("metal_plate", "metal plate", "object"),
        CategoryCard("tubes", "tubes", "object"),
    )
    variants = {"official": Expected(176, 282, "V")}
    root_names = ("MPDD", "mpdd", "anomaly_dataset")
    how_to_get = "download the folder that its home page links to, and unpack it"
    raw_is_mvtec_style = True
    anomaly_types = {
        "bracket_black": ("hole", "scratches"),
        "bracket_brown": ("bend_and_parts_mismatch", "parts_mismatch"),
        "bracket_white": ("defective_painting", "scratches"),
        "connector": ("parts_mismatch",),
        "metal_plate": ("major_rust", "scratches", "total_rust"),
        "tubes": ("anomalous",),
    }
