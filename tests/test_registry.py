# pytest tests/test_registry.py
"""Names to classes: the file name is the registration, here and in packages that plug in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsad_bench import plugins, registry
from zsad_bench.errors import RegistrationError, UnknownNameError
from zsad_bench.plugins import PlugIn

ROOT = Path(__file__).resolve().parents[1]
PLUG_IN = '''"""A method that lives elsewhere.

More about it.
"""


class Helper:
    def score(self):
        pass


class Elsewhere(Helper):
    title = "Elsewhere!"
'''
DATASET = '''"""Bolts: photographs of bolts."""

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.public import PublicDataModule


class Bolts(PublicDataModule):
    title = "Bolts"
    domain, level, licence, redistribute = "industrial", "both", "CC0", True
    url = citation = how_to_get = "https://example.org/bolts"
    category_cards = (CategoryCard("bolt", "steel bolt", "object"),)
    variants = {"all": Expected(2, 2, "V")}
'''


@pytest.fixture(autouse=True)
def said_anew():
    """Lines that are printed once per process are printed once per test."""
    registry._say.cache_clear()


def refused(room: str, name: str) -> str:
    """The one line that asking for it ends in."""
    with pytest.raises(RegistrationError) as caught:
        registry.load(room, name)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- files of our own -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("room", "folder"), [("methods", "methods"), ("datasets", "data/datasets")])
def test_every_file_is_registered_under_its_name(room, folder):
    files = {path.stem for path in (ROOT / "zsad_bench" / folder).glob("[!_]*.py")} - {"base"}
    assert set(registry.names(room)) >= files, f"files without a name in {room}"
    assert registry.names(room) == sorted(registry.names(room))
    assert not {"base", "__init__"} & set(registry.names(room))
    for entry in registry.describe(room):
        cls = registry.load(room, entry.name)
        assert (cls.title, cls.name) == (entry.title, entry.name), f"{entry.name}: listing and class disagree"
        assert entry.summary, f"{entry.name}: the file's docstring is missing"
    assert list(registry.classes(room)) == registry.names(room)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("anomaly_clip", "unknown method 'anomaly_clip'; did you mean anomalyclip"),
        ("CLIP", "unknown method 'CLIP'; did you mean clip"),
        ("base", "unknown method 'base'"),
        ("zzzz", f"unknown method 'zzzz'; known: {', '.join(registry.names('methods'))}"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name, said):
    with pytest.raises(UnknownNameError) as caught:
        registry.load("methods", name)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_room_is_named_in_the_singular():
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'epvl'; did you mean elpv"):
        registry.load("datasets", "epvl")


def test_listing_leaves_torch_out():
    code = (
        "import sys; from zsad_bench import registry as r; [r.describe(room) for room in ('methods', 'datasets')];"
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightning', 'open_clip')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"listing names imported torch, or failed: {done.stderr}"


# --- other packages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["far_off.elsewhere", "far_off.elsewhere:Elsewhere"])
@pytest.mark.parametrize("name", ["elsewhere", "other_name"])
def test_the_name_of_an_entry_point_is_the_name_everywhere(plug_in, name, value):
    broken = {"__init__.py": "import zsad_bench.methods.base  # a package may import what it likes"}
    plug_in("far_off", {**broken, "elsewhere.py": PLUG_IN}, methods={name: value})
    assert name in registry.names("methods")
    assert name not in registry.names("datasets")
    (entry,) = [entry for entry in registry.describe("methods") if entry.name == name]
    assert (entry.title, entry.summary) == ("Elsewhere!", "A method that lives elsewhere.")
    assert "far_off" not in sys.modules, "listing imported the plug-in"
    for _ in range(2):
        assert registry.load("methods", name).name == name, "rows would call it otherwise"


def test_a_dataset_is_called_as_its_entry_point_in_ids_rows_and_folders(plug_in, tmp_path, monkeypatch):
    plug_in("far_off", {"deep/more.py": DATASET, "deep/__init__.py": ""}, datasets={"bolts_2": "far_off.deep.more"})
    cls = registry.load("datasets", "bolts_2")
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    (tmp_path / "bolts_2").mkdir()
    assert cls.available() == tmp_path / "bolts_2", "its folder is looked for under another name"
    (category,) = cls(tmp_path)._category_of.values()
    assert category.dataset == cls.name == "bolts_2"


def test_a_method_is_called_as_its_entry_point_in_its_checkpoint(plug_in, mini, tmp_path):
    from zsad_bench.runner import checkpoint

    plug_in("far_off", {"other.py": (
        '"""CLIP again."""\nfrom zsad_bench.methods.clip import Clip\n\n\nclass Again(Clip):\n    title = "Again"\n'
    )}, methods={"again": "far_off.other"})  # fmt: skip
    method = registry.load("methods", "again")(mini)
    checkpoint.save(tmp_path / "one.safetensors", method, {})
    loaded, header = checkpoint.load(tmp_path / "one.safetensors", mini, "again")
    assert header.method == loaded.registry_name() == "again"
    assert registry.load("methods", "clip").name == "clip", "the class it builds on was renamed"


def test_several_classes_of_one_file_are_told_apart_by_a_colon(plug_in):
    twins = '"""Two."""\n\n\nclass A:\n    title = "A"\n    score = 1\n\n\nclass B(A):\n    title = "B"\n'
    plug_in(
        "far_off", {"twins.py": twins}, methods={"a": "far_off.twins:A", "b": "far_off.twins:B", "c": "far_off.twins"}
    )
    assert [registry.load("methods", name).title for name in "ab"] == ["A", "B"]
    titles = {entry.name: entry.title for entry in registry.describe("methods")}
    assert (titles["a"], titles["b"]) == ("A", "B"), "the listing says otherwise"
    said = refused("methods", "c")
    assert said.startswith("entry point 'c = far_off.twins' of the package far-off has 2 classes with a `title`"), said
    assert "name one of A, B behind a colon" in said


FAULTS = {
    "raises at import": ("import no_such_module_anywhere", "", "fails at import (ModuleNotFoundError: No module named"),
    "no Python": ("class :\n", "", "fails at import (SyntaxError: invalid syntax"),
    "exits": ("raise SystemExit('run me as\\na script')", "", "fails at import (SystemExit: run me as a script)"),
    "holds no method": ("x = 1", "", "has 0 classes with a `title`, expected one"),
    "lacks its class": (PLUG_IN, ":Gone", "names a class that is not there"),
    "is no class": (PLUG_IN + "\nThing = 3\n", ":Thing", "is not a method: expected a subclass of ZeroShotMethod"),
    "is a dataset": (DATASET, ":Bolts", "is not a method: expected a subclass of ZeroShotMethod"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "attribute", "why"), FAULTS.values(), ids=FAULTS)
def test_one_that_cannot_be_had_is_one_line_and_stops_nothing_else(plug_in, capsys, source, attribute, why):
    plug_in("far_off", {"odd.py": source}, methods={"odd": f"far_off.odd{attribute}"})
    assert "odd" in registry.names("methods")
    assert "odd" in [entry.name for entry in registry.describe("methods")]
    said = refused("methods", "odd")
    assert said.startswith(f"entry point 'odd = far_off.odd{attribute}' of the package far-off {why}"), said
    capsys.readouterr()
    for _ in range(3):
        assert set(registry.classes("methods")) == set(registry.names("methods")) - {"odd"}
    assert capsys.readouterr().err == f"zsad-bench: {said}\n", "it is left out without a word, or said again and again"


def test_a_module_that_is_not_there_is_listed_as_such(plug_in):
    plug_in("far_off", {}, methods={"odd": "far_off.gone"})
    (entry,) = [entry for entry in registry.describe("methods") if entry.name == "odd"]
    assert entry.summary.startswith("far_off.gone cannot be read")
    assert "fails at import (ModuleNotFoundError" in refused("methods", "odd")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("clip", "far_off.mine", "zsad_bench has a 'clip' of its own"),
        ("My-Method", "far_off.mine", "names have lower-case letters, digits and underscores"),
        ("limited", "far_off.mine", "'limited' means something else where names are typed"),
        ("mine", "zsad_bench.methods.clip", "it names a file of zsad_bench"),
    ],
)
def test_names_that_cannot_be_are_left_out_with_a_word(plug_in, capsys, name, value, why):
    before = registry.names("methods")
    plug_in("far_off", {"mine.py": PLUG_IN}, methods={name: value})
    assert registry.names("methods") == before
    said = capsys.readouterr().err
    assert said.startswith(f"zsad-bench: entry point '{name} = {value}' of the package far-off is left out: {why}"), (
        said
    )
    assert len(said.splitlines()) == 1
    if name in before:
        assert registry.load("methods", name).__module__ == "zsad_bench.methods.clip"
    else:
        assert why in refused("methods", name)


def test_of_two_packages_with_one_name_neither_is_taken(plug_in, capsys):
    plug_in("far_off", {"mine.py": PLUG_IN}, methods={"mine": "far_off.mine"})
    plug_in("further_off", {"mine.py": PLUG_IN}, methods={"mine": "further_off.mine", "own": "further_off.mine"})
    assert "mine" not in registry.names("methods")
    assert "far-off and entry point" in capsys.readouterr().err
    assert "rename or uninstall one" in refused("methods", "mine")
    assert registry.load("methods", "own").name == "own", "a third entry was left out with them"


def test_a_class_with_two_names_is_refused_where_the_second_is_asked_for(plug_in):
    plug_in("far_off", {"mine.py": PLUG_IN}, methods={"one": "far_off.mine", "two": "far_off.mine:Elsewhere"})
    assert registry.load("methods", "one").name == "one"
    assert "is the class of 'one' as well" in refused("methods", "two")
    assert registry.load("methods", "one").name == "one"


NAMES, VALUES = st.sampled_from(["a", "b", "clip", "Odd"]), st.sampled_from(["p.x", "p.y", "q.x", "zsad_bench.z"])


@given(st.lists(st.builds(PlugIn, NAMES, VALUES, st.sampled_from(["", "C"]), st.sampled_from(["p", "q"]))))
def test_each_entry_is_taken_or_told(drawn):
    found = plugins.sort(drawn, own={"clip"})
    assert plugins.sort(drawn[::-1], own={"clip"}) == found, "who is installed first decides"
    assert set(found.taken) | set(found.left_out) == {one.name for one in drawn}
    assert not set(found.taken) & set(found.left_out)
    assert len({one.value for one in found.taken.values()}) == len(found.taken), "a class has two names"
    for name, one in found.taken.items():
        assert {other.value for other in drawn if other.name == name} == {one.value}, "two packages, and one was picked"
    for name, line in found.left_out.items():
        assert "\n" not in line
        assert f"'{name} = " in line, f"the line does not name the entry point: {line}"
