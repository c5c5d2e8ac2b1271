# pytest tests/data/test_locations.py
"""Where data is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import miniatures
from zsad_bench import registry
from zsad_bench.data import catalog, locations
from zsad_bench.errors import DatasetError


def test_unset_is_none(monkeypatch):
    monkeypatch.delenv("ZSAD_DATA", raising=False)
    assert locations.data_root() is None
    assert locations.find("elpv") is None


def test_a_root_that_is_no_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"ZSAD_DATA=.*nowhere is not a folder"):
        locations.find("elpv")


def test_find_takes_the_first_name_that_exists(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "a").touch()  # a file of that name is not the dataset
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert locations.find("a", "b", "c") == (tmp_path / "b").resolve()


USUAL = {
    "mvtec": ("MVTecAD", "MVTec-AD", "mvtec_ad", "MVTec AD", "mvtec_anomaly_detection", "mvtec"),
    "clinicdb": ("CVC-ClinicDB", "cvc_clinicdb", "clinicdb", "ClinicDB"),
    "headct": ("Head_CT", "head-ct", "HeadCT"),
    "elpv": ("ELPV", "elpv-dataset"),
    "visa": ("VisA", "VISA", "VisA_20220922"),
    "dtd": ("DTD-Synthetic", "dtd_synthetic"),
    "kvasir": ("Kvasir-SEG", "kvasir_seg", "KVASIR"),
    "sdd": ("KolektorSDD", "kolektor_sdd"),
}


@pytest.mark.parametrize(("name", "folder"), [(name, folder) for name, of in USUAL.items() for folder in of])
def test_usual_names_of_folders_are_found(name, folder, tmp_path, monkeypatch):
    (tmp_path / folder).mkdir()
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert registry.load("datasets", name).available() == tmp_path / folder
    assert catalog.packed(registry.load("datasets", name)) == []


@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=12), st.sampled_from("_- .,"))
def test_names_are_compared_by_letters_and_digits(name, mark):
    spelt = mark.join(name)
    assert locations.bare(spelt.upper()) == locations.bare(spelt.lower()) == locations.bare(name)
    assert locations.bare(name + "1") != locations.bare(name + "2")


def test_no_two_datasets_claim_one_folder_and_none_claims_what_anything_may_be_called():
    claimed: dict[str, str] = {}
    for cls in catalog.real():
        for name in {locations.bare(each) for each in (*cls.root_names, cls.name, cls.title)}:
            assert claimed.setdefault(name, cls.name) == cls.name, f"{cls.name} and {claimed[name]} both claim {name}"
    anything = "archive data dataset datasets images image imgs test train raw download downloads input output files"
    assert not claimed.keys() & set(anything.split())


def test_of_several_folders_one_is_taken_and_the_others_are_said(tmp_path, monkeypatch):
    module = miniatures.load("colondb")
    for folder in ("colondb", "CVC-ColonDB", "cvc_colondb"):
        module.write(tmp_path / folder, module.LAYOUTS[0])
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    data = registry.load("datasets", "colondb")()
    assert data.root.relative_to(tmp_path).parts[0] == "CVC-ColonDB", "the exact name that comes first"
    (note,) = [note for note in data.notes if "there is also" in note]
    assert str(tmp_path / "cvc_colondb") in note
    assert str(tmp_path / "colondb") in note
    assert "--data colondb.root=" in note
    given = registry.load("datasets", "colondb")(tmp_path / "colondb")
    assert given.samples()
    assert not [note for note in given.notes if "there is also" in note], "it was said which"


def test_a_packaged_copy_yields_without_a_word(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    elpv = registry.load("datasets", "elpv")
    monkeypatch.setattr(elpv, "packaged", classmethod(lambda cls: tmp_path / "packaged"))
    assert elpv.available() == tmp_path / "packaged"
    (tmp_path / "Elpv").mkdir()
    module = elpv()
    assert module.locate() == tmp_path / "Elpv"
    assert module.notes == []


def test_cache_follows_the_variable_else_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    assert locations.cache_root() == tmp_path.resolve()
    monkeypatch.delenv("ZSAD_CACHE")
    monkeypatch.setattr(locations.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert locations.cache_root() == tmp_path / "xdg" / "zsad_bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert locations.cache_root() == Path.home() / ".cache" / "zsad_bench"
