# pytest tests/backbones/test_load.py
"""Names, tags, files and folders: what loads, what is refused, and what the line says."""

from __future__ import annotations

import copy
import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from zsad_bench.backbones.families import open_clip as family
from zsad_bench.backbones.load import load_backbone, weights_at_hand
from zsad_bench.errors import BackboneError, UnknownNameError

RECORD = {"hf_hub": "nobody/mini/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}


@pytest.fixture
def state(mini_clip):
    return {k: v.detach().clone() for k, v in mini_clip.state_dict().items()}


@pytest.fixture(autouse=True)
def known(monkeypatch, mini_config):
    """`mini` and `mini-quickgelu` as open_clip would know them; `mini` has no tags, the other two."""
    plain = copy.deepcopy(mini_config) | {"quick_gelu": False}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "mini-quickgelu", copy.deepcopy(mini_config))
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "mini", plain)
    tags = {"openai": RECORD | {"quick_gelu": True}, "laion": dict(RECORD)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "mini-quickgelu", tags)


@pytest.fixture
def hub(monkeypatch, tmp_path, state):
    """The hub answers with a file on this machine."""
    path = tmp_path / "hub" / "open_clip_model.safetensors"
    path.parent.mkdir()
    save_file(state, path)
    monkeypatch.setattr(family, "find_weights", lambda hub, names, title: path)


def test_a_tag(hub, mini):
    for weights in ("openai", None):
        backbone = load_backbone("mini-quickgelu", weights)
        assert backbone.id == f"mini-quickgelu@{mini.weights_hash[:12]}", "the weights are not those of the file"
        assert backbone.mean == (0.1, 0.2, 0.3), "preprocessing is the checkpoint's"


def test_a_file_or_folder_with_a_name(tmp_path, state, mini):
    save_file(state, tmp_path / "w.safetensors")
    for weights in (tmp_path / "w.safetensors", str(tmp_path / "w.safetensors"), tmp_path, f"local-dir:{tmp_path}"):
        assert load_backbone("mini-quickgelu", weights).weights_hash == mini.weights_hash, f"{weights}"


