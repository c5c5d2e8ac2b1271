# pytest tests/data/datasets/test_clinicdb.py
"""CVC-ClinicDB: every shape of its download, PNG before TIF, and frames that cannot be opened."""

from __future__ import annotations

import pytest
from PIL import Image, UnidentifiedImageError

from tests.data.miniatures import clinicdb
from tests.data.miniatures._pairs import junk, write_pairs
from zsad_bench.data.datasets.clinicdb import ClinicDB
from zsad_bench.errors import DatasetError


def rows(module):
    return sorted((s.image, *s.masks) for s in module.samples())


@pytest.mark.parametrize("shape", ["figshare", "kaggle"])
def test_png_shapes(shape, tmp_path):
    expected = clinicdb.write(tmp_path, "raw", shape)
    assert rows(ClinicDB(tmp_path)) == sorted((e.image, *e.masks) for e in expected)
    assert all(e.image.endswith(".png") for e in expected)


def test_original_frames_are_refused_with_the_way_out(tmp_path):
    expected = clinicdb.write(tmp_path, "raw", "original")
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / expected[0].image)
    with pytest.raises(DatasetError, match=r"Original/1\.tif .*call themselves grey.*take the PNG") as raised:
        ClinicDB(tmp_path).samples()
    assert "\n" not in str(raised.value)


def test_frames_saved_anew_are_read(tmp_path):
    name = "{stem}.tif"
    write_pairs(tmp_path, "Original", "Ground Truth", clinicdb.STEMS, junk, image=name, mask=name)
    module = ClinicDB(tmp_path)
    assert module.samples()[0].masks == ("Ground Truth/1.tif",)
    assert next(iter(module.test_dataloader())).masks.any()


@pytest.mark.parametrize("below", ["CVC-ClinicDB", "CVC-612"])
def test_png_copy_further_down_comes_before_tif(below, tmp_path):
    clinicdb.write(tmp_path, "raw", "original")
    clinicdb.write(tmp_path / below, "raw", "figshare")
    images = [s.image for s in ClinicDB(tmp_path).samples()]
    assert images == [f"{below}/images/{stem}.png" for stem in sorted(clinicdb.STEMS)], "the same images twice"


def test_png_beside_tif_in_one_folder(tmp_path):
    clinicdb.write(tmp_path, "raw", "original")
    write_pairs(tmp_path, "Original", "Ground Truth", clinicdb.STEMS, junk)
    assert rows(ClinicDB(tmp_path)) == sorted((f"Original/{s}.png", f"Ground Truth/{s}.png") for s in clinicdb.STEMS)
