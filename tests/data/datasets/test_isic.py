# pytest tests/data/datasets/test_isic.py
"""ISIC 2016: the ending of its masks, prepared copies, and later releases refused."""

from __future__ import annotations

import pytest

from tests.data.miniatures import isic
from tests.data.miniatures._pairs import clean, write_pairs
from zsad_bench.data.datasets.isic import Isic
from zsad_bench.errors import DatasetError, DatasetLayoutError


@pytest.mark.parametrize("ending", ["_Segmentation.png", "_segmentation.png", "_segmentation.PNG", "_SEGMENTATION.PNG"])
@pytest.mark.parametrize("layout", ["raw", "mvtec_style"])
def test_masks_end_in_any_case(ending, layout, tmp_path):
    expected = isic.write(tmp_path, layout, "{stem}" + ending)
    module = Isic(tmp_path)
    assert [s.masks for s in module.samples()] == [e.masks for e in expected]
    assert not any("named as its image" in note for note in module.notes), module.notes


def test_copy_of_adaclip(tmp_path):
    expected = isic.write_adaclip(tmp_path)
    assert [(s.image, s.masks, s.category) for s in Isic(tmp_path).samples()] == [
        (e.image, e.masks, "skin") for e in expected
    ]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
        ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    ],
)
def test_later_releases_are_refused(images, masks, tmp_path):
    write_pairs(tmp_path, images, masks, isic.STEMS, clean, image="{stem}.jpg", mask="{stem}_segmentation.png")
    with pytest.raises(DatasetLayoutError, match=rf"a later release of ISIC \({images}\), another dataset; give the"):
        Isic(tmp_path).samples()
    with pytest.raises(DatasetLayoutError, match="a later release of ISIC"):
        Isic(tmp_path / images).samples()


def test_a_later_release_beside_it_does_no_harm(tmp_path):
    expected = isic.write(tmp_path, "raw")
    write_pairs(tmp_path, "ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth", isic.STEMS, clean)
    assert [s.image for s in Isic(tmp_path).samples()] == [e.image for e in expected]


def test_second_archive_still_packed(tmp_path):
    isic.write(tmp_path, "raw")
    (tmp_path / isic.TRUTH).rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=rf"3 of 3 images .*{isic.TRUTH} \(no such folder\)"):
        Isic(tmp_path).samples()
