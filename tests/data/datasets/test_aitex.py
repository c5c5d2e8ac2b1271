# pytest tests/data/datasets/test_aitex.py
"""AITEX: which tiles of which strips, and the release's own quirks."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import aitex as miniature
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.data.datasets.aitex import Aitex
from zsad_bench.errors import DatasetError

HEIGHT = miniature.HEIGHT


@pytest.fixture
def raw(tmp_path):
    miniature.write(tmp_path, "raw")
    return tmp_path


def tiles(root, stem, **options) -> list:
    return [s.crop for s in Aitex(root, **options).samples() if s.image.endswith(f"{stem}.png")]


def test_tiles_of_defective_strips_without_a_marked_pixel_are_dropped(raw):
    module = Aitex(raw)
    samples = module.index(module.root)
    assert tiles(raw, "0001_002_00") == [(256, 0, 512, HEIGHT)]
    assert all(s.image.startswith("NODefect_images/") for s in samples if s.label == 0)
    normal = [s for s in samples if s.label == 0]
    assert [sum(s.split == split for s in normal) for split in ("train", "test")] == [10, 4]


def test_one_pixel_makes_a_tile_anomalous(raw):
    write_mask(
        raw / "Mask_images/Mask_images/0001_002_00_mask.png", (512, HEIGHT), (255, 15, 256, 16), value=1, mode="RGB"
    )
    assert tiles(raw, "0001_002_00") == [(0, 0, 256, HEIGHT)], "column 255 belongs to the first tile"


def test_a_full_strip_has_sixteen_tiles(raw):
    write_image(raw / "NODefect_images" / miniature.FABRICS[0] / "0001_000_01.png", (4096, HEIGHT), "L")
    module = Aitex(raw)
    strip = [s.crop for s in module.index(module.root) if s.image.endswith("0001_000_01.png")]
    assert sorted(strip) == [(left, 0, left + 256, HEIGHT) for left in range(0, 4096, 256)]


def test_quirks_of_the_release_are_said(raw):
    module = Aitex(raw)
    assert not any("0100_025_08" in s.image for s in module.samples())
    notes = "\n".join(module.notes)
    assert "0100_025_08.png has no mask and is left out" in notes
    assert "0094_027_05.png is 300 pixels wide, so its last tile is only 44" in notes
    assert "expected 564 and 183 (evidence R)" in notes


def test_both_masks_of_a_strip_are_united(raw):
    module = Aitex(raw)
    masks = {s.image.split("/")[-1]: len(s.masks) for s in module.samples() if s.label}
    assert (masks["0044_019_04.png"], masks["0097_030_03.png"], masks["0001_002_00.png"]) == (2, 2, 1)


def test_a_mask_that_marks_nothing_is_said(raw):
    path = raw / "Mask_images/Mask_images/0001_002_00_mask.png"
    write_mask(path, (512, HEIGHT), None)
    module = Aitex(raw)
    assert not any("0001_002_00" in s.image for s in module.samples())
    assert f"{path} marks no pixel, so none of its strip's tiles is tested" in module.notes


def test_a_mask_of_another_size_is_brought_to_its_strip(raw):
    """0094_027_05 is narrower than the others; nothing says whether its mask is."""
    write_mask(raw / "Mask_images/Mask_images/0094_027_05_mask.png", (600, HEIGHT), (520, 4, 592, 12))
    assert tiles(raw, "0094_027_05") == [(256, 0, 300, HEIGHT)]


def test_fabric_folders_may_have_other_names(raw):
    (raw / "NODefect_images" / miniature.FABRICS[3]).rename(raw / "NODefect_images/fabric 4")
    assert sum(s.label == 0 for s in Aitex(raw).samples()) == 4


def test_missing_mask_is_named(raw):
    (raw / "Mask_images/Mask_images/0002_006_01_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"0002_006_01\.png has no 0002_006_01_mask\.png"):
        Aitex(raw).samples()
    assert tiles(raw, "0002_006_01", allow_missing_masks=True) == [], "nothing says which tiles are anomalous"


def test_partial_copies_name_what_is_missing(raw):
    shutil.rmtree(raw / "NODefect_images" / miniature.FABRICS[3])
    with pytest.raises(DatasetError, match=rf"NODefect_images has no {miniature.FABRICS[3]}; the copy is partial"):
        Aitex(raw).samples()
    shutil.rmtree(raw / "Mask_images")
    with pytest.raises(DatasetError, match="has no Mask_images; the copy is partial, restore what is missing"):
        Aitex(raw).samples()
    (raw / "Mask_images.7z").touch()
    with pytest.raises(DatasetError, match=r"has no Mask_images; the copy is partial, unpack Mask_images\.7z"):
        Aitex(raw).samples()


def test_a_strip_of_an_unknown_defect(raw):
    write_image(raw / "Defect_images/Defect_images/0101_099_01.png", (512, HEIGHT), "L")
    with pytest.raises(DatasetError, match=r"0101_099_01\.png is not called"):
        Aitex(raw).samples()


def test_flat_copy_reads_as_the_nested_one(raw, tmp_path_factory):
    flat = tmp_path_factory.mktemp("flat") / "AITEX"
    shutil.copytree(raw / "NODefect_images", flat / "NODefect_images")
    for part in ("Defect_images", "Mask_images"):
        shutil.copytree(raw / part / part, flat / part)
    found = [(s.image.split("/")[-1], s.crop, s.label) for s in Aitex(flat.parent).samples()]
    assert found == [(s.image.split("/")[-1], s.crop, s.label) for s in Aitex(raw).samples()]
