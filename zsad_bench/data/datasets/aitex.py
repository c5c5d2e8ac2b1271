"""AITEX: long strips of seven plain fabrics with weaving defects, cut into square tiles."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from zsad_bench.data import complete, crops, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.decode import Size
from zsad_bench.data.public import PublicDataModule, holdout25
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_TILE = 256  # columns; strips are 256 high
_PARTS = ("Defect_images", "Mask_images", "NODefect_images")
_FABRICS = (
    "2306881-210020u", "2306894-210033u", "2311517-195063u", "2311694-1930c7u", "2311694-2040n7u", "2311980-185026u",
    "2608691-202020u",
)  # fmt: skip
_DEFECTS = {
    "002": "Broken_end", "006": "Broken_yarn", "010": "Broken_pick", "016": "Weft_curling", "019": "Fuzzyball",
    "022": "Cut_selvage", "023": "Crease", "025": "Warp_ball", "027": "Knots", "029": "Contamination", "030": "Nep",
    "036": "Weft_crack",
}  # fmt: skip
_STRIP = re.compile(r"\d{4}_(\d{3})_\d{2}")  # number, defect, fabric
_MASK = re.compile(r"(.+)_mask\d?")  # two strips have _mask1 and _mask2, to be united
_NEVER_MASKED = {"0100_025_08"}  # in the release itself


class Aitex(PublicDataModule):
    """The published recipe: strips are cut into tiles of 256 columns, a tile is anomalous if its mask marks a pixel
    there, tiles of defective strips without a marked pixel are dropped, and a quarter of the tiles of the strips
    without defects is tested.

    Which normal tiles others tested depended on the order of their file system: the counts agree, not the tiles. Some
    strips end in flat white, whose tiles count as normal; neighbouring tiles are near duplicates.
    """

    title = "AITEX"
    domain = "industrial"
    level = "both"
    licence = "conflicting statements (CC0, CC BY-NC-ND 4.0)"
    redistribute = False
    url = "https://www.aitex.es/afid/"
    citation = (
        "Silvestre-Blanes et al., A public fabric database for defect detection methods and results, "
        "Autex Research Journal 19 (2019)"
    )
    category_cards = (CategoryCard("AITEX", "fabric", "texture"),)
    variants = {"holdout25": Expected(564, 183, "R")}
    root_names = ("AITEX", "aitex", "AITEX_anomaly_detection")
    how_to_get = "download Defect_images, Mask_images and NODefect_images from its home page, then unpack all three"
    raw_looks_like = "Defect_images/, Mask_images/ and NODefect_images/"
    anomaly_types = {"AITEX": tuple(_DEFECTS.values())}

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any((root / part).is_dir() for part in _PARTS)

    def read_raw(self, root: Path) -> list[Sample]:
        absent = [part for part in _PARTS if not (root / part).is_dir()]
        if absent and not (self.partial and absent != list(_PARTS)):
            packed = [name for name in files.archives(root) if name.startswith(tuple(absent))]
            todo = complete.remedy(f"unpack {' and '.join(packed)}") if packed else complete.remedy()
            raise DatasetError(f"aitex: {root} has no {', '.join(absent)}; {todo}")
        if absent:
            self.notes.append(f"partial: aitex is used without {', '.join(absent)}")
        defective, masks, flawless = (self._inner(root / part) for part in _PARTS)
        normal = self._normal(root, flawless)
        tested = set(holdout25(normal))
        kept = [replace(tile, split="test") if tile in tested else tile for tile in normal]
        return kept + self._anomalous(root, defective, masks)

    def _normal(self, root: Path, folder: Path) -> list[Sample]:
        """The tiles of the strips without defects, by path and then from left to right, all in `train`."""
        fabrics = files.folders(folder) if folder.is_dir() else []
        absent = [name for name in _FABRICS if name not in fabrics]
        if absent and len(fabrics) < len(_FABRICS) and not self.partial:
            raise DatasetError(f"aitex: {folder} has no {', '.join(absent)}; {complete.remedy()}")
        tiles = []
        for fabric in fabrics:
            for name in files.images(folder / fabric):
                path = folder / fabric / name
                image = files.relative(path, root)
                tiles += [Sample(image, (), 0, "AITEX", "good", "train", box) for box in self._boxes(path)[1]]
        return tiles

    def _anomalous(self, root: Path, folder: Path, mask_folder: Path) -> list[Sample]:
        """The tiles of the strips with defects in which a mask marks a pixel."""
        masks: dict[str, list[Path]] = {}
        for name in files.images(mask_folder):
            if named := _MASK.fullmatch(files.stem_and_suffix(name)[0]):
                masks.setdefault(named[1], []).append(mask_folder / name)
        tiles = []
        for name in files.images(folder):
            stem, path = files.stem_and_suffix(name)[0], folder / name
            code = _STRIP.fullmatch(stem)
            if code is None or code[1] not in _DEFECTS:
                raise DatasetError(
                    f"aitex: {path} is not called {{number}}_{{defect}}_{{fabric}}.png with a defect of "
                    f"{', '.join(_DEFECTS)}; restore its name or move it away"
                )
            if stem not in masks:
                self._unmasked(path, stem)
                continue
            size, boxes = self._boxes(path)
            found = tuple(files.relative(mask, root) for mask in masks[stem])
            bad = crops.marked(path, size, masks[stem], boxes, self.mask_threshold)
            if not any(bad):
                self.notes.append(f"{masks[stem][0]} marks no pixel, so none of its strip's tiles is tested")
            image, kind = files.relative(path, root), _DEFECTS[code[1]]
            boxes = [box for box, is_bad in zip(boxes, bad, strict=True) if is_bad]
            tiles += [Sample(image, found, 1, "AITEX", kind, "test", box) for box in boxes]
        return tiles

    def _unmasked(self, path: Path, stem: str) -> None:
        """Notes a strip that is left out: nothing says which of its tiles are anomalous."""
        if stem not in _NEVER_MASKED and not (self.allow_missing_masks or self.partial):
            raise DatasetError(
                f"aitex: {path} has no {stem}_mask.png in Mask_images; restore the mask, or leave such strips out with "
                "allow_missing_masks"
            )
        self.notes.append(f"{path} has no mask and is left out")

    def _boxes(self, path: Path) -> tuple[Size, list[crops.Crop]]:
        """(width and height, tiles) of a strip; notes one whose last tile is narrower, as of 0094_027_05."""
        width, height = crops.size_of(path)
        if width % _TILE:
            self.notes.append(f"{path} is {width} pixels wide, so its last tile is only {width % _TILE}")
        edges = range(0, width, _TILE)
        return (width, height), [(left, 0, min(left + _TILE, width), height) for left in edges]

    @staticmethod
    def _inner(folder: Path) -> Path:
        """The folder, or the one of its name within: one of the copies in the wild nests."""
        return folder / folder.name if (folder / folder.name).is_dir() else folder
