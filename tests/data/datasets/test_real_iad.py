# pytest tests/data/datasets/test_real_iad.py
"""Real-IAD and Real-IAD Variety: which images show one object, the splits in JSON, and views that are missing."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from tests.data.miniatures import real_iad as miniature
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.data.datasets.real_iad import RealIad
from zsad_bench.data.datasets.real_iad_variety import RealIadVariety
from zsad_bench.data.views import view_of
from zsad_bench.errors import DatasetError

SPLIT = "realiad_jsons/audiojack.json"
VIEW = "realiad_1024/audiojack/OK/S0002/audiojack_0002_OK_C3_20230922113033.jpg"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real_iad")
    miniature.write(folder, "raw")
    return folder


@pytest.fixture
def raw(written, tmp_path):
    """A copy of the download that a test may damage."""
    return shutil.copytree(written, tmp_path / "Real-IAD")


@pytest.mark.parametrize(
    ("image", "view"),
    [
        ("mint/NG/AK/S0041/mint_0041_NG_AK_C1_20230922113033.jpg", ("mint/NG/AK/S0041/mint_0041_NG_AK", 1)),
        ("a/b_C1_C5_2.png", ("a/b_C1", 5)),
        ("a/b_C05.png", ("a/b", 5)),
        ("a_C1_/b.png", None),
        ("a/b_C12_1.png", None),
    ],
)
def test_view_of_a_name(image, view):
    assert view_of(image) == view


def test_objects_have_five_views_and_a_defect_counts_where_it_is_seen(written):
    module = RealIad(written)
    assert sorted(Counter(module.groups.values()).values()) == [5] * 31
    assert {module.info(sample).id for sample in module.samples()} == set(module.groups)
    assert all("view of" in line for line in module.manifest()), "objects are part of the data hash"
    assert any("31 objects of 5 views, 30 of them defective" in note for note in module.notes), module.notes
    assert any("60 test views of defective objects have no mask and are normal" in note for note in module.notes)


def test_one_view_has_a_split_of_its_own_and_no_objects(written):
    module = RealIad(written, variant="single_view")
    assert len(module.samples()) == 61
    assert (module.groups, RealIad(written, split="train").groups != {}) == ({}, True)


def test_a_view_that_no_record_lists_is_named(raw):
    content = json.loads((raw / SPLIT).read_text())
    content["test"] = [one for one in content["test"] if not VIEW.endswith(one["image_path"])]
    (raw / SPLIT).write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"S0002/audiojack_0002_OK has the views C1, C2, C4, C5, expected") as error:
        RealIad(raw).samples()
    assert "\n" not in str(error.value)
    assert "--partial" in str(error.value)


def test_a_view_whose_file_is_missing_is_named(raw):
    (raw / VIEW).unlink()
    with pytest.raises(DatasetError, match=rf"{VIEW} missing"):
        RealIad(raw).samples()
    module = RealIad(raw, partial=True)
    assert len(module.samples()) == 154
    assert any("audiojack_0002_OK has the views C1, C2, C4, C5" in note for note in module.notes), module.notes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"meta"', '["meta"'),
        ('"normal_class"', '"normal"'),
        ('"mask_path"', '"mask"'),
        ('"image_path": "NG', '"image_path": "../NG'),
    ],
)
def test_a_damaged_split_is_named(raw, old, new):
    (raw / SPLIT).write_text((raw / SPLIT).read_text().replace(old, new))
    with pytest.raises(DatasetError, match=r"audiojack\.json.*unpack the JSON files again") as error:
        RealIad(raw).samples()
    assert "\n" not in str(error.value)


def test_archives_nest_and_one_resolution_is_read(raw):
    for folder in (raw / "realiad_1024/audiojack", raw / "realiad_jsons"):
        folder.rename(raw / "moved")
        folder.mkdir()
        (raw / "moved").rename(folder / folder.name)
    (raw / "realiad_512").mkdir()
    module = RealIad(raw)
    assert module.samples()[0].image.startswith("realiad_1024/audiojack/audiojack/NG/HS/S0001/")
    assert any("there is also realiad_512, which is not" in note for note in module.notes), module.notes


def test_names_without_views_leave_no_objects(tmp_path):
    miniature.write(tmp_path, "meta_json")
    (tmp_path / "meta.json").write_text((tmp_path / "meta.json").read_text().replace("_C1_", "_"))
    for path in list(tmp_path.rglob("*_C1_*")):
        path.rename(path.with_name(path.name.replace("_C1_", "_")))
    module = RealIad(tmp_path)
    assert (len(module.samples()), module.groups) == (155, {})
    assert any("31 images do not say in their names which view" in note for note in module.notes), module.notes


def test_variety_is_found_under_either_spelling(tmp_path):
    """Folders and JSON files of a category need not agree in `-` and `_`; counts that nobody published are unknown."""
    for category, folder in (("D_sub_connector", "D-sub_connector"), ("gear", "gear")):
        records = [miniature.of_view(category, "NG/HS/S0001", view) for view in range(1, 6)]
        miniature.write_split(tmp_path / f"Real-IAD_Variety_jsons/{category}.json", category, records, [])
        for of in records:
            write_image(tmp_path / "realiadvariety_raw" / folder / of["image_path"])
            if of["mask_path"]:
                write_mask(tmp_path / "realiadvariety_raw" / folder / of["mask_path"])
    with pytest.raises(DatasetError, match=r"has no test images of 2pin_block_plug, .* and 143 more"):
        RealIadVariety(tmp_path).samples()
    module = RealIadVariety(tmp_path, partial=True)
    assert [category.name for category in module.categories()] == ["D_sub_connector", "gear"]
    assert [sample.label for sample in module.samples()] == [1, 0, 1, 1, 0] * 2
    assert len(set(module.groups.values())) == 2
    assert (module.shortfall, module.expected.known) == ("10 of 178995", False)
    assert not [note for note in module.notes if "expected 0" in note], module.notes
