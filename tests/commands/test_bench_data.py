# pytest tests/commands/test_bench_data.py
"""Priors, draws, options of datasets and a user's own images, through the front door."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.data import miniatures
from tests.data.miniatures.files import write_image, write_mask
from zsad_bench.results import rows as store

pytestmark = pytest.mark.usefixtures("small")
FAST = ("--epochs", "1", "--set", "image_size=32")


def rows(tmp_path, suite="demo"):
    return store.load(tmp_path / "leaderboards" / suite / "rows")


@pytest.fixture
def widgets(tmp_path):
    """A folder of the user's own: normal and defective images with masks, names with a space and an umlaut."""
    folder = tmp_path / "my widgets"
    for i in range(3):
        write_image(folder / f"widget/test/good/ok {i}.PNG")
        write_image(folder / f"widget/test/Riß/{i}.png")
        write_mask(folder / f"widget/ground_truth/Riß/{i}_mask.png")
    return folder


def test_a_draw_is_another_cell_and_a_prior_is_averaged_over_draws(zsad, tmp_path):
    said = zsad("bench", "--suite", "demo", "--targets", "demo_medical", "--method", "anomalyclip,clip",
                "--prior", "limited:shots=4", "--draw", "0,1", *FAST)  # fmt: skip
    assert said.code == 0, said.err
    learned = [row for row in rows(tmp_path) if row.method == "anomalyclip"]
    assert {(row.prior, row.draw) for row in learned} == {("limited:shots=4", 0), ("limited:shots=4", 1)}
    assert len({row.prior_hash for row in learned}) == 2, "two draws share a hash"
    assert {row.draw for row in rows(tmp_path) if row.method == "clip"} == {0}, "a draw means nothing to plain CLIP"
    assert "2 runs" in said.out, "the table does not average the draws"


def test_a_union_of_parts(zsad, tmp_path):
    said = zsad("bench", "--suite", "demo", "--targets", "demo_medical", "--method", "anomalyclip",
                "--prior", "demo_rich:types=2:shots=2:normals=matched+demo_heldback", *FAST)  # fmt: skip
    assert said.code == 0, said.err
    (auxiliary,) = {row.auxiliary for row in rows(tmp_path)}
    assert auxiliary == "demo_rich+demo_heldback"


def test_own_images(zsad, tmp_path, widgets):
    said = zsad("bench", "--suite", "demo", "--targets", f"folder:{widgets}", "--method", "clip", "--prior", "rich",
                "--set", "image_size=32")  # fmt: skip
    assert said.code == 0, said.err
    found = rows(tmp_path)
    assert {(row.target, row.category, row.n_images, row.n_anomalous) for row in found} == {
        (f"folder:{tmp_path.name}/my widgets", "widget", 6, 3)
    }
    assert "pixel_aupro" in {row.metric for row in found}, "the masks were not used"
    assert "my widgets" in said.out
    (table,) = tmp_path.glob("leaderboards/demo/folder_*_my_widgets~*.csv")
    assert f"## {tmp_path.name}/my widgets (folder)" in (table.parent / "README.md").read_text(encoding="utf-8")


def test_masks_that_vanish_are_counted_and_said(zsad, tmp_path, widgets):
    thin = np.zeros((400, 400), np.uint8)
    thin[200, 100:300] = 255  # a scratch of one pixel, gone at 32
    for i in range(2):
        write_image(widgets / f"widget/test/Riß/{i}.png", size=(400, 400))
        Image.fromarray(thin).save(widgets / f"widget/ground_truth/Riß/{i}_mask.png")
    said = zsad("bench", "--suite", "demo", "--targets", f"folder:{widgets}", "--method", "clip,clip_ac", "--prior",
                "rich", "--set", "image_size=32")  # fmt: skip
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if "no marked pixel left" in line]
    assert line.startswith(
        f"folder:{tmp_path.name}/my widgets: 2 of 3 anomalous images have no marked pixel left at 32 px"
    )
    found = rows(tmp_path)
    assert {(row.n_vanished, row.n_anomalous) for row in found} == {(2, 3)}
    assert "empty mask" not in said.err, "a line at the end reports it, so no warning is needed before"


def test_a_bad_image_stops_the_run_or_is_counted(zsad, refused, tmp_path, widgets):
    broken = widgets / "widget/test/good/ok 1.PNG"
    broken.write_bytes(broken.read_bytes()[:60])
    bench = ("bench", "--suite", "demo", "--targets", f"folder:{widgets}", "--method", "clip", "--prior", "rich",
             "--set", "image_size=32")  # fmt: skip
    assert str(broken) in refused(1, *bench)
    said = zsad(*bench, "--on-bad-image", "skip")
    assert said.code == 0, said.err
    assert str(broken) in said.out, "what was left out is not named"
    assert {(row.n_images, row.n_skipped) for row in rows(tmp_path)} == {(5, 1)}


