# pytest tests/golden/test_dive.py
"""DIVE against the numbers of an independent reference on shared random weights (README_dive.md in data/).

No official code is public: these show that the method follows its specification, not that it follows its authors.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import random_dive
import torch
import yaml
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.losses import mask_losses, squared_cosine
from zsad_bench.methods._scoring import l2_normalize, patch_probabilities
from zsad_bench.methods.dive import Dive, DiveConfig
from zsad_bench.types import Batch, Category, EncoderSpec, SampleInfo, Tap

AGAINST = "independent reading of the paper; no code is public"  # in the README's table

SWITCHES = {
    "default": {},
    "no_disentangle": {"disentangle": False},
    "no_shallow": {"shallow": False},
    "no_deep": {"deep": False},
    "four_blocks": {"inject_blocks": (20, 21, 22, 23)},
}
FEATURE, PROBABILITY, ATTENTION, LOSS, GRADIENT = 3e-5, 5e-6, 1e-5, 2e-5, 1e-4  # thresholds of README_dive.md

paths = pytest.mark.parametrize("path", golden_params("dive"))
runs = pytest.mark.parametrize("run", SWITCHES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lexicons")


@pytest.fixture
def world(path: Path, folder: Path) -> SimpleNamespace:
    return _world(path, folder)


@pytest.fixture
def one(path: Path, folder: Path, run: str) -> SimpleNamespace:
    return _learned(path, folder, run)


@cache
def _world(path: Path, folder: Path) -> SimpleNamespace:
    """The golden arrays, the backbone that their seed draws, and the golden descriptions as a lexicon file."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    names, sentences = golden["class_names"].tolist(), golden["descriptions"].tolist()
    samples = [
        SampleInfo(f"golden/{i}", Category("golden", names[at], names[at], "object", "industrial"))
        for i, at in enumerate(golden["class_labels"])
    ]
    images, masks = torch.from_numpy(golden["images"]), torch.from_numpy(golden["masks"]).bool()
    kinds = {
        "abnormal": [s for s, yes in zip(sentences, golden["desc_is_abnormal"], strict=True) if yes],
        "normal": [s for s, yes in zip(sentences, golden["desc_is_abnormal"], strict=True) if not yes],
    }
    lexicon = folder / f"{path.stem}.yaml"
    lexicon.write_text(yaml.safe_dump(kinds), encoding="utf-8")
    drawn = random_clip.clip_state_dict(seed), random_dive.dive_params(seed), random_clip.inputs(seed)
    return SimpleNamespace(
        golden=golden,
        backbone=from_model(random_clip.build_open_clip(seed), "random"),
        batch=Batch(images, torch.from_numpy(golden["labels"]), masks, samples),
        names=names,
        lexicon=str(lexicon),
        drawn=drawn,
        params=drawn[1],
    )


def build(w: SimpleNamespace, **settings) -> Dive:
    """The method with everything explicit and the golden parameters; a parameter that was not drawn is an error."""
    config = DiveConfig(
        **{
            "image_size": random_clip.IMAGE,
            "deep_depth": random_dive.DEEP_DEPTH,
            "n_ctx": random_dive.N_CTX,
            "deep_len": random_dive.DEEP_LEN,
            "inject_blocks": (21, 22, 23),
            "gaussian_sigma": 4.0,
            "lexicon": w.lexicon,
            **settings,
        }
    )
    method = Dive(w.backbone, config)
    with torch.no_grad():
        for name, parameter in own(method).items():
            parameter.copy_(torch.from_numpy(w.params[name]))
    method.set_auxiliary_classes(w.names)
    return method


def own(method: Dive) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in method.named_parameters() if not name.startswith("backbone.")}


@cache
def _learned(path: Path, folder: Path, run: str) -> SimpleNamespace:
    """The method of one set, its features with the blocks' raw outputs, losses and gradients."""
    w = _world(path, folder)
    method = build(w, **SWITCHES[run])
    method.begin_stage(method.stages()[0])
    features = method.encode(w.batch.images, w.batch.samples)
    losses = method.losses(features, w.batch)
    sum(losses.values()).backward()
    return SimpleNamespace(method=method, features=features, losses=losses, golden=Golden(w.golden, run))


