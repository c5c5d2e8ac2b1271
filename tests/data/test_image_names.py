# pytest tests/data/test_image_names.py
"""Whose map or score a name is: as its image below the dataset's folder, else by an end that one image alone has."""

from __future__ import annotations

import pytest

from zsad_bench.data.image_names import match
from zsad_bench.types import Sample

CROP = (8, 0, 16, 8)


def samples(*paths: str) -> list[Sample]:
    return [Sample(path, (), 0, "c", "good", "test") for path in paths]


MVTEC = samples("carpet/test/good/000.png", "carpet/test/cut/000.png", "grid/test/good/000.png")


@pytest.mark.parametrize(
    "name",
    [
        "carpet/test/good/000", "carpet/test/good/000.npy", "carpet/test/good/000.png", "carpet/test/good/000.png.npy",
        "carpet/test/good/000.TIFF", "mvtec/carpet/test/good/000.npz", "out/mvtec/carpet/test/good/000.png",
    ],
)  # fmt: skip
def test_names_that_mean_one_image(name):
    found = match([name], MVTEC)
    assert found.names == {"carpet/test/good/000.png": name}
    assert found.missing == ["carpet/test/cut/000.png", "grid/test/good/000.png"]
    assert (found.unused, found.ambiguous) == ([], [])


def test_a_short_name_is_taken_where_one_image_ends_so():
    found = match(["cut/000.npy", "test/good/000.npy"], MVTEC)
    assert found.names == {"carpet/test/cut/000.png": "cut/000.npy"}
    (line,) = found.ambiguous
    assert line == "test/good/000.npy may mean carpet/test/good/000.png, grid/test/good/000.png"
    assert found.missing == [], "what may be meant is not called missing"


@pytest.mark.parametrize("name", ["00.npy", "t/good/000.npy", "good/0000.npy", "carpet/good/000.npy", "CUT/000.npy"])
def test_part_of_a_word_is_no_name(name):
    found = match([name], MVTEC)
    assert (found.names, found.unused) == ({}, [name])
    assert len(found.missing) == len(MVTEC)


def test_two_names_of_one_image_are_one_too_many():
    found = match(["carpet/test/cut/000.npy", "carpet/test/cut/000.png", "grid/test/good/000"], MVTEC)
    assert found.ambiguous == ["carpet/test/cut/000.npy, carpet/test/cut/000.png all mean carpet/test/cut/000.png"]
    assert set(found.names) == {"grid/test/good/000.png"}


def test_images_of_one_stem_need_their_suffix():
    twins = samples("a/1.png", "a/1.jpg", "a/v1.2.png")
    found = match(["a/1.png.npy", "a/1.jpg.npy", "a/v1.2.npy"], twins)
    assert found.names == {"a/1.png": "a/1.png.npy", "a/1.jpg": "a/1.jpg.npy", "a/v1.2.png": "a/v1.2.npy"}
    assert match(["a/1.npy"], twins).ambiguous == ["a/1.npy may mean a/1.jpg, a/1.png"]
    assert match(["v1.2"], twins).names == {"a/v1.2.png": "v1.2"}, "a dot within a name is no suffix"


def test_a_name_as_it_is_goes_before_ends():
    nested = samples("good/0.png", "x/good/0.png")
    found = match(["good/0.npy", "x/good/0.npy"], nested)
    assert found.names == {"good/0.png": "good/0.npy", "x/good/0.png": "x/good/0.npy"}


def test_crops_of_one_file_are_named_by_their_place():
    crops = [Sample("a.png", (), 0, "c", "good", "test", crop) for crop in ((0, 0, 8, 8), CROP)]
    for name in ("a#8,0,16,8.npy", "a.png#8,0,16,8.npy", "a.png#8,0,16,8"):
        assert match([name], crops).names == {crops[1].id: name}
    assert match(["a.npy"], crops).unused == ["a.npy"]


def test_letters_with_accents_are_the_same_however_they_are_encoded():
    composed, decomposed = "Ri\u00df/gr\u00fcn.png", "Ri\u00df/gru\u0308n.npy"
    assert match([decomposed], samples(composed)).names == {composed: decomposed}
