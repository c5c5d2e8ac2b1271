"""SDD (KolektorSDD): surfaces of electrical commutators, a few with a fine crack."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from zsad_bench.data import complete, crops, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.fetch import Download
from zsad_bench.data.public import PublicDataModule, holdout25
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.types import Sample

_FOLDERS = [f"kos{number:02d}" for number in range(1, 51)]


class Sdd(PublicDataModule):
    """variant: `holdout25` cuts every photograph into three along its height and tests a quarter of the normal parts;
    `anomalyclip` (181 normal, 74 anomalous) is known only from the prepared copy of its authors, who do not say how
    it was made. A prepared copy is tested as it lies, whichever is asked for.

    Which normal parts others tested depended on the order of their file system: the counts agree, not the images.
    KolektorSDD2 is another dataset.
    """

    title = "SDD"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://www.vicos.si/resources/kolektorsdd/"
    citation = (
        "Tabernik et al., Segmentation-based deep-learning approach for surface-defect detection, "
        "Journal of Intelligent Manufacturing 31 (2020)"
    )
    category_cards = (CategoryCard("SDD", "electrical commutator", "object"),)
    category_aliases = {"electrical commutators": "SDD", "electrical_commutators": "SDD"}
    variants = {"holdout25": Expected(286, 54, "S"), "anomalyclip": Expected(181, 74, "S")}
    root_names = ("KolektorSDD", "SDD", "SDD_anomaly_detection")
    how_to_get = "download the version with fine annotations from its home page, then unpack it"
    downloads = (
        Download(
            "https://go.vicos.si/kolektorsdd",
            "65dc621693418585de9c4467d1340ea7958a6181816f0dc2883a1e8b61f9d4dc",  # as pinned by anomalib
            "zip",
        ),
    )
    ask_consent = True
    raw_looks_like = "kos01/Part0.jpg beside kos01/Part0_label.bmp"
    anomaly_types = {"SDD": ("defect",)}
    strict_mask_size = True  # image and mask are cut alike

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any((root / name).is_dir() for name in _FOLDERS)

    def compose(self, samples: list[Sample]) -> list[Sample]:
        return samples

    def read_raw(self, root: Path) -> list[Sample]:
        if self.variant == "anomalyclip":
            raise UsageError(
                f"sdd: variant anomalyclip is known only from its authors' prepared copy, found the raw layout in "
                f"{root}; give the folder of that copy, or take variant holdout25"
            )
        absent = [name for name in _FOLDERS if not (root / name).is_dir()]
        if absent and not self.partial:
            raise DatasetError(f"sdd: {root} has no {', '.join(absent)}; {complete.remedy()}")
        if absent:
            self.notes.append(f"partial: sdd is used without {len(absent)} folders: {', '.join(absent)}")
        parts = [part for name in _FOLDERS if name not in absent for part in self._parts(root, root / name)]
        normal = [part for part in parts if part.label == 0]
        tested = set(holdout25(normal))
        return [replace(p, split="test") if p.label or p in tested else p for p in parts]

    def _parts(self, root: Path, folder: Path) -> list[Sample]:
        """Three samples of every photograph of a folder, sorted by path and then from top to bottom, all in `train`.

        Every photograph has a mask beside it, all zero where nothing is wrong: only pixels say what is anomalous.
        """
        names = files.images(folder)
        masks = {files.stem_and_suffix(n)[0]: n for n in names if files.stem_and_suffix(n)[0].endswith("_label")}
        parts = []
        for name in names:
            stem, _ = files.stem_and_suffix(name)
            if stem in masks:
                continue
            if f"{stem}_label" not in masks:
                if self.partial:
                    self.notes.append(f"partial: {folder / name} has no mask beside it and is left out")
                    continue
                raise DatasetError(
                    f"sdd: {folder / name} has no mask {stem}_label.bmp beside it; restore the mask, or leave it out "
                    "with --partial"
                )
            image, mask = folder / name, folder / masks[f"{stem}_label"]
            size = crops.size_of(image)
            boxes = thirds(*size)
            path, mask_path = files.relative(image, root), files.relative(mask, root)
            marked = crops.marked(image, size, [mask], boxes, self.mask_threshold, self.strict_mask_size)
            for box, bad in zip(boxes, marked, strict=True):
                found, kind = ((mask_path,), "defect") if bad else ((), "good")
                parts.append(Sample(path, found, int(bad), "SDD", kind, "train", box))
        return parts


def thirds(width: int, height: int) -> list[crops.Crop]:
    """The three parts of a photograph, cut at a third and two thirds of its height, rounded down."""
    edges = (0, height // 3, 2 * height // 3, height)
    return [(0, top, width, bottom) for top, bottom in pairwise(edges)]
