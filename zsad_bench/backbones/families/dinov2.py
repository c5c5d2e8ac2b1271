"""DINOv2 as timm runs it: a visual tower without texts, with one class token and in some models four registers.

Paper: Oquab et al., TMLR 2024, arXiv 2304.07193; registers: Darcet et al., ICLR 2024, arXiv 2309.16588. Official code:
facebookresearch/dinov2 (Apache-2.0); timm (Apache-2.0) has the same blocks, exact GELU, LayerNorm with eps 1e-6, layer
scale. Weights: Meta's (Apache-2.0) in timm's form or as they were released; `None` is timm's tag `lvd142m`.

Trained at 518 px, 37 x 37 patches. At other sizes the two codes resize positions differently for models without
registers: `timm` is antialiased bicubic; `official` is bicubic without antialias by the factor (rows + 0.1) / 37. For
models with registers the two are one. There is no projection: D is the tower's width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsad_bench.backbones.base import Backbone, BackboneFamily
from zsad_bench.backbones.forward import resize_positions
from zsad_bench.backbones.hub import cached_weights, find_weights
from zsad_bench.backbones.releases import WeightSource
from zsad_bench.backbones.weights import asked_weights, file_in, fit, read_state, without_values
from zsad_bench.errors import BackboneError
from zsad_bench.types import Activation, PosInterp

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

SIZES = ("small", "base", "large", "giant")
NAMES = tuple(f"vit_{size}_patch14_{kind}" for kind in ("dinov2", "reg4_dinov2") for size in SIZES)
TAG = "lvd142m"
PARAMETERS = dict(zip(NAMES, (
    22_056_192, 86_579_712, 304_367_616, 1_136_479_232, 22_057_344, 86_582_016, 304_370_688, 1_136_483_840,
), strict=True))  # fmt: skip
ON_HUB = ("model.safetensors", "pytorch_model.bin")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the released preprocessing: ImageNet's


class Dinov2Vision:
    """The visual tower (`backbones.towers.TokenTower`) around a ViT of timm."""

    paths = frozenset({"plain", "tokens"})
    pos_interps: tuple[PosInterp, ...] = ("timm", "official", "bilinear", "bicubic", "bicubic_antialias")

    def __init__(self, model: VisionTransformer) -> None:
        self.model = model
        self.width = self.joint_width = model.embed_dim
        first: Any = model.blocks[0]
        self.n_blocks: int = len(model.blocks)
        self.n_heads: int = first.attn.num_heads
        self.patch_size, self.native_grid = model.patch_embed.patch_size[0], tuple(model.patch_embed.grid_size)
        self.n_prefix = model.num_prefix_tokens
        self.activation = "gelu" if isinstance(first.mlp.act, torch.nn.GELU) else "swiglu"
        self.activations = frozenset({self.activation})

    def embed(self, images: Tensor, pos_interp: PosInterp) -> Tensor:
        """Patches, class token, registers, positions; registers have none, nor has the class token beside them."""
        model = self.model
        patches = model.patch_embed.proj(images)
        grid = (patches.shape[2], patches.shape[3])
        patches = model.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        in_front = [token for token in (model.cls_token, model.reg_token) if token is not None]
        prefix = [token.expand(images.shape[0], -1, -1) for token in in_front]
        positions = self._positions(grid, pos_interp).to(patches.dtype)
        if model.no_embed_class:  # the class token's position is folded into it
            return model.norm_pre(torch.cat([*prefix, patches + positions], dim=1))
        return model.norm_pre(torch.cat([*prefix, patches], dim=1) + positions)

    def _positions(self, grid: tuple[int, int], pos_interp: PosInterp) -> Tensor:
        assert self.model.pos_embed is not None  # every DINOv2 has one
        table, without = self.model.pos_embed[0], 0 if self.model.no_embed_class else self.n_prefix
        if pos_interp != "official":
            return resize_positions(table, without, self.native_grid, grid, pos_interp)
        if self.model.reg_token is not None:  # the official models with registers resize as timm does
            return resize_positions(table, without, self.native_grid, grid, "timm")
        if grid == self.native_grid:
            return table
        patches = table[without:].reshape(1, *self.native_grid, -1).permute(0, 3, 1, 2)
        factors = [(new + 0.1) / old for new, old in zip(grid, self.native_grid, strict=True)]
        patches = F.interpolate(patches, scale_factor=factors, mode="bicubic")
        return torch.cat([table[:without], patches.permute(0, 2, 3, 1).flatten(0, 2)])

    def block(self, number: int, tokens: Tensor, with_vv: bool, activation: Activation) -> tuple[Tensor, Tensor | None]:
        return self.model.blocks[number - 1](tokens), None

    @property
    def final_norm(self) -> nn.LayerNorm:
        return cast("nn.LayerNorm", self.model.norm)

    def place_tokens(self, tokens: Tensor) -> Tensor:
        """Where there are registers, the class token has no position beside itself."""
        if self.model.no_embed_class:
            return self.model.norm_pre(tokens)
        assert self.model.pos_embed is not None  # every DINOv2 has one
        return self.model.norm_pre(tokens + self.model.pos_embed[0, 0].to(tokens.dtype))

    def norm(self, tokens: Tensor) -> Tensor:
        return self.model.norm(tokens)

    def project(self, tokens: Tensor, norm: bool = True) -> Tensor:
        return self.norm(tokens) if norm else tokens


def from_model(model: VisionTransformer, name: str) -> Backbone:
    """The backbone around a ViT of timm; the model is frozen and taken over, not copied."""
    return Backbone(model, name, Dinov2Vision(model), mean=MEAN, std=STD)


class Dinov2(BackboneFamily):
    title = "DINOv2 (timm)"
    marks = ("blocks.0.ls1.gamma",)
    example = "vit_large_patch14_dinov2"

    @classmethod
    def names(cls) -> list[str]:
        return list(NAMES)

    @classmethod
    def knows(cls, name: str) -> bool:
        return name.removesuffix(f".{TAG}") in NAMES  # timm writes the tag behind the name

    @classmethod
    def listing(cls) -> dict[str, str]:
        return {name: f"{TAG} (DINOv2{', registers' if 'reg4' in name else ''}; no text)" for name in NAMES}

    @classmethod
    def load(cls, name: str, weights: str | Path | None) -> Backbone:
        name = name.removesuffix(f".{TAG}")
        asked = asked_weights(TAG if weights is None else weights, [TAG], name)
        if isinstance(asked, Path):
            path = file_in(asked, ON_HUB) if asked.is_dir() else asked
            source = path.name
        else:
            source = f"{name}/{asked}"
            path = find_weights(_hub(name), ON_HUB, source)
        model = _build(name)
        fit(model, _in_timms_form(read_state(path, cls.marks), model), name, source)
        backbone = from_model(model, name)
        backbone.licence = "" if isinstance(asked, Path) else "Apache-2.0"
        return backbone

    @classmethod
    def at_hand(cls, name: str, weights: str | Path | None) -> bool:
        name = name.removesuffix(f".{TAG}")
        asked = asked_weights(TAG if weights is None else weights, [TAG], name)
        if isinstance(asked, Path):
            return asked.exists()
        return cached_weights(_hub(name), ON_HUB, f"{name}/{asked}") is not None

    @classmethod
    def sources(cls, name: str) -> list[WeightSource]:
        name = name.removesuffix(f".{TAG}")
        return [WeightSource(name, TAG, _hub(name), (ON_HUB,), "Apache-2.0", parameters=PARAMETERS[name])]

    @classmethod
    def architecture(cls, name: str) -> Backbone:
        name = name.removesuffix(f".{TAG}")
        return from_model(_build(name), name)


def _hub(name: str) -> str:
    return f"timm/{name}.{TAG}/"


def _build(name: str) -> VisionTransformer:
    """The model without values, at its native size."""
    from timm.models import create_model  # takes most of a second, and every name of a backbone is looked up here, too

    with without_values():
        return cast("VisionTransformer", create_model(name, pretrained=False))


def _in_timms_form(state: Mapping[str, Tensor], model: VisionTransformer) -> dict[str, Tensor]:
    """Meta's released names and shapes as timm's; a state of timm's is returned as it is.

    Raises:
        BackboneError: registers on one side alone.
    """
    state = {name: value for name, value in state.items() if name != "mask_token"}  # of training alone
    has_registers = bool({"register_tokens", "reg_token"} & state.keys())
    if has_registers != (model.reg_token is not None):
        words = ("has registers", "is without registers")
        raise BackboneError(
            f"the weights' model {words[not has_registers]}, the one asked for {words[has_registers]}; "
            f"take the {'reg4_dinov2' if has_registers else 'dinov2'} of this size"
        )
    if "register_tokens" in state:
        state["reg_token"] = state.pop("register_tokens")
        positions = state.pop("pos_embed")
        state["cls_token"], state["pos_embed"] = state["cls_token"] + positions[:, :1], positions[:, 1:]
    feed = {"w12": "fc1", "w3": "fc2"}  # how the giant's SwiGLU is called
    return {
        re.sub(r"(\.mlp\.)(w12|w3)(?=\.)", lambda match: match[1] + feed[match[2]], name): value
        for name, value in state.items()
    }
