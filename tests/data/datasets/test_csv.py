# pytest tests/data/datasets/test_csv.py
"""Tables of a user's own: any order of columns, separator and encoding, and one line for each thing that is wrong."""

from __future__ import annotations

import csv
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.data.datasets.csv import Csv
from zsad_bench.errors import DatasetError, UsageError


def build(table: Path, **options) -> Csv:
    return Csv(table, image_size=16, workers=0, **options)


@pytest.fixture
def screws(tmp_path) -> Path:
    """A folder `screws_2` with a.png, b.png, sub/c d.JPG and masks of b and c."""
    root = tmp_path / "screws_2"
    for image in ("a.png", "b.png", "sub/c d.JPG"):
        write_image(root / image)
    for mask in ("m/b.png", "m/c.png"):
        write_mask(root / mask)
    return root


def write(root: Path, text: str | bytes, name: str = "table.csv") -> Path:
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def table(module: Csv) -> list[tuple[str, tuple[str, ...], int, str, str]]:
    return [(s.image, s.masks, s.label, s.category, s.anomaly_type) for s in module.samples()]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_separator_and_encoding_gives_the_same(screws, separator, encoding, end):
    lines = [
        ["Category", "mask", "Image", "who", "LABEL"],
        ["nut", "", "a.png", "Ann", "good"],
        ["bolt", "m/b.png", "b.png", "Bé", "1"],
        [],
        ["nut", "m/c.png", "sub/c d.JPG", "", "Anomalous"],
    ]
    module = build(write(screws, end.join(separator.join(line) for line in lines).encode(encoding)))
    assert table(module) == [
        ("b.png", ("m/b.png",), 1, "bolt", "anomalous"),
        ("a.png", (), 0, "nut", "good"),
        ("sub/c d.JPG", ("m/c.png",), 1, "nut", "anomalous"),
    ]
    assert (module.title, module.level, module.expected[:2]) == ("screws_2/table.csv", "both", (1, 2))
    assert [note for note in module.notes if "not read: who" in note], module.notes
    (batch,) = module.test_dataloader()
    assert batch.masks.flatten(1).any(1).tolist() == [True, False, True]


def test_the_least_a_table_needs(screws):
    module = build(write(screws, "image,label\na.png,0\nb.png,bad\n"))
    assert (module.level, [c.prompt_name for c in module.categories()]) == ("image", ["screws 2"])
    assert module.categories()[0].name == "screws_2"
    assert build(module.root / "table.csv", prompt_name="wood screw").categories()[0].prompt_name == "wood screw"


def test_cp1252_is_read_and_said(tmp_path):
    for image in ("gr\u00fcn.png", "x.png"):
        write_image(tmp_path / image)
    module = build(write(tmp_path, "image;label\ngr\u00fcn.png;1\nx.png;0\n".encode("cp1252")))
    assert [s.image for s in module.samples()] == ["gr\u00fcn.png", "x.png"]
    assert any("cp1252" in note for note in module.notes), module.notes


def test_paths_as_other_systems_write_them(screws):
    name = unicodedata.normalize("NFD", "é.png")
    write_image(screws / name)
    module = build(
        write(screws, f"image,label\n sub\\c d.JPG,1\n{unicodedata.normalize('NFC', name)},0\nsub/../a.png,0\n")
    )
    assert {s.image for s in module.samples()} == {"sub/c d.JPG", name, "a.png"}


def test_masks_of_normal_images_are_left_out_and_said(screws):
    module = build(write(screws, "image,label,mask\na.png,0,m/c.png\nb.png,1,m/b.png\n"))
    assert [s.masks for s in module.samples()] == [(), ("m/b.png",)]
    assert any("masks of 1 normal images are not read" in note for note in module.notes), module.notes


