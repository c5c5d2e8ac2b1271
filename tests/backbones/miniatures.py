"""A random miniature of each family, so that the contract of families can be tried on it; add one with a family."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

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


OF_FAMILY = {"open_clip": open_clip, "tiny": tiny, "dinov2": dinov2, "blip": blip}
LIBRARY = {"blip": "transformers"}  # of an extra, without which a family has no models
