"""A random miniature CLIP: four visual and three text blocks, every bias and norm away from its neutral value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

MINI = {
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}


@pytest.fixture(scope="session")
def mini_config() -> dict[str, Any]:
    """open_clip configuration of the miniature."""
    return copy.deepcopy(MINI)


@pytest.fixture(scope="session")
def mini_clip(mini_config):
    """The open_clip model itself: the independent reference. Shared: do not change it."""
    from open_clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIP(**mini_config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.fixture(scope="session")
def mini(mini_clip):
    """The adapter around a copy of it. Shared: do not change it."""
    from zsad_bench.backbones.clip import Backbone

    return Backbone(copy.deepcopy(mini_clip), "mini")


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """(3,3,32,32), the native size."""
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
