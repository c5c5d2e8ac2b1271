"""A world small enough for tests: random miniatures of CLIP and BLIP, batches for them, and a few generated images.

Torch and our own modules are imported inside, so that the root conftest can set the environment first.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from zsad_bench.backbones.base import Backbone
    from zsad_bench.types import Batch, Compile, Precision

MINI: dict[str, Any] = {
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}
MINI_BLIP: dict[str, Any] = {
    "vision_config": {"image_size": 32, "patch_size": 8, "hidden_size": 64, "intermediate_size": 96,
                      "num_hidden_layers": 4, "num_attention_heads": 2},
    "text_config": {"vocab_size": 70, "hidden_size": 36, "intermediate_size": 64, "num_hidden_layers": 3,
                    "num_attention_heads": 3, "max_position_embeddings": 80, "bos_token_id": 2, "eos_token_id": 3,
                    "sep_token_id": 3, "pad_token_id": 0},
    "image_text_hidden_size": 48,
}  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Letters alone spell every word; two words are pieces of their own.
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", ",", *LETTERS, *(f"##{c}" for c in LETTERS), "object", "photo"]
SCALE = 0.04  # of the usual number of images: 2 to 4 per category and label


def random_clip(config: dict[str, Any]) -> Any:
    """An open_clip model of this configuration: every bias and norm away from its neutral value, always the same."""
    import torch
    from open_clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIP(**config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def random_blip(activation: str = "quick_gelu") -> Any:
    """A retrieval model of transformers, made as `random_clip` is. activation: of both towers, in its words.

    Skips the test where transformers is not installed.
    """
    import pytest
    import torch

    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")
    parts = {name: {**MINI_BLIP[name], "hidden_act": activation} for name in ("vision_config", "text_config")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.BlipForImageTextRetrieval(transformers.BlipConfig(**{**MINI_BLIP, **parts})).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def miniature_blip(activation: str = "quick_gelu") -> Backbone:
    """The backbone around `random_blip`, with a vocabulary of letters."""
    from zsad_bench.backbones.families.blip import from_model

    return from_model(random_blip(activation), f"mini-blip-{activation}", VOCABULARY)


def random_batch(size: int, count: int = 5, seed: int = 1) -> Batch:
    """`count` random images of two categories in turn, every other one anomalous with a square mask."""
    import torch

    from zsad_bench.types import Batch, Category, SampleInfo

    kinds = [
        Category("made_up", "metal_nut", "metal nut", "object", "industrial"),
        Category("made_up", "carpet", "carpet", "texture", "industrial"),
    ]
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) // 2 % 2  # 0 0 1 1 0: both labels in both categories
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    masks[labels == 1, size // 4 : size // 2, size // 3 : size // 2] = True
    return Batch(images, labels, masks, [SampleInfo(f"made_up/{i}.png", kinds[i % 2]) for i in range(count)])


def shrink(patch: pytest.MonkeyPatch, backbone: Backbone) -> None:
    """Lets every run read this backbone, whatever it asks for, and a few images of each generated dataset."""
    from zsad_bench.conditions import split
    from zsad_bench.data.demo.suite import PARTS
    from zsad_bench.runner import opened, prepared_run, test_pass

    whole = opened.data_module

    def few(target: str, data: Any, backbone: Backbone, options: Any = None) -> Any:
        scale = {"scale": SCALE} if split(target)[0].partition(":")[0] in PARTS else {}
        return whole(target, data, backbone, {"workers": 0, **scale, **(options or {})})

    for module in (opened, prepared_run, test_pass):
        patch.setattr(module, "data_module", few)

    def loaded(
        name: str, weights: str | None = None, precision: Precision = "float32", compiled: Compile = "no"
    ) -> Backbone:
        if (precision, compiled) == (backbone.precision, backbone.compiled):
            return backbone
        other = copy.copy(backbone)
        other.precision, other.compiled = precision, compiled
        return other

    patch.setattr(opened, "load_backbone", loaded)
