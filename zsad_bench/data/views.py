"""Datasets whose objects are photographed from several sides: which images show one object, and splits in JSON files.

A file per category, `{"meta": {"prefix", "normal_class"}, "train": [record, …], "test": [record, …]}`, a record with
`category`, `anomaly_class`, `image_path` and `mask_path`, as Real-IAD is released. Paths are below the category's
folder, and every image's name says its view: `audiojack_0001_NG_HS_C3_20231021.jpg` is view 3 of an object.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from zsad_bench.data import complete, files
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_VIEW = re.compile(r"(.*)_C0?([1-9])(?=_|$)", re.DOTALL)  # of a stem: the object, and the number of the view
Phase = Literal["train", "test"]


class View(NamedTuple):
    """What the name of an image says: the object (its folder and the name without the view) and the view's number."""

    group: str
    number: int


def view_of(image: str) -> View | None:
    """The view of an image, a POSIX path; None where its name does not say one."""
    path = PurePosixPath(image)
    named = _VIEW.match(path.stem)
    return View(f"{path.parent}/{named[1]}", int(named[2])) if named else None


class MultiViewDataModule(PublicDataModule):
    """json_folders: variant -> names of its folder of JSON files. image_folders: of images, in order of preference;
    where there is none of them, categories lie beside the JSON files. n_views: of each object of the test split.
    one_view: the variants that test one view of each object, whose images are objects of their own.

    An image is anomalous if its record has an anomalous class and a mask, as the authors' loader has it: a view of a
    defective object on which the defect is not seen is normal. Of several folders of images one is read, with a note.
    """

    json_folders: ClassVar[Mapping[str, tuple[str, ...]]]
    image_folders: ClassVar[tuple[str, ...]]
    n_views: ClassVar[int] = 5
    one_view: ClassVar[frozenset[str]] = frozenset()
    unverified = "JSON files, folders and names of views are read as others describe them; never run on the download"
    mask_threshold = 127  # as in ADEval 1.1.0, by which the authors evaluate

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any(cls._splits(root, names) is not None for names in cls.json_folders.values())

    @classmethod
    def _splits(cls, root: Path, names: Iterable[str]) -> Path | None:
        """The first folder of these names with JSON files: below the root, or below a folder of any of its names."""
        known = [name for of in cls.json_folders.values() for name in of]
        for place in [root, *(root / found for name in known if (found := files.any_case(root, name)))]:
            for name in names:
                found = files.any_case(place, name)
                if found is not None and any((place / found).glob("*.json")):
                    return place / found
        return None

    def read_raw(self, root: Path) -> list[Sample]:
        names = self.json_folders[self.variant]
        splits = self._splits(root, names)
        if splits is None:
            raise DatasetError(
                f"{self.name}: {root} has no folder {' or '.join(names)} of one JSON file per category, which variant "
                f"{self.variant} reads; found {files.seen(root)}: unpack it there"
            )
        top = self._images(root)
        by_name = {files.plain(path.stem): path for path in sorted(splits.glob("*.json"))}
        folders = {files.plain(name): name for name in files.folders(top)}
        samples: list[Sample] = []
        unmasked = 0
        for card in self.category_cards:
            split, folder = by_name.get(files.plain(card.name)), folders.get(files.plain(card.name))
            if split is not None and folder is not None:
                inner = folder if (top / folder / folder).is_dir() else ""  # archives nest
                read, bare = self._category(root, top / folder / inner, split, card.name)
                samples, unmasked = samples + read, unmasked + bare
        if unmasked:
            self.notes.append(
                f"{self.name}: {unmasked} test views of defective objects have no mask and are normal, as the "
                "authors' loader takes them"
            )
        return self._of_objects(samples)

    def compose(self, samples: list[Sample]) -> list[Sample]:
        return self._of_objects(super().compose(samples))

    def _images(self, root: Path) -> Path:
        """The folder of the categories' folders."""
        spelt = {name: found for name in self.image_folders if (found := files.any_case(root, name))}
        if len(spelt) > 1:
            first, *others = spelt.values()
            self.notes.append(f"{root / first} is read; there is also {', '.join(others)}, which is not")
        return root / next(iter(spelt.values()), "")

    def _category(self, root: Path, folder: Path, split: Path, category: str) -> tuple[list[Sample], int]:
        """The samples of one JSON file, and how many test images of an anomalous class have no mask."""
        records, normal_class = read_split(split, self.name)
        below = files.relative(folder, root)
        samples, unmasked = [], 0
        for phase, record in records:
            kind, mask = record["anomaly_class"], record["mask_path"]
            anomalous = kind != normal_class and mask is not None
            unmasked += phase == "test" and kind != normal_class and mask is None
            masks = (f"{below}/{mask}",) if anomalous else ()
            image = f"{below}/{record['image_path']}"
            samples.append(Sample(image, masks, int(anomalous), category, kind if anomalous else "good", phase))
        return samples, unmasked

    def _of_objects(self, samples: list[Sample]) -> list[Sample]:
        """The samples with the object that each shows, where all names say so and the variant has several views."""
        if self.variant in self.one_view:
            return samples
        views = [view_of(sample.image) for sample in samples]
        nameless = [sample.image for sample, view in zip(samples, views, strict=True) if view is None]
        if nameless:
            self.notes.append(
                f"{self.name}: {len(nameless)} images do not say in their names which view they are ({nameless[0]}), "
                "so objects are not known and there are no sample metrics"
            )
            return samples
        return [replace(sample, group=view.group) for sample, view in zip(samples, views, strict=True) if view]

    def _check(self, rows: Sequence[Sample]) -> None:
        super()._check(rows)
        if self._given is None and self.split == "test" and rows[0].group:
            self._check_views(rows)

    def _check_views(self, rows: Iterable[Sample]) -> None:
        """Raises DatasetError where an object lacks a view; a partial copy gets a note instead."""
        seen: dict[tuple[str, str], set[int]] = defaultdict(set)
        defective = set()
        for sample in rows:
            view = view_of(sample.image)
            seen[sample.category, sample.group].add(view.number if view else 0)
            defective |= {(sample.category, sample.group)} if sample.label else set()
        wanted = set(range(1, self.n_views + 1))
        lacking = {place: numbers for place, numbers in seen.items() if numbers != wanted}
        self.notes.append(
            f"{self.name}: {len(seen)} objects of {self.n_views} views, {len(defective)} of them defective; sample "
            "metrics are of objects, by the largest score of their views"
        )
        if not lacking:
            return
        (_, group), numbers = next(iter(lacking.items()))
        more = f", and {len(lacking) - 1} more objects lack views" if len(lacking) > 1 else ""
        found = f"{group} has the views {_listed(numbers)}, expected {_listed(wanted)}{more}"
        if not self.partial:
            raise DatasetError(f"{self.name}: {found}; {complete.remedy('restore the images')}")
        self.notes.append(f"partial: {self.name}: {found}; the scores of such objects are of the views that are there")