@pytest.mark.slow
def test_the_papers_swap_the_auxiliary_dataset_where_it_is_the_target(zsad, tmp_path, monkeypatch):
    for name in ("mvtec", "visa", "dtd"):
        module = miniatures.load(name)
        module.write(tmp_path / "data" / name, module.LAYOUTS[0])
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ELPV", "0")
    said = zsad("bench", "--suite", "paper", "--method", "anomalyclip,clip", "--prior", "rich,limited", *FAST,
                "--data", "mvtec.prompt_names=raw")  # fmt: skip
    assert said.code == 0, said.err
    learned = {(r.prior, r.target, r.auxiliary) for r in rows(tmp_path, "paper") if r.method == "anomalyclip"}
    assert learned == {
        ("rich", "mvtec", "visa"),
        ("rich", "visa", "mvtec"),
        ("rich", "dtd", "mvtec"),
        ("limited", "mvtec", "dtd"),
        ("limited", "visa", "dtd"),
    }, "each target under each prior, none on its own auxiliary data"
    plain = [r for r in rows(tmp_path, "paper") if r.method == "clip"]
    assert {r.target for r in plain} == {"mvtec", "visa", "dtd"}
    assert len(plain) == len({(r.target, r.category, r.metric) for r in plain}), "plain CLIP ran twice"
    assert {r.data_options for r in plain if r.target == "mvtec"} == {"prompt_names=raw"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--data", "mvtek.layout=raw"), "unknown dataset 'mvtek'; did you mean mvtec"),
        (("--data", "elpv.layot=raw"), "unknown option of dataset elpv 'layot'; did you mean layout"),
        (("--data", "elpv.layout=rw"), "unknown layout of elpv 'rw'; did you mean raw"),
        (("--data", "layout"), "--data layout: expected key=value"),
        (("--prior", "DATASET"), "unknown prior 'DATASET'"),
        (("--on-bad-image", "skp"), "did you mean skip"),
        (("--draw", "x"), "--draw x: expected whole numbers"),
        (("--augment", "flop"), "did you mean flip"),
        (("--targets", "folder:"), "folder: no path given"),
    ],
)
def test_wrong_options_are_one_line(refused, tmp_path, options, says):
    targets = () if "--targets" in options else ("--targets", "elpv")
    prior = () if "--prior" in options else ("--prior", "rich")
    said = refused(2, "bench", "--suite", "demo", "--method", "clip,anomalyclip", *prior, *targets, *options)
    assert says in said


@pytest.mark.slow
def test_a_root_can_be_given_and_what_is_learned_from_is_said(zsad, refused, tmp_path, monkeypatch):
    for name in ("mvtec", "dtd"):
        miniatures.load(name).write(tmp_path / "elsewhere" / name, "mvtec_style")
    monkeypatch.delenv("ZSAD_DATA", raising=False)
    bench = ("bench", "--suite", "paper", "--method", "anomalyclip", "--prior", "limited", *FAST)
    roots = [part for name in ("mvtec", "dtd") for part in ("--data", f"{name}.root={tmp_path / 'elsewhere' / name}")]
    assert zsad(*bench, "--targets", "mvtec", *roots).code == 0, "the root was not taken"
    monkeypatch.setenv("ZSAD_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ELPV", "0")
    assert "dtd is what prior limited learns from, and not tested under it" in zsad(*bench).out
    (tmp_path / "elsewhere" / "mvtec").rename(tmp_path / "gone")
    assert "prior limited learns from every target there is (dtd)" in refused(2, *bench)


def test_a_prior_that_is_its_own_target_is_refused(refused):
    said = refused(1, "bench", "--suite", "demo", "--targets", "demo_rich", "--method", "anomalyclip", "--prior",
                   "demo_rich:shots=4", *FAST)  # fmt: skip
    assert "'demo_rich' is both auxiliary and target" in said


# --- roots, priors and lists as they are typed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "data", "says"),
    [
        (
            "visa,btad",
            ("root=/x",),
            "--data root=/x: it could be for visa or btad; name the dataset, as in --data visa.root=",
        ),
        ("folder:{widgets}", ("root=/x",), "--data root=/x: each target has its own path"),
        ("folder:{widgets}", ("folder.root=/x",), "--data folder.root=/x: give the path once"),
        ("folder", ("folder.root={widgets}",), ""),
        ("folder", ("root={widgets}",), ""),
        ("folder:{widgets},elpv", ("elpv.root=/none/at: all #1",), "/none/at: all #1 is not a folder"),
    ],
)
def test_a_root_is_a_path_of_one_dataset(zsad, widgets, targets, data, says):
    given = [word for entry in data for word in ("--data", entry.format(widgets=widgets))]
    said = zsad("bench", "--suite", "demo", "--method", "center_prior", "--prior", "none", "--set", "image_size=32",
                "--targets", targets.format(widgets=widgets), *given)  # fmt: skip
    assert (said.code == 0) == (not says), said.err
    assert says in said.err, said.err
    assert "TypeError" not in said.err


def test_prior_none_is_for_methods_that_do_not_learn(zsad, refused, tmp_path):
    bench = ("bench", "--suite", "demo", "--targets", "demo_textures", "--set", "image_size=32", "--prior", "none")
    assert zsad(*bench, "--method", "clip,center_prior").code == 0
    assert {row.prior for row in rows(tmp_path)} == {"none"}
    line = refused(2, *bench, "--method", "clip,dive,anomalyclip")
    assert "prior none is for methods that do not learn; name a prior for dive, anomalyclip" in line
    assert "--prior limited" in line
    assert "none" in zsad("ls", "priors").out
    assert "keeps nothing" in refused(2, "data", "prior", "none")


@pytest.mark.parametrize(
    ("method", "typed", "says"),
    [
        ("dive", "inject_blocks=2,4", "a list is written inject_blocks=[2,4]"),
        ("anomalyclip", "taps=6", "a list is written taps=[6]"),
        ("winclip", "scales=2, 3", "a list is written scales=[2, 3]"),
        ("clip_ac", "templates=a {} b", "a list is written templates=[a {} b]"),
        ("dive", "lr=2,4", "lr='2,4' does not fit; expected float"),
    ],
)
def test_a_list_is_shown_as_it_is_written(refused, method, typed, says):
    line = refused(2, "bench", "--suite", "demo", "--targets", "demo_textures", "--method", method, "--prior", "rich",
                   "--set", typed)  # fmt: skip
    assert line.endswith(says), line
