# pytest tests/golden/test_anomalyclip.py
"""AnomalyCLIP against the official implementation's numbers on shared random weights (README.md in data/)."""

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
from zsad_bench.losses import mask_losses
from zsad_bench.methods._scoring import patch_probabilities, state_logits
from zsad_bench.methods.anomalyclip import AnomalyClip, AnomalyClipConfig
from zsad_bench.types import Batch, Category, EncoderSpec, SampleInfo, Tap

AGAINST = "official code"  # in the README's table

RUNS = ("L24_fp32", "L24_half", "ML_fp32", "ML_half")
BLOCKS = {"L24": (24,), "ML": (6, 12, 18, 24)}
SAMPLES = [SampleInfo(f"golden/{i}", Category("golden", "any", "any", "object", "industrial")) for i in range(3)]

paths = pytest.mark.parametrize("path", golden_params("anomalyclip"))
runs = pytest.mark.parametrize("run", RUNS)


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays and the backbone that their seed draws."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    backbone = from_model(random_clip.build_open_clip(seed), "random")
    images = torch.from_numpy(golden["images"])
    batch = Batch(images, torch.from_numpy(golden["labels"]), torch.from_numpy(golden["masks"]).bool(), SAMPLES)
    drawn = (
        random_clip.clip_state_dict(seed), random_clip.anomalyclip_params(seed), random_clip.inputs(seed)
    )  # fmt: skip
    return SimpleNamespace(golden=golden, backbone=backbone, batch=batch, drawn=drawn, params=drawn[1])


@cache
def learned(path: Path, run: str) -> SimpleNamespace:
    """The method of one run set with the golden prompt parameters, its features, losses and gradients."""
    w = world(path)
    config = AnomalyClipConfig(
        image_size=random_clip.IMAGE,
        first_vv_block=6,
        taps=BLOCKS[run.split("_")[0]],
        deep_depth=9,
        deep_token_cast="fp16" if run.endswith("half") else "none",
        gaussian_sigma=4.0,
    )
    method = AnomalyClip(w.backbone, config)
    with torch.no_grad():
        method.ctx_normal.copy_(torch.from_numpy(w.params["ctx_pos"][0, 0]))
        method.ctx_abnormal.copy_(torch.from_numpy(w.params["ctx_neg"][0, 0]))
        for i, tokens in enumerate(method.deep_tokens):
            tokens.copy_(torch.from_numpy(w.params[f"compound_prompts_text.{i}"]))
    method.begin_stage(method.stages()[0])
    features = method.encode(w.batch.images, SAMPLES)
    losses = method.losses(features, w.batch)
    sum(losses.values()).backward()
    gradients = {"ctx_pos": method.ctx_normal.grad[None, None], "ctx_neg": method.ctx_abnormal.grad[None, None]}
    gradients |= {f"compound_prompts_text.{i}": grad for i, grad in enumerate(method.deep_tokens.grad)}
    return SimpleNamespace(method=method, features=features, losses=losses, gradients=gradients)


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = [random_clip.fingerprint(arrays) for arrays in w.drawn]
    assert found == list(w.golden["fingerprints"]), "weights, prompt parameters or inputs differ from the golden draw"


@paths
def test_features(path: Path) -> None:
    w = world(path)
    taps = {block: Tap(block, first_vv_block=6) for block in BLOCKS["ML"]}
    spec = EncoderSpec(w.backbone.forward_spec(random_clip.IMAGE), frozenset(taps.values()), frozenset({"cls_raw"}))
    features = w.backbone.encode_image(w.batch.images, spec)
    close(features.pooled("cls_raw"), w.golden["image_features_raw"], 2e-5, "global feature without ln_post")
    for block, tap in taps.items():
        close(features.rows[tap], w.golden[f"patch_features_raw/layer{block}"], 2e-5, f"V-V features of block {block}")


