# pytest tests/data/test_roots.py
"""Where data is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsad_bench.data import roots
from zsad_bench.errors import DatasetError


def test_unset_is_none(monkeypatch):
    monkeypatch.delenv("ZSAD_DATA", raising=False)
    assert roots.data_root() is None
    assert roots.find("elpv") is None


def test_a_root_that_is_no_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"ZSAD_DATA=.*nowhere is not a folder"):
        roots.find("elpv")


def test_find_takes_the_first_name_that_exists(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "a").touch()  # a file of that name is not the dataset
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path))
    assert roots.find("a", "b", "c") == (tmp_path / "b").resolve()


def test_cache_follows_the_variable_else_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path))
    assert roots.cache_root() == tmp_path.resolve()
    monkeypatch.delenv("ZSAD_CACHE")
    monkeypatch.setattr(roots.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert roots.cache_root() == tmp_path / "xdg" / "zsad_bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert roots.cache_root() == Path.home() / ".cache" / "zsad_bench"
