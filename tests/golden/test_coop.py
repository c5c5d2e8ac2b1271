# pytest tests/golden/test_coop.py
"""CoOp against the official prompt learner's numbers on shared random weights (README.md in data/)."""

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
from zsad_bench.methods.coop import CoOp, CoOpConfig
from zsad_bench.types import Batch, Category, SampleInfo

AGAINST = "official prompt learner"  # in the README's table

RUNS = ("shared_end", "csc_end", "shared_middle", "shared_front")
OBJECT = Category("golden", "object", "object", "object", "industrial")
SAMPLES = [SampleInfo(f"golden/{i}", OBJECT) for i in range(3)]

paths = pytest.mark.parametrize("path", golden_params("coop"))
runs = pytest.mark.parametrize("run", RUNS)


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, their batch and the backbone that their seed draws."""
    golden = dict(np.load(path, allow_pickle=False))
    backbone = from_model(random_clip.build_open_clip(int(golden["seed"])), "random")
    batch = Batch(torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"]), None, SAMPLES)
    return SimpleNamespace(golden=golden, seed=int(golden["seed"]), backbone=backbone, batch=batch)


@cache
def learned(path: Path, run: str) -> SimpleNamespace:
    """The method of one run set with the golden context, its features, loss and gradient."""
    w = world(path)
    sharing, position = run.split("_")
    specific = sharing == "csc"
    settings = {"class_specific": specific, "class_token_position": position}
    method = CoOp(w.backbone, CoOpConfig(image_size=w.batch.images.shape[-1], **settings))
    with torch.no_grad():
        method.ctx.copy_(torch.from_numpy(random_clip.coop_params(w.seed, class_specific=specific)["ctx"]))
    method.begin_stage(method.stages()[0])
    features = method.encode(w.batch.images, SAMPLES)
    losses = method.losses(features, w.batch)
    sum(losses.values()).backward()
    return SimpleNamespace(method=method, features=features, losses=losses)


@paths
def test_image_features(path: Path) -> None:
    features = learned(path, "shared_end").features
    close(features.pooled("cls"), world(path).golden["image_features_raw"], 2e-5, "global feature with ln_post")


@paths
@runs
def test_token_ids(path: Path, run: str) -> None:
    found = learned(path, run).method.token_ids([OBJECT]).numpy()
    assert (found == world(path).golden["tokenized_prompts"]).all(), "token ids differ"


@paths
@runs
def test_text_features(path: Path, run: str) -> None:
    expected = world(path).golden[f"{run}/text_features_raw"]
    close(learned(path, run).method.raw_texts([OBJECT])[0], expected, 2e-5, "text features")


@paths
@runs
def test_logits_and_score(path: Path, run: str) -> None:
    one, expected = learned(path, run), world(path).golden[f"{run}/logits"]
    text, temperature = one.method.text_for(SAMPLES), one.method.config.temperature
    # Logits are cosines over 0.07: the tolerance of a probability, over 0.07.
    close(state_logits(one.features.pooled("cls"), text, temperature), expected, 7e-5, "logits")
    with torch.no_grad():
        score = one.method.score(one.features, SAMPLES).score
    close(score, 1 / (1 + np.exp(expected[:, 0] - expected[:, 1])), 5e-6, "image score")


@paths
@runs
def test_loss(path: Path, run: str) -> None:
    losses = learned(path, run).losses
    assert set(losses) == {"image"}, f"the original has the image loss alone, found {sorted(losses)}"
    close(losses["image"], world(path).golden[f"{run}/loss"], 2e-5, "cross-entropy")


@paths
@runs
def test_gradient(path: Path, run: str) -> None:
    golden, method = world(path).golden, learned(path, run).method
    expected, norm = golden[f"{run}/grad/ctx"], golden[f"{run}/grad_norm/ctx"]
    close(method.ctx.grad, expected, 1e-4 * float(np.abs(expected).max()), "gradient of ctx")
    close(method.ctx.grad.norm(), norm, 1e-4 * float(norm), "gradient norm of ctx")
    others = [name for name, p in method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"
