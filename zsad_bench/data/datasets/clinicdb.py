"""CVC-ClinicDB: frames of colonoscopies, a polyp in each, with masks; pixel level only."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.image_mask_pairs import Pair, PairedDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample


class ClinicDB(PairedDataModule):
    """138 of the 612 masks hold junk levels of about 3 to 112 beside the polyp, so the polyp is what lies above 127.

    Some copies hold the same images as PNG, as TIF and once more in a folder below: one pair of folders is read, PNG
    first.
    """

    title = "CVC-ClinicDB"
    domain = "medical"
    level = "pixel"
    licence = "research use with citation (original terms)"
    redistribute = False
    url = "https://polyp.grand-challenge.org/CVCClinicDB/"
    citation = (
        "Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy: validation vs. saliency maps from "
        "physicians, Computerized Medical Imaging and Graphics 43 (2015)"
    )
    category_cards = (CategoryCard("colon", "colon", "organ"),)
    category_aliases = {"ClinicDB": "colon", "Colon_clinicDB": "colon"}
    anomaly_types = {"colon": ("polyp",)}
    variants = {"all": Expected(0, 612, "V")}
    root_names = ("CVC-ClinicDB", "CVC-612")
    how_to_get = (
        "unpack Polyp_DataSet.zip from https://figshare.com/articles/figure/Polyp_DataSet_zip/21221579, "
        "which holds CVC-ClinicDB as PNG"
    )
    raw_looks_like = "images/ beside masks/, or Original/ beside Ground Truth/, also below PNG/ or TIF/"
    mask_threshold = 127
    folders = (
        Pair("images", "masks"),  # figshare, PNG
        Pair("PNG/Original", "PNG/Ground Truth"),  # Kaggle
        Pair("Original", "Ground Truth"),  # the original, TIF
        Pair("TIF/Original", "TIF/Ground Truth"),  # Kaggle
    )

    @classmethod
    def pairs(cls, root: Path) -> list[Pair]:
        places = [files.relative(place, root) for place in files.nested(root, cls.root_names)]
        below = [("" if place == "." else f"{place}/") for place in places]
        return [Pair(start + pair.images, start + pair.masks) for pair in cls.folders for start in below]

    def read_raw(self, root: Path) -> list[Sample]:
        samples = super().read_raw(root)
        tif = next((s.image for s in samples if files.stem_and_suffix(s.image)[1] in (".tif", ".tiff")), None)
        if tif is not None and not _is_known(root / tif):
            raise DatasetError(
                f"clinicdb: {root / tif} and the like cannot be opened: the original TIF frames call themselves grey "
                "and hold three colours; take the PNG images of the figshare or the Kaggle archive"
            )
        return samples


def _is_known(path: Path) -> bool:
    """Whether Pillow knows what the file's header says it is."""
    try:
        with Image.open(path):
            return True
    except UnidentifiedImageError:
        return False
