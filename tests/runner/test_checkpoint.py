# pytest tests/runner/test_checkpoint.py
"""A checkpoint that is not what was asked for is one clear line that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.miniature import MINI, random_clip
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.errors import CheckpointError
from zsad_bench.planning.configure import build
from zsad_bench.runner import checkpoint

TRAINING = {"prior": "limited", "prior_hash": "abc", "auxiliary": ["demo_limited"], "seed": 3, "variant": ""}


@pytest.fixture
def saved(mini, tmp_path) -> Path:
    path = tmp_path / "anomalyclip.safetensors"
    checkpoint.save(path, build("anomalyclip", mini, {"image_size": 32, "taps": (2, 4)}, seed=3), TRAINING)
    return path


def rewritten(path: Path, drop: str = "", tensors: dict | None = None, **meta: str) -> Path:
    """The same file with some metadata or tensors changed."""
    with safe_open(path, "pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys() if name != drop}  # noqa: SIM118 it is no mapping
        header = file.metadata()
    save_file({**kept, **(tensors or {})}, path, metadata={**header, **meta})
    return path


def refused(path: Path, backbone: Backbone, method: str | None = "anomalyclip") -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path, backbone, method)
    line = str(caught.value)
    assert line.startswith(f"checkpoint {path}: "), f"the file is not named: {line}"
    assert "\n" not in line, f"more than one line: {line}"
    assert caught.value.exit_code == 1
    return line


def test_header_says_what_it_is(saved, mini):
    header = checkpoint.read_header(saved)
    assert (header.method, header.version, header.backbone) == ("anomalyclip", "1", mini.id)
    assert header.training == TRAINING
    assert header.config["taps"] == [2, 4]
    loaded, again = checkpoint.load(saved, mini)  # without a name: the checkpoint's own
    assert again == header
    assert loaded.registry_name() == "anomalyclip"
    assert [path.name for path in saved.parent.iterdir()] == [saved.name], "a temporary file was left"


def test_saving_replaces_whole_or_not_at_all(saved, mini, monkeypatch):
    before = saved.read_bytes()

    def full(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(saved, build("anomalyclip", mini, {"image_size": 32}, seed=3), TRAINING)
    assert saved.read_bytes() == before, "a failed save damaged what was there"
    assert [path.name for path in saved.parent.iterdir()] == [saved.name], "half a checkpoint was left behind"


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.999])
def test_truncated(saved, mini, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    assert "unreadable or truncated" in refused(saved, mini)


def test_missing(mini, tmp_path):
    assert "no such file" in refused(tmp_path / "nothing.safetensors", mini)
    assert "no such file" in refused(tmp_path, mini), "a folder is no checkpoint"


def test_something_else_altogether(mini, tmp_path):
    (tmp_path / "notes.txt").write_text("these are not the tensors you are looking for " * 9)
    assert "unreadable" in refused(tmp_path / "notes.txt", mini)
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    assert "unreadable" in refused(tmp_path / "other.pth", mini)
    save_file({"a": torch.zeros(2)}, tmp_path / "plain.safetensors")
    assert "its format is 'unknown'" in refused(tmp_path / "plain.safetensors", mini)


def test_of_another_format(saved, mini):
    rewritten(saved, format="zsad-bench checkpoint 9")
    assert "its format is 'zsad-bench checkpoint 9', expected 'zsad-bench checkpoint 2'" in refused(saved, mini)


def test_of_another_method(saved, mini):
    line = refused(saved, mini, "clip")
    assert "is of anomalyclip, asked for clip; use --method anomalyclip" in line


def test_of_another_version(saved, mini):
    assert "version 0 of anomalyclip, this is 1; train again" in refused(rewritten(saved, version="0"), mini)


def test_of_another_backbone(saved, mini):
    other = random_clip(MINI)
    with torch.no_grad():
        other.visual.proj.add_(1e-3)
    backbone = from_model(other, "mini")
    line = refused(saved, backbone)
    assert mini.id in line, "the backbone it was trained on is not named"
    assert backbone.id in line, "the backbone at hand is not named"


def test_tensors_that_do_not_fit(saved, mini):
    assert "ctx_normal" in refused(rewritten(saved, drop="ctx_normal"), mini)


def test_tensors_that_nobody_asked_for(saved, mini):
    assert "backbone.logit_scale" in refused(
        rewritten(saved, tensors={"backbone.logit_scale": torch.zeros(())}), mini
    ), "a checkpoint must not bring weights of the backbone"


def test_tensors_of_another_shape(saved, mini):
    line = refused(rewritten(saved, tensors={"ctx_normal": torch.zeros(11, 32)}), mini)
    assert "ctx_normal is (11, 32), its configuration asks for (12, 32)" in line


def test_a_configuration_that_this_version_does_not_know(saved, mini):
    header = checkpoint.read_header(saved)
    rewritten(saved, config=json.dumps({**header.config, "warp": 9}))
    assert "warp" in refused(saved, mini)
