"""A random miniature of each family, so that the contract of families can be tried on it; add one with a family."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from torch import Tensor

    from zsad_bench.backbones.base import Backbone


def random_timm(registers: int = 0) -> VisionTransformer:
    """A ViT of timm like DINOv2's: 84 px, patches of 14, four blocks; every parameter away from its neutral value."""
    import torch
    from timm.models.vision_transformer import VisionTransformer

    settings = {"reg_tokens": registers, "no_embed_class": True} if registers else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(
            img_size=84, patch_size=14, embed_dim=64, depth=4, num_heads=2, init_values=0.5, num_classes=0,
            dynamic_img_size=True, **settings,
        ).eval()  # fmt: skip
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def open_clip() -> list[Backbone]:
    from tests.miniature import MINI, random_clip
    from zsad_bench.backbones.families._open_clip import from_model

    exact = copy.deepcopy(MINI) | {"quick_gelu": False}
    return [from_model(random_clip(copy.deepcopy(MINI)), "mini"), from_model(random_clip(exact), "mini-gelu")]


def tiny() -> list[Backbone]:
    from zsad_bench.backbones.load import load_backbone

    return [load_backbone("tiny")]


def dinov2() -> list[Backbone]:
    from zsad_bench.backbones.families.dinov2 import from_model

    return [from_model(random_timm(), "mini-dinov2"), from_model(random_timm(4), "mini-reg4-dinov2")]


def blip() -> list[Backbone]:
    from tests.miniature import miniature_blip

    return [miniature_blip("quick_gelu"), miniature_blip("gelu")]


def as_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of the miniature CLIP in the layout of the transformers library, name by name."""
    import torch

    theirs = {
        "logit_scale": state["logit_scale"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_projection.weight": state["text_projection"].T,
    }
    norms = {"vision_model.pre_layrnorm": "visual.ln_pre", "vision_model.post_layernorm": "visual.ln_post",
             "text_model.final_layer_norm": "ln_final"}  # fmt: skip
    parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
             "mlp.fc2": "mlp.c_proj"}  # fmt: skip
    for tower, ours, count in (("vision_model", "visual.transformer", 4), ("text_model", "transformer", 3)):
        for i in range(count):
            norms |= {f"{tower}.encoder.layers.{i}.{a}": f"{ours}.resblocks.{i}.{b}" for a, b in parts.items()}
            for kind in ("weight", "bias"):
                three = state[f"{ours}.resblocks.{i}.attn.in_proj_{kind}"].chunk(3)
                for letter, part in zip("qkv", three, strict=True):
                    theirs[f"{tower}.encoder.layers.{i}.self_attn.{letter}_proj.{kind}"] = part
    for a, b in norms.items():
        theirs |= {f"{a}.{kind}": state[f"{b}.{kind}"] for kind in ("weight", "bias")}
    return theirs


OF_FAMILY = {"open_clip": open_clip, "tiny": tiny, "dinov2": dinov2, "blip": blip}
LIBRARY = {"blip": "transformers"}  # of an extra, without which a family has no models
