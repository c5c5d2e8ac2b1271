"""Datasets as segmentation sets come: a folder of images, all of them anomalous, and a folder of their masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from zsad_bench.data import files, layouts
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_MOST_NAMED = 5  # names in an error message; the rest is counted


class Pair(NamedTuple):
    """Two folders below the root."""

    images: str
    masks: str


class PairedDataModule(PublicDataModule):
    """One category of one anomaly type; every image is of the test split and has a mask.

    Image-level metrics are undefined here: there is no normal image.
    """

    folders: ClassVar[tuple[Pair, ...]] = (Pair("images", "masks"),)  # in order of preference
    raw_mask_names: ClassVar[tuple[str, ...]] = ("{stem}{suffix}", *("{stem}" + suffix for suffix in files.SUFFIXES))
    no_images: ClassVar[tuple[str, ...]] = ()  # ends of the stems of files beside the images that are something else

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        # The images alone are enough: a copy without its masks is told so, not that nothing was found.
        return any(files.images(root / pair.images) for pair in cls.folders)

    @classmethod
    def pairs(cls, root: Path) -> list[Pair]:
        """Where the folders may lie below the root, the preferred ones first."""
        return list(cls.folders)

    def read_raw(self, root: Path) -> list[Sample]:
        present = [pair for pair in self.pairs(root) if files.images(root / pair.images)]
        if not present:
            raise DatasetError(f"{self.name}: {root} holds no folder of images; {self.how_to_get}")
        pair = next((pair for pair in present if files.images(root / pair.masks)), present[0])
        images, masks = root / pair.images, root / pair.masks
        names = self._one_a_stem([name for name in files.images(images, self.notes) if self._is_image(name)], images)
        mask_of = self._masks(names, files.images(masks, self.notes), masks)
        if (without := [name for name in names if name not in mask_of]) and not self.allow_missing_masks:
            where = masks if masks.is_dir() else f"{masks} (no such folder)"
            raise DatasetError(
                f"{self.name}: {len(without)} of {len(names)} images in {images} have no mask in {where}: "
                f"{_listed(without)}; restore the masks"
            )
        ((category, (kind,)),) = self.anomaly_types.items()
        return [
            Sample(
                f"{pair.images}/{name}",
                (f"{pair.masks}/{mask_of[name]}",) if name in mask_of else (),
                1,
                category,
                kind,
                "test",
            )
            for name in names
        ]

    def compose(self, samples: list[Sample]) -> list[Sample]:
        """The samples of a prepared copy, with the type in place of the folder's name that stands for it there."""
        type_of = {category: kind for category, (kind,) in self.anomaly_types.items()}
        kept = [sample for sample in super().compose(samples) if self._is_image(sample.image)]
        return [replace(s, anomaly_type=type_of[s.category]) if s.label == 1 else s for s in kept]

    def _is_image(self, name: str) -> bool:
        return not files.stem_and_suffix(name)[0].lower().endswith(self.no_images)

    def _one_a_stem(self, names: list[str], folder: Path) -> list[str]:
        """One image where the same lies there in several formats: PNG, which has lost nothing."""
        chosen: dict[str, str] = {}
        for name in names:
            stem, suffix = files.stem_and_suffix(name)
            if stem not in chosen or suffix == ".png":
                chosen[stem] = name
        if len(chosen) < len(names):
            self.notes.append(
                f"{folder}: {len(names) - len(chosen)} images lie there in a second format, which is left out"
            )
        return [name for name in names if chosen[files.stem_and_suffix(name)[0]] == name]

    def _masks(self, names: list[str], masks: list[str], folder: Path) -> dict[str, str]:
        """Image name -> mask name, with notes of what a user should know of the pairing."""
        mask_of = layouts.pair(names, masks, self.raw_mask_names)
        stems = {name: files.stem_and_suffix(name)[0] for name in (*names, *masks)}
        if mask_of and not any(f"{stems[mask]}_".startswith(f"{stems[name]}_") for name, mask in mask_of.items()):
            self.notes.append(f"{folder}: no mask is named as its image; both are paired in the order of their names")
        used = {stems[mask] for mask in mask_of.values()}
        if left := [mask for mask in masks if stems[mask] not in used]:
            self.notes.append(f"{folder}: {len(left)} masks belong to no image: {_listed(left)}")
        return mask_of


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
