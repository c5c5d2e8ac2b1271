# pytest tests/golden/test_visualad.py
"""VisualAD against the official implementation's numbers on shared random weights (README_next.md in data/)."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import random_clip_c
import random_next
import torch
from goldens import close, golden_params
from torch import Tensor

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.losses import dice, focal
from zsad_bench.methods.visualad import VisualAd, VisualAdConfig
from zsad_bench.types import Batch, Category, SampleInfo, Tap

AGAINST = "official code"  # in the README's table

TAPS = random_next.LAYERS
# Thresholds of README_next.md; MEAN is of the mean difference of a step.
TOKENS, SCORES, LOSSES, GRADIENTS, STEP, MEAN = 2e-5, 3e-6, 2e-5, 5e-4, 1e-6, 1e-8
RUNS = {
    "test_official": {"fidelity": "official"},
    "test_ln_post": {"fidelity": "paper"},
    "test_no_sca": {"fidelity": "official", "sca": False},
    "test_no_saf": {"fidelity": "official", "saf": False},
}
# Ours -> the official name within `saf.layer_6.` or `sca.layer_6.`; all others are called as ours are.
OFFICIAL = {"anchors": "anchor_queries", "positions": "pos_encoding", "scale": "res_scale", "gate": "gate.0",
            "0": "mlp.0", "3": "mlp.3"}  # fmt: skip
WITHOUT_EFFECT = "k_norm.bias"  # official parameters that ours does without: their gradient is zero

paths = pytest.mark.parametrize("path", golden_params("visualad"))
runs = pytest.mark.parametrize("run", RUNS)


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, and the backbone, parameters and images that their seed draws."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    model = random_next.build_open_clip_next("visualad", seed)
    # The native grid: our own resize of the positions is part of what is compared.
    state = random_clip_c.clip_state_dict(random_next.KIND, seed)
    side = random_clip_c.CONFIGS[random_next.KIND]["native"]
    model.visual.positional_embedding = torch.nn.Parameter(torch.from_numpy(state["visual.positional_embedding"]))
    model.visual.grid_size = (side, side)
    drawn = (state, random_next.visualad_params(seed), random_clip_c.inputs(random_next.KIND, seed))
    samples = [SampleInfo(f"golden/{i}", Category("golden", "any", "any", "object", "industrial")) for i in range(3)]
    masks = torch.from_numpy(golden["masks"]).bool()
    batch = Batch(torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"]), masks, samples)
    return SimpleNamespace(golden=golden, backbone=from_model(model, "random"), drawn=drawn, batch=batch)


def official_name(ours: str) -> str:
    """The official name, as the file has it, of a parameter of ours."""
    module, *rest = ours.split(".")
    if module not in ("saf", "sca"):
        return ours
    number, first, *last = rest
    return ".".join([module, f"layer_{TAPS[int(number)]}", OFFICIAL.get(first, first), *last])


def build(w: SimpleNamespace, **settings) -> VisualAd:
    """The method with the golden parameters; one of ours that was not drawn is an error."""
    config = VisualAdConfig(
        image_size=w.batch.images.shape[-1],
        pos_interp="bilinear",
        taps=TAPS,
        n_anchors=4,
        n_positions=1536,
        top_share=0.01,
        margin=0.5,
        dropout=0.0,
        gaussian_sigma=4.0,
        **settings,
    )
    method = VisualAd(w.backbone, config).eval()
    with torch.no_grad():
        for name, parameter in method.own_parameters().items():
            drawn = torch.from_numpy(w.drawn[1][official_name(name)])
            parameter.copy_(drawn[0] if name.endswith("positions") else drawn)
    return method


@cache
def evaluated(path: Path, run: str) -> SimpleNamespace:
    """What one configuration makes of each image by itself, as the released test script asks."""
    w = world(path)
    method = build(w, **RUNS[run])
    rough = copy.copy(method)
    rough.config = replace(method.config, gaussian_sigma=0.0)
    norm, found = method.config.test_ln_post, []
    with torch.no_grad():
        for i in range(3):
            features = method.encode(w.batch.images[i : i + 1], w.batch.samples[i : i + 1])
            last = features.prefix(Tap(TAPS[-1], raw=True))
            found.append(SimpleNamespace(
                features=features,
                reading=method.read(features, norm),
                tokens=method.norm(torch.cat([features.extra_rows, last], 1), norm)[0],
                prediction=method.score(features, w.batch.samples[i : i + 1]),
                map=rough.score(features, w.batch.samples[i : i + 1]).map,
            ))  # fmt: skip
    return SimpleNamespace(method=method, images=found)


@cache
def learned(path: Path) -> SimpleNamespace:
    """One step on the batch of three: losses, gradients before and after clipping, parameters after the step."""
    w = world(path)
    method = build(w)
    stage = method.stages()[0]
    method.begin_stage(stage)
    optimizer = method.optimizer_for(stage)
    features = method.encode(w.batch.images, w.batch.samples)
    losses = method.losses(features, w.batch)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad.clone() for name, p in method.own_parameters().items()}
    method.clip_gradients = lambda *_, **__: None  # what follows the method's own clipping asks a Trainer
    method.configure_gradient_clipping(optimizer)
    clipped = {name: p.grad.clone() for name, p in method.own_parameters().items()}
    with torch.no_grad():
        reading = method.read(features, "trained")
        tokens = method.norm(features.extra_rows, "trained")
    before = {name: p.detach().clone() for name, p in method.own_parameters().items()}
    optimizer.step()
    return SimpleNamespace(
        method=method, features=features, losses=losses, gradients=gradients, clipped=clipped, reading=reading,
        tokens=tokens, before=before,
    )  # fmt: skip


def on_grid(scores: list[Tensor]) -> Tensor:
    """(taps, images, rows, columns) of what a reading has."""
    return torch.stack(scores).unflatten(-1, (random_clip_c.CONFIGS[random_next.KIND]["grid"],) * 2)


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = [random_clip.fingerprint(part) for part in w.drawn]
    assert found == list(w.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"
    assert tuple(w.golden["layers"]) == TAPS
    ours = {official_name(name) for name in build(w).own_parameters()}
    assert w.drawn[1].keys() - ours == {f"sca.layer_{block}.{WITHOUT_EFFECT}" for block in TAPS}
    assert (w.drawn[2]["images"] == w.golden["images"]).all(), "the stored images are not those of the recipe"


@paths
@runs
def test_scores(path: Path, run: str) -> None:
    golden, found = world(path).golden, evaluated(path, run).images
    scores = torch.cat([on_grid(one.reading.scores) for one in found], 1)
    close(scores, golden[f"{run}/grid_score"], SCORES, "scores of patches")
    close(torch.cat([one.prediction.score for one in found]), golden[f"{run}/image_score"], SCORES, "image score")
    if f"{run}/anomaly_map" in golden:
        close(torch.cat([one.map for one in found]), golden[f"{run}/anomaly_map"], SCORES, "map before smoothing")
        smoothed = torch.cat([one.prediction.map for one in found])
        close(smoothed, golden[f"{run}/anomaly_map_sigma4"], SCORES, "smoothed map")


@paths
@pytest.mark.parametrize("run", ["test_official", "test_ln_post"])
def test_tokens(path: Path, run: str) -> None:
    golden, found = world(path).golden, evaluated(path, run)
    tokens = torch.stack([one.tokens for one in found.images])
    for number, name in enumerate(("anomaly", "normal", "class")):
        close(tokens[:, number], golden[f"{run}/{name}_features"], TOKENS, f"{name} token")
    for number, name in enumerate(("anomaly", "normal")):
        enhanced = torch.stack([torch.cat([one.reading.tokens[tap][:, number] for one in found.images])
                                for tap in range(len(TAPS))])  # fmt: skip
        close(enhanced, golden[f"{run}/{name}_enhanced"], TOKENS, f"{name} token behind SCA")
    if f"{run}/tokens_image1" in golden:
        with torch.no_grad():
            rows = [found.images[1].features.rows[Tap(block, raw=True)][0] for block in TAPS]
            normed = found.method.norm(torch.stack(rows), found.method.config.test_ln_post)
        close(normed, golden[f"{run}/tokens_image1"][:, 2:], TOKENS, "class token and patches of each tap, image 1")


@paths
def test_losses(path: Path) -> None:
    w, one = world(path), learned(path)
    golden = w.golden
    for number, name in enumerate(("anomaly", "normal")):
        close(one.tokens[:, number], golden[f"train/{name}_features"], TOKENS, f"{name} token")
        enhanced = torch.stack([tokens[:, number] for tokens in one.reading.tokens])
        close(enhanced, golden[f"train/{name}_enhanced"], TOKENS, f"{name} token behind SCA")
    close(on_grid(one.reading.scores), golden["train/grid_score"], SCORES, "scores of patches")
    maps = one.method.maps(one.reading, one.features)
    total = torch.stack(maps).sum(0)
    close(total, golden["train/anomaly_map"], SCORES, "map before smoothing")
    close(one.method.top_mean(total), golden["train/image_logit"], SCORES, "image score")
    anomalous = [each.sigmoid() for each in maps]
    terms = [torch.stack([focal(torch.stack([1 - p, p], 1), w.batch.masks), dice(p, w.batch.masks)]) for p in anomalous]
    close(torch.stack(terms), golden["train/loss_focal_dice_per_layer"], LOSSES, "loss terms of each tap")
    found = one.losses
    close(found["image"], golden["train/loss_cls"], LOSSES, "loss of the image")
    close(found["focal"] + found["dice"], golden["train/loss_seg"], LOSSES, "loss of maps")
    close(found["tokens"], golden["train/loss_token_relation"], LOSSES, "loss of tokens")
    close(sum(found.values()), golden["train/loss_total"], LOSSES, "total loss")


@paths
def test_gradients(path: Path) -> None:
    golden, one = world(path).golden, learned(path)
    norms = {key.removeprefix("train/grad_norm/") for key in golden if key.startswith("train/grad_norm/")}
    ours = {official_name(name): gradient for name, gradient in one.gradients.items()}
    assert {name for name in norms if not name.endswith(WITHOUT_EFFECT)} == ours.keys()
    for name, gradient in ours.items():
        norm = golden[f"train/grad_norm/{name}"]
        close(gradient.norm(), norm, GRADIENTS * float(norm), f"gradient norm of {name}")
    parts = {"grad": slice(None), "grad_rows0to3": slice(4), "grad_columns0to35": slice(36)}
    stored = 0
    for kind, rows in parts.items():
        for key in (key for key in golden if key.startswith(f"train/{kind}/")):
            stored += 1
            largest = float(np.abs(golden[key]).max())
            found = ours[key.removeprefix(f"train/{kind}/")][rows]
            close(found, golden[key], GRADIENTS * largest, f"gradient of {key}")
    assert stored > len(ours) // 2, "too few gradients are stored"
    others = [name for name, p in one.method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"


@paths
def test_a_step(path: Path) -> None:
    w, one = world(path), learned(path)
    golden, after = w.golden, one.method.own_parameters()
    for name in ("anomaly_token", "normal_token"):
        norm = golden[f"train/grad_norm_clipped/{name}"]
        close(one.clipped[name].norm(), norm, GRADIENTS * float(norm), f"gradient norm of {name}, clipped")
    deltas = {official_name(name): after[name].detach() - one.before[name] for name in after}
    keys = [key for key in golden if key.startswith("train/step/")]
    assert len(keys) > 4, "the file has no step"
    for key in keys:
        found = deltas[key.removeprefix("train/step/").removesuffix("_delta")]
        close(found, golden[key], STEP, f"step of the optimiser, {key}")
        close((found - torch.from_numpy(golden[key])).abs().mean(), np.float32(0), MEAN, f"mean of the same, {key}")
    with torch.no_grad():
        features = one.method.encode(w.batch.images, w.batch.samples)
        tokens = one.method.norm(features.extra_rows, "trained")
    close(tokens[:, 0], golden["train/anomaly_features_after_step"], TOKENS, "anomaly token after the step")
