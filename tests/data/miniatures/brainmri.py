"""BrainMRI: names with spaces, suffixes in any case that lie, four modes, the pair twice in the zip."""

from __future__ import annotations

from pathlib import Path

from tests.data.miniatures import Expected
from tests.data.miniatures.files import record, write_image, write_junk, write_mask, write_meta

LAYOUTS = ("raw", "mvtec_style", "meta_json")
SAME = LAYOUTS
# name, mode, real format
NO = (("1 no.jpeg", "RGB", "JPEG"), ("N1.JPG", "L", "JPEG"), ("no 98.jpg", "P", "PNG"), ("No20.png", "RGBA", "PNG"))
YES = (("Y1.jpg", "RGB", "JPEG"), ("Y10.JPG", "L", "JPEG"), ("Y2.jpg", "RGBA", "PNG"))


def write(root: Path, layout: str) -> list[Expected]:
    if layout == "mvtec_style":
        return _prepared(root)
    pair(root)
    expected = expected_of("no", NO, 0, "good")
    if layout == "raw":
        pair(root / "brain_tumor_dataset")  # most zips hold the images a second time
        return expected + expected_of("yes", YES, 1, "tumor")
    foreign = "/remote-home/someone/data/BrainMRI"
    records = [record(f"{foreign}/yes/{name}", "", "brain", "yes", 1) for name, *_ in reversed(YES)]
    records += [record(f"{foreign}/no/{name}", "", "brain", "no", 0) for name, *_ in NO]
    write_meta(root / "meta.json", {"train": {}, "test": {"brain": records}})
    return expected + expected_of("yes", YES, 1, "yes")


def pair(root: Path) -> None:
    """The folders yes/ and no/ of the download."""
    for folder, images in (("no", NO), ("yes", YES)):
        for name, mode, format in images:
            write_image(root / folder / name, mode=mode, format=format)
        write_junk(root / folder)


def expected_of(folder: str, images: tuple, label: int, kind: str) -> list[Expected]:
    return [Expected(f"{folder}/{name}", (), label, "brain", kind) for name, *_ in images]


def _prepared(root: Path) -> list[Expected]:
    """AdaCLIP's copy: `BrainMRI/brain_mri`, with masks that an image-level dataset does not use."""
    top = root / "BrainMRI" / "brain_mri"
    write_image(top / "train/good/3 no.jpg")
    for kind, images in (("good", NO), ("defect", YES)):
        for name, mode, format in images:
            write_image(top / "test" / kind / name, mode=mode, format=format)
    write_mask(top / "ground_truth/defect/Y1.png")
    return expected_of("brain_mri/test/good", NO, 0, "good") + expected_of("brain_mri/test/defect", YES, 1, "defect")