def test_masks_for_some_only(screws):
    path = write(screws, "image,label,mask\na.png,0,\nb.png,1,m/b.png\nsub/c d.JPG,1,\n")
    with pytest.raises(DatasetError, match=r"c d\.JPG has no mask"):
        build(path)
    assert build(path, allow_missing_masks=True).level == "both"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,mask\na.png,\n", "line 1: 'image,mask' lacks the columns image and label"),
        ("", "line 1: '' lacks"),
        ("image|label\na.png|0\n", "apart by comma, semicolon or tab"),
        ("image,label,Image\na.png,0,b.png\n", "line 1: the column image occurs twice"),
        ("image,label\na.png,fine\n", "line 2: label 'fine'; write one of 0, normal, good, 1"),
        ("image,label\n\na.png,0\nb.png,\n", "line 4: label ''"),
        ("image,label\n/etc/hostname,0\n", "line 2: image /etc/hostname leads out of"),
        ("image,label\n../table.csv,0\n", "line 2: image ../table.csv leads out of"),
        ("image,label\nsub/../../screws_2/a.png,0\n", "leads out of"),
        ("image,label\nC:\\data\\a.png,0\n", r"line 2: image C:\data\a.png leads out of"),
        ("image,label,mask\na.png,1,../m.png\n", "line 2: mask ../m.png leads out of"),
        ("image,label\na.png,0\nb.png,1\n./a.png,1\n", "line 4: a.png is listed twice, first in line 2"),
        ("image,label\na.png,0\nz.png,1\n", "line 3: image z.png is not a file in"),
        (f"image,label\n{'z' * 300}.png,1\n", "line 2: image zzz"),
        ("image,label\nsub,1\n", "line 2: image sub is not a file in"),
        ("image,label\n,1\n", "line 2: no image"),
        ("image,label\na, b.png,0\n", "line 2: 3 cells, but 2 columns; put a name"),
        ("image,label,mask\na.png,0\n", "line 2: 2 cells, but 3 columns"),
        ("image,label,category\na.png,0, \n", "line 2: no category"),
        ('image,label\n"a.png,0\n', "unexpected end of data"),
        ("image,label\na.png,0\n", "lists 1 normal and 0 anomalous images; a test needs both"),
        ("image,label\na.png,0\n".encode("utf-16"), "not a text in UTF-8 or cp1252"),
        (b"image,label\na\x81.png,0\n", "not a text in UTF-8 or cp1252"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file(screws, text, message):
    path = write(screws, text)
    with pytest.raises(DatasetError) as error:
        build(path)
    said = str(error.value)
    assert message in said, said
    assert str(path) in said, f"the table is not named: {said}"
    assert "\n" not in said, f"not one line: {said}"


def test_wrong_roots(screws):
    with pytest.raises(UsageError, match=r"as in csv:/path/to/table\.csv"):
        Csv()
    with pytest.raises(DatasetError, match="is a folder; give the table"):
        build(screws)
    with pytest.raises(DatasetError, match=r"none\.csv does not exist"):
        build(screws / "none.csv")
    assert Csv.available() is None


def test_two_tables_of_a_folder_have_titles_and_hashes_of_their_own(screws):
    first = build(write(screws, "image,label\na.png,0\nb.png,1\n"))
    second = build(write(screws, "image,label\na.png,1\nb.png,0\n", "other.csv"))
    assert (first.title, second.title) == ("screws_2/table.csv", "screws_2/other.csv")
    assert first.manifest_hash != second.manifest_hash


NAME = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=20).map(
    lambda name: f"x{name}"
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(NAME, unique=True, min_size=2, max_size=5),
    st.sampled_from([".png", ".PNG", ".JPG", ".Bmp"]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
    st.permutations(["image", "label", "mask"]),
)
def test_any_name_a_table_can_quote_is_found(names, suffix, separator, encoding, columns):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        rows = []
        for i, name in enumerate(names):
            write_image(path.parent / f"{name}{suffix}")
            if i % 2:
                write_mask(path.parent / f"masks/{name}.png")
            rows.append({"image": f"{name}{suffix}", "label": i % 2, "mask": f"masks/{name}.png" if i % 2 else ""})
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
        found = {(s.image, s.label, *s.masks) for s in build(path).samples()}
        assert found == {(r["image"], r["label"], *([r["mask"]] if r["mask"] else [])) for r in rows}