@paths
def test_plain_towers(path: Path) -> None:
    w = world(path)
    native = EncoderSpec(w.backbone.forward_spec(56), frozenset(), frozenset({"cls"}))
    crop = w.batch.images[:, :, :56, :56]
    close(w.backbone.encode_image(crop, native).pooled("cls"), w.golden["plain/image_features_56px"], 2e-5, "image")
    ids = torch.from_numpy(w.golden["plain/tokens"])
    text = w.backbone.encode_text(w.backbone.text_tower.embed_tokens(ids), ids.argmax(-1))
    close(text, w.golden["plain/text_features"], 2e-5, "text features")


@paths
def test_prompts(path: Path) -> None:
    w, run = world(path), learned(path, "L24_fp32")
    assert (run.method.token_ids.numpy() == w.golden["tokenized_prompts"]).all(), "token ids differ"
    close(run.method.prompts()[:, :20], w.golden["prompt_embeddings_first20"], 0, "prompt embeddings")


@paths
@runs
def test_text_features(path: Path, run: str) -> None:
    close(learned(path, run).method.raw_texts(), world(path).golden[f"{run}/text_features_raw"], 2e-5, "text")


@paths
@runs
def test_similarities_and_maps(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    text = one.method.text_for(SAMPLES)
    for i, block in enumerate(one.method.config.taps):
        patches = one.features.patches(Tap(block, 6))
        # Golden probabilities hold the class token first, which our maps leave out.
        close(
            patch_probabilities(patches, text, 0.07), golden[f"{run}/patch_similarity"][i][:, 1:], 5e-6, f"tap {block}"
        )
    if f"{run}/similarity_map" in golden:
        (maps,) = one.method.probabilities(one.features, text)
        close(maps.movedim(1, -1), golden[f"{run}/similarity_map"], 5e-6, "up-sampled probabilities")
    rough = sum((p[:, 1] + 1 - p[:, 0]) / 2 for p in one.method.probabilities(one.features, text))
    close(rough, golden[f"{run}/anomaly_map"], 5e-6, "map before smoothing")


@paths
@runs
def test_prediction(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    with torch.no_grad():
        prediction = one.method.score(one.features, SAMPLES)
    close(prediction.score, golden[f"{run}/image_score"], 5e-6, "image score")
    close(prediction.map, golden[f"{run}/anomaly_map_sigma4"], 5e-6, "smoothed map")


@paths
@runs
def test_losses(path: Path, run: str) -> None:
    w, one = world(path), learned(path, run)
    text = one.method.text_for(SAMPLES)
    logits = state_logits(one.features.pooled("cls_raw"), text, 0.07)
    # Logits are cosines over 0.07: the tolerance of a probability, over 0.07.
    close(logits, w.golden[f"{run}/image_logits"], 7e-5, "image logits")
    probabilities = [p.detach() for p in one.method.probabilities(one.features, text)]
    terms = [mask_losses(p, w.batch.masks) for p in probabilities]
    expected = w.golden[f"{run}/loss_focal_dicea_dicen_per_layer"]
    close(torch.tensor(terms), expected, 2e-5, "focal and Dice terms")
    close(one.losses["image"], w.golden[f"{run}/loss_image_ce"], 2e-5, "image loss")
    close(one.losses["local"], w.golden[f"{run}/loss_local_times4"], 2e-5, "local loss")
    close(sum(one.losses.values()), w.golden[f"{run}/loss_total"], 2e-5, "total loss")


@paths
@runs
def test_gradients(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    relative = 5e-3 if run.endswith("half") else 1e-4
    for name, gradient in one.gradients.items():
        expected = golden[f"{run}/grad/{name}"]
        close(gradient, expected, relative * float(np.abs(expected).max()), f"gradient of {name}")
        norm = golden[f"{run}/grad_norm/{name}"]
        close(gradient.norm(), norm, relative * float(norm), f"gradient norm of {name}")
    others = [name for name, p in one.method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"
