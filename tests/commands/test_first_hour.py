# pytest tests/commands/test_first_hour.py
"""What a researcher does first: some categories, a partial copy, own images to learn from, and one broken dataset."""

from __future__ import annotations

import shutil

import pytest

from tests.data import miniatures
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.results import rows as store

pytestmark = pytest.mark.usefixtures("small")
BENCH = ("bench", "--suite", "paper", "--prior", "rich", "--set", "image_size=32")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """ZSAD_DATA with miniatures of MVTec AD and ColonDB, which hold fewer images than are published."""
    for name, folder in (("mvtec", "MVTec-AD"), ("colondb", "CVC-ColonDB")):
        miniatures.load(name).write(tmp_path / "data" / folder, miniatures.load(name).LAYOUTS[0])
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ELPV", "0")
    return tmp_path / "data"


@pytest.fixture
def lots(tmp_path):
    """Two folders of one base name with masks."""
    for lot in "AB":
        for i in range(3):
            write_image(tmp_path / f"lot{lot}/parts/good/{i}.png")
            write_image(tmp_path / f"lot{lot}/parts/bad/{i}.png")
            write_mask(tmp_path / f"lot{lot}/parts/masks/bad/{i}.png")
    return [f"folder:{tmp_path}/lot{lot}/parts" for lot in "AB"]


def rows(tmp_path, suite="paper"):
    return store.load(tmp_path / "leaderboards" / suite / "rows")


def test_some_categories_of_a_partial_copy(zsad, refused, tmp_path, data):
    shutil.rmtree(data / "MVTec-AD/zipper")
    asked = (*BENCH, "--method", "center_prior", "--targets", "mvtec:transistor,mvtec:pill")
    line = refused(1, *asked)
    assert "has no test images of zipper; the copy is partial" in line
    assert "--partial" in line
    said = zsad(*asked, "--partial")
    assert said.code == 0, said.err
    assert "partial: mvtec is used without zipper" in said.out
    found = rows(tmp_path)
    assert {row.category for row in found} == {"transistor", "pill"}
    there = 14 + sum(map(len, [of for name, of in _types().items() if name != "zipper"]))
    assert {row.target_partial for row in found} == {f"{there} of 1725"}
    assert "unknown category of mvtec 'pil'; did you mean pill" in refused(2, *asked[:-1], "mvtec:pil")


def _types():
    from zsad_bench.data.datasets.mvtec import Mvtec

    return Mvtec.anomaly_types


def test_a_broken_dataset_that_nobody_named_is_left_out(zsad, refused, tmp_path, data):
    (data / "MVTec-AD/meta.json").write_text("{")
    said = zsad(*BENCH, "--method", "center_prior")
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if line.startswith("mvtec is left out")]
    assert "meta.json" in line
    assert {row.target for row in rows(tmp_path)} == {"colondb"}
    assert {row.target_partial for row in rows(tmp_path)} == {"4 of 380"}
    assert "meta.json" in refused(1, *BENCH, "--method", "center_prior", "--targets", "mvtec,colondb")
    shutil.rmtree(data / "CVC-ColonDB")
    assert "none of its datasets can be read" in refused(2, *BENCH, "--method", "center_prior")


def test_a_recipe_takes_categories_and_partial_copies(zsad, refused, tmp_path, data):
    shutil.rmtree(data / "MVTec-AD/zipper")
    recipe = "suite: paper\nmethods: [center_prior]\npriors: [limited]\nsettings: {image_size: 32}\n"
    (tmp_path / "mine.yaml").write_text(recipe + "targets: [mvtec:pill, mvtec:screw]\npartial: true\n")
    said = zsad("sweep", "mine.yaml", "--dry-run")
    assert said.code == 0, said.err
    assert "waiting: mvtec:pill+screw" in said.out
    assert "cannot run" not in said.out
    (tmp_path / "whole.yaml").write_text(recipe + "targets: [mvtec:pill]\n")
    assert "in a recipe: partial: true" in zsad("sweep", "whole.yaml", "--dry-run").out
    (tmp_path / "wrong.yaml").write_text(recipe + "targets:\n  - mvtec:wood\n  - mvtec:pil\n")
    assert "wrong.yaml:7: unknown category of mvtec 'pil'; did you mean pill" in refused(2, "sweep", "wrong.yaml")
    (tmp_path / "odd.yaml").write_text(recipe + "partial: some\n")
    assert "odd.yaml:5: partial: 'some'; expected true or false" in refused(2, "sweep", "odd.yaml")
    (tmp_path / "bare.yaml").write_text(recipe.replace("center_prior", "faprompt").replace("limited", "elpv"))
    line = refused(2, "sweep", "bare.yaml")
    assert "bare.yaml:2: faprompt learns from masks, and auxiliary dataset elpv has none" in line


