"""TN3K: ultrasound images of the thyroid, its test split, nodules in each, with masks; pixel level only."""

from __future__ import annotations

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.image_mask_pairs import Pair, PairedDataModule


class Tn3k(PairedDataModule):
    """Masks are JPEG, so the nodule is what lies above 127. Names in the folders of trainval repeat those of test:
    only the latter are read."""

    title = "TN3K"
    domain = "medical"
    level = "pixel"
    licence = "code MIT; data licence not stated"
    redistribute = False
    url = "https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation"
    citation = (
        "Gong et al., Multi-task learning for thyroid nodule segmentation with thyroid region prior, "
        "International Symposium on Biomedical Imaging (2021)"
    )
    category_cards = (CategoryCard("thyroid", "thyroid", "organ"),)
    category_aliases = {"tn3k": "thyroid"}
    anomaly_types = {"thyroid": ("nodule",)}
    variants = {"official": Expected(0, 614, "S")}
    root_names = ("tn3k", "TN3K", "Thyroid Dataset")
    how_to_get = "its home page links a zip that unpacks to Thyroid Dataset/tn3k"
    raw_looks_like = "test-image/ beside test-mask/"
    mask_threshold = 127
    folders = (Pair("test-image", "test-mask"),)
