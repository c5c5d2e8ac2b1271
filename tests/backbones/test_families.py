# pytest tests/backbones/test_families.py
"""What every family of backbones keeps to, ours and another package's; a further one is one file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.backbones import contract, miniatures
from tests.miniature import random_blip
from zsad_bench import registry
from zsad_bench.backbones import load
from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import BackboneError, RegistrationError, UnknownNameError

FAMILIES = registry.names("backbones")
OF_FAMILIES = ("open_clip", "timm")  # libraries that nothing else imports
LACKING = {name: library for name, library in miniatures.LIBRARY.items() if find_spec(library) is None}


def with_its_library(name: str):
    """The family as a parameter that skips where its library is not installed."""
    reason = f"{LACKING.get(name)} is not installed, an extra"
    return pytest.param(name, marks=pytest.mark.skipif(name in LACKING, reason=reason))


family_ = pytest.mark.parametrize("name", [with_its_library(name) for name in FAMILIES])


@cache
def backbones(family: str) -> list[Backbone]:
    return miniatures.OF_FAMILY[family]()


def test_each_family_has_a_miniature():
    assert set(miniatures.OF_FAMILY) == set(FAMILIES), "tests/backbones/miniatures.py lacks a family, or has a lost one"


@family_
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_backbones(name, check):
    for backbone in backbones(name):
        with torch.set_grad_enabled("gradients" in check.__name__):
            check(backbone)


@family_
def test_names_and_architectures(name, tmp_path):
    family = registry.load("backbones", name)
    assert family.title.strip()
    names = family.names()
    assert names
    assert all(family.knows(each) for each in names)
    assert not family.knows("vit_of_nobody")
    assert family.example in names
    assert load.family_of(family.example) is family
    listing = family.listing()
    assert listing
    assert family.example in listing
    assert all(isinstance(said, str) and said for said in listing.values())
    empty = load.architecture(family.example)
    assert (empty.name, empty.id, empty.weights_hash) == (family.example, family.example, "")
    assert empty.device == torch.device("cpu"), "where its token ids are"
    assert empty.vision.n_blocks > 0
    assert empty.nearest_size(518) % empty.vision.patch_size == 0
    if family.vocabulary_with_weights:
        with pytest.raises(BackboneError, match=f"^{family.example} reads no text without its vocabulary, "):
            empty.text_tower.tokenize(["a nut"])
    elif "text" in empty.offers:
        assert empty.text_tower.tokenize(["a nut"]).device == torch.device("cpu")
    assert not load.weights_at_hand(family.example, tmp_path / "gone.safetensors")
    with pytest.raises(BackboneError, match=r"gone\.safetensors|config\.json"):
        load.load_backbone(family.example, tmp_path / "gone.safetensors")


@family_
def test_a_file_of_another_kind_is_refused_in_one_line(name, tmp_path):
    family = registry.load("backbones", name)
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "cnn.pth")
    with pytest.raises(BackboneError) as caught:
        load.load_backbone(family.example, tmp_path / "cnn.pth")
    assert "\n" not in str(caught.value)


def test_weights_of_one_family_given_to_another(tmp_path, mini_clip):
    torch.save({f"module.{k}": v for k, v in miniatures.random_timm().state_dict().items()}, tmp_path / "dino.pth")
    with pytest.raises(
        BackboneError,
        match=r"^dino\.pth holds weights of DINOv2 \(timm\), but ViT-L-14 is CLIP \(open_clip\); give it with a "
        r"--backbone of theirs, such as vit_large_patch14_dinov2$",
    ):
        load.load_backbone("ViT-L-14", tmp_path / "dino.pth")
    torch.save(mini_clip.state_dict(), tmp_path / "clip.pt")
    with pytest.raises(
        BackboneError,
        match=r"^clip\.pt holds weights of CLIP \(open_clip\), but vit_small_patch14_dinov2 is DINOv2 \(timm\); give "
        r"it with a --backbone of theirs, such as ViT-L-14-336-quickgelu$",
    ):
        load.load_backbone("vit_small_patch14_dinov2", tmp_path / "clip.pt")


def test_weights_that_two_families_could_have(tmp_path):
    """A CLIP of transformers has BLIP's names in one of its towers, and is neither of theirs."""
    pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")
    torch.save(random_blip().state_dict(), tmp_path / "blip.pt")
    with pytest.raises(BackboneError, match=r"^blip\.pt holds weights of BLIP \(transformers\), but ViT-L-14 is CLIP"):
        load.load_backbone("ViT-L-14", tmp_path / "blip.pt")
    torch.save({"vision_model.embeddings.class_embedding": torch.zeros(2)}, tmp_path / "hf.pt")
    for name in ("ViT-L-14", "blip-itm-base-coco"):
        with pytest.raises(BackboneError, match=r"^hf\.pt: its keys are those of a model of the transformers"):
            load.load_backbone(name, tmp_path / "hf.pt")


