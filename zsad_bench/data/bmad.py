"""The six sets of BMAD, benchmarks for medical anomaly detection, whose downloads are laid out in several ways.

Images are in `{train,test}/{good,Ungood}/`, or in `img/` there; masks, called as their images, in
`test/Ungood/{label,anomaly_mask}/`. Some copies have `test/{img,label}/{good,Ungood}/`, in any letter case.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from zsad_bench.data import complete, files, locations, pairing
from zsad_bench.data.layouts import Layout
from zsad_bench.data.public import PublicDataModule
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample

_GOOD, _BAD = "good", "ungood"
_MASKS = ("label", "anomaly_mask")


class _Phase(NamedTuple):
    """Folders of a phase: of normal images, of anomalous ones, and of masks; None where there is none."""

    good: Path | None
    bad: Path | None
    masks: Path | None


class BmadDataModule(PublicDataModule):
    """One category, one kind of anomaly; the test split of the benchmark. Its validation images are left out.

    Where it lies: below ZSAD_DATA, or in a folder BMAD there, under one of `root_names` or `inside_bmad`.
    """

    domain = "medical"
    licence = "CC BY-NC-SA 4.0 and the terms of the original data"
    redistribute = False
    url = "https://github.com/DorisBao/BMAD"
    citation = (
        "Bao et al., BMAD: benchmarks for medical anomaly detection, IEEE/CVF Conference on Computer Vision and "
        "Pattern Recognition Workshops (2024)"
    )
    unverified = "folders and masks are read as others' code reads them; never run on the download"
    layout_order: ClassVar[tuple[Layout, ...]] = ("meta_json", "raw", "mvtec_style")
    raw_looks_like = "test/good/ and test/Ungood/, images in img/ and masks in label/"
    inside_bmad: ClassVar[tuple[str, ...]] = ()  # further names of its folder, in a folder BMAD

    @classmethod
    def places(cls) -> list[Path]:
        wanted = {locations.bare(name) for name in (*cls.root_names, *cls.inside_bmad)}
        inside = [
            top / name
            for top in locations.find_all("BMAD")
            for name in files.folders(top)
            if locations.bare(name) in wanted
        ]
        return [*super().places(), *inside]

    @classmethod
    def is_raw(cls, root: Path) -> bool:
        test = _folder(root, "test")
        phase = None if test is None else _phase(test)
        # Masks beside the phases, in ground_truth/, are of a copy that is laid out as MVTec AD.
        return phase is not None and (cls.level == "image" or phase.masks is not None)

    def read_raw(self, root: Path) -> list[Sample]:
        test, train = _folder(root, "test"), _folder(root, "train")
        phase = None if test is None else _phase(test)
        if phase is None:
            raise DatasetError(f"{self.name}: {root} has no test/good/ or test/Ungood/; {complete.remedy()}")
        for folder, what in ((phase.good, "normal images (good/)"), (phase.bad, "anomalous images (Ungood/)")):
            if folder is None or not files.images(folder):
                line = f"{self.name}: {test} has no folder of {what} with images in it"
                if not self.partial:
                    raise DatasetError(f"{line}; {complete.remedy()}")
                self.notes.append(f"partial: {line}")
        normal = [] if phase.good is None else self._samples(root, phase.good, None, "test")
        anomalous = [] if phase.bad is None else self._samples(root, phase.bad, phase.masks, "test")
        good = None if train is None else _phase(train)
        trained = [] if good is None or good.good is None else self._samples(root, good.good, None, "train")
        return normal + anomalous + trained

    def _samples(self, root: Path, folder: Path, masks: Path | None, phase: Literal["train", "test"]) -> list[Sample]:
        ((category, (kind,)),) = self.anomaly_types.items()
        label = int(_GOOD not in {part.casefold() for part in folder.relative_to(root).parts})
        names = files.images(folder)
        mask_of: dict[str, tuple[str, ...]] = {}
        if label and self.has_masks and masks is not None:
            try:
                paired = pairing.pair(names, files.images(masks))
            except DatasetError as error:
                raise DatasetError(f"{self.name}: {masks}: {error}") from None
            self.notes += [f"{masks}: {note}" for note in paired.notes]
            top = files.relative(masks, root)
            mask_of = {name: tuple(f"{top}/{mask}" for mask in of) for name, of in paired.masks.items()}
        below = files.relative(folder, root)
        return [
            Sample(f"{below}/{name}", mask_of.get(name, ()), label, category, kind if label else "good", phase)
            for name in names
        ]


def _phase(top: Path) -> _Phase | None:
    """The folders of `train/` or `test/`; None where it holds neither normal nor anomalous images."""
    for inner in ("", "img", top.name):  # the last: Test/test/good, with masks in Test/test_label/
        base = top if not inner else _folder(top, inner)
        good, bad = (None, None) if base is None else (_folder(base, _GOOD), _folder(base, _BAD))
        if good is not None or bad is not None:
            return _Phase(_images(good), _images(bad), next(_mask_folders(top, bad), None))
    return None


def _images(folder: Path | None) -> Path | None:
    return None if folder is None else _folder(folder, "img") or folder


def _mask_folders(top: Path, bad: Path | None) -> Iterator[Path]:
    beside = [] if bad is None else [_folder(bad, name) for name in _MASKS]
    apart = [
        None if (labels := _folder(top, name)) is None else _folder(labels, _BAD)
        for name in (*_MASKS, f"{top.name}_label")
    ]
    yield from (folder for folder in (*beside, *apart) if folder is not None)


def _folder(parent: Path, name: str) -> Path | None:
    """The folder of that name, in any letter case; None where there is none."""
    spelt = files.any_case(parent, name)
    return None if spelt is None else parent / spelt
