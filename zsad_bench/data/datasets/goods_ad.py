"""GoodsAD: supermarket goods of 484 kinds in six categories, opened, deformed or damaged on the surface.

Layout, counts and the number of types are those of its authors' README (commit 3634130), names of types those of a
public copy and of people who list them; which of the eight names belongs to which category is known of drink_bottle
alone. Nobody has run this file on the download.
"""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule

_CATEGORIES = "cigarette_box drink_bottle drink_can food_bottle food_box food_package"


class GoodsAd(PublicDataModule):
    """The official test split; a category's types are its folders of `test/`. Images are JPEG, masks
    `ground_truth/{type}/{stem}.png`, without a suffix of their own.

    The README lists 1,660 anomalous test images. Two counts of the files found 1,659: of drink_can 146 instead of 147,
    and one more for training. A copy with 1,660 counts as complete, too.
    """

    title = "GoodsAD"
    domain = "industrial"
    level = "both"
    licence = "GPL-3.0 (of the repository; nothing is said of the images)"
    redistribute = False
    url = "https://github.com/jianzhang96/GoodsAD"
    citation = (
        "Zhang et al., PKU-GoodsAD: a supermarket goods dataset for unsupervised anomaly detection and segmentation, "
        "IEEE Robotics and Automation Letters 9 (2024)"
    )
    category_cards = tuple(CategoryCard(name, name.replace("_", " "), "object") for name in _CATEGORIES.split())
    variants = {"official": Expected(1328, 1659, "S")}
    root_names = ("GoodsAD", "PKU-GoodsAD", "goods_ad")
    how_to_get = "download the six archives that its home page links to, and unpack them side by side into one folder"
    raw_is_mvtec_style = True
    unverified = "layout and masks are read as others describe them; never run on the download"
