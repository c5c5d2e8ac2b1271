# pytest tests/golden/test_af_clip.py
"""AF-CLIP against the numbers of an independent reference on shared random weights (README_rest.md in data/).

Not verified against official code: the released code has no licence and was not opened. These show that the method
follows its description, not that it follows its authors.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_rest
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.af_clip import AfClip, AfClipConfig, masks_on_grid, misalignment
from zsad_bench.types import Batch, Category, SampleInfo, Tap

AGAINST = "independent reading of the paper; not verified against official code"  # in the README's table

TAPS = (6, 12, 18, 24)
ADAPTED = (0, 2, 9, 11)  # the token sets whose adapter output is stored
# Thresholds of README_rest.md.
BLOCK, FEATURE, LOGIT, SCORE, LOSS, ALIGNMENT, GRADIENT, STEP = 5e-5, 1e-5, 3e-4, 2e-5, 1e-4, 5e-6, 2e-4, 1e-6
# Which images, and whether their masks are full.
CASES = {"default": ([0, 1, 2], False), "normal_only": ([0, 2], False), "all_abnormal": ([1], True)}
TERMS = {"image": "loss_image", "map_focal": "loss_map_focal", "map_l1": "loss_map_l1"}

paths = pytest.mark.parametrize("path", golden_params("af_clip"))
cases = pytest.mark.parametrize("case", CASES)


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, and the backbone that their seed draws, at its native grid: positions are resized by ours."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    images, masks = torch.from_numpy(golden["images"]), torch.from_numpy(golden["masks"]).bool()
    samples = [
        SampleInfo(f"golden/{i}", Category("golden", "any", "any", "object", "industrial")) for i in range(len(images))
    ]
    return SimpleNamespace(
        golden=golden,
        seed=seed,
        backbone=from_model(native_clip(seed), "random"),
        batch=Batch(images, torch.from_numpy(golden["labels"]), masks, samples),
        params=random_rest.params("af_clip", seed),
    )


def native_clip(seed: int) -> torch.nn.Module:
    """The recipe's CLIP before its table of positions is resized."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    c = random_rest.LARGE
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=64, patch_size=c["patch"], image_size=c["native"] * c["patch"]
    )
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=c["text"], heads=2, layers=c["text_layers"])
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=random_rest.QUICK_GELU["af_clip"])
    weights = {name: torch.from_numpy(np.array(v)) for name, v in random_rest.weights("af_clip", seed).items()}
    model.load_state_dict(weights, strict=True)
    return model


def build(w: SimpleNamespace) -> AfClip:
    """The method with everything explicit and the golden parameters; one that was not drawn is an error."""
    config = AfClipConfig(
        image_size=w.batch.images.shape[-1],
        taps=TAPS,
        neighbourhoods=(1, 3, 5),
        neighbourhood_sigma=4.0,
        sentences=tuple(w.golden["sentences"].tolist()),
        n_ctx=random_rest.N_CTX,
        n_heads=random_rest.AF_HEADS,
        head_width=random_rest.AF_HEAD_WIDTH,
        temperature=0.07,
        focal_gamma=4.0,
        map_weight=1.0,
        align_weight=1.0,
        align_pairs="image",
        gaussian_sigma=4.0,
    )
    method = AfClip(w.backbone, config)
    with torch.no_grad():
        for name, parameter in method.own_parameters().items():
            parameter.copy_(torch.from_numpy(w.params[name]))
    method.begin_stage(method.stages()[0])
    return method


@cache
def read(path: Path) -> SimpleNamespace:
    """What the method makes of the three images, without gradients."""
    w = world(path)
    method = build(w)
    with torch.no_grad():
        features = method.encode(w.batch.images, w.batch.samples)
        return SimpleNamespace(
            method=method,
            features=features,
            aggregated=list(method.aggregated(features)),
            sets=list(method.token_sets(features)),
            texts=method.raw_texts(),
        )


def batch_of(w: SimpleNamespace, case: str) -> Batch:
    rows, full = CASES[case]
    batch, masks = w.batch, w.batch.masks[rows]
    masks = torch.ones_like(masks) if full else masks
    return Batch(batch.images[rows], batch.labels[rows], masks, [batch.samples[row] for row in rows])


