# pytest tests/golden/test_faprompt.py
"""FAPrompt against the official implementation's numbers on shared random weights (README.md in data/)."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.losses import absolute_cosines, binary_focal, mask_losses
from zsad_bench.methods._scoring import l2_normalize, upsample
from zsad_bench.methods.faprompt import FaPrompt, FaPromptConfig
from zsad_bench.types import Batch, Category, SampleInfo, Tap

AGAINST = "official code"  # in the README's table

RUNS = ("firstk_fp32", "firstk_half", "topk_fp32", "topk_half")
PRIOR = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
SAMPLES = [SampleInfo(f"golden/{i}", Category("golden", "any", "any", "object", "industrial")) for i in range(3)]

paths = pytest.mark.parametrize("path", golden_params("faprompt"))
runs = pytest.mark.parametrize("run", RUNS)


def official(name: str) -> str:
    """The released code's name of one of our prior network's parameters."""
    return "patch_meta_net." + name.replace("fc", "linear")


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays and the backbone that their seed draws."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    backbone = from_model(random_clip.build_open_clip(seed), "random")
    images = torch.from_numpy(golden["images"])
    batch = Batch(images, torch.from_numpy(golden["labels"]), torch.from_numpy(golden["masks"]).bool(), SAMPLES)
    drawn = (random_clip.clip_state_dict(seed), random_clip.faprompt_params(seed), random_clip.inputs(seed))
    return SimpleNamespace(golden=golden, backbone=backbone, batch=batch, drawn=drawn, params=drawn[1])


@cache
def learned(path: Path, run: str) -> SimpleNamespace:
    """The method of one run set with the golden parameters, what it reads, its losses and gradients."""
    w = world(path)
    config = FaPromptConfig(
        image_size=random_clip.IMAGE,
        fidelity="official_fixed" if run.startswith("topk") else "official",
        deep_token_cast="fp16" if run.endswith("half") else "none",
        first_vv_block=6,
        deep_depth=9,
        gaussian_sigma=10.0,
    )
    method = FaPrompt(w.backbone, config)
    with torch.no_grad():
        method.ctx_normal.copy_(torch.from_numpy(w.params["ctx_pos"][0, 0]))
        method.ctx_abnormal.copy_(torch.from_numpy(w.params["ctx_neg"][0]))
        for i, tokens in enumerate(method.deep_tokens):
            tokens.copy_(torch.from_numpy(w.params[f"compound_prompts_text.{i}"]))
        for name in PRIOR:
            method.prior.get_parameter(name).copy_(torch.from_numpy(w.params[official(name)]))
    method.begin_stage(method.stages()[0])
    features = method.encode(w.batch.images, SAMPLES)
    losses = method.losses(features, w.batch)
    sum(losses.values()).backward()
    with torch.no_grad():
        reading = method.read(features)
        adapted = method.adapted_texts(reading.shift)
    return SimpleNamespace(method=method, features=features, losses=losses, reading=reading, adapted=adapted)


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = [random_clip.fingerprint(arrays) for arrays in w.drawn]
    assert found == list(w.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"


@paths
def test_features_and_token_ids(path: Path) -> None:
    golden, one = world(path).golden, learned(path, RUNS[0])
    close(one.features.pooled("cls_raw"), golden["image_features_raw"], 2e-5, "global feature without ln_post")
    close(one.features.rows[Tap(24, 6)], golden["patch_features_raw"], 2e-5, "V-V features of block 24")
    ids = one.method.token_ids.numpy()
    assert (ids[:1] == golden["tokenized_prompts_pos"]).all(), "ids of the normal prompt differ"
    assert (ids[1:] == golden["tokenized_prompts_neg"]).all(), "ids of the abnormal prompts differ"


@paths
@runs
def test_texts(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    close(one.reading.texts[:1], golden[f"{run}/text_pos_raw"], 2e-5, "normal text")
    close(one.reading.texts[1:], golden[f"{run}/text_neg_raw"], 2e-5, "abnormal texts")
    normal = one.reading.texts[0].expand(len(SAMPLES), -1)
    adapted = torch.stack([normal, one.adapted.mean(1)], 1)
    close(adapted, golden[f"{run}/adapted_text_raw"], 2e-5, "adapted texts")


@paths
@runs
def test_selection_and_prior(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    abnormal = one.reading.probs[0][..., 1]
    top = abnormal.topk(golden[f"{run}/topk_indices"].shape[1])
    assert (top.indices.numpy() == golden[f"{run}/topk_indices"]).all(), "the most abnormal patches differ"
    close(top.values, golden[f"{run}/topk_scores"], 5e-6, "their probabilities")
    selected = one.method.select(abnormal)
    expected = top.indices if run.startswith("topk") else torch.arange(selected.shape[1]).expand_as(selected)
    assert torch.equal(selected, expected), "other patches feed the prior than this run set says"
    close(one.reading.shift, golden[f"{run}/prior_bias"], 2e-5, "prior")


@paths
@runs
def test_similarities_and_maps(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    for name, probs in zip(("static", "adapted"), one.reading.probs, strict=True):
        # Golden probabilities hold the class token first, which our maps drop.
        close(probs, golden[f"{run}/{name}_patch_similarity"][:, 1:], 5e-6, f"{name} probabilities")
        close(probs[..., 1].amax(1), golden[f"{run}/max_{name}"], 5e-6, f"{name} maximum")
        close(upsample(probs, one.features)[:, 1], golden[f"{run}/{name}_abnormal_map"], 5e-6, f"{name} map")
    # Logits are cosines over 0.07: the tolerance of a probability, over 0.07.
    close(one.reading.logits, golden[f"{run}/image_logits"], 7e-5, "image logits")


@paths
@runs
def test_prediction(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    rough = copy.copy(one.method)
    rough.config = replace(one.method.config, gaussian_sigma=0.0)
    with torch.no_grad():
        prediction = one.method.score(one.features, SAMPLES)
        close(rough.score(one.features, SAMPLES).map, golden[f"{run}/anomaly_map"], 5e-6, "map before smoothing")
    close(prediction.score, golden[f"{run}/image_score"], 5e-6, "image score")
    close(prediction.score, golden[f"{run}/train_image_score"], 5e-6, "image score in training")
    close(prediction.map, golden[f"{run}/anomaly_map_sigma10"], 5e-6, "smoothed map")


@paths
@runs
def test_losses(path: Path, run: str) -> None:
    w, one, losses = world(path), learned(path, run), learned(path, run).losses
    for name, probs in zip(("static", "adapted"), one.reading.probs, strict=True):
        terms = torch.stack(mask_losses(upsample(probs, one.features), w.batch.masks))
        close(terms, w.golden[f"{run}/loss_{name}_focal_dicea_dicen"], 2e-5, f"focal and Dice terms, {name}")
    close(losses["static"] + losses["adapted"], w.golden[f"{run}/loss_local"], 2e-5, "local loss")
    close(losses["image"], w.golden[f"{run}/loss_image_ce"], 2e-5, "image cross-entropy")
    close(losses["focal"], w.golden[f"{run}/loss_image_focal_logits"], 2e-5, "image focal loss")
    close(absolute_cosines(one.reading.texts[1:]).sum(), w.golden[f"{run}/loss_orthogonal_sum"], 2e-5, "cosines")
    close(losses["prior"], w.golden[f"{run}/loss_prior_sum"], 2e-5, "prior loss")
    close(sum(losses.values()), w.golden[f"{run}/loss_total"], 2e-5, "total loss")


@paths
@runs
def test_the_scores_and_focal_losses_of_the_paper(path: Path, run: str) -> None:
    w, one = world(path), learned(path, run)
    paper = copy.copy(one.method)
    paper.config = replace(one.method.config, max_mix=(0.5, 0.5), image_focal_input="probability")
    with torch.no_grad():
        score = paper.read(one.features).score
        focal = paper.losses(one.features, w.batch)["focal"]
    close(score, w.golden[f"{run}/derived/score_mean_of_max"], 5e-6, "score, mean of maxima")
    key = f"{run}/derived/loss_image_focal_prob_on"
    close(focal, w.golden[f"{key}_mean_of_max_score"], 2e-5, "focal loss of the paper's score")
    of_official = binary_focal(one.reading.score, w.batch.labels)
    close(of_official, w.golden[f"{key}_official_score"], 2e-5, "focal loss of the official score")


@paths
@runs
def test_gradients(path: Path, run: str) -> None:
    golden, method = world(path).golden, learned(path, run).method
    relative = 5e-3 if run.endswith("half") else 1e-4
    gradients = {"ctx_pos": method.ctx_normal.grad[None, None], "ctx_neg": method.ctx_abnormal.grad[None]}
    gradients |= {f"compound_prompts_text.{i}": grad for i, grad in enumerate(method.deep_tokens.grad)}
    gradients |= {official(name): method.prior.get_parameter(name).grad for name in PRIOR}
    for name, gradient in gradients.items():
        norm = golden[f"{run}/grad_norm/{name}"]
        close(gradient.norm(), norm, relative * float(norm), f"gradient norm of {name}")
        whole = f"{run}/grad/{name}" in golden  # of the largest matrix only four rows are kept
        expected = golden[f"{run}/grad/{name}" if whole else f"{run}/grad_row0to3/{name}"]
        largest = float(np.abs(expected).max())
        close(gradient if whole else gradient[:4], expected, relative * largest, f"gradient of {name}")
    others = [name for name, p in method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"


@paths
def test_static_pair(path: Path) -> None:
    """The hook that other parts of the suite call gives the static pair: the mean first, normalised after."""
    golden, one = world(path).golden, learned(path, RUNS[0])
    raw = np.stack([golden[f"{RUNS[0]}/text_pos_raw"][0], golden[f"{RUNS[0]}/text_neg_raw"].mean(0)])
    with torch.no_grad():
        close(one.method.text_for(SAMPLES)[0], l2_normalize(torch.from_numpy(raw)).numpy(), 2e-5, "static pair")
