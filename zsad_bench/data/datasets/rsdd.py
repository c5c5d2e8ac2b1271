"""RSDD (RSDDs): long grey photographs of rails, of express and of heavy-haul lines, a defect in each of them.

Counts and sizes are those of its description, folders and names those of scripts that read it, and the file list of
the copy of Bayes-PFL (MIT, commit 49ca9a9). No licence was found. Nobody has run this file on the download.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from zsad_bench.data import complete, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PreparedCopy, PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_TYPES = ("Type-I RSDDs dataset", "Type-II RSDDs dataset")
_IMAGES, _MASKS = "Rail surface images", "GroundTruth"
_PREPARED = ("RSDD_I-metal-", "RSDD_II-metal-")  # RSDD_II-metal-defect-001026_0000000386.bmp


class Rsdd(PublicDataModule):
    """variant: `photographs` are the 195 of the release, all anomalous, so that image metrics are undefined and its
    level is `pixel`; `bayes_pfl` is the copy that its authors prepared, 387 crops with a defect and 387 without, of
    level `both`. They cropped and drew at random and do not publish how, so that it is read from their files alone.

    Masks of the release are JPEG: a defect is what lies above 127. Both kinds of rails are one category, as in that
    copy.
    """

    title = "RSDD"
    domain = "industrial"
    level = "pixel"
    licence = "not established"
    redistribute = False
    url = "https://ieee-dataport.org/documents/rsdds"
    citation = (
        "Gan et al., A hierarchical extractor-based visual rail surface inspection system, "
        "IEEE Sensors Journal 17 (2017)"
    )
    category_cards = (CategoryCard("rail", "rail surface", "texture", friendly="rail"),)
    category_aliases = dict.fromkeys(("Metal15", "metal15", "RSDD"), "rail")
    variants = {"photographs": Expected(0, 195, "S"), "bayes_pfl": Expected(387, 387, "V")}
    variant_levels = {"bayes_pfl": "both"}
    prepared_variants = {"bayes_pfl": PreparedCopy("its authors do not say how it was cut", _PREPARED)}
    root_names = ("RSDDs dataset", "RSDDs", "RSDD")
    how_to_get = "ask for it at its page, and unpack it, so that the folders of both types lie side by side"
    raw_looks_like = f"{_TYPES[0]}/{_IMAGES}/ beside {_TYPES[0]}/{_MASKS}/"
    mask_threshold = 127
    unverified = "folders and masks are read as others describe them; never run on the download"
    anomaly_types = {"rail": ("defect",)}

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        return any(files.any_case(root, f"{kind}/{_IMAGES}") for kind in _TYPES)

    def compose(self, samples: list[Sample]) -> list[Sample]:
        return [sample if sample.label == 0 else replace(sample, anomaly_type="defect") for sample in samples]

    def read_raw(self, root: Path) -> list[Sample]:
        found = {kind: files.any_case(root, f"{kind}/{_IMAGES}") for kind in _TYPES}
        absent = [f"{kind}/{_IMAGES}" for kind, images in found.items() if images is None]
        if absent and not self.partial:
            raise DatasetError(f"{self.name}: {root} has no {', '.join(absent)}; {complete.remedy()}")
        if absent:
            self.notes.append(f"partial: {self.name} is used without {', '.join(absent)}")
        return [sample for images in found.values() if images is not None for sample in self._photographs(root, images)]

    def _photographs(self, root: Path, images: str) -> Iterator[Sample]:
        """All photographs of one type of rails; one without a mask is named by the checks of every dataset."""
        folder = files.any_case(root, f"{images.rpartition('/')[0]}/{_MASKS}")
        masks = [] if folder is None else files.images(root / folder)
        mask_of = {files.stem_and_suffix(name)[0]: f"{folder}/{name}" for name in masks}
        for name in files.images(root / images):
            mask = mask_of.get(files.stem_and_suffix(name)[0])
            yield Sample(f"{images}/{name}", (mask,) if mask else (), 1, "rail", "defect", "test")
