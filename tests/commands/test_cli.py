# pytest tests/commands/test_cli.py
"""Bad input is one line with the nearest names and an exit code; good input lists, diagnoses and regenerates."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zsad_bench import registry
from zsad_bench.errors import UnknownNameError
from zsad_bench.planning import suite

ROOT = Path(__file__).resolve().parents[2]
BENCH = ("bench", "--method", "clip", "--prior", "limited", "--suite", "demo", "--targets", "demo_textures")


def bench(**changes: str) -> list[str]:
    """A bench command that would run, with some options replaced or added."""
    options = dict(zip(BENCH[1::2], BENCH[2::2], strict=True)) | {f"--{key}": value for key, value in changes.items()}
    return ["bench", *[word for pair in options.items() for word in pair]]


# --- wrong usage: exit code 2, before anything is built ---------------------------------------------------------------


@pytest.fixture
def nothing_runs(monkeypatch) -> None:
    from zsad_bench.runner import opened

    monkeypatch.setattr(opened, "load_backbone", lambda *args: pytest.fail("weights were read before the check"))


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "command"),
        (["bnech"], "bench"),
        (["bench"], "method"),
        (["bench", "--method", "clip"], "prior"),
        (bench(method="clpi"), "unknown method 'clpi'; did you mean clip"),
        (bench(method="clip,anomaly-clip"), "unknown method 'anomaly-clip'; did you mean anomalyclip"),
        (bench(method=" , "), "--method: expected one or more names"),
        (bench(prior="limitd"), "unknown prior 'limitd'; did you mean limited"),
        (bench(prior="limited,richer"), "unknown prior 'richer'; did you mean rich"),
        (bench(suite="dmo"), "unknown suite 'dmo'; did you mean demo?"),
        (bench(targets="demo_texture"), "unknown dataset 'demo_texture'; did you mean demo_textures"),
        (bench(targets=","), "--targets: expected one or more names"),
        (bench(sed="3"), "unknown option '--sed'; did you mean --seed"),
        (bench(seed="1", seeds="3"), "unknown option '--seeds'; did you mean --seed"),
        (bench(epoch="3"), "unknown option '--epoch'; did you mean --epochs"),
        (["--debog", "doctor"], "unknown option '--debog'; did you mean --debug"),
        (bench(seed="one"), "--seed one: expected whole numbers"),
        (bench(seed="0,1.5"), "--seed 0,1.5: expected whole numbers"),
        (bench(seed="-1"), "--seed -1: expected numbers from 0"),
        (bench(epochs="many"), "many"),
        (bench(set="temprature=1"), "unknown option of clip 'temprature'; did you mean temperature?"),
        (bench(set="temperature=hot"), "clip: temperature='hot' does not fit; expected float"),
        (bench(set="temperature"), "--set temperature: expected key=value"),
        (bench(set="block=[1"), "not a YAML value"),
        (["ls"], "missing methods|datasets|priors|protocols|backbones"),
        (["ls", "method"], "unknown list 'method'; did you mean methods?"),
        (["table", "pivto"], "unknown suite 'pivto'; did you mean pivot"),
        (["table", "demos"], "unknown suite 'demos'; did you mean demo, "),
        (["data"], "make-demo"),
        (["data", "make-dmo"], "make-demo"),
        (["data", "make-demo", "--seed", "x"], "data make-demo: --seed x: expected a whole number"),
    ],
)
def test_wrong_usage_is_one_line(refused, args, said):
    assert said in refused(2, *args)


def test_an_unknown_backbone_lists_the_nearest(refused):
    line = refused(2, *bench(backbone="ViT-L-14-335-quickgelu"))
    assert "unknown backbone 'ViT-L-14-335-quickgelu'; did you mean ViT-L-14-336-quickgelu" in line
    line = refused(2, *bench(backbone="ViT-B-32", weights="laion"))
    assert "unknown weights 'laion' of ViT-B-32" in line
    assert "openai" in line, "the known tags are not listed"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "anomalyclip", "epochs": "-1"}, "anomalyclip: -1 epochs"),
        ({"set": "image_size=97"}, "multiples of 8, such as --set image_size=96"),
        ({"method": "clip,random", "checkpoint": "x.safetensors"}, "--checkpoint goes with one method"),
    ],
)
def test_numbers_that_do_not_fit_the_backbone_are_wrong_usage(refused, changes, said):
    assert said in refused(2, *bench(**changes))


# --- failures: exit code 1, naming the file ---------------------------------------------------------------------------


def test_missing_weights_name_the_file_at_once(refused, tmp_path):
    started = time.perf_counter()
    assert f"weights not found: {tmp_path}/none.pt" in refused(
        1, *bench(backbone="ViT-B-32-quickgelu", weights=f"{tmp_path}/none.pt")
    )
    (tmp_path / "half.pt").write_bytes(b"PK\x03\x04 and no more")
    assert "half.pt cannot be read" in refused(1, *bench(backbone="ViT-B-32-quickgelu", weights="half.pt"))
    line = refused(1, *bench(backbone="ViT-B-32-quickgelu"))
    assert "--weights PATH" in line, f"weights that cannot be fetched: the way out is not named: {line}"
    assert time.perf_counter() - started < 10, "three clear cases took longer than one may"


@pytest.mark.usefixtures("small")
def test_a_checkpoint_that_cannot_be_used(refused, tmp_path):
    missing = tmp_path / "none.safetensors"
    assert f"checkpoint {missing}: no such file" in refused(1, *bench(method="anomalyclip", checkpoint=str(missing)))
    half = tmp_path / "half.safetensors"
    half.write_bytes(b"\x90\x01\x00\x00\x00\x00\x00\x00{")
    assert f"checkpoint {half}: unreadable or truncated" in refused(
        1, *bench(method="anomalyclip", checkpoint=str(half))
    )


@pytest.mark.usefixtures("small")
def test_auxiliary_and_target_that_overlap(refused):
    line = refused(1, *bench(method="anomalyclip", targets="demo_textures,demo_limited"))
    assert "dataset 'demo_limited' is both auxiliary and target" in line


def test_a_data_root_that_is_no_folder(refused, monkeypatch):
    monkeypatch.setenv("ZSAD_DATA", "nowhere/at/all")
    assert "ZSAD_DATA=nowhere/at/all is not a folder" in refused(1, *bench(suite="auto"))


def test_a_table_without_rows_says_what_to_do(refused, tmp_path):
    assert "run `zsad-bench bench` first" in refused(1, "table", "demo", "--out", str(tmp_path))


def test_what_nobody_thought_of_is_one_line_too(refused, monkeypatch):
    def broken(name):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(suite, "choose", broken)
    line = refused(1, *BENCH)
    assert line == "zsad-bench: unexpected ZeroDivisionError: division by zero; --debug shows where it was raised"


# --- debugging and stopping -------------------------------------------------------------------------------------------


def test_debug_shows_where(zsad, monkeypatch):
    with pytest.raises(UnknownNameError, match="clpi"):
        zsad("--debug", *bench(prior="clpi"))
    monkeypatch.setattr(suite, "choose", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        zsad("--debug", *BENCH)


@pytest.mark.usefixtures("small")
def test_one_ctrl_c_stops(refused, monkeypatch):
    """Raised where it would be: in the middle of a training step, where Lightning would swallow it."""
    from zsad_bench.methods.anomalyclip import AnomalyClip

    def pressed(self, features, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(AnomalyClip, "losses", pressed)
    line = refused(130, *bench(method="anomalyclip"))
    assert line == "zsad-bench: stopped; rows that were complete are kept"


@pytest.mark.parametrize(
    ("code", "said", "args"),
    [
        (2, "did you mean anomalyclip", bench(method="anomolyclip")),
        pytest.param(  # it imports whatever a run needs
            1, "weights not found: none.pt", bench(backbone="ViT-B-32-quickgelu", weights="none.pt"),
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_as_a_process_of_its_own(tmp_path, code, said, args):
    """What no in-process test shows: warnings at import, and the exit code that the shell sees."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "zsad_bench.cli", *args]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, f"more than one line:\n{done.stderr}"


