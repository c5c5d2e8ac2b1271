# pytest tests/data/test_partial.py
"""Copies that are not whole: refused with the option's name, used when that is asked for, and counted either way."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import miniatures
from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.data import complete
from zsad_bench.errors import DatasetError

CASES = [(name, layout) for name in miniatures.names() for layout in miniatures.load(name).LAYOUTS]
IN_FOLDERS = [  # several categories, each a folder
    (name, layout)
    for name, layout in CASES
    if layout != "meta_json" and len(registry.load("datasets", name).category_cards) > 1
]


def build(name, root, **options):
    return registry.load("datasets", name)(root, image_size=16, workers=0, **options)


@given(
    whole=st.tuples(st.integers(0, 9), st.integers(1, 9)),
    other=st.tuples(st.integers(0, 9), st.integers(1, 9)),
    found=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
def test_fewer_of_either_label_is_a_shortfall(whole, other, found):
    said = complete.shortfall(found, [whole, other])
    lacking = max(whole[0] - found[0], 0) + max(whole[1] - found[1], 0)
    if lacking == 0 or found == other:
        assert said == ""
    else:
        assert said == f"{sum(whole) - lacking} of {sum(whole)}"


@pytest.mark.parametrize(("name", "layout"), CASES, ids=lambda case: case)
def test_every_other_image_missing(name, layout, tmp_path):
    """Whatever is missing: what is left is what was there before, with its own masks, and the note counts."""
    expected = miniatures.load(name).write(tmp_path, layout)
    whole = build(name, tmp_path)
    found, _, total = whole.shortfall.partition(" of ")
    assert found == str(len(expected))
    assert int(total) > len(expected), "a miniature has fewer images than are published"
    if whole.expected.known:
        assert int(total) == sum(whole.expected[:2])
    before = {s.id: s for s in whole.samples()}
    for path in sorted({s.image for s in before.values()})[1::2]:
        (whole.root / path).unlink()
    module = build(name, tmp_path, partial=True)
    left = module.samples()
    for sample in left:
        assert all((module.root / path).is_file() for path in (sample.image, *sample.masks))
        if sample.id in before:
            assert (sample.label, sample.masks) == (before[sample.id].label, before[sample.id].masks)
        if module.has_masks and sample.label:
            assert sample.masks, "an anomalous image without a mask cannot be measured"
    assert module.shortfall.startswith(f"{len(left)} of ")


@pytest.mark.parametrize(("name", "layout"), IN_FOLDERS, ids=lambda case: case)
def test_a_category_that_is_missing(name, layout, tmp_path):
    miniatures.load(name).write(tmp_path, layout)
    first, second, *rest = [card.name for card in registry.load("datasets", name).category_cards]
    for gone in (first, second):
        shutil.rmtree(next(path for path in sorted(tmp_path.rglob(gone)) if path.is_dir()))
    with pytest.raises(DatasetError, match=rf"{first}.*{second}.*the copy is partial.* --partial") as refused:
        build(name, tmp_path).samples()
    assert "\n" not in str(refused.value)
    partial = build(name, tmp_path, partial=True)
    assert {sample.category for sample in partial.samples()} == set(rest)
    assert [category.name for category in partial.categories()] == rest
    assert any("partial" in note and first in note and second in note for note in partial.notes), partial.notes


@pytest.mark.parametrize("name", ["brainmri", "br35h", "lag"])
@pytest.mark.parametrize("label", [0, 1])
def test_one_of_two_folders(name, label, tmp_path):
    miniatures.load(name).write(tmp_path, "raw")
    whole = build(name, tmp_path)
    gone = whole.root / next(s.image for s in whole.samples() if s.label == label).rpartition("/")[0]
    shutil.rmtree(gone)
    with pytest.raises(DatasetError, match=rf"{gone} .*--partial"):
        build(name, tmp_path).samples()
    partial = build(name, tmp_path, partial=True)
    assert {sample.label for sample in partial.samples()} == {1 - label}
    assert any(str(gone) in note for note in partial.notes)
    if name == "brainmri":  # its zip holds the pair twice, and now the other one would be read
        return
    shutil.rmtree(whole.root / partial.samples()[0].image.rpartition("/")[0])
    with pytest.raises(DatasetError):
        build(name, tmp_path, partial=True).samples()


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_record_of_a_file_that_is_not_there(kind, tmp_path):
    miniatures.load("colondb").write(tmp_path, "meta_json")
    whole = build("colondb", tmp_path)
    gone, *rest = whole.samples()
    (whole.root / (gone.image if kind == "image" else gone.masks[0])).unlink()
    with pytest.raises(DatasetError, match="--partial"):
        build("colondb", tmp_path).samples()
    partial = build("colondb", tmp_path, partial=True)
    assert partial.samples() == rest
    assert any(note.startswith("partial: 1 test records of") for note in partial.notes), partial.notes


def test_a_whole_copy_is_the_same_with_the_option_and_without(tmp_path):
    miniatures.load("mvtec").write(tmp_path, "mvtec_style")
    plain, partial = build("mvtec", tmp_path), build("mvtec", tmp_path, partial=True)
    assert partial.samples() == plain.samples()
    assert partial.manifest_hash == plain.manifest_hash, "it changes nothing where nothing is missing"
    assert not [note for note in partial.notes if note.startswith("partial:")]


def test_a_label_that_only_a_missing_mask_would_tell_is_still_an_error(tmp_path):
    """In the raw DAGM a mask is what makes an image anomalous: without it the image must not pass for a normal one."""
    miniatures.load("dagm").write(tmp_path, "raw")
    whole = build("dagm", tmp_path)
    with_list = [s for s in whole.samples() if s.label and list((whole.root / s.masks[0]).parent.glob("Labels.txt"))]
    assert with_list, "the miniature has no Labels.txt"
    (whole.root / with_list[0].masks[0]).unlink()
    with pytest.raises(DatasetError, match="says a defect"):
        build("dagm", tmp_path, partial=True).samples()


def test_generated_and_own_data_are_whole(small_demo, tmp_path):
    assert small_demo("demo_limited").shortfall == ""
    for kind in ("good", "bad"):
        write_image(tmp_path / "parts" / kind / "0.png")
    assert build("folder", tmp_path / "parts").shortfall == ""
