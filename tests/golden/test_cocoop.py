# pytest tests/golden/test_cocoop.py
"""CoCoOp against the official prompt learner's numbers on shared random weights (README.md in data/)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods._scoring import state_logits
from zsad_bench.methods.cocoop import CoCoOp, CoCoOpConfig
from zsad_bench.types import Batch, Category, SampleInfo

AGAINST = "official prompt learner"  # in the README's table

OBJECT = Category("golden", "object", "object", "object", "industrial")
SAMPLES = [SampleInfo(f"golden/{i}", OBJECT) for i in range(3)]
OURS = {  # official name -> ours
    "ctx": "ctx",
    "meta_net.linear1.weight": "meta.fc1.weight",
    "meta_net.linear1.bias": "meta.fc1.bias",
    "meta_net.linear2.weight": "meta.fc2.weight",
    "meta_net.linear2.bias": "meta.fc2.bias",
}

paths = pytest.mark.parametrize("path", golden_params("cocoop"))


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the method with the golden parameters, its first context, features, loss and gradients."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    batch = Batch(torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"]), None, SAMPLES)
    backbone = from_model(random_clip.build_open_clip(seed), "random")
    method = CoCoOp(backbone, CoCoOpConfig(image_size=batch.images.shape[-1]))
    first_context = method.ctx.detach().clone()
    with torch.no_grad():
        for name, value in random_clip.cocoop_params(seed).items():
            method.get_parameter(OURS[name]).copy_(torch.from_numpy(value))
    method.begin_stage(method.stages()[0])
    features = method.encode(batch.images, SAMPLES)
    losses = method.losses(features, batch)
    sum(losses.values()).backward()
    return SimpleNamespace(
        golden=golden, method=method, first_context=first_context, features=features, losses=losses
    )  # fmt: skip


@paths
def test_start(path: Path) -> None:
    w = world(path)
    found = w.method.token_ids([OBJECT]).numpy()
    assert (found == w.golden["tokenized_prompts"]).all(), "token ids differ"
    close(w.first_context, w.golden["official_ctx_init"], 0, "context of 'a photo of a'")


@paths
def test_features(path: Path) -> None:
    w = world(path)
    close(w.features.pooled("cls"), w.golden["image_features_raw"], 2e-5, "global feature with ln_post")
    close(w.method.shift(w.features), w.golden["bias"], 2e-5, "shift of the context")
    close(w.method.raw_texts(w.features, SAMPLES), w.golden["text_features_raw"], 2e-5, "text features")


@paths
def test_logits_and_score(path: Path) -> None:
    w = world(path)
    text, expected = w.method.texts(w.features, SAMPLES), w.golden["logits"]
    # Logits are cosines over 0.07: the tolerance of a probability, over 0.07.
    close(state_logits(w.features.pooled("cls"), text, w.method.config.temperature), expected, 7e-5, "logits")
    with torch.no_grad():
        score = w.method.score(w.features, SAMPLES).score
    close(score, 1 / (1 + np.exp(expected[:, 0] - expected[:, 1])), 5e-6, "image score")


@paths
def test_loss(path: Path) -> None:
    w = world(path)
    assert set(w.losses) == {"image"}, f"the original has the image loss alone, found {sorted(w.losses)}"
    close(w.losses["image"], w.golden["loss"], 2e-5, "cross-entropy")


@paths
@pytest.mark.parametrize("official", OURS)
def test_gradients(path: Path, official: str) -> None:
    w = world(path)
    found = w.method.get_parameter(OURS[official]).grad
    expected, norm = w.golden[f"grad/{official}"], w.golden[f"grad_norm/{official}"]
    close(found, expected, 1e-4 * float(np.abs(expected).max()), f"gradient of {official}")
    close(found.norm(), norm, 1e-4 * float(norm), f"gradient norm of {official}")


@paths
def test_the_backbone_gets_no_gradient(path: Path) -> None:
    reached = [name for name, p in world(path).method.backbone.named_parameters() if p.grad is not None]
    assert not reached, f"the frozen backbone got gradients: {reached[:3]}"
