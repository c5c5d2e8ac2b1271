"""ELPV: electroluminescence photographs of solar cells, graded by experts; image level only.

Labels are the published recipe of open-set anomaly detection: defect probability 0 is normal, 1 is anomalous, the
grades between are dropped, and a seeded quarter of the normal images is tested. `mono` and `poly`, the kind of solar
module, stand as the anomaly type, as in that literature. The files are read where they lie, none is shipped.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.layouts import Found
from zsad_bench.data.public import PublicDataModule, holdout25
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_NESTED = ("", "data", "elpv_dataset/data", "src/elpv_dataset/data")  # wheel, old and recent repository versions


class Grade(NamedTuple):
    """One line of labels.csv."""

    image: str
    probability: float
    module: str


class Elpv(PublicDataModule):
    """variant: `holdout25` (377 normal, 715 anomalous), `all` (1508, 715: no hold-out), or `prob_gt_0.5`
    (1803, 821: every image, anomalous from probability 2/3); the last two need labels.csv."""

    title = "ELPV"
    domain = "industrial"
    level = "image"
    images_are = "Real photographs"
    licence = "CC BY-NC-SA 4.0 (images); Apache-2.0 (code)"
    redistribute = False
    url = "https://github.com/zae-bayern/elpv-dataset"
    citation = (
        "Deitsch et al., Segmentation of photovoltaic module cells in uncalibrated electroluminescence images, "
        "Machine Vision and Applications 32 (2021)"
    )
    category_cards = (CategoryCard("elpv", "solar cell", "object"),)
    variants = {
        "holdout25": Expected(377, 715, "V"),
        "all": Expected(1508, 715, "V"),
        "prob_gt_0.5": Expected(1803, 821, "V"),
    }
    root_names = ("elpv-dataset", "elpv_dataset", "elpv", "elpv_anomaly_detection")
    how_to_get = "`pip install elpv-dataset` brings it (CC BY-NC-SA 4.0: not for commercial use)"
    raw_looks_like = f"labels.csv (there or in {', '.join(_NESTED[1:])})"
    anomaly_types = {"elpv": ("mono", "poly")}

    @classmethod
    def packaged(cls) -> Path | None:
        spec = importlib.util.find_spec("elpv_dataset")
        folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
        return next((f / "data" for f in folders if (f / "data" / "labels.csv").is_file()), None)

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return _with_labels(root) is not None

    @cached_property
    def found(self) -> Found:
        """As detected; sample paths are those of labels.csv, relative to its own folder."""
        found = super().found
        folder = _with_labels(found.root)
        return found._replace(root=folder) if found.layout == "raw" and folder is not None else found

    def read_raw(self, root: Path) -> list[Sample]:
        grades = read_grades(root / "labels.csv")
        if self.variant == "prob_gt_0.5":
            normal, anomalous = _split(grades, lambda p: p < 0.5, lambda p: p > 0.5)
        else:
            normal, anomalous = _split(grades, lambda p: p == 0, lambda p: p == 1)
        if self.variant == "holdout25":
            normal = holdout25(normal)  # in the order of labels.csv: rule `sklearn_holdout25`
        samples = [Sample(g.image, (), 0, "elpv", "good", "test") for g in normal]
        return samples + [Sample(g.image, (), 1, "elpv", g.module, "test") for g in anomalous]


def read_grades(path: Path) -> list[Grade]:
    """The lines of labels.csv in file order: no header, columns apart by runs of spaces.

    Raises:
        DatasetError: not text, or a line that is not `path probability module`; names the line.
    """
    grades = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"elpv: cannot read {path} ({error}); restore the file") from None
    for number, line in enumerate(lines, 1):
        try:
            image, probability, module = line.split()
            grades.append(Grade(image, float(probability), module))
        except ValueError:
            raise DatasetError(
                f"elpv: {path} line {number} is '{line[:60]}', expected `path probability module`; restore the file"
            ) from None
    return grades


def _with_labels(root: Path) -> Path | None:
    """The folder of labels.csv in any version of the download; None when it is missing."""
    return next((root / nested for nested in _NESTED if (root / nested / "labels.csv").is_file()), None)


def _split(
    grades: list[Grade], is_normal: Callable[[float], bool], is_anomalous: Callable[[float], bool]
) -> tuple[list[Grade], list[Grade]]:
    return [g for g in grades if is_normal(g.probability)], [g for g in grades if is_anomalous(g.probability)]