class Golden:
    """The arrays of one set, and whether it has them."""

    def __init__(self, arrays: dict[str, np.ndarray], run: str) -> None:
        self.arrays = {k.removeprefix(f"{run}/"): v for k, v in arrays.items() if k.startswith(f"{run}/")}

    def check(self, found: torch.Tensor, key: str, tolerance: float) -> None:
        close(found, self.arrays[key], tolerance, key)


@paths
def test_the_draw_is_the_golden_one(world) -> None:
    found = [random_clip.fingerprint(arrays) for arrays in world.drawn]
    assert found == list(world.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"


@paths
def test_tokens_and_bank(world) -> None:
    method, golden = build(world), world.golden
    assert (method.token_ids.numpy() == golden["tokens_state"]).all(), "token ids of the state prompts"
    assert (method.semantic_ids(world.names).numpy() == golden["tokens_semantic"]).all(), "of the semantic prompts"
    ids = world.backbone.text_tower.tokenize(golden["descriptions"].tolist())
    assert (ids.numpy() == golden["tokens_descriptions"]).all(), "token ids of the descriptions"
    close(method.bank(), golden["description_bank"], FEATURE, "description bank")
    assert (method.is_abnormal.numpy() == golden["desc_is_abnormal"]).all(), "abnormal descriptions come first"


@paths
def test_without_gamma_and_prompts_it_is_plain_clip(world) -> None:
    method = build(world, gamma=0.0, n_visual=0)
    with torch.no_grad():
        features = method.encode(world.batch.images, world.batch.samples)
    close(features.pooled("cls"), world.golden["plain/z_x"], 1e-5, "global feature")


@paths
@runs
def test_texts(world, one) -> None:
    one.golden.check(one.method.state_features(), "text_state_raw", FEATURE)
    assert one.method.config.disentangle == ("text_semantic_raw" in one.golden.arrays)
    if one.method.config.disentangle:
        one.golden.check(one.method.semantic_features(world.names), "text_semantic_raw", FEATURE)


@paths
@runs
def test_embeddings_and_logits(world, one) -> None:
    method, z = one.method, one.features.pooled("cls")
    one.golden.check(z, "z_x", FEATURE)
    if method.config.disentangle:
        for state in ("state", "semantic"):
            offset = getattr(method, f"g_{state}")(z)
            one.golden.check(offset, f"delta_{state}", FEATURE)
            one.golden.check(z + offset, "z_st" if state == "state" else "z_se", FEATURE)
        one.golden.check(method.semantic_logits(one.features, world.names), "semantic_logits", FEATURE)
    else:
        one.golden.check(z, "z_st", FEATURE)
    one.golden.check(method.logits(one.features, method.text_for(world.batch.samples)), "image_logits", FEATURE)


@paths
@runs
def test_prediction(world, one) -> None:
    with torch.no_grad():
        text = one.method.text_for(world.batch.samples)
        (tap,) = one.features.rows
        patches = one.features.patches(tap)
        one.golden.check(patch_probabilities(patches, text, 0.07), "patch_prob", PROBABILITY)
        prediction = one.method.score(one.features, world.batch.samples)
    one.golden.check(prediction.score, "image_score", PROBABILITY)
    one.golden.check(prediction.map, "anomaly_map_sigma4", PROBABILITY)
    if "anomaly_map" in one.golden.arrays:
        one.golden.check(one.method.probabilities(one.features, text)[:, 1], "anomaly_map", PROBABILITY)
        one.golden.check(patches, "z_e", FEATURE)


@paths
@runs
def test_attention(world, one) -> None:
    stored = {int(key.removeprefix("attention_block")) for key in one.golden.arrays if key.startswith("attention_b")}
    found = one.method.attention_maps(world.batch.images) if one.method.config.deep else {}
    assert stored <= set(found), f"attention of blocks {sorted(found)}, golden has {sorted(stored)}"
    for block in stored:
        one.golden.check(found[block], f"attention_block{block}", ATTENTION)
    for key in one.golden.arrays:
        if key.startswith("attention_score_block"):
            share = one.method.abnormal_share(found[int(key.removeprefix("attention_score_block"))])
            one.golden.check(share, key, PROBABILITY)


@paths
@pytest.mark.parametrize("run", ["default"])
def test_inside_the_visual_tower(world, one) -> None:
    """What enters an injection is what its block put out; the visual prompts go through all blocks."""
    method, golden = one.method, one.golden
    taps = {block: Tap(block, raw=True) for block in range(21, 25)}
    spec = EncoderSpec(method.encoder_spec.forward, frozenset(taps.values()))
    entered = {}

    def watched(block, increment):
        def watch(patches):
            entered[block - 1] = patches
            return increment(patches)

        return watch

    with torch.no_grad():
        inject = {block: watched(block, increment) for block, increment in method.injections().items()}
        prompts = method.visual_prompts()
        features = world.backbone.encode_image(world.batch.images, spec, method.edit(world.batch.images, inject))
        increment = method.inject[0](entered[21], method.desc_proj(method.bank()))
    golden.check(prompts, "visual_prompts", FEATURE)
    golden.check(features.extra_rows, "visual_prompts_out", FEATURE)
    for block, tap in taps.items():
        golden.check(features.patches(tap), f"patches_block{block}", FEATURE)
    golden.check(increment, "ca_block21", FEATURE)


@paths
@runs
def test_losses(world, one) -> None:
    method, losses, golden = one.method, one.losses, one.golden
    stored = {key.removeprefix("loss_") for key in golden.arrays if key.startswith("loss_")}
    parts = ("focal", "dice_abnormal", "dice_normal")
    assert set(losses) | {*parts, "total"} == stored, "terms that do not exist in this set, or are missing"
    for name, value in losses.items():
        golden.check(value, f"loss_{name}", LOSS)
    golden.check(sum(losses.values()), "loss_total", LOSS)
    with torch.no_grad():
        maps = method.probabilities(one.features, method.text_for(world.batch.samples))
        for name, value in zip(parts, mask_losses(maps, world.batch.masks), strict=True):
            golden.check(value, f"loss_{name}", LOSS)
    if method.config.disentangle:
        offsets = [torch.from_numpy(golden.arrays[f"delta_{state}"]) for state in ("state", "semantic")]
        golden.check(squared_cosine(*offsets), "loss_dis", LOSS)


@paths
@runs
def test_gradients(world, one) -> None:
    parameters, stored = own(one.method), one.golden.arrays
    names = {key.removeprefix("grad_norm/") for key in stored if key.startswith("grad_norm/")}
    assert set(parameters) == names, f"parameters that differ: {sorted(set(parameters) ^ names)}"
    for name, parameter in parameters.items():
        gradient, norm = parameter.grad, float(stored[f"grad_norm/{name}"])
        one.golden.check(gradient.norm(), f"grad_norm/{name}", GRADIENT * norm)
        if f"grad/{name}" in stored:
            largest = float(np.abs(stored[f"grad/{name}"]).max())
            one.golden.check(gradient, f"grad/{name}", GRADIENT * largest)
        else:  # the file has four rows; the largest entry of the tensor is taken from ours, whose norm is right
            rows = gradient.reshape(-1, gradient.shape[-1])[:4]
            one.golden.check(rows, f"grad_rows0to3/{name}", GRADIENT * float(gradient.abs().max()))
    others = [name for name, p in one.method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"


@paths
def test_recomputing_blocks_gives_the_same_gradients(world, folder, path) -> None:
    """Cutting the memory by checkpoints, and leaving the context whole, moves nothing."""
    method = build(world, checkpoint_blocks=True, truncate_context=False)
    method.begin_stage(method.stages()[0])
    losses = method.losses(method.encode(world.batch.images, world.batch.samples), world.batch)
    sum(losses.values()).backward()
    expected = own(_learned(path, folder, "default").method)
    for name, parameter in own(method).items():
        largest = GRADIENT * float(expected[name].grad.abs().max())
        close(parameter.grad, expected[name].grad.numpy(), largest, f"gradient of {name}")
    assert torch.allclose(l2_normalize(method.bank()), method.bank(), atol=1e-6), "descriptions have length one"
