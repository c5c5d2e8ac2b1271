# pytest tests/commands/test_every_method.py
"""Every method of the folder goes through `bench` as a user's run does: trained where it trains, tested, in a table."""

from __future__ import annotations

from math import isfinite

import pytest

from tests.miniature import shrink
from zsad_bench import registry
from zsad_bench.planning.configure import trains
from zsad_bench.results import rows as store
from zsad_bench.results.pictures import read_pictures

COMMON = ("--suite", "demo", "--targets", "demo_textures", "--prior", "limited", "--epochs", "1",
          "--set", "image_size=32")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("methods"))
def test_it_trains_and_has_rows(name, zsad, mini_for, monkeypatch, tmp_path):
    shrink(monkeypatch, mini_for(name))
    if registry.load("methods", name).fewest_images > 4:  # of the images of a category, which score one another
        monkeypatch.setattr("tests.miniature.SCALE", 0.1)
    said = zsad("bench", "--method", name, *COMMON, "--out", "board", "--runs", "runs")
    assert said.code == 0, said.err
    rows = store.load(tmp_path / "board" / "demo" / "rows")
    assert rows
    assert all(row.value is None or isfinite(row.value) for row in rows)
    assert {row.prior for row in rows} == {"limited" if trains(name) else "none"}
    assert any((tmp_path / "runs").glob(f"*/{name}.safetensors")) == trains(name)
    keys, folder = {row.key for row in rows}, tmp_path / "board" / "demo" / "pictures"
    pictured = {key for key in keys if read_pictures(folder, key)}
    assert pictured == (set() if name == "random" else keys), "cells without a picture"
