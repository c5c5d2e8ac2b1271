# pytest tests/data/test_image_mask_pairs.py
"""Folders of images and masks: which pixels are anomalous, how masks are found, and what a partial copy is told."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.data import miniatures
from tests.data.miniatures._pairs import clean, inside, save_mask, write_pairs
from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.data.datasets.colondb import ColonDB
from zsad_bench.data.decode import read_mask
from zsad_bench.data.image_mask_pairs import PairedDataModule
from zsad_bench.errors import DatasetError

PAIRED = ("clinicdb", "colondb", "endo", "isic", "kvasir", "tn3k")
STEMS = ("1", "2", "3")


@pytest.fixture
def root(tmp_path):
    write_pairs(tmp_path, "images", "masks", STEMS, clean)
    return tmp_path


def masks(module, images):
    of = {sample.image: sample.masks for sample in module.samples()}
    return [np.asarray(read_mask(module.root / of[i][0], module.mask_threshold).image) > 0 for i in images]


@pytest.mark.parametrize("name", PAIRED)
def test_canonical_rule_finds_the_defect_and_legacy_takes_noise_for_it(name, tmp_path):
    images = [e.image for e in miniatures.load(name).write(tmp_path, "raw")]
    cls = registry.load("datasets", name)
    for i, mask in enumerate(masks(cls(tmp_path), images)):
        assert (mask == inside(i)).all(), f"{name}: mask {i} is not what was drawn"
    legacy = masks(cls(tmp_path, mask_rule="legacy"), images)
    noisy = [int(mask.sum()) > int(inside(i).sum()) for i, mask in enumerate(legacy)]
    assert all(noisy) if name != "isic" else not any(noisy), f"{name}: legacy masks larger? {noisy}"


@pytest.mark.parametrize("name", PAIRED)
def test_card_is_of_anomalous_images_only(name):
    cls = registry.load("datasets", name)
    assert issubclass(cls, PairedDataModule)
    assert (cls.level, cls.domain, cls.expected.normal, len(cls.category_cards)) == ("pixel", "medical", 0, 1)
    assert list(cls.anomaly_types) == [card.name for card in cls.category_cards]


def test_prepared_copies_carry_the_type_not_the_folder(tmp_path):
    miniatures.load("colondb").write(tmp_path, "mvtec_style")
    assert {s.anomaly_type for s in ColonDB(tmp_path).samples()} == {"polyp"}


def test_normal_images_of_a_prepared_copy_stay_normal(tmp_path):
    miniatures.load("colondb").write(tmp_path, "mvtec_style")
    write_image(tmp_path / "ColonDB/test/good/9.png")
    module = ColonDB(tmp_path)
    assert [(s.label, s.anomaly_type) for s in module.samples()][-1] == (0, "good")
    assert any("1 normal and 4 anomalous" in note for note in module.notes), module.notes


def test_missing_masks_are_named(root):
    (root / "masks/2.png").unlink()
    (root / "masks/3.png").unlink()
    with pytest.raises(DatasetError, match=r"2 of 3 images in .*images have no mask in .*masks: 2\.png, 3\.png;"):
        ColonDB(root).samples()
    allowed = ColonDB(root, allow_missing_masks=True).samples()
    assert [bool(s.masks) for s in allowed] == [True, False, False]


def test_missing_folder_of_masks_is_named(root):
    shutil.rmtree(root / "masks")
    with pytest.raises(DatasetError, match=r"3 of 3 images .* no mask in .*masks \(no such folder\)"):
        ColonDB(root).samples()


def test_empty_mask_file_counts_as_missing(root):
    (root / "masks/2.png").write_bytes(b"")
    module = ColonDB(root)
    with pytest.raises(DatasetError, match=r"1 of 3 images .*: 2\.png;"):
        module.samples()


def test_masks_without_an_image_are_noted(root):
    (root / "images/2.png").unlink()
    module = ColonDB(root)
    assert [s.image for s in module.samples()] == ["images/1.png", "images/3.png"]
    assert any("1 masks belong to no image: 2.png" in note for note in module.notes), module.notes


def test_masks_pair_by_stem_whatever_the_suffix(root):
    (root / "masks/2.png").unlink()
    save_mask(root / "masks/2.BMP", 1, clean)
    assert [s.masks for s in ColonDB(root).samples()] == [("masks/1.png",), ("masks/2.BMP",), ("masks/3.png",)]


def test_masks_of_other_names_pair_by_number_and_that_is_said(root):
    for stem in STEMS:
        (root / f"masks/{stem}.png").rename(root / f"masks/p{stem}.png")
    module = ColonDB(root)
    assert [s.masks for s in module.samples()] == [("masks/p1.png",), ("masks/p2.png",), ("masks/p3.png",)]
    assert any("no mask is named as its image" in note for note in module.notes), module.notes
    (root / "masks/p3.png").rename(root / "masks/q4.png")
    with pytest.raises(DatasetError, match=r"1 of 3 images in .* have no mask in .*: 3\.png"):
        ColonDB(root).samples()


def test_an_image_in_two_formats_is_read_once(root):
    write_image(root / "images/2.jpg")
    write_image(root / "images/3.bmp")
    module = ColonDB(root)
    assert [s.image for s in module.samples()] == ["images/1.png", "images/2.png", "images/3.png"]
    assert any("2 images are there in a second format" in note for note in module.notes), module.notes


def test_there_is_no_training_split(root):
    with pytest.raises(DatasetError, match="no train images of colon"):
        ColonDB(root, split="train").samples()
