"""EndoTect 2020: the segmentation test set of a challenge, polyps in endoscopies, with masks; pixel level only."""

from __future__ import annotations

from pathlib import Path

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.image_mask_pairs import Pair, PairedDataModule
from zsad_bench.errors import DatasetError

_NOT_IMAGES = ("masks", "pred")  # pred/ is what prepared copies' scripts are known to count by mistake


class Endo(PairedDataModule):
    """The folder of images may have any name; that of the masks is `masks`."""

    title = "Endo"
    domain = "medical"
    level = "pixel"
    licence = "challenge data, not established"
    redistribute = False
    url = "https://endotect.com/"
    citation = (
        "Hicks et al., The EndoTect 2020 challenge: evaluation and comparison of classification, segmentation and "
        "inference time for endoscopy, ICPR International Workshops and Challenges (2021)"
    )
    category_cards = (CategoryCard("colon", "colon", "organ"),)
    category_aliases = {"endo": "colon"}
    anomaly_types = {"colon": ("polyp",)}
    variants = {"all": Expected(0, 200, "R")}
    root_names = ("EndoTect_2020_Segmentation_Test_Dataset", "EndoTect")
    how_to_get = "follow its home page to EndoTect_2020_Segmentation_Test_Dataset.zip and unpack it"
    raw_looks_like = "a folder of images beside masks/"
    mask_threshold = 127

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        # One folder of images alone says too little, unless it is called `images`.
        return super().is_raw(root) or (bool(files.any_case(root, "masks")) and bool(cls.pairs(root)))

    @classmethod
    def pairs(cls, root: Path) -> list[Pair]:
        """`images/` if there is one, else the one other folder of images.

        Raises:
            DatasetError: there are several.
        """
        if cls._lying(root, cls.folders):
            return list(cls.folders)
        named = [name for name in files.folders(root) if name.lower() not in _NOT_IMAGES and files.images(root / name)]
        if len(named) > 1:
            raise DatasetError(
                f"endo: {root} holds several folders of images: {', '.join(named)}; leave one beside masks/"
            )
        return [Pair(name, "masks") for name in named]