def read_split(path: Path, name: str) -> tuple[list[tuple[Phase, dict[str, Any]]], str]:
    """(phase, record) of every record of a category's JSON file, checked, and what it calls normal.

    name: of the dataset, for messages.

    Raises:
        DatasetError: not JSON of that form, or a path that leaves the category's folder; names the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        normal = content["meta"]["normal_class"]
        listed = [(phase, record) for phase in get_args(Phase) for record in content[phase]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{name}: {path} is not {{meta: {{normal_class}}, train: [record, …], test: [record, …]}} in JSON "
            f"({' '.join(str(error).split())}); unpack the JSON files again"
        ) from None
    for phase, record in listed:
        if not _fits(record):
            raise DatasetError(
                f"{name}: {path}, {phase}: expected records with anomaly_class, image_path and mask_path (a path below "
                f"the category, or null); found {json.dumps(record)[:120]}: unpack the JSON files again"
            )
    return listed, normal


def _fits(record: object) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("anomaly_class"), str) or "mask_path" not in record:
        return False
    mask = record["mask_path"]
    paths = [record.get("image_path"), *([] if mask is None else [mask])]
    return all(isinstance(path, str) and path and _inside(path) for path in paths)


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in path


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(f"C{number}" for number in sorted(numbers)) or "none"
