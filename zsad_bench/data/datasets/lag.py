"""LAG: photographs of eye grounds, healthy or suspected of glaucoma; image level only."""

from __future__ import annotations

from pathlib import Path

from zsad_bench.data import files, layouts
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.binary_folders import TwoFolders
from zsad_bench.data.public import PublicDataModule, holdout25
from zsad_bench.types import Sample

# `attention_map/` beside each `image/` holds files of the same names, `label/` text: neither is looked into.
_RAW = TwoFolders("non_glaucoma/image", "suspicious_glaucoma/image", "LAG", "glaucoma")


class Lag(PublicDataModule):
    """variant: `holdout25` tests a seeded quarter of the normal images, drawn from sorted paths; `all` every image.

    Counts are those of part 1, the 4,854 images that were released; the repository now speaks of 11,760. Which normal
    images `holdout25` takes may differ from published runs, whose order was that of a directory listing.
    """

    title = "LAG"
    domain = "medical"
    level = "image"
    licence = "academic use only; re-upload forbidden"
    redistribute = False
    url = "https://github.com/smilell/AG-CNN"
    citation = (
        "Li et al., Attention based glaucoma detection: a large-scale database and CNN model, "
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition (2019)"
    )
    category_cards = (CategoryCard("LAG", "fundus", "organ"),)
    anomaly_types = {"LAG": ("glaucoma",)}
    variants = {"holdout25": Expected(786, 1711, "R"), "all": Expected(3143, 1711, "R")}
    root_names = ("LAG_database_part_1", "LAG")
    how_to_get = (
        "download LAG_database_part_1.rar by way of its home page, ask the authors there for the password, "
        "and unpack it with that password"
    )
    raw_looks_like = "non_glaucoma/image/ and suspicious_glaucoma/image/"

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return _RAW.lies_in(root)

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """An archive that is still packed needs more than unpacking: its password has to be asked for."""
        packed = files.archives(root)
        if packed and not files.folders(root) and not layouts.is_meta_json(root):
            return (
                f"only the packed {packed[0]}, which is protected: ask the authors for its password ({cls.url}) "
                "and unpack it with that"
            )
        return None

    def read_raw(self, root: Path) -> list[Sample]:
        normal, anomalous = _RAW.read(self.name, root, self.notes if self.partial else None)
        return (holdout25(normal) if self.variant == "holdout25" else normal) + anomalous
