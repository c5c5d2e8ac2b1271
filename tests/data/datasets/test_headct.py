# pytest tests/data/datasets/test_headct.py
"""HeadCT: where labels.csv may lie, how it is read, variants, and copies that are partial or damaged."""

from __future__ import annotations

import pytest

from tests.data.miniatures import headct as miniature
from tests.data.miniatures.files import write_image
from zsad_bench.data.datasets.headct import Headct, Line, read_labels
from zsad_bench.errors import DatasetError, DatasetLayoutError


def counts(module) -> tuple[int, int]:
    labels = [sample.label for sample in module.samples()]
    return labels.count(0), labels.count(1)


def test_hash_does_not_depend_on_how_deep_the_archive_nests(tmp_path):
    """labels.csv beside the images, one above, two above; the archive, either head_ct, or a renamed folder given."""
    cases = [  # folder of the images, of labels.csv, folder given
        ("", "", ""),
        ("head_ct", "", ""),
        ("head_ct", "head_ct", ""),
        ("head_ct/head_ct", "", ""),
        ("head_ct/head_ct", "", "head_ct"),
        ("head_ct/head_ct", "", "head_ct/head_ct"),
        ("head_ct/head_ct", "head_ct", ""),
        ("head_ct/head_ct", "head_ct/head_ct", ""),
        ("archive/head_ct", "archive", ""),
        ("images", "", "images"),
    ]
    hashes = set()
    for number, (images, labels, given) in enumerate(cases):
        top = tmp_path / str(number)
        expected = miniature.write_images(top / images)
        miniature.write_labels(top / labels / "labels.csv")
        module = Headct(top / given)
        assert module.root == (top / images).resolve(), f"{images}, {labels}, {given}"
        assert sorted((s.image, s.label) for s in module.samples()) == sorted((e.image, e.label) for e in expected)
        hashes.add(tuple((s.image, s.label, s.anomaly_type) for s in module.samples()))
    assert len(hashes) == 1, "one table, however the archive was unpacked"


def test_found_under_zsad_data_when_the_zip_was_unpacked_there(tmp_path, monkeypatch):
    miniature.write(tmp_path, "raw")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert counts(Headct()) == (5, 3)


@pytest.mark.parametrize("header", ["id, hemorrhage", "id,hemorrhage", "\ufeffid, hemorrhage", '"id"," hemorrhage"'])
def test_labels_are_read_by_position(header, tmp_path):
    (tmp_path / "labels.csv").write_bytes(f"{header}\r\n0,1\r\n7, 1\r\n100,0\r\n\r\n".encode())
    assert read_labels(tmp_path / "labels.csv") == [Line("000", 1), Line("007", 1), Line("100", 0)]


def test_labels_without_a_header_lose_no_line(tmp_path):
    (tmp_path / "labels.csv").write_text("0,1\n100,0\n")
    assert [line.stem for line in read_labels(tmp_path / "labels.csv")] == ["000", "100"]


@pytest.mark.parametrize("row", ["3;1", "3\t1", "3", "3,2", "3,1,0", "x,1", "3,"])
def test_bad_line_is_named(row, tmp_path):
    (tmp_path / "labels.csv").write_text(f"id, hemorrhage\n0,1\n{row}\n")
    with pytest.raises(DatasetError, match=r"labels\.csv line 3 is .*expected `id,0` or `id,1`"):
        read_labels(tmp_path / "labels.csv")


def test_labels_in_another_encoding(tmp_path):
    (tmp_path / "labels.csv").write_bytes("id, hemorrhage\n0,1\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"cannot read .*labels\.csv"):
        read_labels(tmp_path / "labels.csv")


def test_openset25_draws_in_the_order_of_the_labels(tmp_path):
    for number in range(200):
        write_image(tmp_path / f"{number:03d}.png", (2, 2))
    lines = [f"{n},{int(n < 100)}" for n in range(200)]
    (tmp_path / "labels.csv").write_text("\n".join(["id, hemorrhage", *lines]))
    module = Headct(tmp_path, variant="openset25")
    drawn = [s.image for s in module.index(module.root) if s.label == 0]
    # First of numpy's RandomState(42).permutation(100).
    assert drawn[:5] == ["183.png", "153.png", "170.png", "145.png", "144.png"]
    assert counts(module) == (25, 100)
    assert module.notes == [f"{tmp_path}: 75 image files of no sample, left out: ./ 75 (101.png, 102.png, …)"]
    (tmp_path / "labels.csv").write_text("\n".join(["id, hemorrhage", *lines[::-1]]))
    module = Headct(tmp_path, variant="openset25")
    assert [s.image for s in module.index(module.root) if s.label == 0][:2] == ["116.png", "146.png"]
    whole = Headct(tmp_path)
    assert counts(whole) == (100, 100)
    assert whole.notes == [], "the complete set needs no remark"


def test_missing_images_are_named(tmp_path):
    miniature.write(tmp_path, "raw")
    for name in ("002.png", "101.png"):
        (tmp_path / "head_ct/head_ct" / name).unlink()
    with pytest.raises(DatasetError, match=r"labels\.csv lists 002\.png and 1 more, not found in .*head_ct/head_ct"):
        Headct(tmp_path).samples()


def test_missing_labels_are_named(tmp_path):
    miniature.write(tmp_path, "raw")
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(DatasetError, match=r"headct: no labels\.csv in .*head_ct/head_ct or the two folders above"):
        Headct(tmp_path).samples()


def test_image_without_a_line_is_left_out_and_said(tmp_path):
    miniature.write(tmp_path, "raw")
    write_image(tmp_path / "head_ct/head_ct/200.png")
    module = Headct(tmp_path)
    assert counts(module) == (5, 3)
    assert any("200.png without a line in labels.csv, left out" in note for note in module.notes), module.notes


def test_line_listed_twice_is_an_error(tmp_path):
    miniature.write(tmp_path, "raw")
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("0,0\n")
    with pytest.raises(DatasetError, match=r"000\.png is listed twice"):
        Headct(tmp_path).samples()


def test_someone_elses_archive_is_no_headct(tmp_path, monkeypatch):
    write_image(tmp_path / "archive/yes/y0.jpg")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"headct: no folder called like .*; download the zip"):
        Headct().samples()
    with pytest.raises(DatasetLayoutError, match=r"looked for .*000\.png.*found yes/"):
        Headct(tmp_path / "archive").samples()
