"""VisA: twelve products, from circuit boards to snacks, with masks by class; auxiliary data when MVTec AD is tested."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from zsad_bench.data import complete, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.fetch import Download
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError, DatasetLayoutError
from zsad_bench.types import Sample

_PROMPTS = {
    "candle": "candle", "capsules": "capsules", "cashew": "cashew", "chewinggum": "chewing gum", "fryum": "fryum",
    "macaroni1": "macaroni", "macaroni2": "macaroni", "pcb1": "printed circuit board", "pcb2": "printed circuit board",
    "pcb3": "printed circuit board", "pcb4": "printed circuit board", "pipe_fryum": "pipe fryum",
}  # fmt: skip
_SPLIT = "split_csv/1cls.csv"
_UNTYPED = "anomaly"  # the folder's name: all that is known of an anomalous image without a label


class Visa(PublicDataModule):
    """variant: `official` is the official one-class split; `zs` the images of a list that the user gives (`images`):
    those whose labels hold without a reference. The list is not part of this package.

    An image's types are its label cell in `image_anno.csv`, as it stands there.

    Masks hold class ids 1 to 9: a threshold of 127 would erase every defect. The reorganised tree `1cls/` has masks of
    255 and the one type `bad`. The meta.json of published scripts names no types; the csv files beside it do.
    """

    title = "VisA"
    domain = "industrial"
    level = "both"
    licence = "CC BY 4.0"
    redistribute = True
    url = "https://github.com/amazon-science/spot-diff"
    citation = (
        "Zou et al., SPot-the-difference self-supervised pre-training for anomaly detection and segmentation, "
        "European Conference on Computer Vision (2022)"
    )
    category_cards = tuple(CategoryCard(name, prompt, "object") for name, prompt in _PROMPTS.items())
    variants = {"official": Expected(962, 1200, "V"), "zs": Expected(0, 0, "R")}
    listed_variants = frozenset({"zs"})
    root_names = ("VisA", "VisA_20220922", "visa", "Visa", "VisA_pytorch", "1cls")  # the last two: reorganised
    how_to_get = f"unpack VisA_20220922.tar of its home page; {_SPLIT} of that repository belongs beside the categories"
    downloads = (
        Download(
            "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
            "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",  # as pinned by anomalib
            "tar",
        ),
    )
    raw_looks_like = f"{{category}}/Data/Images/ with {_SPLIT}"
    anomaly_types = {  # in the order of the masks' class ids, from 1; spelt as the release spells them
        "candle": (
            "chunk of wax missing", "damaged corner of packaging", "weird candle wick", "different colour spot",
            "extra wax in candle", "foreign particals on candle", "wax melded out of the candle", "other",
        ),
        "capsules": ("bubble", "discolor", "scratch", "leak", "misshape"),
        "cashew": (
            "burnt", "corner or edge breakage", "different colour spot", "middle breakage", "small holes",
            "small scratches", "stuck together", "same colour spot", "other",
        ),
        "chewinggum": (
            "chunk of gum missing", "corner missing", "scratches", "similar colour spot", "small cracks", "other",
        ),
        "fryum": (
            "burnt", "corner or edge breakage", "different colour spot", "fryum stuck together", "middle breakage",
            "similar colour spot", "small scratches", "other",
        ),
        "macaroni1": (
            "chip around edge and corner", "different colour spot", "middle breakage", "similar colour spot",
            "small cracks", "small scratches", "other",
        ),
        "macaroni2": (
            "breakage down the middle", "color spot similar to the object", "different color spot",
            "small chip around edge", "small cracks", "small scratches", "other",
        ),
        "pcb1": ("bent", "melt", "scratch", "missing"),
        "pcb2": ("bent", "melt", "scratch", "missing"),
        "pcb3": ("bent", "melt", "scratch", "missing"),
        "pcb4": ("burnt", "scratch", "missing", "damage", "extra", "wrong place", "dirt"),
        "pipe_fryum": (
            "burnt", "corner and edge breakage", "different colour spot", "middle breakage", "similar colour spot",
            "small scratches", "stuck together", "small cracks", "other",
        ),
    }  # fmt: skip

    @classmethod
    def refuse(cls, root: Path) -> str | None:
        """The release also describes splits with anomalous training images, whose tree differs in the masks only."""
        if any((root / name / "ground_truth" / "test").is_dir() for name in _PROMPTS):
            return "a two-class split of VisA (2cls_highshot or 2cls_fewshot), which tests other images"
        return None

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any((root / name / "Data" / "Images").is_dir() for name in _PROMPTS)

    def read_raw(self, root: Path) -> list[Sample]:
        absent = [name for name in _PROMPTS if not (root / name).is_dir()]
        if absent and not self.partial:
            raise DatasetError(f"{self.name}: {root} has no folders {', '.join(absent)}; {complete.remedy()}")
        if not (root / _SPLIT).is_file():
            raise DatasetLayoutError(
                f"{self.name}: expected {root / _SPLIT}, found {files.seen(root)}; copy that file from {self.url}"
            )
        lines = _read(root / _SPLIT, ("object", "split", "label", "image", "mask"))
        return self._typed(root, [_sample(root / _SPLIT, *line) for line in lines])

    def compose(self, samples: list[Sample]) -> list[Sample]:
        return self._typed(self.root, super().compose(samples))

    def _typed(self, root: Path, samples: list[Sample]) -> list[Sample]:
        """The samples with the types of `image_anno.csv`, where their images lie as downloaded; the rest in `notes`."""
        labels = {name: _labels(root / name / "image_anno.csv") for name in _PROMPTS}
        typed = []
        for sample in samples:
            if sample.label == 1 and sample.image.startswith(f"{sample.category}/Data/Images/"):
                sample = replace(sample, anomaly_type=labels[sample.category].get(_key(sample.image), _UNTYPED))
            typed.append(sample)
        self._note_types(root, [sample for sample in typed if sample.label == 1])
        return typed

    def _note_types(self, root: Path, anomalous: Sequence[Sample]) -> None:
        untyped = [sample.category for sample in anomalous if sample.anomaly_type.lower() == _UNTYPED]
        if untyped:
            where = ", ".join(sorted(set(untyped)))
            self.notes.append(
                f"{len(untyped)} anomalous images have no label in image_anno.csv ({root}: {where}); their type is "
                f"'{_UNTYPED}', so they cannot be chosen by type: restore the file"
            )
        pairs = sorted(
            {f"{s.category}/{kind}" for s in anomalous for kind in s.types if kind.lower() not in self._kinds(s)}
        )
        if pairs:
            self.notes.append(f"{root}: image_anno.csv has labels that the release does not list: {', '.join(pairs)}")

    def _kinds(self, sample: Sample) -> tuple[str, ...]:
        """The types that a sample may have; those that copies have instead of a label are not strange."""
        return (*self.anomaly_types[sample.category], _UNTYPED, "bad")


def _sample(source: Path, category: str, split: str, label: str, image: str, mask: str) -> Sample:
    """The sample that a line of the split file means.

    Raises:
        DatasetError: an unknown category, split or label, or a path that leaves the dataset.
    """
    outside = any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in (image, mask))
    known = category in _PROMPTS and split in ("train", "test") and label in ("normal", "anomaly")
    if not known or outside:
        raise DatasetError(
            f"visa: {source} has the line '{category},{split},{label},{image},{mask}'; expected a category of VisA, "
            "train or test, normal or anomaly, and paths below the root: restore the original file"
        )
    anomalous = label == "anomaly"
    masks = (mask,) if anomalous and mask else ()
    phase: Literal["train", "test"] = "train" if split == "train" else "test"
    return Sample(image, masks, int(anomalous), category, _UNTYPED if anomalous else "good", phase)


def _labels(path: Path) -> dict[str, str]:
    """Folder and name of an image -> its label cell; empty when there is no such file."""
    if not path.is_file():
        return {}
    cells = ((_key(image), label.strip()) for image, label, _ in _read(path, ("image", "label", "mask")))
    return {key: label for key, label in cells if label}


def _key(image: str) -> str:
    """`Anomaly/000.JPG`: normal and anomalous images share names."""
    return "/".join(PurePosixPath(image).parts[-2:])


def _read(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The lines of a csv file below its header.

    Raises:
        DatasetError: unreadable, or not these columns separated by commas; names the file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"visa: cannot read {path} ({error}); restore the original file") from None
    if not lines or [cell.strip().lower() for cell in lines[0]] != list(columns):
        raise _unlike(path, 1, lines[0] if lines else [], columns)
    for number, cells in enumerate(lines[1:], 2):
        if cells and len(cells) != len(columns):
            raise _unlike(path, number, cells, columns)
        if cells:
            yield cells


def _unlike(path: Path, number: int, cells: Sequence[str], columns: Sequence[str]) -> DatasetError:
    text = " ".join(",".join(cells).split())  # a quoted cell may hold line breaks
    found = "separated by ';', as spreadsheets save it" if ";" in text else f"'{text[:80]}'"
    return DatasetError(
        f"visa: {path} line {number} is {found}, expected {','.join(columns)} separated by ',': restore the original "
        "file"
    )
