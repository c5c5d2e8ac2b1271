# pytest tests/data/datasets/test_endo.py
"""EndoTect: a folder of images of any name, and masks of other names."""

from __future__ import annotations

import pytest

from tests.data.miniatures import endo
from tests.data.miniatures.files import write_image
from zsad_bench.data.datasets.endo import Endo
from zsad_bench.errors import DatasetError, DatasetLayoutError


@pytest.mark.parametrize("folder", ["images", "frames 2020", "EndoTect"])
def test_folder_of_images_may_have_any_name(folder, tmp_path):
    expected = endo.write(tmp_path, "raw", folder)
    assert [(s.image, s.masks) for s in Endo(tmp_path).samples()] == [(e.image, e.masks) for e in expected]


@pytest.mark.parametrize("folder", ["images", "frames"])
def test_predictions_are_not_read(folder, tmp_path):
    expected = endo.write(tmp_path, "raw", folder)
    write_image(tmp_path / "pred/x.jpg")
    assert [s.image for s in Endo(tmp_path).samples()] == [e.image for e in expected]


def test_two_folders_of_images_are_not_guessed_between(tmp_path):
    endo.write(tmp_path, "raw", "frames")
    write_image(tmp_path / "more/x.jpg")
    with pytest.raises(DatasetError, match="several folders of images: frames, more; leave one"):
        Endo(tmp_path).samples()


def test_masks_of_other_names_are_not_guessed(tmp_path):
    endo.write(tmp_path, "raw")
    for i, path in enumerate(sorted((tmp_path / "masks").glob("*.jpg"))):
        path.rename(tmp_path / "masks" / f"{i:03d}.jpg")
    with pytest.raises(DatasetError, match=r"3 of 3 images in .*images have no mask in .*masks: "):
        Endo(tmp_path).samples()


def test_any_folder_of_images_alone_is_not_endo(tmp_path):
    write_image(tmp_path / "holiday/x.jpg")
    with pytest.raises(DatasetLayoutError, match="a folder of images beside masks/"):
        Endo(tmp_path).samples()
    assert not Endo.is_raw(tmp_path)


def test_records_of_predictions_are_dropped_and_said(tmp_path):
    endo.write(tmp_path, "meta_json")
    module = Endo(tmp_path)
    assert len(module.samples()) == len(endo.STEMS)
    assert any("pred/" in note for note in module.notes), module.notes
