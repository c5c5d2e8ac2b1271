# pytest tests/data/datasets/test_btad.py
"""BTAD: folders of normal images, suffixes of masks, and names to prompt with."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import btad as miniature
from tests.data.miniatures.files import write_image
from zsad_bench.data.datasets.btad import Btad
from zsad_bench.errors import DatasetError


def test_masks_have_suffixes_of_their_own(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    suffixes = {(s.category, s.image[-4:], s.masks[0][-4:]) for s in Btad(tmp_path).samples() if s.label}
    assert suffixes == {("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")}


def test_masks_are_paired_by_stem_and_not_by_order(tmp_path):
    """Masks without an image lie in front of those that have one."""
    miniature.write(tmp_path, "mvtec_style")
    folder = tmp_path / "BTech_Dataset_transformed/01"
    write_image(folder / "test/ko/0007.bmp")
    with pytest.raises(DatasetError, match=r"01/test/ko/0007\.bmp is anomalous and has no mask"):
        Btad(tmp_path).samples()
    (folder / "test/ko/0007.bmp").unlink()
    shutil.copy(folder / "ground_truth/ko/0021.png", folder / "ground_truth/ko/0003.png")
    module = Btad(tmp_path)
    pairs = [(s.image[-8:-4], s.masks[0][-8:-4]) for s in module.samples() if s.label and s.category == "01"]
    assert pairs == [("0000", "0000"), ("0021", "0021")]


def test_good_is_normal_too(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    before = [(s.label, s.anomaly_type) for s in Btad(tmp_path).samples()]
    for category in miniature.SUFFIXES:
        folder = tmp_path / "BTech_Dataset_transformed" / category / "test"
        (folder / "ok").rename(folder / "good")
    assert sorted((s.label, s.anomaly_type) for s in Btad(tmp_path).samples()) == sorted(before)


def test_prompts_say_object_unless_asked_otherwise(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    named = {
        how: [c.prompt_name for c in Btad(tmp_path, prompt_names=how).categories()] for how in ("spec", "friendly")
    }
    assert named == {"spec": ["object"] * 3, "friendly": ["round product", "wooden texture", "round product"]}


def test_missing_category_is_named(tmp_path):
    miniature.write(tmp_path, "mvtec_style")
    shutil.rmtree(tmp_path / "BTech_Dataset_transformed/02")
    with pytest.raises(DatasetError, match="no test images of 02"):
        Btad(tmp_path).samples()
