# pytest tests/data/datasets/test_dagm.py
"""DAGM: masks decide and Labels.txt agrees; both phases in one variant; names in any case."""

from __future__ import annotations

import shutil

import pytest

from tests.data.miniatures import dagm as miniature
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.data.datasets.dagm import Dagm, balanced, check_labels
from zsad_bench.errors import DatasetError
from zsad_bench.types import Sample


@pytest.fixture
def raw(tmp_path):
    miniature.write(tmp_path, "raw")
    return tmp_path / "dagm_kaggleupload"


@pytest.mark.parametrize("layout", ["raw", "meta_json"])
def test_adaclip_merges_the_phases_and_balances_them(layout, tmp_path):
    miniature.write(tmp_path, layout)
    found = {(s.image, s.label) for s in Dagm(tmp_path, variant="adaclip").samples() if s.category == "Class3"}
    kept = {("Test/0001", 0), ("Test/0002", 1), ("Train/0576", 0), ("Train/0578", 1)}
    assert found == {(f"Class3/{stem}.PNG", label) for stem, label in kept}
    assert Dagm(tmp_path).manifest_hash != Dagm(tmp_path, variant="adaclip").manifest_hash


def test_adaclip_of_its_own_prepared_copy_is_the_copy(tmp_path):
    expected = miniature.write(tmp_path, "mvtec_style")
    assert len(Dagm(tmp_path, variant="adaclip").samples()) == len(expected)


def test_balanced_counts_each_phase_by_itself():
    """The defects of the release's Class1: 71 in one phase, 79 in the other."""
    samples = [
        Sample(f"Class1/{split}/{number:04d}.PNG", (), int(number > 990 - defects), "Class1", "", split)
        for split, defects in (("test", 71), ("train", 79))
        for number in range(990, 0, -1)
    ]
    kept = balanced(samples)
    for split, defects in (("test", 71), ("train", 79)):
        normal = [s.image for s in kept if s.label == 0 and f"/{split}/" in s.image]
        assert normal == [f"Class1/{split}/{number:04d}.PNG" for number in range(1, defects + 1)], "the first by path"
    assert {s.split for s in kept} == {"test"}
    assert sum(s.label for s in kept) == 150


def test_phases_and_suffixes_in_any_case(raw):
    for category, (test, train, label) in {
        "Class2": ("TEST", "train", "LABEL"),
        "Class3": ("test", "TRAIN", "label"),
    }.items():
        for phase, name in (("Test", test), ("Train", train)):
            (raw / category / phase / "Label").rename(raw / category / phase / "moved")
            (raw / category / phase / "moved").rename(raw / category / phase / label)
            (raw / category / phase).rename(raw / category / "moved")
            (raw / category / "moved").rename(raw / category / name)
    image = raw / "Class3/test/0001.PNG"
    image.rename(image.with_suffix(".png"))
    samples = [s for s in Dagm(raw).samples() if s.category in ("Class2", "Class3")]
    assert [s.label for s in samples] == [0, 1, 0] * 2
    assert samples[1].masks == ("Class2/TEST/LABEL/0002_label.PNG",)
    assert samples[3].image == "Class3/test/0001.png"


def test_training_phase_is_there_with_its_defects(raw):
    samples = Dagm(raw, split="train").samples()
    assert len(samples) == 40
    assert sum(s.label for s in samples) == 10


def test_labels_that_say_otherwise_name_their_line(raw):
    mask = raw / "Class4/Test/Label/0002_label.PNG"
    mask.unlink()
    with pytest.raises(DatasetError, match=r"Labels\.txt line 3 says a defect for 0002\.PNG, but there is no mask"):
        Dagm(raw).samples()
    write_mask(mask, miniature.SIZE)
    write_mask(mask.with_name("0003_label.PNG"), miniature.SIZE)
    with pytest.raises(DatasetError, match=r"Labels\.txt line 4 says no defect for 0003\.PNG, but there is a mask"):
        Dagm(raw).samples()


def test_labels_of_a_missing_or_an_extra_image(raw):
    (raw / "Class4/Test/0003.PNG").unlink()
    with pytest.raises(DatasetError, match=r"Labels\.txt line 4 lists 0003\.PNG, which .*Test lacks; restore"):
        Dagm(raw).samples()
    write_image(raw / "Class4/Test/0003.PNG", miniature.SIZE, "L")
    write_image(raw / "Class4/Test/0004.PNG", miniature.SIZE, "L")
    with pytest.raises(DatasetError, match=r"Labels\.txt does not list 0004"):
        Dagm(raw).samples()


@pytest.mark.parametrize("line", ["2\t2\t0002.PNG\t0\t0", "2\t1", "nonsense, and more"])
def test_labels_of_another_form(line, tmp_path):
    path = tmp_path / "Labels.txt"
    path.write_text(f"1\n1\t0\t0001.PNG\t0\t0\t\n\n{line}\n")
    with pytest.raises(DatasetError, match=r"Labels\.txt line 4 is '.*', expected id, 0 or 1, and an image"):
        check_labels(path, {"0001", "0002"}, set())


def test_labels_that_are_no_text(tmp_path):
    (tmp_path / "Labels.txt").write_bytes(b"\xff\xfe1\x00")
    with pytest.raises(DatasetError, match=r"cannot read .*Labels\.txt"):
        check_labels(tmp_path / "Labels.txt", set(), set())


def test_a_mask_without_its_image_is_named(raw):
    (raw / "Class10/Test/0002.PNG").unlink()  # has no Labels.txt
    with pytest.raises(DatasetError, match=r"0002_label\.PNG is the mask of an image that .*Test lacks"):
        Dagm(raw).samples()


def test_an_empty_mask_file_never_makes_its_image_normal(raw):
    mask = raw / "Class10/Test/Label/0002_label.PNG"
    mask.write_bytes(b"")
    module = Dagm(raw, image_size=16, workers=0)
    assert [s.label for s in module.samples() if s.category == "Class10"] == [0, 1, 0]
    with pytest.raises(DatasetError, match=r"cannot read mask .*0002_label\.PNG"):
        list(module.test_dataloader())


def test_partial_copies_name_what_is_missing(raw):
    shutil.rmtree(raw / "Class2/Test")
    shutil.rmtree(raw / "Class5/Train")
    shutil.rmtree(raw / "Class7")
    with pytest.raises(DatasetError, match="has no Class2/test, Class7/test; the copy is partial"):
        Dagm(raw).samples()
    with pytest.raises(DatasetError, match="has no Class2/test, Class5/train, Class7/train, Class7/test"):
        Dagm(raw, variant="adaclip").samples()
