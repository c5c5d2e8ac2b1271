# pytest tests/data/test_overlap.py
"""The leak guard: no dataset and no image on both sides."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from zsad_bench.data.overlap import check_overlap
from zsad_bench.errors import OverlapError
from zsad_bench.types import Sample


@dataclass
class Folder:
    """The least that the overlap guard looks at."""

    name: str
    root: Path

    def samples(self) -> list[Sample]:
        images = sorted(p.relative_to(self.root).as_posix() for p in self.root.glob("*"))
        return [Sample(i, (), 0, "c", "good", "test") for i in images]


def folder(root: Path, **files: bytes) -> Folder:
    root.mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    return Folder(root.name, root)


def test_same_dataset_on_both_sides(tmp_path):
    table = folder(tmp_path / "mvtec", a=b"1")
    with pytest.raises(OverlapError, match="'mvtec' is both"):
        check_overlap([table], [table])


def test_same_image_in_two_datasets(tmp_path):
    learned = folder(tmp_path / "brainmri", a=b"11", b=b"22", c=b"333")
    tested = folder(tmp_path / "br35h", x=b"44", y=b"22", z=b"333")
    with pytest.raises(OverlapError, match=r"brainmri/b and target image br35h/y .*1 more"):
        check_overlap([learned], [tested])


def test_different_images_of_one_size_pass(tmp_path):
    check_overlap([folder(tmp_path / "a", x=b"11")], [folder(tmp_path / "b", x=b"22", y=b"33")])


def test_demo_priors_and_targets_share_nothing(small_demo, tmp_path):
    targets = [small_demo(n) for n in ("demo_textures", "demo_objects", "demo_medical")]
    check_overlap([small_demo("demo_rich"), small_demo("demo_limited")], targets)
    shutil.copytree(targets[0].root, tmp_path / "stolen")
    with pytest.raises(OverlapError, match="demo_textures/"):
        check_overlap([Folder("stolen", tmp_path / "stolen" / "carpet" / "test" / "good")], targets)
