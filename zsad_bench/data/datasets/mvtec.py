"""MVTec AD: fifteen objects and textures with pixel-exact masks, the auxiliary dataset of most published results."""

from __future__ import annotations

from pathlib import Path

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule

_TEXTURES = "carpet grid leather tile wood"
_OBJECTS = "bottle cable capsule hazelnut metal_nut pill screw toothbrush transistor zipper"


class Mvtec(PublicDataModule):
    """variant: `official` is the official test split; `zs` the images of a list that the user gives (`images`): those
    whose labels hold without a reference. The list is not part of this package.

    A category's types are its folders of `test/`.
    """

    title = "MVTecAD"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
    citation = (
        "Bergmann et al., The MVTec anomaly detection dataset: a comprehensive real-world dataset for unsupervised "
        "anomaly detection, International Journal of Computer Vision 129 (2021)"
    )
    category_cards = tuple(
        CategoryCard(name, name.replace("_", " "), "texture" if name in _TEXTURES.split() else "object")
        for name in sorted(f"{_TEXTURES} {_OBJECTS}".split())
    )
    variants = {"official": Expected(467, 1258, "V"), "zs": Expected(0, 0, "R")}
    listed_variants = frozenset({"zs"})
    root_names = ("mvtec_anomaly_detection", "mvtec", "MVTec", "mvtec_ad")
    how_to_get = "register at its home page, then unpack mvtec_anomaly_detection.tar.xz"
    raw_is_mvtec_style = True
    anomaly_types = {
        "bottle": ("broken_large", "broken_small", "contamination"),
        "cable": (
            "bent_wire", "cable_swap", "combined", "cut_inner_insulation", "cut_outer_insulation", "missing_cable",
            "missing_wire", "poke_insulation",
        ),
        "capsule": ("crack", "faulty_imprint", "poke", "scratch", "squeeze"),
        "carpet": ("color", "cut", "hole", "metal_contamination", "thread"),
        "grid": ("bent", "broken", "glue", "metal_contamination", "thread"),
        "hazelnut": ("crack", "cut", "hole", "print"),
        "leather": ("color", "cut", "fold", "glue", "poke"),
        "metal_nut": ("bent", "color", "flip", "scratch"),
        "pill": ("color", "combined", "contamination", "crack", "faulty_imprint", "pill_type", "scratch"),
        "screw": ("manipulated_front", "scratch_head", "scratch_neck", "thread_side", "thread_top"),
        "tile": ("crack", "glue_strip", "gray_stroke", "oil", "rough"),
        "toothbrush": ("defective",),
        "transistor": ("bent_lead", "cut_lead", "damaged_case", "misplaced"),
        "wood": ("color", "combined", "hole", "liquid", "scratch"),
        "zipper": (
            "broken_teeth", "combined", "fabric_border", "fabric_interior", "rough", "split_teeth", "squeezed_teeth",
        ),
    }  # fmt: skip

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """MVTec AD 2 and MVTec 3D are other datasets with folders of the same look."""
        for name in files.folders(root):
            inside = set(files.folders(root / name))
            if "test_public" in inside or "test_private" in inside:
                return "MVTec AD 2, another dataset"
            if "calibration" in inside or any((root / name / "test" / "good" / d).is_dir() for d in ("rgb", "xyz")):
                return "MVTec 3D-AD, another dataset"
        return None