def test_only_families_import_what_they_are_made_of():
    package = Path(__file__).parents[2] / "zsad_bench"
    found = []
    for path in package.rglob("*.py"):
        if path.parent.name == "families":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name}: {name}" for name in names if name.partition(".")[0] in OF_FAMILIES]
            inside = [name for name in names if name.startswith("zsad_bench.backbones.families")]
            found += [f"{path.name}: {name}" for name in inside]
    assert not found, f"a family is known outside of its file: {found}"


# --- another package's ------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## A family of backbones\n")[1].split("\n## ")[0]
PLUG_IN = re.search(r"`zsad_bench/backbones/families/averages\.py`:\n\n```python\n(.*?)```", SECTION, re.DOTALL)[1]


@pytest.fixture
def averages(plug_in):
    return plug_in("other_towers", {"averages.py": PLUG_IN}, backbones={"averages": "other_towers.averages"})


def test_a_further_family_is_one_file(averages, tmp_path):
    assert "averages" in registry.names("backbones")
    backbone = load.load_backbone("averages-3")
    for check in contract.CHECKS:
        with torch.set_grad_enabled("gradients" in check.__name__):
            check(backbone)
    assert load.listing()["averages-3"] == "Averages"
    assert load.architecture("averages-3").vision.n_blocks == 3
    assert load.weights_at_hand("averages-3")
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'averages-4'; did you mean averages-3"):
        load.load_backbone("averages-4")
    torch.save({k: v + 1 for k, v in backbone.model.state_dict().items()}, tmp_path / "w.pt")
    assert load.load_backbone("averages-3", tmp_path / "w.pt").weights_hash != backbone.weights_hash
    with pytest.raises(BackboneError, match=r"w\.pt holds weights of Averages, but ViT-L-14 is CLIP"):
        load.load_backbone("ViT-L-14", tmp_path / "w.pt")


def test_the_style_of_the_example_is_ours(tmp_path):
    (tmp_path / "averages.py").write_text(PLUG_IN, encoding="utf-8")
    config = ["--config", str(Path(__file__).parents[2] / "pyproject.toml")]
    for words in (["check", "-q"], ["format", "-q", "--check", "--diff"]):
        command = [sys.executable, "-m", "ruff", *words, *config, str(tmp_path / "averages.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_two_families_of_one_name_are_both_named(plug_in):
    taken = PLUG_IN.replace('["averages-3"]', '["averages-3", "tiny"]')
    plug_in("rude_towers", {"averages.py": taken}, backbones={"rude": "rude_towers.averages"})
    with pytest.raises(RegistrationError, match="backbone 'tiny' is a name of rude and of tiny; uninstall one of them"):
        load.load_backbone("tiny")


def test_a_family_that_does_not_import_stops_no_other(plug_in, capsys):
    plug_in("broken_towers", {"broken.py": "import nothing_of_this_name"}, backbones={"broken": "broken_towers.broken"})
    registry._say.cache_clear()
    assert load.load_backbone("tiny").name == "tiny"
    said = capsys.readouterr().err
    assert "entry point 'broken = broken_towers.broken' of the package broken-towers fails at import" in said
