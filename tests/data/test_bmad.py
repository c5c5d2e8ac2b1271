# pytest tests/data/test_bmad.py
"""The sets of BMAD: folders in each of the ways that copies have them, where they are found, and what is missing."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import bmad_brain, bmad_chest
from tests.data.miniatures._bmad import writer
from zsad_bench.data.datasets.bmad_brain import BmadBrain
from zsad_bench.data.datasets.bmad_chest import BmadChest
from zsad_bench.errors import DatasetError

SHAPES = [  # paths of images and masks
    ("test/{folder}/{stem}.png", "test/Ungood/label/{stem}.png"),
    ("test/{folder}/img/{stem}.png", "test/Ungood/anomaly_mask/{stem}.png"),
    ("test/img/{folder}/{stem}.png", "test/label/{folder}/{stem}.png"),
    ("Test/IMG/{folder}/{stem}.png", "Test/Label/{folder}/{stem}.png"),
    ("test/test/{folder}/{stem}.png", "test/test_label/{folder}/{stem}.png"),
]


@pytest.mark.parametrize(("image", "mask"), SHAPES)
def test_one_table_however_the_folders_are_laid_out(image, mask, tmp_path):
    expected = writer("brain", "tumor", "Brain_AD", image, mask)(tmp_path, "raw")
    module = BmadBrain(tmp_path)
    assert [(s.image, s.masks, s.label) for s in module.samples()] == sorted((e[0], e[1], e[2]) for e in expected)
    assert {s.anomaly_type for s in module.samples()} == {"good", "tumor"}
    assert len(BmadBrain(tmp_path, split="train").samples()) == 1


def test_found_alone_or_in_a_folder_of_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    bmad_brain.write(tmp_path, "raw")
    assert BmadBrain().root == (tmp_path / "Brain_AD").resolve()
    (tmp_path / "BMAD").mkdir()
    (tmp_path / "Brain_AD").rename(tmp_path / "BMAD/Brain")
    assert BmadBrain().root == (tmp_path / "BMAD/Brain").resolve()


def test_validation_images_are_left_out_and_said(tmp_path):
    bmad_brain.write(tmp_path, "raw")
    module = BmadBrain(tmp_path)
    assert not [s for s in module.samples() if "valid" in s.image]
    assert any("valid" in note and "left out" in note for note in module.notes), module.notes


def test_what_is_missing_is_named(tmp_path):
    bmad_brain.write(tmp_path, "raw")
    bmad_chest.write(tmp_path, "raw")
    (tmp_path / "Brain_AD/test/Ungood/label/00004_7.png").unlink()
    with pytest.raises(DatasetError, match=r"00004_7\.png is anomalous and has no mask"):
        BmadBrain(tmp_path).samples()
    assert len(BmadBrain(tmp_path, partial=True).samples()) == 4
    shutil.rmtree(tmp_path / "Chest-RSNA/test/good")
    with pytest.raises(DatasetError, match=r"no folder of normal images \(good/\).*--partial"):
        BmadChest(tmp_path).samples()
    partial = BmadChest(tmp_path, partial=True)
    assert {sample.label for sample in partial.samples()} == {1}
    assert any("no folder of normal images" in note for note in partial.notes)
