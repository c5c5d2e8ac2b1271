"""A folder of types (`good/`, `crack/`, …) as samples, each anomalous image with its masks, wherever those lie.

Masks are looked for in folders called as masks are (`pairing.is_mask_folder`): beside the types, beside `test/`, in a
type's own folder, or beside the categories, in a folder called as the category; and as files beside the images
(`3_mask.png` beside `3.png`). Letter case does not matter anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from zsad_bench.data import files, pairing
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

NORMAL = ("good", "ok", "normal")
_OPPOSITES = {"no": "yes", "negative": "positive"}  # the first is of normal images where the second lies beside it
_PHASES = ("train", "test", "val", "valid", "validation")


def is_normal(name: str, beside: Collection[str], normal: Collection[str] = NORMAL) -> bool:
    """Whether a type's folder holds normal images; beside: the names of all types' folders."""
    opposite = _OPPOSITES.get(name.casefold())
    return name.casefold() in normal or (opposite is not None and opposite in {other.casefold() for other in beside})


def types_in(top: Path, deep: bool) -> list[str]:
    """The folders of `top` that are of types: with images in them or, if deep, in their folders; none is of masks.

    A folder without images of its own is not a type if what lies below is called as normal images or as a phase: then
    it is a dataset of its own.
    """
    return [
        name
        for name in files.folders(top)
        if not pairing.is_mask_folder(name)
        and (files.images(top / name) or (deep and not _is_dataset(top / name) and _below(top / name)))
    ]


def read(
    root: Path,
    category_folder: Path,
    top: Path,
    category: str,
    split: Literal["train", "test"],
    notes: list[str],
    *,
    normal: Collection[str] = NORMAL,
    masks: bool = True,
    more_mask_folders: Collection[str] = (),
    deep: bool = False,
) -> list[Sample]:
    """The samples of one category and split, by type and path. All paths are relative to `root`.

    top: the folder of the types, the category's own or its `test/`. normal: types of normal images, in lower case.
    masks: whether masks are looked for. more_mask_folders: other names of folders of masks. deep: images in folders of
    a type's folder are of that type as well. notes: takes what was guessed and what masks were not used.

    Raises:
        DatasetError: a mask that could be of several images, or several of one.
    """
    kinds = types_in(top, deep)
    samples: list[Sample] = []
    beside: dict[str, tuple[str, ...]] = {}  # image -> its masks in its own folder, both below `top`
    for kind in kinds:
        label = int(not is_normal(kind, kinds, normal))
        names = _below(top / kind) if deep else files.images(top / kind)
        masks_beside = _masks_beside(names, top / kind, notes)
        mask_names = {mask for of_image in masks_beside.values() for mask in of_image}
        images = [name for name in names if name not in mask_names]
        _say_equal_stems(images, top / kind, bool(masks_beside), notes)
        for name in images:
            path = f"{kind}/{name}"
            beside[path] = tuple(f"{kind}/{mask}" for mask in masks_beside.get(name, ()))
            samples.append(Sample(path, (), label, category, kind if label else "good", split))
    masks_of: dict[str, tuple[Path, ...]] = {}
    if masks:
        unmasked = [sample.image for sample in samples if sample.label and not beside[sample.image]]
        masks_of = {path: tuple(top / mask for mask in names) for path, names in beside.items() if names}
        masks_of |= _from_folders(root, category_folder, top, kinds, unmasked, more_mask_folders, notes)
    return [
        replace(
            sample,
            image=files.relative(top / sample.image, root),
            masks=tuple(files.relative(path, root) for path in masks_of.get(sample.image, ())) if sample.label else (),
        )
        for sample in samples
    ]


def _from_folders(
    root: Path,
    category_folder: Path,
    top: Path,
    kinds: Sequence[str],
    images: list[str],
    more: Collection[str],
    notes: list[str],
) -> dict[str, tuple[Path, ...]]:
    """Image below `top` -> its masks, from the first folder of masks that has some, then from the next."""
    masks_of: dict[str, tuple[Path, ...]] = {}
    if not images:
        return masks_of
    for folder, start in _mask_folders(root, category_folder, top, kinds, more):
        left = {path.removeprefix(start): path for path in images if path not in masks_of and path.startswith(start)}
        masks = files.images_below(folder)
        try:
            paired = pairing.pair(left, masks)
        except DatasetError as error:
            raise DatasetError(f"{folder}: {error}") from None
        notes += [f"{folder}: {note}" for note in paired.notes]
        if masks and left and not paired.masks:
            notes.append(
                f"{folder}: none of its {len(masks)} masks is named as an anomalous image ({masks[0]}, but "
                f"{next(iter(left))}), so they are not used; call them {{stem}}_mask.png in {folder.name}/{{type}}/"
            )
        masks_of |= {left[path]: tuple(folder / mask for mask in names) for path, names in paired.masks.items()}
    return masks_of


def _mask_folders(
    root: Path, category_folder: Path, top: Path, kinds: Sequence[str], more: Collection[str]
) -> Iterator[tuple[Path, str]]:
    """(a folder of masks, how the paths of the images begin that it may be of), in order of preference."""
    places = [(folder, "") for folder in dict.fromkeys((category_folder, top))]
    for folder, start in [*places, *((top / kind, f"{kind}/") for kind in kinds)]:
        for name in files.folders(folder):
            if pairing.is_mask_folder(name) or name in more:
                yield folder / name, start
    if category_folder != root:
        for name in filter(pairing.is_mask_folder, files.folders(root)):
            if inner := files.any_case(root / name, category_folder.name):
                yield root / name / inner, ""


def _masks_beside(names: Sequence[str], folder: Path, notes: list[str]) -> dict[str, tuple[str, ...]]:
    """Image -> masks among the images of one type, where they lie in one folder."""
    masks_of: dict[str, tuple[str, ...]] = {}
    for parent in dict.fromkeys(name.rpartition("/")[0] for name in names):
        start = f"{parent}/" if parent else ""
        inside = [name.removeprefix(start) for name in names if name.rpartition("/")[0] == parent]
        try:
            among = pairing.masks_among(inside)
        except DatasetError as error:
            raise DatasetError(f"{folder / parent}: {error}") from None
        masks_of |= {start + image: tuple(start + mask for mask in names) for image, names in among.items()}
    if masks_of:
        example = next(iter(masks_of.items()))
        count = sum(map(len, masks_of.values()))
        notes.append(
            f"{folder}: {count} files are called as masks of the images beside them ({example[1][0]} of {example[0]}) "
            "and are read as masks, not as images"
        )
    return masks_of


def _say_equal_stems(names: Sequence[str], folder: Path, explained: bool, notes: list[str]) -> None:
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(name.rpartition(".")[0], []).append(name)
    if twice := [of for of in by_stem.values() if len(of) > 1]:
        notes.append(
            f"{folder}: {len(twice)} stems have several images ({' and '.join(twice[0][:2])}), each is taken for an "
            "image; if some are masks, put them into masks/"
        )


def _is_dataset(folder: Path) -> bool:
    """Whether the folders below are called as normal images or as a phase."""
    inside = {name.casefold() for name in files.folders(folder)}
    return any(is_normal(name, inside) or name in _PHASES for name in inside)


def _below(folder: Path) -> list[str]:
    """The images of a type in its folder and the folders in it, without masks and what is a dataset of its own."""

    def skip(inner: Path) -> bool:
        name = inner.name.casefold()
        return pairing.is_mask_folder(name) or name in (*NORMAL, *_PHASES)

    return files.images_below(folder, skip)