def test_a_local_dir_brings_its_architecture(tmp_path, state, mini, mini_config):
    folder = tmp_path / "mine"
    folder.mkdir()
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": mini_config, "preprocess_cfg": preprocess}))
    with pytest.raises(BackboneError, match=r"mine: expected one weight file .*, found none"):
        load_backbone(f"local-dir:{folder}")
    torch.save(state, folder / "other.pth")
    save_file(state, folder / "open_clip_model.safetensors")
    backbone = load_backbone(f"local-dir:{folder}")
    assert (backbone.name, backbone.mean, backbone.std) == ("mine", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert backbone.weights_hash == mini.weights_hash
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(state, folder / "another.pt")
    with pytest.raises(BackboneError, match=r"found another\.pt, other\.pth"):
        load_backbone(f"local-dir:{folder}")
    with pytest.raises(BackboneError, match="brings its own weights"):
        load_backbone(f"local-dir:{folder}", "openai")


def test_unknown_names_and_tags(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'vit-l-14-336-quikgelu'; did you mean ViT-L-14-336"):
        load_backbone("vit-l-14-336-quikgelu")
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'zzzzzz'; see `zsad-bench ls backbones`"):
        load_backbone("zzzzzz")
    with pytest.raises(UnknownNameError, match=r"unknown weights 'opnai' of mini-quickgelu; .* tags: openai, laion"):
        load_backbone("mini-quickgelu", "opnai")
    with pytest.raises(BackboneError, match="mini needs --weights"):
        load_backbone("mini")
    with pytest.raises(BackboneError, match=r"weights not found: .*gone\.pt"):
        load_backbone("mini-quickgelu", tmp_path / "gone.pt")
    with pytest.raises(BackboneError, match="folder not found"):
        load_backbone(f"local-dir:{tmp_path / 'gone'}")
    with pytest.raises(BackboneError, match=r"holds no open_clip_config\.json"):
        load_backbone(f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(BackboneError, match="is not an open_clip configuration"):
        load_backbone(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "ViT-H-14-CLIPA"])
def test_architectures_that_cannot_serve_are_refused_before_a_download(name, monkeypatch):
    monkeypatch.setattr(family, "find_weights", lambda *a: pytest.fail("asked the hub for weights of no use"))
    tag = next(iter(open_clip.list_pretrained_tags_by_model(name)), "x.pt")
    with pytest.raises(BackboneError, match=f"{name} cannot be used as a backbone"):
        load_backbone(name, tag)


def test_the_wrong_activation_of_a_tag(hub):
    with pytest.raises(BackboneError, match=r"weights 'openai': trained with QuickGELU.*; use ViT-L-14-336-quickgelu"):
        load_backbone("ViT-L-14-336", "openai")
    with pytest.raises(BackboneError, match=r"'laion': trained with plain GELU, .* computes QuickGELU; use mini$"):
        load_backbone("mini-quickgelu", "laion")


def test_the_wrong_activation_of_a_file(tmp_path, state, mini_config):
    save_file(state, tmp_path / "vit_openai.safetensors")
    with pytest.raises(BackboneError, match=r"vit_openai\.safetensors, a file of OpenAI's: .*; use mini-quickgelu"):
        load_backbone("mini", tmp_path / "vit_openai.safetensors")
    mixed = {k: v if ".ln_" in k or k.startswith("ln_") else v.half() for k, v in state.items()}
    torch.save(mixed, tmp_path / "mixed.pt")  # half-precision matrices beside float32 norms
    torch.save(state | {"input_resolution": torch.tensor(32)}, tmp_path / "extras.pt")
    for name in ("mixed.pt", "extras.pt"):
        with pytest.raises(BackboneError, match=f"{name}, a file of OpenAI's"):
            load_backbone("mini", tmp_path / name)
        assert load_backbone("mini-quickgelu", tmp_path / name).name == "mini-quickgelu"
    save_file(state, tmp_path / "w.safetensors")
    assert load_backbone("mini", tmp_path / "w.safetensors").name == "mini", "nothing says that these are OpenAI's"
    with pytest.raises(BackboneError, match="every known checkpoint of ViT-L-14-336: trained with QuickGELU"):
        load_backbone("ViT-L-14-336", tmp_path / "w.safetensors")
    (tmp_path / "d").mkdir()
    save_file(state, tmp_path / "d" / "w.safetensors")
    (tmp_path / "d" / "open_clip_config.json").write_text(json.dumps({"model_cfg": mini_config}))
    with pytest.raises(BackboneError, match="the weights in d: trained with QuickGELU"):
        load_backbone("mini", tmp_path / "d")


def test_weights_that_do_not_fit_are_named(tmp_path, state):
    save_file(state | {"visual.proj": torch.zeros(64, 40)}, tmp_path / "w.safetensors")
    with pytest.raises(
        BackboneError, match=r"w\.safetensors does not fit mini: visual\.proj is \(64, 40\), expected \(64, 48\)"
    ):
        load_backbone("mini", tmp_path / "w.safetensors")


def test_weights_at_hand(monkeypatch, tmp_path, state):
    monkeypatch.setattr(family, "cached_weights", lambda hub, names, title: None)
    assert not weights_at_hand("mini-quickgelu", "openai")
    monkeypatch.setattr(family, "cached_weights", lambda hub, names, title: tmp_path)
    assert weights_at_hand("mini-quickgelu", None)
    assert not weights_at_hand("mini", tmp_path / "gone.pt")
    assert weights_at_hand("mini", tmp_path)
    assert weights_at_hand(f"local-dir:{tmp_path}")
    assert not weights_at_hand(f"local-dir:{tmp_path / 'gone'}")
    with pytest.raises(UnknownNameError):
        weights_at_hand("minni", "openai")
