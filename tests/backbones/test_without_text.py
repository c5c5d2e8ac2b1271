# pytest tests/backbones/test_without_text.py
"""A method without texts on a tower without texts, by the command line: rows name the weights that they are of."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.methods import toys
from zsad_bench.backbones.load import architecture
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.cli import main

NAME = "vit_small_patch14_reg4_dinov2"  # class token and four registers in front of the patches
SIZE = 56  # 4 x 4 patches: positions are resized from 37 x 37


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


@pytest.mark.slow
def test_a_method_without_texts_runs_on_a_tower_without_texts(monkeypatch, tmp_path, plug_in, files, capsys):
    plug_in("zsad_toys", {}, methods={"toy_no_text": toys.ENTRY_POINTS["toy_no_text"]})
    for path in files:
        tower = ["--backbone", NAME, "--weights", str(path), "--set", f"image_size={SIZE}"]
        code = bench(monkeypatch, tmp_path, "--method", "toy_no_text", *tower)
        assert code == 0, capsys.readouterr().err
    lines = (tmp_path / "boards" / "demo" / "rows" / "toy_no_text.jsonl").read_text().splitlines()
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
    assert not (tmp_path / "boards").exists(), "something was written before it was refused"
