"""ELPV: electroluminescence photographs of solar cells, graded by experts; image level only.

Labels are the published recipe of open-set anomaly detection: defect probability 0 is normal, 1 is anomalous, the
grades between are dropped, and a seeded quarter of the normal images is tested. `mono` and `poly`, the kind of solar
module, stand as the anomaly type, as in that literature. The files are read where they lie, none is shipped.
"""

from __future__ import annotations

import importlib.util
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from zsad_bench.data.base import CategoryCard, Expected, ZeroShotDataModule
from zsad_bench.errors import DatasetError, DatasetLayoutError, UsageError
from zsad_bench.registry import did_you_mean
from zsad_bench.types import Sample

Variant = Literal["holdout25", "all", "prob_gt_0.5"]
_NESTED = ("", "data", "elpv_dataset/data", "src/elpv_dataset/data")  # wheel, old and recent repository versions
_SEED = 42  # of the published split, train_test_split(test_size=0.25, random_state=42)


class Grade(NamedTuple):
    """One line of labels.csv."""

    image: str
    probability: float
    module: str


class Elpv(ZeroShotDataModule):
    """variant: `holdout25` (377 normal, 715 anomalous), `all` (1508, 715: no hold-out), or `prob_gt_0.5`
    (1803, 821: every image, anomalous from probability 2/3)."""

    title = "ELPV"
    domain = "industrial"
    level = "image"
    licence = "CC BY-NC-SA 4.0 (images); Apache-2.0 (code)"
    redistribute = False
    url = "https://github.com/zae-bayern/elpv-dataset"
    citation = (
        "Deitsch et al., Segmentation of photovoltaic module cells in uncalibrated electroluminescence images, "
        "Machine Vision and Applications 32 (2021)"
    )
    category_cards = (CategoryCard("elpv", "solar cell", "object"),)
    expected = Expected(377, 715, "V")
    root_names = ("elpv-dataset", "elpv_dataset", "elpv")
    how_to_get = "`pip install elpv-dataset` brings it (CC BY-NC-SA 4.0: not for commercial use)"

    def __init__(self, root: str | Path | None = None, *, variant: Variant = "holdout25", **options: Any) -> None:
        super().__init__(root, **options)
        if variant not in get_args(Variant):
            raise UsageError(did_you_mean("variant of elpv", variant, get_args(Variant)))
        self.variant = variant

    @classmethod
    def packaged(cls) -> Path | None:
        spec = importlib.util.find_spec("elpv_dataset")
        folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
        return next((f / "data" for f in folders if (f / "data" / "labels.csv").is_file()), None)

    @classmethod
    def layout_root(cls, found: Path) -> Path:
        for nested in _NESTED:
            if (found / nested / "labels.csv").is_file():
                return found / nested
        held = ", ".join(sorted(p.name for p in found.iterdir())[:5]) or "nothing"
        raise DatasetLayoutError(
            f"elpv: no labels.csv in {found} or its {', '.join(_NESTED[1:])}; found {held}. "
            "Give the folder of the repository or package elpv-dataset"
        )

    def index(self, root: Path) -> list[Sample]:
        grades = read_grades(root / "labels.csv")
        if self.variant == "prob_gt_0.5":
            normal, anomalous = _split(grades, lambda p: p < 0.5, lambda p: p > 0.5)
        else:
            normal, anomalous = _split(grades, lambda p: p == 0, lambda p: p == 1)
        if self.variant == "holdout25":
            normal = holdout(normal)
        samples = [Sample(g.image, None, 0, "elpv", "good", "test") for g in normal]
        return samples + [Sample(g.image, None, 1, "elpv", g.module, "test") for g in anomalous]


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


def holdout(normal: list[Grade]) -> list[Grade]:
    """A quarter of the normal images, rounded up, in the order drawn: rule `sklearn_holdout25`.

    Takes them in file order; the permutation is the one scikit-learn's train_test_split draws.
    """
    drawn = np.random.RandomState(_SEED).permutation(len(normal))[: ceil(len(normal) / 4)]
    return [normal[i] for i in drawn]


def _split(grades: list[Grade], is_normal: Any, is_anomalous: Any) -> tuple[list[Grade], list[Grade]]:
    return [g for g in grades if is_normal(g.probability)], [g for g in grades if is_anomalous(g.probability)]
