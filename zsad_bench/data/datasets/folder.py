"""Images of your own in folders: `good/` and others, masks optional, one or several categories."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from zsad_bench.data import files, layouts
from zsad_bench.data.own import OwnDataModule
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError, DatasetLayoutError
from zsad_bench.types import Sample

_NORMAL = ("good", "ok", "normal")
_MASKS = ("ground_truth", "masks", "mask")


class Folder(OwnDataModule):
    """One of three forms, in any letter case, taken in this order.

    `{category}/test/{type}/`, as MVTec AD has it. The same of the folder itself: `test/{type}/`. Without `test/`:
    `normal/` and at least one other folder of images, in the folder itself or in each category's. Normal images lie
    in `good`, `ok` or `normal`; masks in `ground_truth/{type}/` or `masks/{type}/`, found by name.
    """

    title = "Own folder"
    example = "/path/to/images"
    how_to_get = "give a folder with good/ and at least one folder of anomalous images"

    @cached_property
    def _folder(self) -> Path:
        if self._asked_root.is_file():
            raise DatasetError(f"folder: {self._asked_root} is a file; give a folder, or a table as csv:PATH")
        return super()._folder

    def read(self, root: Path) -> list[Sample]:
        rules = layouts.Rules(
            name=self.name,
            categories={},
            single=True,
            normal_folders=tuple(each for name in _NORMAL for each in (name, name.capitalize(), name.upper())),
            masks=True,
            mask_folders=tuple(f"{folder}/{{type}}" for folder in _MASKS),
            mask_names=PublicDataModule.mask_names,
        )
        styled = layouts.category_folders(root, rules)
        if styled:
            rules = rules._replace(categories={name: name for name in styled.values()})
            samples = layouts.read_mvtec_style(root, rules, self.notes)
            found = styled
        else:
            found = {place: name for place, name in _candidates(root) if _kinds(root / place)[0]}
            samples = [s for place, name in found.items() for s in self._read_bare(root, place, name, rules)]
            kinds = sorted({sample.anomaly_type for sample in samples if sample.label})
            self.notes.append(f"{root}: taken as anomalous is what lies in {', '.join(kinds) or 'no folder'}")
        self._check_labels(root, samples)
        self._say_what_was_left_out(root, found, samples)
        return samples

    def _read_bare(self, root: Path, place: str, category: str, rules: layouts.Rules) -> Iterator[Sample]:
        """The samples of a category without `test/`: all are test images."""
        folder = root / place
        for kinds, label in zip(_kinds(folder), (0, 1), strict=True):
            for kind in kinds:
                names = files.images(folder / kind, self.notes)
                masks = layouts.masks_by_name(folder, kind, names, rules, self.notes) if label else {}
                for name in names:
                    paired = tuple(files.relative(path, root) for path in masks.get(name, ()))
                    image = files.relative(folder / kind / name, root)
                    yield Sample(image, paired, label, category, kind if label else "good", "test")

    def _check_labels(self, root: Path, samples: list[Sample]) -> None:
        labels = {sample.label for sample in samples if sample.split == self.split}
        if labels == {0, 1} or (labels and self.split == "train"):
            return
        found = {
            frozenset({0}): "only normal images",
            frozenset({1}): "only anomalous images",
        }.get(frozenset(labels), f"{_count(root)}{files.seen(root)}")
        packed = files.archives(root)
        raise DatasetLayoutError(
            f"folder: {root} cannot be tested on: it needs normal images in good/ and anomalous ones in at least one "
            f"other folder, as in normal/ and defect/, or test/good/ and test/defect/; found {found}"
            + (f"; unpack {packed[0]} first" if packed else "")
        )

    def _say_what_was_left_out(self, root: Path, found: dict[str, str], samples: list[Sample]) -> None:
        if "." not in found and (rest := [name for name in files.folders(root) if name not in found]):
            self.notes.append(f"{root}: left out, as no category: {', '.join(rest)}")
        for place, name in found.items():
            labels = {sample.label for sample in samples if sample.category == name and sample.split == "test"}
            if len(labels) == 1:
                what = "anomalous" if labels == {0} else "normal"
                self.notes.append(f"{root / place}: no {what} images, so image metrics of {name} are undefined")


def _candidates(root: Path) -> list[tuple[str, str]]:
    """(folder below the root, name) of what may be a category: the root, and if it is none, its folders."""
    if _kinds(root)[0]:
        return [(".", root.name)]
    return [(name, name) for name in files.folders(root) if name.lower() not in _MASKS]


def _kinds(folder: Path) -> tuple[list[str], list[str]]:
    """Folders of normal, and of anomalous images."""
    kinds = [name for name in files.folders(folder) if name.lower() not in _MASKS and files.images(folder / name)]
    return [k for k in kinds if k.lower() in _NORMAL], [k for k in kinds if k.lower() not in _NORMAL]


def _count(root: Path) -> str:
    images = len(files.images(root))
    return f"{images} images without labels: " if images else ""