# --- what there is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["methods", "datasets"])
def test_ls_lists_what_is_registered(zsad, room):
    said = zsad("ls", room)
    assert said.code == 0
    lines = said.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == registry.names(room)
    for line, entry in zip(lines, registry.describe(room), strict=True):
        assert entry.title in line
        assert entry.summary[:60] in line, f"the summary of {entry.name} is missing"


def test_ls_lists_priors_and_backbones(zsad):
    listed = {line.split()[0] for line in zsad("ls", "priors").out.splitlines()[1:]}
    assert listed >= {"rich", "limited", "…:types=K", "…:shots=N"}, "a named prior or a rule is missing"
    backbones = zsad("ls", "backbones").out
    for name in ("tiny", "ViT-L-14-336-quickgelu", "local-dir:FOLDER"):
        assert any(line.startswith(name) for line in backbones.splitlines()), f"{name} is not listed"
    assert "openai" in backbones, "the pretrained tags are not listed"
    assert "RN50" not in backbones, "a ResNet cannot be used and must not be offered"


def test_doctor_names_what_auto_takes_and_changes_nothing(zsad, tmp_path, monkeypatch):
    cache = tmp_path / "cache"  # of its own: nothing is generated yet, and no other test writes there
    cache.mkdir()
    monkeypatch.setenv("ZSAD_CACHE", str(cache))
    said = zsad("doctor")
    assert said.code == 0, said.err
    _, why = suite.choose("auto")
    assert why in said.out.splitlines(), f"auto's choice is not told on a line of its own:\n{said.out}"
    for what in ("torch ", "cpu (", "ZSAD_DATA", str(cache), "ViT-L-14-336-quickgelu", *registry.names("datasets")):
        assert what in said.out, f"doctor says nothing of {what}"
    assert not list(cache.rglob("*")), "doctor generated or fetched something"


def test_make_demo_generates_every_dataset(zsad, monkeypatch):
    from zsad_bench.data.demo import suite as demo

    asked = []
    monkeypatch.setattr(demo, "ensure", lambda name, seed: asked.append((name, seed)) or Path("/there") / name)
    said = zsad("data", "make-demo", "--seed", "4")
    assert said.code == 0
    assert asked == [(name, 4) for name in demo.PARTS]
    assert all(f"/there/{name}" in said.out for name in demo.PARTS), "it does not say where they lie"
