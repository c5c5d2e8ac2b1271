# pytest tests/data/test_pairing.py
"""Masks and images by name: every documented form, in any letter case and either Unicode form, and never a guess."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsad_bench.data.pairing import WORDS, is_mask_folder, masks_among, pair
from zsad_bench.errors import DatasetError

STEM = st.text(st.characters(categories=("Ll", "Lu", "Nd", "Lo")), min_size=1, max_size=8)
STEMS = st.lists(STEM, min_size=1, max_size=6, unique_by=lambda stem: unicodedata.normalize("NFC", stem).casefold())


def masks_of(images, masks):
    return pair(images, masks).masks


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("form", ["{stem}_{word}", "{stem}-{word}", "{stem}.{word}", "{stem} {word}", "{word}_{stem}"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_every_word_for_masks(word, form, case):
    """Numbers without leading zeros: an order of names would pair them otherwise."""
    stems = ["1", "2", "10", "11"]
    masks = {f"{s}.jpg": (form.format(stem=s, word=case(word.replace("_", " "))) + ".png",) for s in stems}
    shuffled = [mask for (mask,) in masks.values()]
    random.Random(0).shuffle(shuffled)
    assert masks_of(list(masks), shuffled) == masks


@settings(deadline=None)
@given(STEMS, st.sampled_from(["", "_mask", "_GT", "-label"]), st.sampled_from(["NFC", "NFD"]), st.randoms())
def test_any_stem_in_any_form_and_order(stems, ending, form, chance):
    images = [f"{stem}.jpg" for stem in stems]
    masks = [unicodedata.normalize(form, stem) + ending + ".png" for stem in stems]
    expected = dict(zip(images, [(mask,) for mask in masks], strict=True))
    chance.shuffle(masks)
    assert masks_of(images, masks) == expected


@settings(deadline=None)
@given(STEMS, STEMS, st.randoms())
def test_what_is_paired_has_the_name(images, masks, chance):
    """Whatever lies there: a mask goes to an image of its own stem or carries its numbers, and each mask goes once."""
    paired = pair([f"{stem}.png" for stem in images], [f"{stem}.png" for stem in masks])
    used = [mask for of in paired.masks.values() for mask in of]
    assert sorted(used + paired.unused) == sorted(f"{stem}.png" for stem in masks)
    if not paired.notes:
        for image, (mask,) in paired.masks.items():
            one, other = (unicodedata.normalize("NFC", name).casefold() for name in (image, mask))
            assert one == other


def test_the_exact_name_goes_before_a_word():
    assert masks_of(["1.png"], ["1.png", "1_mask.png"]) == {"1.png": ("1.png",)}
    assert pair(["1.png"], ["1.png", "1_mask.png"]).unused == ["1_mask.png"]


def test_an_image_may_be_called_as_a_mask():
    assert masks_of(["0.png", "0_mask.png"], ["0_mask.png", "0_mask_mask.png"]) == {
        "0.png": ("0_mask.png",),
        "0_mask.png": ("0_mask_mask.png",),
    }


def test_twins_are_told_apart_by_their_exact_names():
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    images = [f"{composed}.png", f"{decomposed}.png"]
    assert masks_of(images, [f"{decomposed}.png", f"{composed}.png"]) == {image: (image,) for image in images}
    assert masks_of(["A.png", "a.png"], ["a.png", "A.png"]) == {"A.png": ("A.png",), "a.png": ("a.png",)}
    assert masks_of(["1.png", "1.jpg"], ["1.jpg.png", "1.png.png"]) == {
        "1.png": ("1.png.png",),
        "1.jpg": ("1.jpg.png",),
    }


@pytest.mark.parametrize(
    ("images", "masks", "told"),
    [
        (["1.png", "1.jpg"], ["1.tif"], r"1\.tif could be the mask of 1\.png or of 1\.jpg"),
        (["é.png", unicodedata.normalize("NFD", "é.png")], ["É.png"], r"could be the mask of .* or of"),
        (["crack/0.png", "hole/0.png"], ["0.png"], r"0\.png could be .*; put it into a folder .*crack or hole"),
        (["1.png"], ["1_mask.png", "1_gt.png"], r"1_mask\.png and 1_gt\.png could each be the mask of 1\.png"),
        (["1.jpg"], ["1.png", "1.bmp"], r"1\.png and 1\.bmp could each be the mask of 1\.jpg"),
    ],
)
def test_what_fits_several_is_refused(images, masks, told):
    with pytest.raises(DatasetError, match=told) as error:
        pair(images, masks)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "masks", [["0/000.png", "0/001.png"], ["0_0.png", "0_1.png"], ["0_mask1.png", "0_mask2.png"], ["0.png/a.png"]]
)
def test_several_masks_of_an_image_are_united(masks):
    assert masks_of(["0.png", "1.png"], masks) == {"0.png": tuple(masks)}


def test_folders_count():
    images = ["crack/0.png", "hole/0.png", "hole/1.png"]
    assert masks_of(images, ["Hole/0.png", "crack/0.png"]) == {
        "crack/0.png": ("crack/0.png",),
        "hole/0.png": ("Hole/0.png",),
    }
    assert masks_of(images, ["crack/1.png"]) == {}, "a mask of another type's folder"
    assert masks_of(images, ["1.png"]) == {"hole/1.png": ("1.png",)}, "masks may lie flat where names tell"
    assert masks_of(["crack/cam1/0.png"], ["crack/0.png"]) == {"crack/cam1/0.png": ("crack/0.png",)}
    with pytest.raises(DatasetError, match=r"0\.png could be the mask of hole/0\.png or of crack/0\.png"):
        pair(["crack/0.png", "hole/0.png"], ["crack/0.png", "0.png"])


def test_numbers_pair_only_where_no_name_does_and_that_is_said():
    paired = pair(["photo_001.jpg", "photo_010.jpg"], ["annotation10.png", "annotation1.png"])
    assert paired.masks == {"photo_001.jpg": ("annotation1.png",), "photo_010.jpg": ("annotation10.png",)}
    assert "photo_001.jpg with annotation1.png" in paired.notes[0]
    assert masks_of(["1.png", "photo_2.jpg"], ["1.png", "x2.png"]) == {"1.png": ("1.png",)}, "one name fits"
    assert masks_of(["a1.png", "b1.png"], ["m1.png"]) == {}, "two images of one number"
    assert masks_of(["a.png", "b.png"], ["c.png", "d.png"]) == {}, "equally many are no reason"
    assert masks_of(["a0.png", "a1.png"], ["m1.png", "m2.png"])["a1.png"] == ("m1.png",), "never by order"


@pytest.mark.parametrize("name", ["masks", "Mask", "GROUND_TRUTH", "Ground Truth", "ground-truth", "gt", "Labels"])
def test_folders_of_masks(name):
    assert is_mask_folder(name)


@pytest.mark.parametrize("name", ["good", "crack", "masked", "mask_missing", "gtx", "test"])
def test_folders_of_images(name):
    assert not is_mask_folder(name)


def test_masks_among_images():
    assert masks_among(["0.png", "0_mask.png", "1.png", "Part0.jpg", "Part0_label.bmp", "face_mask.png"]) == {
        "0.png": ("0_mask.png",),
        "Part0.jpg": ("Part0_label.bmp",),
    }
    with pytest.raises(DatasetError, match=r"0_gt\.png could be the mask of 0\.png or of 0\.jpg"):
        masks_among(["0.png", "0.jpg", "0_gt.png"])


def documented():
    """(image, masks) of each line of the table in docs/datasets.md; masks that are not united stand alone."""
    text = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
    table = text.split("| masks of `crack/3.jpg` | |\n")[1].partition("\n\n")[0].splitlines()[1:]
    for line in table:
        named, _, meaning = line.strip("| ").partition(" | ")
        names = re.findall(r"`(.+?)`", named)
        if " of " in named:
            yield names[1], names[:1]
        elif meaning.endswith("united") and "numbered ones" not in meaning:
            yield "3.jpg", names
        else:
            yield from (("3.jpg", [name]) for name in names)


@pytest.mark.parametrize(("image", "masks"), list(documented()), ids=str)
def test_every_line_of_the_page(image, masks):
    assert masks_of([f"crack/{image}"], [f"crack/{mask}" for mask in masks]) == {
        f"crack/{image}": tuple(f"crack/{mask}" for mask in masks)
    }


def test_the_page_names_every_word():
    text = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8").replace("(s)", "")
    assert [
        word for word in WORDS if word.rstrip("s").replace("_", " ") not in text.partition("a word for masks")[2][:120]
    ] == []
