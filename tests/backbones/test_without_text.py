# pytest tests/backbones/test_without_text.py
"""A method without texts on a tower without texts, by the command line: rows name the weights that they are of."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from zsad_bench.backbones.load import architecture
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.cli import main

NAME = "vit_small_patch14_dinov2"
SIZE = 56  # 4 x 4 patches: positions are resized from 37 x 37

METHOD = '''"""How unlike the rest of its image a patch is: needs a visual tower and nothing else."""

from dataclasses import dataclass

import torch.nn.functional as F

from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.types import Activation, PosInterp, Prediction, Tap


@dataclass(frozen=True)
class UnlikeConfig:
    image_size: int = 56
    pos_interp: PosInterp = "timm"
    activation: Activation = "own"


class Unlike(ZeroShotMethod):
    title = "Unlike"
    Config = UnlikeConfig

    def visual_requests(self):
        return frozenset({Tap(self.backbone.vision.n_blocks)}), frozenset({"cls", "mean"})

    def score(self, features, samples):
        patches = F.normalize(features.patches(Tap(self.backbone.vision.n_blocks)), dim=-1)
        rows, columns = features.grid
        assert patches.shape[1] == rows * columns, "rows that are no patches count as patches"
        unlike = 1 - (patches @ F.normalize(features.pooled("mean"), dim=-1)[..., None])[..., 0]
        maps = F.interpolate(unlike.unflatten(1, features.grid)[:, None], features.image_size)[:, 0]
        return Prediction(unlike.amax(1), maps)
'''


def random_state(seed: int) -> dict[str, torch.Tensor]:
    """Values of the right names and shapes, small enough that twelve blocks stay finite."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: value.shape for name, value in architecture(NAME).model.state_dict().items()}
    return {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two weight files and the hashes of what is in them."""
    folder = tmp_path_factory.mktemp("weights")
    states = {seed: random_state(seed) for seed in (0, 1)}
    for seed, state in states.items():
        save_file(state, folder / f"{seed}.safetensors")
    return {folder / f"{seed}.safetensors": hash_weights(state) for seed, state in states.items()}


def bench(monkeypatch, tmp_path, *args: str) -> int:
    options = ["--prior", "none", "--suite", "demo", "--targets", "demo_textures", "--data", "scale=0.05"]
    folders = ["--out", str(tmp_path / "boards"), "--runs", str(tmp_path / "runs"), "--track", "off"]
    monkeypatch.setattr(sys, "argv", ["zsad-bench", "bench", *options, *folders, *args])
    monkeypatch.setenv("NO_COLOR", "1")
    return main()


def test_a_method_without_texts_runs_on_a_tower_without_texts(monkeypatch, tmp_path, plug_in, files, capsys):
    plug_in("unlike_package", {"unlike.py": METHOD}, methods={"unlike": "unlike_package.unlike"})
    for path in files:
        settings = ["--set", f"image_size={SIZE}"]
        code = bench(monkeypatch, tmp_path, "--method", "unlike", "--backbone", NAME, "--weights", str(path), *settings)
        assert code == 0, capsys.readouterr().err
    lines = (tmp_path / "boards" / "demo" / "rows" / "unlike.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["backbone"] for row in rows} == {NAME}
    assert {row["weights_hash"] for row in rows} == set(files.values()), "rows do not name the weights they are of"
    assert {row["image_size"] for row in rows} == {SIZE}
    assert any(row["metric"] == "pixel_auroc" and row["value"] is not None for row in rows)


def test_a_method_that_reads_texts_is_refused_there_in_one_line(monkeypatch, tmp_path, files, capsys):
    path = next(iter(files))
    settings = ["--set", f"image_size={SIZE}"]
    code = bench(monkeypatch, tmp_path, "--method", "clip", "--backbone", NAME, "--weights", str(path), *settings)
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 1
    assert len(lines) == 1, lines
    assert "text tower" in lines[0]
    assert NAME in lines[0]