@cache
def learned(path: Path, case: str) -> SimpleNamespace:
    """The losses of one case and their gradients."""
    w = world(path)
    method, batch = build(w), batch_of(w, case)
    features = method.encode(batch.images, batch.samples)
    losses = method.losses(features, batch)
    sum(losses.values()).backward()
    return SimpleNamespace(method=method, features=features, losses=losses, batch=batch)


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = random_rest.fingerprints("af_clip", w.seed)
    assert found == list(w.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"
    assert set(read(path).method.own_parameters()) == set(w.params), "other parameters exist than were drawn"
    inputs = random_rest.inputs("af_clip", w.seed)
    assert (inputs["images"] == w.golden["images"]).all(), "the stored images are not those of the recipe"


@paths
def test_texts(path: Path) -> None:
    golden, one = world(path).golden, read(path)
    assert (one.method.token_ids.numpy() == golden["tokens"]).all(), "token ids differ"
    close(one.texts, golden["text_raw"], FEATURE, "raw texts")
    close(l2_normalize(one.texts), golden["text_features"], FEATURE, "text features")


@paths
def test_tokens(path: Path) -> None:
    golden, one = world(path).golden, read(path)
    rows = torch.stack([one.features.rows[Tap(block, raw=True)][0] for block in TAPS])
    close(rows, golden["layer_tokens_image0"], BLOCK, "block outputs")
    aggregated = torch.stack([tokens[0] for tokens in one.aggregated[1:3]])
    close(aggregated, golden["aggregated_layer6_image0"], BLOCK, "neighbourhoods of block 6")
    with torch.no_grad():
        adapted = torch.cat([one.method.adapter(one.aggregated[number][:1]) for number in ADAPTED])
    close(adapted, golden["adapted_image0"], BLOCK, "adapter")
    close(torch.stack(one.sets), golden["token_features"], FEATURE, "token features of all sets")


@paths
def test_prediction(path: Path) -> None:
    w, one = world(path), read(path)
    golden = w.golden
    with torch.no_grad():
        logits = one.method.logits(one.sets, one.method.text_for(w.batch.samples))
        found = one.method.score(one.features, w.batch.samples)
        rough = copy.copy(one.method)
        rough.config = replace(one.method.config, gaussian_sigma=0.0)
        close(rough.score(one.features, w.batch.samples).map, golden["anomaly_map"], SCORE, "map before smoothing")
    close(logits, golden["logits"], LOGIT, "logits")
    patches = logits.softmax(-1)[:, 1:, 1].unflatten(1, one.features.grid)
    close(patches, golden["patch_map"], SCORE, "map of patches")
    close(found.score, golden["image_score"], SCORE, "image score")
    close(found.map, golden["anomaly_map_sigma4"], SCORE, "smoothed map")


@paths
@cases
def test_losses(path: Path, case: str) -> None:
    golden, one = world(path).golden, learned(path, case)
    target = masks_on_grid(one.batch.pixel_masks, one.features.grid)
    expected = golden[f"{case}/target_grid"].reshape(len(target), -1)
    assert (target.numpy() == expected).all(), "the masks on the grid of patches differ"
    for term, key in TERMS.items():
        close(one.losses[term], golden[f"{case}/{key}"], LOSS, f"loss, {term}")
    with torch.no_grad():
        over = torch.stack([misalignment(g[:, 1:], target) for g in one.method.token_sets(one.features)])
    close(over, golden[f"{case}/alignment_before_clipping"], ALIGNMENT, "loss, alignment before clipping")
    close(one.losses["alignment"], golden[f"{case}/loss_alignment"], ALIGNMENT, "loss, alignment")
    close(sum(one.losses.values()), golden[f"{case}/loss_total"], LOSS, "total loss")


@paths
@cases
def test_gradients(path: Path, case: str) -> None:
    golden, method = world(path).golden, learned(path, case).method
    for name, parameter in method.own_parameters().items():
        norm = golden[f"{case}/grad_norm/{name}"]
        close(parameter.grad.norm(), norm, GRADIENT * float(norm), f"gradient norm of {name}")
        whole, some = f"{case}/grad/{name}", f"{case}/grad_rows0to3/{name}"
        assert case != "default" or (whole in golden) != (some in golden), f"the file has no gradient of {name}"
        for key, gradient in ((whole, parameter.grad), (some, parameter.grad[:4])):
            if key in golden:
                largest = float(np.abs(golden[key]).max())
                close(gradient, golden[key], GRADIENT * largest, f"gradient of {name}")
    others = [name for name, p in method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"


@paths
def test_a_step(path: Path) -> None:
    w = world(path)
    method = build(w)
    assert method.config.lr == 1e-4, "the golden step was taken at this rate"
    optimizer = method.optimizer_for(method.stages()[0])
    features = method.encode(w.batch.images, w.batch.samples)
    sum(method.losses(features, w.batch).values()).backward()
    optimizer.step()
    keys = [key for key in w.golden if key.startswith("step_delta/")]
    assert keys, "the file has no step"
    for key in keys:
        name = key.partition("/")[2]
        moved = method.own_parameters()[name].detach() - torch.from_numpy(w.params[name])
        close(moved, w.golden[key], STEP, f"step of the optimiser, {name}")
    with torch.no_grad():
        after = sum(method.losses(features, w.batch).values())
    close(after, w.golden["loss_after_step"], LOSS, "total loss after the step")