@pytest.mark.slow
def test_own_images_as_prior_and_as_targets_of_one_base_name(zsad, refused, tmp_path, lots):
    one, other = lots
    learn = ("bench", "--suite", "demo", "--method", "anomalyclip", "--epochs", "1", "--set", "image_size=32")
    said = zsad(*learn, "--prior", f"{one}:shots=2", "--targets", other)
    assert said.code == 0, said.err
    found = rows(tmp_path, "demo")
    assert {(r.target, r.prior, r.auxiliary) for r in found} == {
        ("folder:lotB/parts", "folder:lotA/parts:shots=2", "folder:lotA/parts")
    }
    assert "folder:lotA/parts" in refused(1, *learn, "--prior", one, "--targets", one)
    clip = ("bench", "--suite", "demo", "--method", "center_prior", "--prior", "none", "--set", "image_size=32")
    assert zsad(*clip, "--targets", f"{one},{other}").code == 0
    assert {row.target for row in rows(tmp_path, "demo")} == {"folder:lotA/parts", "folder:lotB/parts"}
    assert zsad("rows", "verify", "leaderboards/demo").code == 0


def test_a_prior_without_masks_is_told_before_anything_runs(refused, tmp_path, lots):
    shutil.rmtree(tmp_path / "lotA/parts/masks")
    learn = ("bench", "--suite", "demo", "--targets", "demo_textures", "--method", "center_prior,dive,coop")
    for prior in ("limited,elpv:shots=20", lots[0]):
        line = refused(2, *learn, "--prior", prior)
        assert "dive learns from masks, and auxiliary dataset " in line
        assert "a method that learns from image labels: cocoop, coop" in line
    assert not (tmp_path / "leaderboards").exists(), "something was computed before"


def test_unreadable_auxiliary_images_are_named(zsad, tmp_path, lots):
    bad = tmp_path / "lotA/parts/bad/1.png"
    bad.write_bytes(bad.read_bytes()[:50])
    said = zsad("bench", "--suite", "demo", "--method", "anomalyclip", "--epochs", "1", "--set", "image_size=32",
                "--prior", lots[0], "--targets", lots[1], "--on-bad-image", "skip")  # fmt: skip
    assert said.code == 0, said.err
    assert f"left out: cannot read image {bad}" in said.out
    assert {row.auxiliary_partial for row in rows(tmp_path, "demo")} == {"folder:lotA/parts 5 of 6"}


def test_a_contact_sheet_of_own_images_and_of_some_categories(zsad, refused, tmp_path, lots, data):
    said = zsad("data", "samples", lots[0], "--out", "own.png")
    assert said.code == 0, said.err
    assert (tmp_path / "own.png").is_file()
    assert "licence" not in said.out, "whose else should they be"
    assert "give the path once" in refused(2, "data", "samples", lots[0], "--root", str(tmp_path))
    assert zsad("data", "samples", "mvtec:pill", "--out", "some.png").code == 0
    assert "data check takes whole datasets; leave out :pill" in refused(2, "data", "check", "mvtec:pill")
    assert zsad("data", "samples", "mvtec", "--out", "all.png").code == 0
    assert (tmp_path / "some.png").stat().st_size < (tmp_path / "all.png").stat().st_size
    shutil.rmtree(data / "MVTec-AD/zipper")
    assert "--partial" in refused(1, "data", "samples", "mvtec", "--out", "rest.png")
    assert "used without zipper" in zsad("data", "samples", "mvtec", "--partial", "--out", "rest.png").out


def test_a_prior_of_a_partial_copy_is_shown(zsad, refused, data):
    shutil.rmtree(data / "MVTec-AD/zipper")
    card = zsad("data", "list", "mvtec").out
    assert "has no test images of zipper; the copy is partial" in card
    assert "14 normal, 66 anomalous with --partial" in card
    assert "--partial" in refused(1, "data", "prior", "mvtec:types=2")
    said = zsad("data", "prior", "mvtec:types=2", "--partial")
    assert said.code == 0, said.err
    assert "partial: mvtec is used without zipper" in said.out
    assert " of 1725" in said.out
