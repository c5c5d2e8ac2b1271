# pytest tests/golden/test_april_gan.py
"""APRIL-GAN against the official implementation's numbers on shared random weights (README_winclip_aprilgan.md)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip_b
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.losses import dice, focal
from zsad_bench.methods.april_gan import AprilGan, AprilGanConfig
from zsad_bench.types import Activation, Batch, Category, EncoderSpec, SampleInfo, Tap

AGAINST = "official code"  # in the README's table

# The thresholds of both READMEs: of text features and class token, tokens and logits, scores and maps, and losses with
# all that follows from them.
EMBEDDINGS, TOKENS, MAPS, LOSSES = 2e-5, 2e-4, 3e-5, 1e-5

paths = pytest.mark.parametrize("path", golden_params("april_gan"))


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, and the backbone, learned maps and images that their seed draws."""
    golden = dict(np.load(path, allow_pickle=False))
    seed, names = int(golden["seed"]), [str(name) for name in golden["class_names"]]
    blocks = tuple(int(block) for block in golden["layers"])
    # The file's class names are used as they stand; image i is of class i.
    samples = [SampleInfo(name, Category("golden", name, name, "object", "industrial")) for name in names]
    masks = torch.from_numpy(golden["masks"])[:, 0].bool()
    images = random_clip_b.make_images(random_clip_b.APRIL_GAN, seed, len(names))
    return SimpleNamespace(
        golden=golden,
        backbone=from_model(random_clip_b.build_open_clip(random_clip_b.APRIL_GAN, seed), "random"),
        blocks=blocks,
        learned=random_clip_b.make_adapter(seed, len(blocks)),
        drawn_masks=random_clip_b.make_masks(seed, len(names)),
        batch=Batch(images, masks.flatten(1).any(1).long(), masks, samples),
    )


def built(path: Path, activation: Activation) -> AprilGan:
    """A method of its own with the golden maps. activation: own is QuickGELU, as the file's first part has it."""
    w = world(path)
    size = random_clip_b.APRIL_GAN["vision_cfg"]["image_size"]
    method = AprilGan(w.backbone, AprilGanConfig(image_size=size, taps=w.blocks, activation=activation))
    _, tensors = AprilGan.official.read(w.learned, w.backbone)
    method.load_own_state(tensors)
    method.begin_stage(method.stages()[0])
    return method


@cache
def read(path: Path, activation: Activation) -> SimpleNamespace:
    """What the method makes of the batch, its losses, and the gradients that it has after one backward pass."""
    w, method = world(path), built(path, activation)
    features = method.encode(w.batch.images, w.batch.samples)
    terms = method.losses(features, w.batch)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    with torch.no_grad():
        text = method.text_for(w.batch.samples)
        return SimpleNamespace(
            method=method,
            features=features,
            text=text,
            logits=method.logits(features, text),
            probs=method.probabilities(features, text),
            prediction=method.score(features, w.batch.samples),
            loss=loss,
        )


@paths
def test_masks_are_as_the_recipe_draws_them(path: Path) -> None:
    """Of the inputs only these are stored: the same seed and recipe drew the file."""
    w = world(path)
    assert torch.equal(w.drawn_masks[:, 0].bool(), w.batch.masks), "another recipe drew this file"


@paths
def test_text_features(path: Path) -> None:
    close(read(path, "own").text.transpose(1, 2), world(path).golden["text_features"], EMBEDDINGS, "text features")


@paths
def test_full_image(path: Path) -> None:
    w, one = world(path), read(path, "own")
    close(one.features.pooled("cls"), w.golden["cls_embed"], EMBEDDINGS, "full-image embedding")
    close(one.prediction.score, w.golden["image_score"], MAPS, "image score")


@paths
def test_block_outputs(path: Path) -> None:
    w = world(path)
    stored = {int(match[1]): key for key in w.golden if (match := re.fullmatch(r"layer(\d+)_tokens_image0", key))}
    assert stored, "the file has no outputs of a block"
    taps = {block: Tap(block, raw=True) for block in stored}
    spec = EncoderSpec(w.backbone.forward_spec(w.backbone.image_size), frozenset(taps.values()))
    with torch.no_grad():
        found = w.backbone.encode_image(w.batch.images[:1], spec)
    for block, tap in taps.items():
        tokens = torch.cat([found.prefix(tap), found.patches(tap)], 1)[0]
        close(tokens, w.golden[stored[block]], TOKENS, f"outputs of block {block}")


@paths
def test_maps(path: Path) -> None:
    w, one = world(path), read(path, "own")
    close(torch.stack(one.logits), w.golden["patch_logits"], TOKENS, "logits of the patches")
    close(torch.stack(one.probs)[:, :, 1], w.golden["layer_maps"], MAPS, "map of each block")
    close(one.prediction.map, w.golden["anomaly_map"], MAPS, "final map")


@paths
def test_losses(path: Path) -> None:
    w, one = world(path), read(path, "own")
    masks = w.batch.masks
    close(torch.stack([focal(p, masks) for p in one.probs]), w.golden["focal"], LOSSES, "focal loss of each block")
    close(torch.stack([dice(p[:, 1], masks) for p in one.probs]), w.golden["dice"], LOSSES, "Dice of each block")
    close(one.loss, w.golden["loss"], LOSSES, "the loss")


@paths
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_gradients(path: Path, kind: str) -> None:
    w, one = world(path), read(path, "own")
    for i, linear in enumerate(one.method.maps):
        close(getattr(linear, kind).grad, w.golden[f"grad.fc.{i}.{kind}"], LOSSES, f"gradient of {kind} {i}")


@paths
def test_one_step(path: Path) -> None:
    w, method = world(path), built(path, "own")
    optimizer = method.optimizer_for(method.stages()[0])

    def loss() -> torch.Tensor:
        features = method.encode(w.batch.images, w.batch.samples)
        return torch.stack(list(method.losses(features, w.batch).values())).sum()

    loss().backward()
    optimizer.step()
    stepped = [key for key in w.golden if key.startswith("param_after_step.")]
    assert stepped, "the file has no parameters after a step"
    for key in stepped:
        ours = method.get_parameter(key.removeprefix("param_after_step.").replace("fc.", "maps."))
        close(ours, w.golden[key], LOSSES, f"{key} in our method")
    with torch.no_grad():
        close(loss(), w.golden["loss_after_step"], LOSSES, "the loss after a step")


@paths
def test_exact_gelu(path: Path) -> None:
    """The same weights in a network of the other activation, which is the released behaviour at 518 px."""
    w, one = world(path), read(path, "gelu")
    close(one.text.transpose(1, 2), w.golden["gelu_text_features"], EMBEDDINGS, "text features with exact GELU")
    close(one.prediction.score, w.golden["gelu_image_score"], MAPS, "image score with exact GELU")
    close(one.prediction.map, w.golden["gelu_anomaly_map"], MAPS, "final map with exact GELU")
    close(one.loss, w.golden["gelu_loss"], LOSSES, "the loss with exact GELU")
