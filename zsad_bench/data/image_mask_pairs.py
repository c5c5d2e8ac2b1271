"""Datasets as segmentation sets come: a folder of images, all of them anomalous, and a folder of their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from zsad_bench.data import files, pairing
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
    no_images: ClassVar[tuple[str, ...]] = ()  # ends of the stems of files beside the images that are something else

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        # The images alone are enough: a copy without its masks hears that, not that nothing was found.
        return bool(cls._lying(root, cls.folders))

    @classmethod
    def pairs(cls, root: Path) -> list[Pair]:
        """Where the folders may lie below the root, the preferred ones first."""
        return list(cls.folders)

    def read_raw(self, root: Path) -> list[Sample]:
        present = self._lying(root, self.pairs(root))
        if not present:
            raise DatasetError(f"{self.name}: {root} holds no folder of images; {self.how_to_get}")
        pair = next((pair for pair in present if files.images(root / pair.masks)), present[0])
        images, masks = root / pair.images, root / pair.masks
        names = self._one_a_stem([name for name in files.images(images) if self._is_image(name)], images)
        mask_of = self._masks(names, self._one_a_stem(files.images(masks), masks), masks)
        without = [name for name in names if name not in mask_of]
        if without and not (self.allow_missing_masks or self.partial):
            where = masks if masks.is_dir() else f"{masks} (no such folder)"
            raise DatasetError(
                f"{self.name}: {len(without)} of {len(names)} images in {images} have no mask in {where}: "
                f"{_listed(without)}; restore the masks, or leave such images out with --partial"
            )
        ((category, (kind,)),) = self.anomaly_types.items()
        return [
            Sample(
                f"{pair.images}/{name}",
                tuple(f"{pair.masks}/{mask}" for mask in mask_of.get(name, ())),
                1,
                category,
                kind,
                "test",
            )
            for name in names
        ]

    @staticmethod
    def _lying(root: Path, pairs: Sequence[Pair]) -> list[Pair]:
        """Those of the pairs whose images are there, in the letter case of the disk."""
        spelt = [Pair(files.any_case(root, p.images) or "", files.any_case(root, p.masks) or p.masks) for p in pairs]
        return [pair for pair in spelt if pair.images and files.images(root / pair.images)]

    def compose(self, samples: list[Sample]) -> list[Sample]:
        """The samples of a prepared copy, with the type in place of the folder's name that stands for it there."""
        type_of = {category: kind for category, (kind,) in self.anomaly_types.items()}
        kept = [sample for sample in super().compose(samples) if self._is_image(sample.image)]
        return [replace(s, anomaly_type=type_of[s.category]) if s.label == 1 else s for s in kept]

    def _is_image(self, name: str) -> bool:
        return not files.stem_and_suffix(name)[0].lower().endswith(self.no_images)

    def _one_a_stem(self, names: list[str], folder: Path) -> list[str]:
        """One image where a stem has several formats: PNG, which has lost nothing."""
        chosen: dict[str, str] = {}
        for name in names:
            stem, suffix = files.stem_and_suffix(name)
            if stem not in chosen or suffix == ".png":
                chosen[stem] = name
        if len(chosen) < len(names):
            self.notes.append(
                f"{folder}: {len(names) - len(chosen)} images are there in a second format, which is left out"
            )
        return [name for name in names if chosen[files.stem_and_suffix(name)[0]] == name]

    def _masks(self, names: list[str], masks: list[str], folder: Path) -> dict[str, tuple[str, ...]]:
        """Image name -> its masks, with notes of what a user should know of the pairing."""
        try:
            paired = pairing.pair(names, masks)
        except DatasetError as error:
            raise DatasetError(f"{self.name}: {folder}: {error}") from None
        self.notes += [f"{folder}: {note}" for note in paired.notes]
        if paired.unused:
            self.notes.append(f"{folder}: {len(paired.unused)} masks belong to no image: {_listed(paired.unused)}")
        return paired.masks


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
