# pytest tests/planning/test_target.py
"""What names of targets mean: datasets, some of their categories, and folders of one's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import miniatures
from tests.data.miniatures.files import write_image
from zsad_bench import registry
from zsad_bench.data.datasets.mvtec import Mvtec
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError
from zsad_bench.planning.target import Target, categories_of, distinct, target_of

MVTEC = [card.name for card in Mvtec.category_cards]


def test_a_dataset_and_some_of_its_categories():
    assert target_of("visa") == Target("visa")
    assert target_of("mvtec:transistor") == Target("mvtec", categories=("transistor",))
    assert target_of("mvtec:wood + pill+wood").asked == "mvtec:pill+wood", "in the card's order, each once"
    assert target_of("mvtec:pill").name == "mvtec", "rows are the dataset's"


def test_an_own_folder_is_a_path_whatever_stands_in_it():
    target = target_of("folder:/a/lot: 7+8, left")
    assert (target.dataset, target.place, target.categories) == ("folder", "/a/lot: 7+8, left", ())
    assert target.asked == "folder:/a/lot: 7+8, left"
    assert target.name == "folder:a/lot: 7+8, left"
    assert target_of("csv:/a/b/t.csv").name == "csv:b/t.csv"
    assert target_of("folder:/images").name == "folder:images"


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ("mvtek", UnknownNameError, "unknown dataset 'mvtek'; did you mean mvtec"),
        ("mvtec:transister", UnknownNameError, "unknown category of mvtec 'transister'; did you mean transistor"),
        ("mvtec:pill+scre", UnknownNameError, "unknown category of mvtec 'scre'; did you mean screw"),
        ("visa:pill", UnknownNameError, "unknown category of visa 'pill'"),
        ("mvtec:", UsageError, "target mvtec:: no category behind the colon; name some of bottle"),
        ("mvtec: + ", UsageError, "no category behind the colon"),
    ],
)
def test_what_is_none(asked, error, says):
    with pytest.raises(error, match=says.replace("+", r"\+")) as refused:
        target_of(asked)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@given(st.lists(st.sampled_from(MVTEC), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_categories_named_one_by_one_are_one_target(wanted, random):
    together = "mvtec:" + "+".join(wanted)
    apart = [f"mvtec:{name}" for name in wanted]
    random.shuffle(apart)
    assert distinct(apart) == distinct([together]) == [together.split(":")[0] + ":" + "+".join(sorted(set(wanted)))]
    assert distinct([*apart, "visa", "mvtec"]) == ["mvtec", "visa"], "the whole dataset holds its categories"


def test_two_folders_of_one_base_name_are_two_targets(tmp_path):
    asked = [f"folder:{tmp_path}/lot{lot}/parts" for lot in "AB"]
    assert distinct(asked) == asked
    assert [target_of(one).name for one in asked] == ["folder:lotA/parts", "folder:lotB/parts"]
    for one, name in zip(asked, ("folder:lotA/parts", "folder:lotB/parts"), strict=True):
        place = one.partition(":")[2]
        write_image(tmp_path / place / "good/0.png")
        write_image(tmp_path / place / "bad/0.png")
        module = registry.load("datasets", "folder")(place)
        assert (module.name, module.title) == (name, name.partition(":")[2]), "tested alone it is called the same"


def test_a_folder_is_called_the_same_however_its_path_is_written(tmp_path, monkeypatch):
    (tmp_path / "lot/parts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "lot")
    spellings = ["folder:parts", "folder:./parts/", f"folder:{tmp_path}/lot/../lot/parts", "folder:../lot/parts"]
    assert {target_of(one).name for one in spellings} == {"folder:lot/parts"}
    assert len(distinct(spellings)) == 1


def test_folders_that_rows_could_not_tell_apart_are_refused(tmp_path):
    twins = [f"folder:{tmp_path}/{site}/lot/parts" for site in ("north", "south")]
    with pytest.raises(UsageError, match=r"rows would call both .*north.* and .*south.* folder:lot/parts; rename"):
        distinct(twins)
    (tmp_path / "south/lot/parts").mkdir(parents=True)
    (tmp_path / "other").symlink_to(tmp_path / "south/lot/parts", target_is_directory=True)
    assert len(distinct([twins[0], f"folder:{tmp_path}/other"])) == 2, "a link of another name is the remedy"


def test_a_target_under_a_condition():
    target = target_of("mvtec:wood+pill@gaussian_noise:3")
    assert target == Target("mvtec", categories=("pill", "wood"), condition="gaussian_noise:3")
    assert (target.asked, target.name) == ("mvtec:pill+wood@gaussian_noise:3", "mvtec")
    assert target_of("visa@wording:german").asked == "visa@wording:german"
    own = target_of("folder:/a@b/parts@jpeg:1")
    assert (own.place, own.condition, own.name) == ("/a@b/parts", "jpeg:1", "folder:a@b/parts")
    assert target_of("folder:/a/parts@home").place == "/a/parts@home"


def test_a_path_that_looks_like_a_condition_is_refused(tmp_path):
    (tmp_path / "parts@jpeg:1").mkdir()
    with pytest.raises(UsageError, match=r"is it the path of that name, or folder:.*parts under condition jpeg:1"):
        target_of(f"folder:{tmp_path}/parts@jpeg:1")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("visa@jpg:3", "unknown corruption 'jpg'; did you mean jpeg"),
        ("visa@wording:germn", "unknown wording 'germn'; did you mean german"),
        ("visa@jpeg:7", "unknown dataset 'visa@jpeg'"),
    ],
)
def test_conditions_that_there_are_not(asked, says):
    with pytest.raises(UnknownNameError, match=says):
        target_of(asked)


def test_users_name_conditions_beside_targets():
    with pytest.raises(UsageError, match="name the target alone, and jpeg:3 with --corruption"):
        distinct(["visa@jpeg:3"])


def test_categories_that_a_wording_has_no_word_for(small_demo):
    data = small_demo("demo_textures", condition="wording:german")
    assert categories_of("demo_textures@wording:german", data) == ["perforated", "carpet"]
    assert categories_of("demo_textures:carpet+terrazzo@wording:german", data) == ["carpet"]
    with pytest.raises(DatasetError, match="no other word for any of its categories"):
        categories_of("demo_textures:terrazzo@wording:german", data)


def test_categories_that_a_partial_copy_lacks(tmp_path):
    miniatures.load("mvtec").write(tmp_path, "mvtec_style")
    (tmp_path / "pill").rename(tmp_path / "pill_elsewhere")
    (tmp_path / "pill_elsewhere/test").rename(tmp_path / "pill_elsewhere/gone")
    data = Mvtec(tmp_path, partial=True)
    assert categories_of("mvtec", data) == [name for name in MVTEC if name != "pill"]
    assert categories_of("mvtec:wood+screw", data) == ["screw", "wood"]
    with pytest.raises(DatasetError, match="has no images of pill, which --targets names"):
        categories_of("mvtec:pill+wood", data)
