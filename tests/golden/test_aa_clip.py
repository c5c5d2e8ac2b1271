# pytest tests/golden/test_aa_clip.py
"""AA-CLIP against the official implementation's numbers on shared random weights (README_more.md in data/)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import random_clip_c
import torch
from goldens import close, golden_params
from torch import Tensor

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.backbones.forward import resize_positions
from zsad_bench.losses import mask_losses
from zsad_bench.methods._edits import behind_blocks
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.aa_clip import AaClip, AaClipConfig, probabilities
from zsad_bench.prompts.load import read
from zsad_bench.types import Batch, Category, SampleInfo

AGAINST = "official code"  # in the README's table

# Run set -> images of it, and the reading of stage 1 that it belongs to.
RUNS = {
    "official_batch3": ([0, 1, 2], "official_batch_mix"),
    "official_single0": ([0], "official_batch_mix"),
    "official_single1": ([1], "official_batch_mix"),
    "official_single2": ([2], "official_batch_mix"),
    "value_value": ([0, 1, 2], "value_value"),
}
RAW, FEATURES, LOGITS, MAPS, LOSSES, DELTAS = 5e-5, 5e-6, 2e-4, 5e-5, 1e-4, 1e-7
GRADIENTS = 2e-4  # of the largest entry

paths = pytest.mark.parametrize("path", golden_params("aa_clip"))
runs = pytest.mark.parametrize("run", RUNS)


def ours(official: str) -> str:
    """Our name of one of the official parameters; the last text adapter is the projection."""
    kind, *rest = official.removesuffix(".weight").split(".")
    if kind == "text_adapter":
        number = int(rest[0])
        return "text_projection.weight" if number == 3 else f"text_adapters.{number}.fc.weight"
    if rest[0] == "layer_adapters":
        return f"vision_adapters.{rest[1]}.fc.weight"
    return f"patch_maps.{rest[1]}.weight" if rest[0] == "seg_proj" else "image_map.weight"


def category(name: str, domain: str = "industrial") -> Category:
    """The category of this name, of the first dataset whose descriptions have it."""
    dataset = next((d for d, of in read("aa_clip")["descriptions"].items() if name in of), "golden")
    return Category(dataset, name, name, "object", domain)


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the backbone that their seed draws at its native grid, and the batch."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    state = random_clip_c.clip_state_dict("large", seed)
    drawn = (state, random_clip_c.aa_clip_params(seed), random_clip_c.inputs("large", seed))
    samples = [SampleInfo(f"golden/{i}", category(str(name))) for i, name in enumerate(golden["class_names"])]
    masks = torch.from_numpy(golden["masks"]).bool()
    batch = Batch(torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"]), masks, samples)
    backbone = from_model(native(state), "random")
    return SimpleNamespace(golden=golden, backbone=backbone, batch=batch, drawn=drawn, params=drawn[1])


def native(state: dict[str, np.ndarray]) -> torch.nn.Module:
    """The recipe's model at its native grid: the table of positions is resized by our own code."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    c = random_clip_c.CONFIGS["large"]
    vision = CLIPVisionCfg(
        layers=c["layers"],
        width=c["width"],
        head_width=random_clip_c.HEAD_V,
        patch_size=c["patch"],
        image_size=c["native"] * c["patch"],
    )
    text = CLIPTextCfg(
        context_length=random_clip_c.CONTEXT,
        vocab_size=random_clip_c.VOCAB,
        width=c["text"],
        heads=random_clip_c.TEXT_HEADS,
        layers=c["text_layers"],
    )
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=False)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=True)
    return model.eval()


def build(path: Path, **options: object) -> AaClip:
    """The method with the golden parameters."""
    w = world(path)
    size = w.batch.images.shape[-1]
    config = AaClipConfig(image_size=size, gaussian_sigma=1.0, medical_sigma=1.5, augment=False, **options)
    method = AaClip(w.backbone, config)
    named = {ours(name): torch.from_numpy(value) for name, value in w.params.items()}
    assert named.keys() == method.own_parameters().keys()
    method.load_own_state(named)
    return method.eval()


def part(batch: Batch, rows: list[int]) -> Batch:
    samples = [batch.samples[row] for row in rows]
    return Batch(batch.images[rows], batch.labels[rows], batch.pixel_masks[rows], samples)


def learn(method: AaClip, stage: int, batch: Batch) -> SimpleNamespace:
    """Features, losses and gradients of one batch in a stage, and the optimiser that would step."""
    method.begin_stage(method.stages()[stage])
    method.train()
    optimizer = method.optimizer_for(method.stages()[stage])
    features = method.encode(batch.images, batch.samples)
    losses = method.losses(features, batch)
    torch.stack(list(losses.values())).sum().backward()
    return SimpleNamespace(method=method, features=features, losses=losses, optimizer=optimizer)


