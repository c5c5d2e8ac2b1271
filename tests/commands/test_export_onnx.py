# pytest tests/commands/test_export_onnx.py
"""`export onnx` as a user meets it: what it prints, and one line for each thing that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zsad_bench import registry
from zsad_bench.backbones.load import load_backbone
from zsad_bench.planning.configure import build
from zsad_bench.planning.suite import DEMO
from zsad_bench.runner import checkpoint

TINY = ("--backbone", "tiny", "--out", "it.onnx")


@pytest.fixture(autouse=True)
def onnx_installed() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.mark.slow
def test_a_graph_of_a_training_free_method(zsad):
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    said = zsad("export", "onnx", "--method", "clip", "--name", "metal_nut", *TINY)
    assert (said.code, said.err) == (0, ""), said.err
    warning, first, second, third, fourth = said.out.splitlines()
    assert "has never seen a photograph" in warning
    assert first.startswith("it.onnx: CLIP on tiny@")
    assert "96 x 96 px" in first
    assert second == "its texts are those of 'metal nut' (object, industrial)"
    assert "against torch: scores differ by at most" in third
    assert fourth == "weights under Apache-2.0"
    assert OnnxScorer("it.onnx").category.prompt_name == "metal nut"
    assert [path.name for path in Path().iterdir()] == ["it.onnx"]


@pytest.mark.slow
def test_a_graph_of_a_checkpoint(zsad, refused):
    method = build("anomalyclip", load_backbone("tiny"), DEMO.overrides_for("anomalyclip"), 0)
    training = {"prior": "rich", "auxiliary": ["demo_rich"], "seed": 0}
    checkpoint.save(Path("learned.safetensors"), method, training)
    said = zsad("export-onnx", "--method", "anomalyclip", "--checkpoint", "learned.safetensors", "--out", "it.onnx")
    assert (said.code, said.err) == (0, ""), said.err
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    assert OnnxScorer("it.onnx").header.training == training
    line = refused(1, "export", "onnx", "--method", "clip", "--checkpoint", "learned.safetensors", "--out", "it.onnx")
    assert "is of anomalyclip, asked for clip" in line


def test_a_method_that_scores_sets_is_refused_before_it_is_loaded(refused):
    line = refused(2, "export", "onnx", "--method", "musc", "--backbone", "no such", "--out", "it.onnx")
    assert line.endswith("MuSc cannot be exported as one graph: it scores all images of a category together")


@pytest.mark.parametrize("name", ["filo", "cocoop", "random", "anovl"])
def test_what_is_no_graph_of_an_image_is_one_line(name, refused):
    title = registry.load("methods", name).title
    line = refused(2, "export", "onnx", "--method", name, *TINY)
    assert line.startswith(f"zsad-bench: {title} cannot be exported as one graph: it ")
    assert not list(Path().iterdir())


def test_wrong_requests_are_one_line(refused):
    assert "unknown method 'dove'; did you mean dive?" in refused(2, "export", "onnx", "--method", "dove", *TINY)
    line = refused(2, "export", "onnx", "--method", "coop", *TINY)  # DIVE has a checkpoint in the package
    assert "CoOp learns from auxiliary data and has learned nothing yet" in line
    line = refused(2, "export", "onnx", "--method", "clip", "--out", "it.pt")
    assert "--out it.pt: expected a name that ends in .onnx" in line
    line = refused(2, "export", "onnx", "--method", "clip", "--name", "17", *TINY)
    assert "not a name to prompt with" in line
    line = refused(2, "export", "onnx", "--method", "dive", "--checkpoint", "a.safetensors", "--set", "lr=1", *TINY)
    assert "brings its configuration" in line
    assert "no such file" in refused(1, "export", "onnx", "--method", "dive", "--checkpoint", "a.safetensors", *TINY)


def test_missing_packages_come_before_all_else(refused, monkeypatch):
    from zsad_bench.backbones import load

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr(load, "load_backbone", lambda *args: pytest.fail("a backbone was loaded"))
    line = refused(1, "export", "onnx", "--method", "clip", *TINY)
    assert line == "zsad-bench: export onnx needs onnxscript, not installed here; pip install 'zsad-bench[onnx]'"


def test_the_old_name_of_a_command_in_a_group_still_works(zsad):
    assert zsad("export-checkpoint", "--help").out == zsad("export", "checkpoint", "--help").out
    assert "usage: zsad-bench export checkpoint " in zsad("export_checkpoint", "--help").out
