# pytest tests/inspection/test_photos.py
"""Which photos are meant, and what each is called."""

import os

import pytest
from PIL import Image

from zsad_bench.errors import UsageError
from zsad_bench.inspection.photos import find


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "inner/a.jpg", "other/a.jpg"):
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")
    (tmp_path / "parts" / "notes.txt").write_text("not an image")
    (tmp_path / "parts" / "empty.png").touch()
    (tmp_path / "parts" / "raw.dng").write_bytes(b"raw")
    (tmp_path / "parts" / ".hidden.png").write_bytes(b"x")
    return tmp_path / "parts"


def test_a_folder_is_searched_with_its_folders(folder):
    found = find([str(folder)])
    assert [photo.name for photo in found.photos] == [
        "a.JPG",
        "b.png",
        "inner/a.jpg",
        "other/a.jpg",
        "empty.png",
        "raw.dng",
    ]
    assert [photo.path.resolve() for photo in found.photos] == [(folder / p.name).resolve() for p in found.photos]
    assert found.notes == [], "what reading will say of each is said twice"


def test_a_file_counts_whatever_it_is_called_and_once(folder):
    picture = folder / "picture"
    os.link(folder / "b.png", picture)
    found = find([str(picture), str(folder / "a.JPG"), str(folder / "inner" / ".." / "a.JPG")])
    assert [photo.name for photo in found.photos] == ["picture", "a.JPG"]


def test_names_that_would_be_equal_get_their_folders(folder):
    found = find([str(folder / "inner"), str(folder / "other")])
    assert [photo.name for photo in found.photos] == ["inner/a.jpg", "other/a.jpg"]
    twin = folder.parent / "more" / "inner" / "a.jpg"
    twin.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(twin)
    names = [photo.name for photo in find([str(folder / "inner"), str(twin.parent)]).photos]
    assert names == [str((folder / "inner/a.jpg").resolve()), str(twin.resolve())]


def test_results_of_an_earlier_prediction_are_no_photos(folder):
    found = find([str(folder)], without=folder / "inner")
    assert "inner/a.jpg" not in [photo.name for photo in found.photos]
    assert any("1 images there are results, left out" in note for note in found.notes)


@pytest.mark.parametrize("given", ["missing", "nothing"])
def test_no_image_is_one_line(tmp_path, given):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="give images, or folders of images"):
        find([str(tmp_path / given)])
