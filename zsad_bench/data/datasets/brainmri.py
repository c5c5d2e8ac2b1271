"""BrainMRI: magnetic resonance slices of heads with and without a tumour; image level only."""

from __future__ import annotations

import re
from pathlib import Path

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.binary_folders import TwoFolders
from zsad_bench.data.public import PreparedCopy, PublicDataModule, holdout25
from zsad_bench.types import Sample

_RAW = TwoFolders("no", "yes", "brain", "tumor")


class Brainmri(PublicDataModule):
    """variant: `all` tests every image; `openset25` a seeded quarter of the normal ones, drawn from sorted paths;
    `prepared85` (85 normal, 68 anomalous) is known only by its counts, as reports of Bayes-PFL give them, and from such
    copies: no source that was read says which images these are.

    Not independent of Br35H: of its 141 different tumour images 140 lie there byte for byte, and all of them with those
    encoded again; of its 87 different normal images 61 byte for byte, and 82. Within the set, 25 files repeat another
    one; they are kept, as in the published counts. Which normal images `openset25` takes may differ from published
    runs, whose order was that of a directory listing.
    """

    title = "BrainMRI"
    domain = "medical"
    level = "image"
    licence = "not established"
    redistribute = False
    url = "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
    citation = "Chakrabarty, Brain MRI images for brain tumor detection, Kaggle (2019)"
    category_cards = (CategoryCard("brain", "brain", "organ"),)
    category_aliases = dict.fromkeys(("brain_mri", "Brain_MRI", "brainmri", "brainmri2"), "brain")
    anomaly_types = {"brain": ("tumor",)}
    variants = {"all": Expected(98, 155, "V"), "openset25": Expected(25, 155, "S"), "prepared85": Expected(85, 68, "R")}
    prepared_variants = {"prepared85": PreparedCopy("no source says how it was made")}
    shares_images_with = ("br35h",)
    root_names = ("brain_tumor_dataset", "BrainMRI", "BrainMRI_anomaly_detection", "brain_mri")
    how_to_get = "download the zip from its Kaggle page (an account is needed) and unpack it"
    raw_looks_like = "yes/ and no/ with images (in the zip also below brain_tumor_dataset/)"

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return _RAW.lies_in(root)

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """Br35H has the same two folders, with other names inside."""
        for folder in files.nested(root, cls.root_names):
            stems = [files.stem_and_suffix(name)[0] for name in _RAW.anomalous_in(folder)]
            if stems and all(re.fullmatch(r"y\d+", stem) for stem in stems):
                return "Br35H, another dataset with folders yes/ and no/"
        return None

    def read_raw(self, root: Path) -> list[Sample]:
        # Most zips hold the pair twice, at the top and below brain_tumor_dataset/: `root` has one of the two directly
        # inside, and only that one is read. Samples, and so hashes, are the same for either.
        normal, anomalous = _RAW.read(self.name, root, self.notes if self.partial else None)
        return (holdout25(normal) if self.variant == "openset25" else normal) + anomalous
