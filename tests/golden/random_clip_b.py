"""The random-weight CLIPs and inputs behind the WinCLIP and APRIL-GAN golden files, drawn from a seed.

Everything random comes from ``numpy.random.RandomState``, so that the same numbers appear on every platform and with
every version of torch or open_clip. README_winclip_aprilgan.md in data/ has the recipe in words.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

# Exact GELU, as in the LAION checkpoint that WinCLIP uses.
WINCLIP: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": False,
    "vision_cfg": {"image_size": 240, "layers": 4, "width": 128, "head_width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}
APRIL_GAN: dict[str, Any] = {
    "embed_dim": 96,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 70, "layers": 24, "width": 128, "head_width": 64, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}
WEIGHT_SCALE = 0.1
IMAGE_STREAM, ADAPTER_STREAM, MASK_STREAM = 1000, 2000, 3000


def fill_from_numpy(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """One tensor per key, keys in sorted order, from a single stream."""
    rng = np.random.RandomState(seed)
    out: dict[str, torch.Tensor] = {}
    for key in sorted(shapes):
        if key == "logit_scale":  # constant, takes nothing from the stream
            out[key] = torch.tensor(math.log(100.0), dtype=torch.float32)
            continue
        draw = WEIGHT_SCALE * rng.standard_normal(shapes[key])
        leaf_module = key.split(".")[-2] if "." in key else ""
        if leaf_module.startswith("ln_") and key.endswith(".weight"):
            draw = 1.0 + draw
        out[key] = torch.from_numpy(np.asarray(draw, dtype=np.float32))
    return out


def build_open_clip(config: dict[str, Any], seed: int) -> torch.nn.Module:
    """The model in the installed open_clip, filled with the numpy weights, eval mode, float32."""
    from open_clip.model import CLIP

    model = CLIP(**config)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(fill_from_numpy(shapes, seed), strict=True)
    return model.eval()


def make_images(config: dict[str, Any], seed: int, count: int) -> torch.Tensor:
    """Already normalised network inputs: one constant per patch and channel, plus pixel noise."""
    size, patch = config["vision_cfg"]["image_size"], config["vision_cfg"]["patch_size"]
    rng = np.random.RandomState(seed + IMAGE_STREAM)
    blocks = rng.standard_normal((count, 3, size // patch, size // patch))
    noise = 0.5 * rng.standard_normal((count, 3, size, size))
    images = np.repeat(np.repeat(blocks, patch, axis=2), patch, axis=3) + noise
    return torch.from_numpy(images.astype(np.float32))


def make_adapter(seed: int, layers: int = 4) -> dict[str, torch.Tensor]:
    """APRIL-GAN's linear maps: ``fc.{i}.weight`` (embed, width) and ``fc.{i}.bias``."""
    width, embed = APRIL_GAN["vision_cfg"]["width"], APRIL_GAN["embed_dim"]
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(layers):
        shapes[f"fc.{i}.weight"], shapes[f"fc.{i}.bias"] = (embed, width), (embed,)
    return fill_from_numpy(shapes, seed + ADAPTER_STREAM)


def make_masks(seed: int, count: int) -> torch.Tensor:
    """(count, 1, H, W) 0 or 1: image 0 is normal, each other one has a rectangle."""
    size = APRIL_GAN["vision_cfg"]["image_size"]
    rng = np.random.RandomState(seed + MASK_STREAM)
    masks = np.zeros((count, 1, size, size), dtype=np.float32)
    for i in range(1, count):
        top, left = rng.randint(0, size // 2, 2)
        height, width = rng.randint(size // 8, size // 2, 2)
        masks[i, 0, top : top + height, left : left + width] = 1.0
    return torch.from_numpy(masks)
