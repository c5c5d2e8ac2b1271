# pytest tests/data/test_unused.py
"""What lies below a dataset's root and belongs to no sample is counted and named, whatever it is."""

from __future__ import annotations

import pytest

from tests.data import miniatures
from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.data import unused
from zsad_bench.data.check import check
from zsad_bench.data.datasets.csv import Csv
from zsad_bench.data.datasets.folder import Folder


@pytest.fixture
def root(tmp_path):
    for path in ("good/0.png", "crack/0.png"):
        write_image(tmp_path / "parts" / path)
    return tmp_path / "parts"


def line_on(module, text):
    module.samples()
    lines = [note for note in module.notes if text in note]
    assert len(lines) == 1, f"expected one line on {text}, found {module.notes}"
    return lines[0]


def test_nothing_left_nothing_said(root):
    module = Folder(root)
    module.samples()
    assert unused.find(root, ["good/0.png", "crack/0.png"]) == unused.Unused()
    assert not any("left out" in note for note in module.notes), module.notes


@pytest.mark.parametrize("path", ["overview.jpg", "train/good/9.png", "crack/good/1.webp"])
def test_images_of_no_sample(root, path):
    write_image(root / path)
    line = line_on(Folder(root), "image files of no sample, left out")
    assert line.startswith(f"{root}: 1 image files")
    assert path.rpartition("/")[2] in line
    assert any("of no sample" in note for note in check(Folder(root)).notes), "the same words in a check"


@pytest.mark.parametrize("name", ["scan.dcm", "photo.HEIC", "raw.cr2"])
def test_formats_that_are_not_read(root, name):
    (root / "crack" / name).write_bytes(b"\0" * 200)
    assert name in line_on(Folder(root), "formats that are not read")


@pytest.mark.parametrize(("suffix", "format"), [("", "PNG"), (".bak", "JPEG"), (".1", "TIFF")])
def test_images_whose_names_do_not_say_so(root, suffix, format):
    write_image(root / f"crack/strange{suffix}", format=format)
    assert f"strange{suffix}" in line_on(Folder(root), "no suffix of images")


def test_empty_files(root):
    (root / "crack/1.png").touch()
    assert "crack/ 1 (1.png)" in line_on(Folder(root), "empty image files (0 bytes)")
    report = check(Folder(root))
    assert [finding.kind for finding in report.findings] == ["empty_file"]
    assert not any("0 bytes" in note for note in report.notes), "said twice"


def test_what_is_no_image_is_no_matter(root):
    for name in ("readme.txt", "labels.csv", "Thumbs.db", ".hidden.png", "weights.pth"):
        (root / "crack" / name).write_bytes(b"text")
    module = Folder(root)
    module.samples()
    assert module.unused == unused.Unused()


def test_many_are_counted_and_some_named(root):
    for number in range(30):
        write_image(root / f"other{number % 6}/test/{number}.png", size=(2, 2))
    line = line_on(Folder(root), "of no sample")
    assert ": 30 image files" in line
    assert "in 2 more folders" in line
    assert len(line) < 400 + len(str(root))


def test_of_a_table_only_its_folders_count(tmp_path):
    for path in ("a/0.png", "a/1.png", "a/2.png", "holiday/0.png"):
        write_image(tmp_path / path)
    (tmp_path / "table.csv").write_text("image,label\na/0.png,0\na/1.png,1\n")
    assert "a/ 1 (2.png)" in line_on(Csv(tmp_path / "table.csv"), "of no sample")
    assert Csv(tmp_path / "table.csv").samples()


def test_the_other_split_is_used(root):
    for path in ("test/good/0.png", "test/cut/0.png", "train/good/0.png"):
        write_image(root / "nut" / path)
    module = Folder(root / "nut")
    module.samples()
    assert module.unused.images == []


@pytest.mark.parametrize("name", miniatures.names())
def test_every_public_dataset_says_a_stray_image(name, tmp_path):
    layout = miniatures.load(name).LAYOUTS[0]
    miniatures.load(name).write(tmp_path / "here", layout)
    plain = registry.load("datasets", name)(tmp_path / "here")
    plain.samples()
    write_image(plain.root / "stray/deep/one.webp")
    module = registry.load("datasets", name)(tmp_path / "here")
    module.samples()
    assert set(module.unused.images) - set(plain.unused.images) == {"stray/deep/one.webp"}
