"""KSDD2 (KolektorSDD2): surfaces of a production item in colour, scratched, spotted or otherwise imperfect.

Split, counts and licence are those of its paper and home page; names and folders those of scripts that read it, and
the file list of the copy of Bayes-PFL (MIT, commit 49ca9a9). Nobody has run this file on the download.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from zsad_bench.data import complete, crops, files
from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.fetch import Download
from zsad_bench.data.public import PreparedCopy, PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_PREPARED = ("KSDD2-metal-",)  # KSDD2-metal-defect-000004_0000000000.bmp, KSDD2-metal-null-000407_0000000711.bmp


class Ksdd2(PublicDataModule):
    """variant: `official` is the whole test split; `bayes_pfl` the copy that its authors prepared from both splits, 356
    crops with a defect and as many without. They cropped and drew at random and do not publish how, so that it is read
    from their files alone.

    An image is anomalous if its mask marks a pixel. KolektorSDD (`sdd`) is another dataset.
    """

    title = "KSDD2"
    domain = "industrial"
    level = "both"
    licence = "CC BY-NC-SA 4.0"
    redistribute = False
    url = "https://www.vicos.si/resources/kolektorsdd2/"
    citation = (
        "Bozic, Tabernik and Skocaj, Mixed supervision for surface-defect detection: from weakly to fully supervised "
        "learning, Computers in Industry 129 (2021)"
    )
    category_cards = (CategoryCard("metal", "metal", "texture", friendly="metal surface"),)  # named as by Bayes-PFL
    category_aliases = dict.fromkeys(("Metal", "metal13", "KSDD2", "KolektorSDD2"), "metal")
    variants = {"official": Expected(894, 110, "S"), "bayes_pfl": Expected(356, 356, "V")}
    prepared_variants = {"bayes_pfl": PreparedCopy("its authors do not say how it was cut", _PREPARED)}
    root_names = ("KolektorSDD2", "KSDD2")
    how_to_get = "download it from its home page, then unpack it"
    downloads = (Download("https://go.vicos.si/kolektorsdd2", None, "zip"),)  # only an MD5 is published
    ask_consent = True
    raw_looks_like = "test/20000.png beside test/20000_GT.png"
    unverified = "masks and names are read as others describe them; never run on the download"
    anomaly_types = {"metal": ("defect",)}

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        tops = (files.any_case(root, phase) for phase in ("test", "train"))
        return any(_stem(name).endswith("_GT") for top in tops if top for name in files.images(root / top))

    def compose(self, samples: list[Sample]) -> list[Sample]:
        return [_typed(sample) for sample in samples]

    def read_raw(self, root: Path) -> list[Sample]:
        if files.any_case(root, self.split) is None:
            raise DatasetError(f"{self.name}: {root} has no folder {self.split}/; {complete.remedy()}")
        return [*self._read_split(root, "train"), *self._read_split(root, "test")]

    def _read_split(self, root: Path, split: Literal["train", "test"]) -> list[Sample]:
        """Of the download; [] where it has no such folder."""
        top = files.any_case(root, split)
        if top is None:
            return []
        names = files.images(root / top)
        mask_of = {_stem(name).removesuffix("_GT"): name for name in names if _stem(name).endswith("_GT")}
        samples = []
        for name in names:
            if _stem(name).endswith("_GT"):
                continue
            path = root / top / name
            if "(copy)" in name:
                self.notes.append(f"{path} is left out: the release holds a copy of another image under this name")
            elif _stem(name) in mask_of:
                samples.append(self._sample(f"{top}/{name}", f"{top}/{mask_of[_stem(name)]}", root, split))
            elif self.partial:
                self.notes.append(f"partial: {path} has no mask beside it and is left out")
            else:
                raise DatasetError(
                    f"{self.name}: {path} has no mask {_stem(name)}_GT.png beside it, which says whether it is "
                    "anomalous; restore the mask, or leave the image out with --partial"
                )
        return samples

    def _sample(self, image: str, mask: str, root: Path, split: Literal["train", "test"]) -> Sample:
        size = crops.size_of(root / image)
        whole = (0, 0, *size)
        (bad,) = crops.marked(root / image, size, [root / mask], [whole], self.mask_threshold, self.strict_mask_size)
        return Sample(image, (mask,) if bad else (), int(bad), "metal", "defect" if bad else "good", split)


def _stem(name: str) -> str:
    return files.stem_and_suffix(name)[0]


def _typed(sample: Sample) -> Sample:
    """The one type, in place of a folder's name."""
    return sample if sample.label == 0 else replace(sample, anomaly_type="defect")
