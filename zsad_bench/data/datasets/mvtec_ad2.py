"""MVTec AD 2: eight products under several lights, small, transparent and overlapping things; part of it unlabelled.

Layout, mask rule and licence are those of its loader in anomalib (Apache-2.0, commit 21f7a98); counts are those of the
paper's table, as others print it, the names of the lights those of a description of the files. Nobody has run this file
on the download.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from zsad_bench.data import files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import UNKNOWN, Sample

Split = Literal["train", "test"]
_PROMPTS = {
    "can": "can", "fabric": "fabric", "fruit_jelly": "fruit jelly", "rice": "rice", "sheet_metal": "sheet metal",
    "vial": "vial", "wallplugs": "wall plugs", "walnuts": "walnuts",
}  # fmt: skip


class MvtecAd2(PublicDataModule):
    """variant: the test set, by the name of its folder. `test_public` has labels and masks, under all lights. Of
    `test_private` (the usual light) and `test_private_mixed` (the same scenes under others) nobody outside knows the
    labels: scores and maps are written, every metric is undefined with that reason, and nothing can be learned from
    them. What the paper says of their composition is what is expected of them.

    All anomalous images are of the one type `bad`. The images of `validation/` are not tested.
    """

    title = "MVTec AD 2"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://www.mvtec.com/company/research/datasets/mvtec-ad-2"
    citation = (
        "Heckler-Kram et al., The MVTec AD 2 dataset: advanced scenarios for unsupervised anomaly detection, "
        "International Journal of Computer Vision 134 (2026)"
    )
    category_cards = tuple(
        CategoryCard(name, prompt, "texture" if name == "fabric" else "object") for name, prompt in _PROMPTS.items()
    )
    category_aliases = {"wall_plugs": "wallplugs"}
    variants = {
        "test_public": Expected(379, 705, "S"),
        "test_private": Expected(748, 1297, "S"),
        "test_private_mixed": Expected(748, 1297, "S"),
    }
    private_variants = ("test_private", "test_private_mixed")
    root_names = ("mvtec_ad_2", "MVTec_AD_2", "MVTecAD2", "mvtec2")
    how_to_get = "register at its home page, then unpack mvtec_ad_2.tar.gz, or the archives of all eight objects"
    raw_looks_like = "{category}/test_public/{good,bad}/ with {category}/test_public/ground_truth/bad/"
    unverified = "layout and masks are read as others describe them; never run on the download"
    further_metrics = ("pixel_aupro_005",)
    anomaly_types = dict.fromkeys(_PROMPTS, ("bad",))

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any((root / name / folder).is_dir() for name in _PROMPTS for folder in cls.variants)

    def read_raw(self, root: Path) -> list[Sample]:
        present = [name for name in _PROMPTS if (root / name).is_dir()]
        if lacking := [name for name in present if not (root / name / self.variant).is_dir()]:
            self._lack(root, [f"{name}/{self.variant}" for name in lacking])
        read = self._public if self.variant == "test_public" else self._private
        return [
            sample
            for name in present
            for sample in (*read(root, name), *_normal(root, f"{name}/train/good", name, "train"))
        ]

    def _lack(self, root: Path, folders: list[str]) -> None:
        if not self.partial:
            raise DatasetError(
                f"{self.name}: {root} has no {', '.join(folders)}; unpack that test set, take another (variant "
                f"{', '.join(self.variants)}), or take what is there with --partial"
            )

    def _public(self, root: Path, category: str) -> Iterator[Sample]:
        top = f"{category}/test_public"
        yield from _normal(root, f"{top}/good", category, "test")
        folder = f"{top}/ground_truth/bad"
        mask_of = {_stem(mask): f"{folder}/{mask}" for mask in files.images(root / folder)}
        for name in files.images(root / top / "bad"):
            mask = mask_of.get(f"{_stem(name)}_mask")  # one without a mask is named by the checks of every dataset
            yield Sample(f"{top}/bad/{name}", (mask,) if mask else (), 1, category, "bad", "test")

    def _private(self, root: Path, category: str) -> Iterator[Sample]:
        folder = f"{category}/{self.variant}"
        for name in files.images(root / folder):
            yield Sample(f"{folder}/{name}", (), UNKNOWN, category, "unknown", "test")


def _normal(root: Path, folder: str, category: str, split: Split) -> list[Sample]:
    return [Sample(f"{folder}/{name}", (), 0, category, "good", split) for name in files.images(root / folder)]


def _stem(name: str) -> str:
    return files.stem_and_suffix(name)[0]
