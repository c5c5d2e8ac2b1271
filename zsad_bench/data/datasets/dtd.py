"""DTD-Synthetic: defects painted on twelve photographed textures, with masks; DIVE's limited auxiliary prior."""

from __future__ import annotations

from pathlib import Path

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule

_TEXTURES = (
    "Blotchy_099", "Fibrous_183", "Marbled_078", "Matted_069", "Mesh_114", "Perforated_037", "Stratified_154",
    "Woven_001", "Woven_068", "Woven_104", "Woven_125", "Woven_127",
)  # fmt: skip


class Dtd(PublicDataModule):
    """The released test split. Five patterns of defects were painted; nothing says which is which, so all are `bad`.

    Masks are called `{stem}_mask.png` or `{stem}.png`.
    """

    title = "DTD-Synthetic"
    domain = "industrial"
    level = "both"
    licence = "none stated; derived from the DTD research images"
    redistribute = False
    url = "https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1"
    citation = (
        "Aota et al., Zero-shot versus many-shot: unsupervised texture anomaly detection, "
        "IEEE/CVF Winter Conference on Applications of Computer Vision (2023)"
    )
    category_cards = tuple(CategoryCard(name, f"{name.split('_')[0].lower()} texture", "texture") for name in _TEXTURES)
    variants = {"official": Expected(357, 947, "R")}
    root_names = ("DTD-Synthetic", "DTD", "dtd")
    how_to_get = "download the folder DTD-Synthetic from its home page and unpack it"
    raw_is_mvtec_style = True
    anomaly_types = dict.fromkeys(_TEXTURES, ("bad",))

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """The photographs it was made from have the same folder name, `dtd`, and are often on the same disk."""
        for folder in (root, root / "dtd"):
            if all((folder / name).is_dir() for name in ("images", "labels", "imdb")):
                return "the Describable Textures Dataset, from which DTD-Synthetic was made"
        return None
