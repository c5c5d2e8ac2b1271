# pytest tests/test_speed_scripts.py
"""The scripts that measure speed still run, on a miniature; what they measure there is not looked at."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.methods import toys as toy_methods
from zsad_bench import registry
from zsad_bench.errors import TrainingError, UsageError, ZsadError
from zsad_bench.planning.configure import build, trains

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "speed" / "methods.py"
ROWS_SCRIPT = ROOT / "benchmarks" / "speed" / "rows.py"
SMALL = {"image_size": 48}


@pytest.fixture(scope="module")
def measured() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("_methods_measured")


@pytest.fixture(scope="module")
def shown(measured) -> ModuleType:
    return importlib.import_module("_methods_shown")


def record(name: str, seconds: float, steps: dict[str, float] | None = None) -> dict:
    """What one method left, made up: the backbone took 1000 MiB, an image 250 more, a step 1500 more."""
    test = {"title": name.upper(), "stages": list(steps or {}), "image_size": 518, "build_s": 0.001, "text_s": 0.5}
    test |= {"seconds": seconds, "repeats": 3, "loaded_mib": 1000.0, "peak_mib": 1250.0}
    test |= {"backbone": "ViT", "where": "a machine, 2 threads", "torch": "2.0"}
    found = {stage: {"seconds": s, "loaded_mib": 1000.0, "peak_mib": 2500.0} for stage, s in (steps or {}).items()}
    return {"name": name, "test": test, "steps": found, "failed": {}, "others": 0.25}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


# --- what is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names("methods"))
def test_every_method_is_measured(name, measured, mini_for):
    mini = mini_for(name)
    found = measured.measure_test(name, mini, "cpu", SMALL, repeats=1)
    assert bool(found["stages"]) == trains(name), f"{name}: stages {found['stages']} would be trained"
    assert found["seconds"] > 0, f"{name}: an image in no time"
    assert found["peak_mib"] >= found["loaded_mib"] > 0, f"{name}: the peak lies below what was loaded: {found}"
    observes = {stage.name: stage.observes for stage in build(name, mini, SMALL, 0).stages()}
    for stage in found["stages"]:
        step = measured.measure_step(name, stage, mini, "cpu", SMALL)
        assert step["seconds"] > 0, f"{name}, {stage}: a step in no time"
        has_losses = not observes[stage]
        assert ("loss" in step["losses"]) == has_losses, f"{name}, {stage}: {list(step['losses'])} were logged"
        assert all(math.isfinite(v) for v in step["losses"].values()), f"{name}, {stage}: {step['losses']}"


def test_whatever_a_method_asks_of_the_interface_it_is_measured(measured, mini, plug_in):
    """Toys that adapt, encode by themselves, score whole categories, and observe."""
    plug_in("zsad_toys", {}, methods=toy_methods.ENTRY_POINTS)
    toy_methods.forget()
    try:
        for name in toy_methods.ENTRY_POINTS:
            found = measured.measure_test(name, mini, "cpu", SMALL, repeats=1)
            transductive = registry.load("methods", name).transductive
            assert found["images"] == (measured.CATEGORY if transductive else 1), f"{name}: another number of images"
            assert 0 < found["seconds"] < math.inf, f"{name}: an image in no time"
            for stage in found["stages"]:
                assert measured.measure_step(name, stage, mini, "cpu", SMALL)["seconds"] > 0, f"{name}, {stage}"
    finally:
        toy_methods.forget()


def test_one_process_measures_method_after_method(measured, monkeypatch):
    """As on a GPU: one backbone serves them all, and one that fails is named while the others are measured."""
    script = importlib.import_module("methods")
    fails = registry.load("methods", "coop")
    monkeypatch.setattr(
        fails, "losses", lambda self, features, batch: {"global": features.pooled("cls").sum() * math.nan}
    )
    monkeypatch.setattr(script, "_in_process", script._on_device)
    clip, coop, dive = script.measure_all(["clip", "coop", "dive"], "cpu", small=True, repeats=1)
    assert clip["failed"] == dive["failed"] == {}
    assert ["global nan" in reason for reason in coop["failed"].values()] == [True]
    assert dive["steps"]["prompts_and_injections"]["seconds"] > 0


def test_the_shared_pass_is_measured(measured):
    """Methods that never look, change what is encoded or ask for more are no part of it; each K has its times."""
    script = importlib.import_module("shared_pass")
    methods = script.sharing(small=True, device="cpu")
    assert {"clip", "clip_ac", "coop", "cocoop", "anomalyclip", "faprompt", "af_clip", "mrad"} <= methods.keys()
    assert not {"random", "center_prior", "dive", "winclip", "anovl"} & methods.keys()
    more = script.with_seeds(methods, len(methods) + 2, True, "cpu")
    assert list(more)[: len(methods)] == list(methods)
    assert all(name.endswith(", seed 1") for name in list(more)[len(methods) :]), f"what was added: {list(more)}"
    two = script.with_seeds(methods, len(methods) + 2, True, "cpu", ["coop"])
    assert list(two)[len(methods) :] == ["coop, seed 1", "coop, seed 2"]
    with pytest.raises(UsageError, match="unknown method that learns in this pass 'clip'"):
        script.with_seeds(methods, 12, True, "cpu", ["clip"])
    seed = list(more)[-1]
    groups = [{name: more[name] for name in group} for group in (("clip", "faprompt", "coop"), (seed,), ("af_clip",))]
    found = script.compare(groups, "cpu", repeats=2, n_images=2)
    assert sorted(found["order"][:3]) == ["clip", "coop", "faprompt"]
    assert found["order"][3:] == [seed, "af_clip"], "a second seed before a method, or the last one before it"
    assert [len(spent) for spent in found["together"]] == [2] * 5, "two turns for each K"
    assert all(one.wall > 0 for spent in found["together"] for one in spent)


def test_no_time_is_shown_where_company_changes_a_prediction(measured, monkeypatch):
    script = importlib.import_module("shared_pass")
    methods = {name: method for name, method in script.sharing(True, "cpu").items() if name in ("clip", "coop")}
    score, seen = type(methods["clip"]).score, []

    def drifting(self, features, samples):
        seen.append(1)
        found = score(self, features, samples)
        return replace(found, score=found.score + len(seen))

    monkeypatch.setattr(type(methods["clip"]), "score", drifting)
    with pytest.raises(ZsadError, match="clip predicts something else in company"):
        script.compare([methods], "cpu", repeats=1, n_images=1)


def test_methods_with_texts_of_each_image_are_measured(measured):
    script = importlib.import_module("texts")
    assert set(script.METHODS) <= set(registry.names("methods"))


def test_text_learners_see_all_auxiliary_classes(measured, mini, monkeypatch):
    """DIVE reads the class names off the training data: two images alone would make its step too cheap."""
    told = []
    monkeypatch.setattr(
        registry.load("methods", "dive"), "set_auxiliary_classes", lambda self, names: told.extend(names)
    )
    measured.measure_step("dive", "prompts_and_injections", mini, "cpu", SMALL)
    assert len(set(told)) == len(measured.CLASSES), f"the step was told of {told}"


def test_a_loss_that_is_not_finite_gives_no_time(measured, mini, monkeypatch):
    cls = registry.load("methods", "anomalyclip")
    losses = cls.losses

    def broken(self, features, batch):
        terms = losses(self, features, batch)
        return terms | {"local": terms["local"] * math.nan}

    monkeypatch.setattr(cls, "losses", broken)
    with pytest.raises(TrainingError, match="local nan"):
        measured.measure_step("anomalyclip", "prompts", mini, "cpu", SMALL)


def test_random_weights_are_the_same_every_time(measured):
    first, again = (measured.random_backbone(measured.random_of("clip"), small=True) for _ in range(2))
    assert first.id == again.id


def test_a_method_is_measured_on_a_backbone_that_offers_what_it_needs(measured):
    pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")
    for name in registry.names("methods"):
        backbone = measured.random_backbone(measured.random_of(name), small=True)
        assert registry.load("methods", name).needs <= backbone.offers, f"{name} on {backbone.name}"


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_line_compares_with_clip_and_with_the_loaded_backbone(shown):
    clip, two = shown.cells([record("clip", 4.0), record("slow", 10.0, {"one": 30.0})])
    assert clip == ["CLIP", "518", "4.00", "1.00", "0.50", "0.001", "1,250", "250", "–", "–", "–"]
    assert two == ["SLOW", "518", "10.0", "2.50", "0.50", "0.001", "1,250", "250", "30.0", "2,500", "1,500"]
    assert all(len(line) == len(shown.HEAD) for line in (clip, two)), "a cell without a head, or the other way round"
    (alone,) = shown.cells([record("slow", 10.0)])
    assert alone[3] == "–", f"without plain CLIP there is no ratio, shown was {alone[3]}"


def test_stages_and_failures_have_lines_of_their_own(shown):
    staged = record("staged", 1.0, {"one": 2.0, "two": 3.0})
    one, two = shown.cells([staged])
    assert (one[0], one[8]) == ("STAGED, one", "2.00"), f"first stage: {one}"
    assert (two[0], two[2], two[8]) == ("STAGED, two", "", "3.00"), f"second stage: {two}"
    staged["failed"] = {"two": "out of memory"}
    del staged["steps"]["two"]
    assert shown.cells([staged])[1][8] == "failed", "a step that failed is shown as something else"
    lost = {"name": "lost", "steps": {}, "failed": {"test": "out of memory"}, "others": None}
    assert shown.cells([lost])[0][:2] == ["lost", "failed"]
    assert len(shown.cells([lost])[0]) == len(shown.HEAD)


def test_the_page_keeps_what_it_did_not_write(shown, tmp_path):
    page = tmp_path / "page.md"
    shown.write_page(page, [record("clip", 4.0)], "cpu")
    page.write_text(page.read_text() + "\nA remark by hand.\n")
    shown.write_page(page, [record("clip", 0.03)], "cuda")
    shown.write_page(page, [record("clip", 5.0)], "cpu")
    text = page.read_text()
    assert "A remark by hand." in text, f"the remark is gone:\n{text}"
    assert text.count("| CLIP ") == 2, f"one table a device was expected:\n{text}"
    assert "5.00" in text, f"the new number is missing:\n{text}"
    assert "4.00" not in text, f"the old number is still there:\n{text}"
    assert "--device cuda`" in text, f"the command of the GPU's table is not given:\n{text}"
    again = page.read_text()
    shown.write_page(page, [record("clip", 5.0)], "cpu")
    assert page.read_text() == again, "writing the same numbers again changes the page"


def test_what_the_numbers_are_worth_is_told(shown, monkeypatch):
    monkeypatch.setattr(registry, "names", lambda room: ["clip", "slow"])
    quiet, loaded = record("clip", 4.0) | {"others": 0.02}, record("slow", 9.0) | {"others": 0.25}
    alone, both = shown.conditions([quiet]), shown.conditions([quiet, loaded])
    assert "up to 2%" in alone, f"the share of the others is not told: {alone}"
    assert "measure again" not in alone, f"a quiet machine is called loaded: {alone}"
    assert "Not measured: slow." in alone, f"a method is missing in silence: {alone}"
    assert "up to 25%" in both, f"the largest share counts: {both}"
    assert "measure again" in both, f"a loaded machine passes for a quiet one: {both}"
    assert "Not measured" not in both, f"nothing is missing: {both}"


def test_a_page_without_the_end_of_its_section_is_left_alone(shown, tmp_path):
    page = tmp_path / "page.md"
    shown.write_page(page, [record("clip", 4.0)], "cpu")
    damaged = page.read_text().replace("<!-- end of cpu -->", "") + "\nA remark by hand.\n"
    page.write_text(damaged)
    with pytest.raises(UsageError, match="end of cpu"):
        shown.write_page(page, [record("clip", 5.0)], "cpu")
    assert page.read_text() == damaged, "the page was changed although nobody knows where its section ends"


# --- the command line -------------------------------------------------------------------------------------------------


def test_wrong_usage_is_one_line():
    for options, said in ((("anomalyclipp",), "did you mean anomalyclip"), (("--repeats", "0"), "expected 1 or more")):
        done = run(*options)
        assert done.returncode == 2, f"{options}: exit code {done.returncode}\n{done.stderr}"
        assert said in done.stderr, f"{options}: {done.stderr}"
        assert len(done.stderr.strip().splitlines()) == 1, f"{options}: {done.stderr}"


def test_the_script_of_rows_runs_and_writes_its_table(tmp_path):
    page = tmp_path / "tables.md"
    markers = [f"<!-- {what} python benchmarks/speed/rows.py{rest} -->" for what, rest in
               (("generated by", ": do not edit"), ("end of", ""))]  # fmt: skip
    page.write_text("\n".join(["Before.", *markers, "After."]))
    command = [sys.executable, str(ROWS_SCRIPT), "--rows", "2500", "--repeats", "1", "--page", str(page)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("Before.\n"), f"what stands before the table is gone:\n{text}"
    assert text.endswith("\nAfter."), f"what stands after the table is gone:\n{text}"
    for shown in ("| zsad-bench |", "| plain |", "for 4,200 rows"):
        assert shown in text, f"{shown} is not on the page:\n{text}"
    page.write_text("No markers.")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, page.read_text()) == (2, "No markers."), "a page without markers was written to"


def test_the_script_of_onnx_files_compares_and_names_what_is_left_out(measured, capsys):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra `onnx`)")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `onnx`)")
    script = importlib.import_module("onnx_parity")
    options = ["--methods", "center_prior,random,blip", "--image-size", "48", "--threads", "1", "--repeats", "1"]
    assert script.main(options) == 0
    said = capsys.readouterr().out
    assert "| Center prior | 48 |" in said, f"no row of what can be exported:\n{said}"
    for title in ("Random", "BLIP"):
        assert f"left out: {title}" in said, f"{title} is left out in silence:\n{said}"
    for wrong, why in ((["--methods", "clipp"], "did you mean clip"), (["--random", "ViT-B"], "no architecture ViT-B")):
        assert script.main(wrong) in (1, 2), f"{wrong} is no failure"
        assert why in capsys.readouterr().err, f"{wrong}: not said what is wrong"


@pytest.mark.slow
def test_the_script_runs_processes_and_writes_a_page(tmp_path):
    page = tmp_path / "speed.md"
    done = run("coop", "clip", "--small", "--repeats", "1", "--out", str(page))
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    for title in ("CoOp", "CLIP"):
        assert title in done.stdout, f"{title} is not in the table:\n{done.stdout}"
        assert f"| {title} " in page.read_text(), f"{title} is not on the page:\n{page.read_text()}"


@pytest.mark.slow
def test_the_overhead_of_a_sweep_is_of_the_same_work(tmp_path):
    recipe = tmp_path / "mini.yaml"
    recipe.write_text(
        "suite: demo\nmethods: [clip, anomalyclip]\npriors: [limited]\ntargets: [demo_textures]\n"
        'settings: {image_size: 36}\nepochs: 1\ndata: {"*": {scale: 0.04, workers: 0}}\n'
    )
    script = ROOT / "benchmarks" / "speed" / "sweep.py"
    done = subprocess.run(
        [sys.executable, str(script), "--repeats", "1", "--recipe", str(recipe)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "60 rows" in done.stdout, f"two methods, three categories, ten metrics:\n{done.stdout}"
    assert "| CPU time |" in done.stdout
