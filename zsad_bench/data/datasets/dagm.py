"""DAGM 2007: ten artificial textures with weakly outlined defects, from a competition."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from zsad_bench.data import complete, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PreparedCopy, PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_CLASSES = [f"Class{number}" for number in range(1, 11)]
Phase = Literal["train", "test"]
_PHASES: tuple[Phase, ...] = get_args(Phase)


class Dagm(PublicDataModule):
    """variant: `official` is the competition's test phase; `adaclip` merges both phases and keeps of each category
    and phase all defects and equally many normal images, here the first by path, since AdaCLIP does not list which;
    `prepared1350` (1350 and 1350 images of seven classes, masks drawn anew) is known only by its counts, as reports of
    Bayes-PFL give them, and from such copies: no source that was read says which images and classes these are.

    A defect is what has a mask in `Label/`. Unlike elsewhere the training phase holds defects too.
    """

    title = "DAGM"
    domain = "industrial"
    level = "both"
    licence = "not established (competition data)"
    redistribute = False
    url = "https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection"
    citation = (
        "Wieler, Hahn and Hamprecht, Weakly supervised learning for industrial optical inspection, "
        "29th annual symposium of the German Association for Pattern Recognition (DAGM, 2007)"
    )
    category_cards = tuple(CategoryCard(name, "textured surface", "texture") for name in _CLASSES)
    variants = {
        "official": Expected(6996, 1054, "V"),
        "adaclip": Expected(2100, 2100, "I"),
        "prepared1350": Expected(1350, 1350, "R"),
    }
    prepared_variants = {"prepared1350": PreparedCopy("no source says how it was made")}
    root_names = ("DAGM_KaggleUpload", "DAGM2007", "DAGM", "DAGM_anomaly_detection", "dagm_kaggleupload")
    how_to_get = "download the Kaggle copy of the DAGM 2007 competition, then unpack it"
    raw_looks_like = "Class1/Test/0001.PNG and Class1/Test/Label/"
    anomaly_types = dict.fromkeys(_CLASSES, ("defect",))

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        tops = (_any_case(root / name, phase) for name in _CLASSES for phase in _PHASES if (root / name).is_dir())
        return any(files.images(top) for top in tops if top is not None)

    def read_raw(self, root: Path) -> list[Sample]:
        wanted = _PHASES if self.variant == "adaclip" else (self.split,)
        phases = {
            (name, phase): _any_case(root / name, phase) if (root / name).is_dir() else None
            for name in _CLASSES
            for phase in _PHASES
        }
        absent = [f"{name}/{phase}" for (name, phase), top in phases.items() if phase in wanted and top is None]
        if absent and not self.partial:
            raise DatasetError(f"dagm: {root} has no {', '.join(absent)}; {complete.remedy()}")
        samples = [
            sample
            for (name, phase), top in phases.items()
            if top is not None
            for sample in self._phase(root, top, name, phase)
        ]
        return self.compose(samples)

    def compose(self, samples: list[Sample]) -> list[Sample]:
        """The asked variant; a prepared copy without defects for training has been composed already."""
        samples = [replace(s, anomaly_type="defect") if s.label else s for s in samples]  # scripts write the phase here
        if self.variant == "adaclip" and any(s.label and s.split == "train" for s in samples):
            return balanced(samples)
        return samples

    def _phase(self, root: Path, top: Path, category: str, phase: Phase) -> list[Sample]:
        """The samples of one phase of one category."""
        images = {files.stem_and_suffix(name)[0]: top / name for name in files.images(top)}
        label = _any_case(top, "label")
        # An empty mask file still says that its image has a defect, so suffix and size are not looked at.
        found = {} if label is None else {files.stem_and_suffix(e.name)[0]: Path(e.path) for e in files.entries(label)}
        masks = {stem.removesuffix("_label"): path for stem, path in found.items() if stem.endswith("_label")}
        orphans = [path for stem, path in masks.items() if stem not in images]
        if orphans and not self.partial:
            raise DatasetError(f"dagm: {orphans[0]} is the mask of an image that {top} lacks; restore the image")
        if "Labels" in found:
            check_labels(found["Labels"], set(images), set(masks), self.partial)
        return [
            Sample(
                files.relative(path, root),
                (files.relative(masks[stem], root),) if stem in masks else (),
                int(stem in masks),
                category,
                "defect" if stem in masks else "good",
                phase,
            )
            for stem, path in images.items()
        ]


def check_labels(path: Path, images: set[str], defective: set[str], partial: bool = False) -> None:
    """Compares Labels.txt with the files: a first line `1`, then id, flag, image, 0, mask or 0, apart by tabs.

    images, defective: the stems of the images, and of those that have a mask. partial: images may be missing.

    Raises:
        DatasetError: they disagree, or a line is of another form; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"dagm: cannot read {path} ({error}); restore the file, or remove it") from None
    listed = set()
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells or (number == 1 and len(cells) == 1):
            continue
        where = f"dagm: {path} line {number}"
        if len(cells) < 3 or cells[1] not in ("0", "1"):
            raise DatasetError(f"{where} is '{line[:60]}', expected id, 0 or 1, and an image; restore the file")
        stem, flag = files.stem_and_suffix(cells[2])[0], cells[1] == "1"
        if stem not in images and partial:
            continue
        if stem not in images:
            raise DatasetError(f"{where} lists {cells[2]}, which {path.parent.parent} lacks; restore the image")
        if flag != (stem in defective):
            says, has = ("a defect", "no mask") if flag else ("no defect", "a mask")
            raise DatasetError(f"{where} says {says} for {cells[2]}, but there is {has} in {path.parent}; restore them")
        listed.add(stem)
    if unlisted := sorted(images - listed):
        raise DatasetError(f"dagm: {path} does not list {unlisted[0]} of {path.parent.parent}; restore the file")


def balanced(samples: list[Sample]) -> list[Sample]:
    """Both phases as test: of each category and phase all defects and as many normal images, the first by path."""
    balanced_samples: list[Sample] = []
    for key in dict.fromkeys((s.category, s.split) for s in samples):
        group = sorted((s for s in samples if (s.category, s.split) == key), key=lambda s: os.fsencode(s.image))
        defects = [s for s in group if s.label]
        balanced_samples += defects + [s for s in group if not s.label][: len(defects)]
    return [replace(s, split="test") for s in balanced_samples]


def _any_case(folder: Path, name: str) -> Path | None:
    found = files.any_case(folder, name)
    return None if found is None else folder / found
