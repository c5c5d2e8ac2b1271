# pytest tests/backbones/test_dinov2.py
"""DINOv2's tower against timm's own forward pass, positions against the official formula, weights in two forms."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from timm.models import create_model
from timm.models.vision_transformer import checkpoint_filter_fn
from torch.nn import functional as F

from tests.backbones.miniatures import random_timm
from tests.float32 import assert_close
from zsad_bench.backbones.families import dinov2
from zsad_bench.backbones.families.dinov2 import from_model
from zsad_bench.backbones.load import architecture, load_backbone, weights_at_hand
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError, UnknownNameError
from zsad_bench.types import EncoderSpec, Tap

SMALL = "vit_small_patch14_dinov2"
registers = pytest.mark.parametrize("registers", [0, 4])
sizes = pytest.mark.parametrize("size", [(84, 84), (42, 42), (112, 112), (42, 70)])


def drawn(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


# --- the pass ---------------------------------------------------------------------------------------------------------


@registers
@sizes
def test_taps_are_timms_intermediates(registers, size):
    model = random_timm(registers)
    backbone = from_model(copy.deepcopy(model), "mini")
    images = drawn(*size)
    taps = [Tap(block, raw=raw) for block in (1, 2, 4) for raw in (True, False)]
    spec = EncoderSpec(backbone.forward_spec(min(size), "timm"), frozenset(taps), frozenset({"cls", "cls_raw", "mean"}))
    with torch.no_grad():
        found = backbone.encode_image(images, spec)
        for raw in (True, False):
            expected = model.forward_intermediates(
                images, indices=[0, 1, 3], return_prefix_tokens=True, norm=not raw, output_fmt="NLC",
                intermediates_only=True,
            )  # fmt: skip
            for block, (patches, prefix) in zip((1, 2, 4), expected, strict=True):
                assert_close(found.patches(Tap(block, raw=raw)), patches, f"patches of block {block}")
                assert_close(found.prefix(Tap(block, raw=raw)), prefix, f"class token and registers of block {block}")
        final = model.forward_features(images)
    assert found.n_prefix == 1 + registers
    assert found.grid == (size[0] // 14, size[1] // 14)
    assert_close(found.pooled("cls"), final[:, 0], "the class token behind the final norm")
    assert_close(found.pooled("mean"), final[:, 1 + registers :].mean(1))
    assert_close(found.pooled("cls_raw"), found.rows[Tap(4, raw=True)][:, 0])


def official_positions(table: torch.Tensor, native: int, rows: int, columns: int) -> torch.Tensor:
    """The released code's resize of models without registers, as its documentation of arguments says it."""
    patches = table[1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
    factors = ((rows + 0.1) / native, (columns + 0.1) / native)
    patches = F.interpolate(patches, mode="bicubic", antialias=False, scale_factor=factors)
    assert patches.shape[-2:] == (rows, columns)
    return torch.cat([table[:1], patches.permute(0, 2, 3, 1).reshape(rows * columns, -1)])


@sizes
def test_positions_of_the_official_code(size):
    model = random_timm()
    tower = from_model(model, "mini").vision
    images, (rows, columns) = drawn(*size), (size[0] // 14, size[1] // 14)
    official, timms = tower.embed(images, "official"), tower.embed(images, "timm")
    if size == (84, 84):
        assert torch.equal(official, timms), "at the native size nothing is resized"
        return
    with torch.no_grad():
        patches = model.patch_embed.proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.cls_token.expand(2, -1, -1), patches], 1)
    assert_close(official, tokens + official_positions(model.pos_embed[0], 6, rows, columns))
    assert (official - timms).abs().max() > 1e-3, "the two codes differ away from the native size"


@sizes
def test_with_registers_both_codes_resize_alike(size):
    tower = from_model(random_timm(4), "mini").vision
    images = drawn(*size)
    timms = tower.embed(images, "timm")
    assert torch.equal(tower.embed(images, "official"), timms)
    assert torch.equal(tower.embed(images, "bicubic_antialias"), timms), "another name for it"


