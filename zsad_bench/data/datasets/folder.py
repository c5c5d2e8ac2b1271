"""Images of your own in folders: `good/` and others, masks optional, one or several categories."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from zsad_bench.data import crops, files, layouts, pairing, type_folders
from zsad_bench.data.user_data import OwnDataModule
from zsad_bench.errors import DatasetError, DatasetLayoutError
from zsad_bench.types import Sample

_IMAGES = ("images", "image", "imgs", "img")


class Folder(OwnDataModule):
    """One of four forms, in any letter case, taken in this order.

    `{category}/test/{type}/`, as MVTec AD has it. The same of the folder itself: `test/{type}/`. Without `test/`: a
    folder of normal images and at least one other folder of images, in the folder itself or in each category's. Or
    `images/` beside `masks/`, as segmentation sets come: an image is anomalous if its mask marks a pixel.

    Normal images lie in `good`, `ok` or `normal`, or in `no` beside `yes`, `negative` beside `positive`. Where masks
    may lie and how they are named: `data/type_folders.py` and `data/pairing.py`.
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
            normal_folders=type_folders.NORMAL,
            masks=True,
            deep=True,
        )
        needed = {0, 1}
        if category_of := _with_types(root, layouts.category_folders(root, rules)):
            rules = rules._replace(categories={name: name for name in category_of.values()})
            samples = layouts.read_mvtec_style(root, rules, self.notes)
        elif category_of := {folder: name for folder, name in _candidates(root) if _has_normal(root / folder)}:
            samples = [
                sample
                for folder, name in category_of.items()
                for sample in type_folders.read(root, root / folder, root / folder, name, "test", self.notes, deep=True)
            ]
        else:
            category_of, needed = {folder: name for folder, name in _candidates(root) if _has_pairs(root / folder)}, {1}
            samples = [s for folder, name in category_of.items() for s in self._read_pairs(root, root / folder, name)]
        if needed == {0, 1}:
            kinds = sorted({sample.anomaly_type for sample in samples if sample.label})
            self.notes.append(f"{root}: taken as anomalous is what lies in {', '.join(kinds) or 'no folder'}")
        self._check_labels(root, samples, needed)
        self._say_what_was_left_out(root, category_of, samples)
        return samples

    def _read_pairs(self, root: Path, folder: Path, category: str) -> list[Sample]:
        """The samples of `images/` beside `masks/`: masks alone say what is anomalous, and are opened for it."""
        pair = _has_pairs(folder)
        if pair is None:
            return []
        images, masks = pair
        names = files.images_below(folder / images)
        try:
            paired = pairing.pair(names, files.images_below(folder / masks))
        except DatasetError as error:
            raise DatasetError(f"{self.name}: {folder / masks}: {error}") from None
        self.notes += [f"{folder / masks}: {note}" for note in paired.notes]
        samples = []
        for name in names:
            path = folder / images / name
            mask_paths = [folder / masks / mask for mask in paired.masks.get(name, ())]
            size = crops.size_of(path)
            marked = bool(mask_paths) and crops.marked(path, size, mask_paths, [(0, 0, *size)], self.mask_threshold)[0]
            mask_names = tuple(files.relative(mask, root) for mask in mask_paths) if marked else ()
            kind = "anomalous" if marked else "good"
            samples.append(Sample(files.relative(path, root), mask_names, int(marked), category, kind, "test"))
        normal = sum(sample.label == 0 for sample in samples)
        self.notes.append(
            f"{folder}: {images}/ beside {masks}/: {len(samples) - normal} images whose masks mark a pixel are taken "
            f"as anomalous, {normal} as normal ({len(names) - len(paired.masks)} of them have no mask)"
        )
        return samples

    def _check_labels(self, root: Path, samples: list[Sample], needed: set[int]) -> None:
        labels = {sample.label for sample in samples if sample.split == self.split}
        if labels >= needed or (labels and self.split == "train") or (0 in labels and self.painter is not None):
            return
        content = {
            frozenset({0}): "only normal images",
            frozenset({1}): "only anomalous images",
        }.get(frozenset(labels), f"{_count(root)}{files.seen(root)}")
        packed = files.archives(root)
        raise DatasetLayoutError(
            f"folder: {root} cannot be tested on: it needs normal images in good/ and anomalous ones in at least one "
            f"other folder, as in normal/ and defect/, no/ and yes/, or test/good/ and test/defect/; or images/ beside "
            f"masks/; found {content}" + (f"; unpack {packed[0]} first" if packed else "")
        )

    def _say_what_was_left_out(self, root: Path, category_of: dict[str, str], samples: list[Sample]) -> None:
        taken = {folder.partition("/")[0] for folder in category_of}
        if not category_of.keys() & {".", "test"} and (rest := [n for n in files.folders(root) if n not in taken]):
            self.notes.append(f"{root}: left out, as no category: {', '.join(rest)}")
        for folder, name in category_of.items():
            labels = {sample.label for sample in samples if sample.category == name and sample.split == "test"}
            if len(labels) == 1 and self.painter is None:
                what = "anomalous" if labels == {0} else "normal"
                self.notes.append(f"{root / folder}: no {what} images, so image metrics of {name} are undefined")


def _with_types(root: Path, styled: dict[str, str]) -> dict[str, str]:
    """What has `test/`, but for where it is of pairs: `test/images/` beside `test/masks/`."""
    tests = {folder: files.any_case(root / folder, "test") for folder in styled}
    of_pairs = [folder for folder, test in tests.items() if test and _has_pairs(root / folder / test)]
    return {} if len(of_pairs) == len(styled) else styled


def _candidates(root: Path) -> list[tuple[str, str]]:
    """(folder below the root, name) of what may be a category: the root, then its folders; or `test/` in them."""
    candidates = []
    for folder, name in [(".", root.name), *((n, n) for n in files.folders(root) if not pairing.is_mask_folder(n))]:
        test = files.any_case(root / folder, "test")
        inner = f"{folder}/{test}".removeprefix("./")
        candidates.append((inner if test and _has_pairs(root / inner) else folder, name))
        if folder == "." and (_has_normal(root) or _has_pairs(root / candidates[0][0])):
            break
    return candidates


def _has_normal(folder: Path) -> bool:
    kinds = type_folders.types_in(folder, deep=True)
    return any(type_folders.is_normal(kind, kinds) for kind in kinds)


def _has_pairs(folder: Path) -> tuple[str, str] | None:
    """The names of a folder of images and of one of masks beside it, both with images inside; None without them, or
    where there are folders of normal images."""
    inside = files.folders(folder)
    if any(type_folders.is_normal(name, inside) for name in inside):
        return None
    images = next((n for n in inside if n.casefold() in _IMAGES and files.images_below(folder / n)), None)
    masks = next((n for n in inside if pairing.is_mask_folder(n) and files.images_below(folder / n)), None)
    return (images, masks) if images and masks else None


def _count(root: Path) -> str:
    images = len(files.images(root))
    return f"{images} images without labels: " if images else ""