@cache
def first(path: Path, run: str, levels: str = "last") -> SimpleNamespace:
    rows, attention = RUNS[run]
    method = build(path, stage1_attention=attention, stage1_levels=levels)
    return learn(method, 0, part(world(path).batch, rows))


@cache
def second(path: Path) -> SimpleNamespace:
    return learn(build(path), 1, world(path).batch)


def triple(probs: Tensor, batch: Batch) -> Tensor:
    """Focal, Dice of the normal, Dice of the anomalous channel, in the order of the golden arrays."""
    focal, anomalous, normal = mask_losses(probs, batch.pixel_masks)
    return torch.stack([focal, normal, anomalous])


def check_gradients(method: AaClip, golden: dict[str, np.ndarray], prefix: str) -> None:
    """Norms of all trained parameters, and those gradients that are stored whole."""
    names = [key.removeprefix(f"{prefix}/grad_norm/") for key in golden if key.startswith(f"{prefix}/grad_norm/")]
    got = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert got == {ours(name) for name in names}, f"{prefix}: other parameters have gradients"
    for name in names:
        gradient = method.get_parameter(ours(name)).grad
        norm = golden[f"{prefix}/grad_norm/{name}"]
        close(gradient.norm(), norm, GRADIENTS * float(norm), f"{prefix}: gradient norm of {name}")
        if (whole := golden.get(f"{prefix}/grad/{name}")) is not None:
            close(gradient, whole, GRADIENTS * float(np.abs(whole).max()), f"{prefix}: gradient of {name}")


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = [random_clip.fingerprint(arrays) for arrays in w.drawn]
    assert found == list(w.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"
    for name, value in (("images", w.batch.images), ("labels", w.batch.labels), ("masks", w.batch.pixel_masks)):
        assert (value.numpy() == w.drawn[2][name]).all(), f"the stored {name} are not the drawn ones"


@paths
def test_positions_and_class_token(path: Path) -> None:
    w = world(path)
    tower = w.backbone.vision
    table = tower.visual.positional_embedding
    side = w.batch.images.shape[-1] // tower.patch_size
    resized = resize_positions(table, 1, tower.native_grid, (side, side), "bicubic_antialias")
    close(resized[1], w.golden["resized_positional_embedding_patch0"], FEATURES, "position of the first patch")
    close(first(path, "value_value").features.pooled("cls"), w.golden["cls_embed"], RAW, "class token")


@paths
def test_texts(path: Path) -> None:
    w, method = world(path), build(path)
    named = [key.removeprefix("tokens_") for key in w.golden if key.startswith("tokens_")]
    assert named
    for name in named:
        states = method.sentences(category(name))
        sentences = [sentence for state in states for sentence in state]
        ids = w.backbone.text_tower.tokenize(sentences)
        assert (ids.numpy() == w.golden[f"tokens_{name}"]).all(), f"token ids of {name} differ"
        with torch.no_grad():
            adapted = method.adapted_texts(sentences)
            plain = l2_normalize(w.backbone.encode_prompts(sentences, activation="gelu"))
        close(adapted, w.golden[f"adapted_sentence_embeddings_{name}"], RAW, f"sentences of {name}, not normalised")
        means = [side.mean(0) for side in plain.split([len(state) for state in states])]
        expected = w.golden[f"plain_text_features_{name}"]
        close(l2_normalize(torch.stack(means)).mT, expected, FEATURES, f"texts of {name} in the unadapted tower")
    with torch.no_grad():
        close(method.text_for(w.batch.samples).mT, w.golden["text_features"], FEATURES, "texts of the images")


@paths
@runs
def test_features_and_maps_of_stage_1(path: Path, run: str) -> None:
    golden, (rows, _) = world(path).golden, RUNS[run]
    every = first(path, run, "all")
    blocks = golden["surgery_blocks_1based"]
    assert (blocks == np.arange(every.method.config.first_vv_block, every.method.backbone.vision.n_blocks + 1)).all()
    patches = every.method.stage1_patches(every.features)
    close(torch.stack(patches), golden[f"stage1/{run}/patch_features"], FEATURES, "patch features")
    text = every.method.text_for(part(world(path).batch, rows).samples)
    maps = [probabilities(p @ text.mT, every.features)[:, 1] for p in patches]
    close(torch.stack(maps), golden[f"stage1/{run}/abnormal_map"], MAPS, "maps")


@paths
@runs
def test_losses_and_gradients_of_stage_1(path: Path, run: str) -> None:
    w, (rows, _) = world(path), RUNS[run]
    golden, batch = w.golden, part(w.batch, rows)
    every, last = first(path, run, "all"), first(path, run)
    text = every.method.text_for(batch.samples)
    probs = [probabilities(p @ text.mT, every.features) for p in every.method.stage1_patches(every.features)]
    triples = torch.stack([triple(p, batch) for p in probs])
    close(triples, golden[f"stage1/{run}/loss_focal_dicen_dicea_per_level"], LOSSES, "terms of each level")
    ortho = last.losses["ortho"] / last.method.config.ortho_weight
    close(ortho, golden[f"stage1/{run}/loss_orthogonal"], LOSSES, "orthogonality, unweighted")
    per_level = triples.sum(1) + last.losses["ortho"]
    close(per_level, golden[f"stage1/{run}/loss_per_level"], LOSSES, "loss of each level")
    total = torch.stack(list(last.losses.values())).sum()
    close(total, golden[f"stage1/{run}/loss_per_level"][3], LOSSES, "the loss that trains")
    check_gradients(last.method, golden, f"stage1/{run}")


@paths
def test_all_levels_of_stage_1(path: Path) -> None:
    golden, every = world(path).golden, first(path, "value_value", "all")
    total = torch.stack(list(every.losses.values())).sum()
    close(total, golden["stage1/value_value_all_levels/loss_total"], LOSSES, "loss of all levels")
    check_gradients(every.method, golden, "stage1/value_value_all_levels")


@paths
@pytest.mark.parametrize("run", ["official_batch3", "value_value"])
def test_the_step_of_stage_1(path: Path, run: str) -> None:
    w, (rows, attention) = world(path), RUNS[run]
    one = learn(build(path, stage1_attention=attention), 0, part(w.batch, rows))
    one.optimizer.step()
    delta = one.method.text_projection.weight.detach() - torch.from_numpy(w.params["text_adapter.3.fc.0.weight"])
    close(delta, w.golden[f"stage1/{run}/step/text_adapter.3.fc.0.weight_delta"], DELTAS, "step of the projection")


@paths
def test_stage_2(path: Path) -> None:
    w, one = world(path), second(path)
    golden, method, cosines = w.golden, one.method, one.features.extra
    with torch.no_grad():
        patches, image = adapted(method, w.batch)
    close(patches.transpose(0, 1), golden["stage2/seg_features"], FEATURES, "patch features")
    close(image, golden["stage2/det_feature"], FEATURES, "image feature")
    close(cosines["image"], golden["stage2/class_logits"], FEATURES, "logits of the image, without scale")
    triples = [triple(probabilities(level, one.features), w.batch) for level in cosines["patches"].unbind(1)]
    close(torch.stack(triples), golden["stage2/loss_focal_dicen_dicea_per_level"], LOSSES, "terms of each level")
    close(one.losses["image"], golden["stage2/loss_ce"], LOSSES, "cross-entropy")
    close(torch.stack(list(one.losses.values())).sum(), golden["stage2/loss_total"], LOSSES, "total loss")
    check_gradients(method, golden, "stage2")


@paths
def test_the_step_of_stage_2(path: Path) -> None:
    w = world(path)
    one = learn(build(path), 1, w.batch)
    one.optimizer.step()
    with torch.no_grad():
        after = one.method.losses(one.method.encode(w.batch.images, w.batch.samples), w.batch)
    close(torch.stack(list(after.values())).sum(), w.golden["stage2/loss_after_step"], LOSSES, "loss after a step")


def adapted(method: AaClip, batch: Batch) -> tuple[Tensor, Tensor]:
    """Patch features of all levels and the image's, from the adapted tower."""
    return method.adapted(method.encoder(batch.images, batch.samples, behind_blocks(method.vision_adapters)))


@paths
@pytest.mark.parametrize("domain", ["industrial", "medical"])
def test_predictions(path: Path, domain: str) -> None:
    w, method = world(path), build(path, set_minmax=True)
    golden = w.golden
    samples = [replace(s, category=category(s.category.name, domain)) for s in w.batch.samples]
    with torch.no_grad():
        features = method.encode(w.batch.images, samples)
        close(100 * features.extra["patches"][:, 0], golden["test/level6_logits"], LOGITS, "logits of block 6")
        close(method.detection(features), golden["test/det_score"], MAPS, "the image's own score")
        maps = method.maps(features, samples)
        close(maps, golden[f"test/{domain}_map"], MAPS, f"{domain} map")
        found = method.score_set(features, samples)
    close(found.score, golden[f"test/{domain}_image_score_minmax"], MAPS, f"{domain} score over the set")
    span = maps.max() - maps.min()
    close(found.map * span + maps.min(), golden[f"test/{domain}_map"], MAPS, f"{domain} map, scaled back")


@paths
def test_leaky_maps(path: Path) -> None:
    w = world(path)
    with torch.no_grad():
        patches, image = adapted(build(path, proj_relu=True), w.batch)
    close(patches[:, -1], w.golden["relu/seg_features_level24"], FEATURES, "patch features of the last level")
    close(image, w.golden["relu/det_feature"], FEATURES, "image feature")