@pytest.mark.parametrize(
    ("name", "width", "blocks", "heads", "prefix"),
    [
        ("vit_small_patch14_dinov2", 384, 12, 6, 1),
        ("vit_base_patch14_dinov2", 768, 12, 12, 1),
        ("vit_large_patch14_reg4_dinov2", 1024, 24, 16, 5),
        ("vit_giant_patch14_dinov2", 1536, 40, 24, 1),
    ],
)
def test_models_are_what_they_are_called(name, width, blocks, heads, prefix):
    backbone = architecture(name)
    tower = backbone.vision
    assert (tower.width, tower.joint_width, tower.n_blocks, tower.n_heads, tower.n_prefix) == (
        width, width, blocks, heads, prefix,
    )  # fmt: skip
    assert (tower.patch_size, tower.native_grid, backbone.image_size) == (14, (37, 37), 518)
    assert backbone.model.norm.eps == 1e-6
    assert backbone.offers == {"cls", "tokens"}, "no text, no V-V path, no logit scale"
    assert (backbone.mean, backbone.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "ImageNet's, not CLIP's"


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def build(monkeypatch):
    """build(registers): timm's names now mean the miniature with so many registers."""

    def miniature(registers: int) -> torch.nn.Module:
        monkeypatch.setattr(dinov2, "_build", lambda name: random_timm(registers))
        return random_timm(registers)

    return miniature


def moved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other values than the miniature's own."""
    generator = torch.Generator().manual_seed(7)
    return {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in state.items()}


@registers
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_in_timms_form(build, tmp_path, registers, suffix):
    state = moved(build(registers).state_dict())
    path = tmp_path / f"model{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"model": state}, path)
    for weights in (path, tmp_path):
        backbone = load_backbone(SMALL, weights)
        assert backbone.id == f"{SMALL}@{hash_weights(state)[:12]}", "rows name these weights"
        assert weights_at_hand(SMALL, weights)


@registers
def test_a_file_as_it_was_released(build, tmp_path, registers):
    """Its class position is folded into the class token where there are registers, as timm itself does it."""
    model = build(registers)
    state = moved(model.state_dict())
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = torch.cat([torch.randn(1, 1, 64), state["pos_embed"]], 1)
    state["mask_token"] = torch.zeros(1, 64)
    torch.save(state, tmp_path / "dinov2_pretrain.pth")
    expected = checkpoint_filter_fn(dict(state), model)
    found = load_backbone(SMALL, tmp_path / "dinov2_pretrain.pth").model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_giants_feed_forward_is_renamed():
    names = [name for name in create_names("vit_giant_patch14_dinov2") if ".mlp." in name]
    released = [name.replace("fc1", "w12").replace("fc2", "w3") for name in names]
    state = dict.fromkeys(released, torch.zeros(1))
    assert list(dinov2._in_timms_form(state, random_timm())) == names


def create_names(name: str) -> list[str]:
    with torch.device("meta"):
        return list(create_model(name).state_dict())


@registers
def test_registers_on_one_side_alone(build, tmp_path, registers):
    state = random_timm(registers).state_dict()
    build(4 - registers)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(BackboneError, match=rf"take the {'reg4_dinov2' if registers else 'dinov2'} of this size"):
        load_backbone(SMALL, tmp_path / "w.safetensors")


def test_another_size_and_damage_are_named(tmp_path):
    save_file(random_timm().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        BackboneError, match=rf"w\.safetensors does not fit {SMALL}: cls_token is \(1, 1, 64\), expected"
    ):
        load_backbone(SMALL, tmp_path / "w.safetensors")


def test_the_hub_and_tags(monkeypatch, tmp_path, build):
    state = moved(build(0).state_dict())
    save_file(state, tmp_path / "model.safetensors")
    asked = []

    def find(hub, names, title):
        asked.append((hub, names, title))
        return tmp_path / "model.safetensors"

    monkeypatch.setattr(dinov2, "find_weights", find)
    for name, weights in ((SMALL, None), (SMALL, "lvd142m"), (f"{SMALL}.lvd142m", None)):
        assert load_backbone(name, weights).name == SMALL, "one name, however it was asked for"
    assert set(asked) == {(f"timm/{SMALL}.lvd142m/", ("model.safetensors", "pytorch_model.bin"), f"{SMALL}/lvd142m")}
    monkeypatch.setattr(dinov2, "cached_weights", lambda hub, names, title: None)
    assert not weights_at_hand(SMALL)
    monkeypatch.setattr(dinov2, "cached_weights", lambda hub, names, title: tmp_path / "model.safetensors")
    assert weights_at_hand(SMALL, "lvd142m")
    with pytest.raises(
        UnknownNameError, match=f"unknown weights 'lvd' of {SMALL}; give a PATH or a tag; tags: lvd142m"
    ):
        load_backbone(SMALL, "lvd")
