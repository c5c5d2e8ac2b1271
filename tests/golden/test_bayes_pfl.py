# pytest tests/golden/test_bayes_pfl.py
"""Bayes-PFL against the official implementation's numbers on shared random weights (README_next.md in data/)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_next
import torch
from goldens import close, golden_params
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from random_clip import fingerprint
from random_clip_c import CONFIGS, CONTEXT, HEAD_V, TEXT_HEADS, VOCAB, clip_state_dict, inputs
from torch import Tensor

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods._prompt_flow import divergence
from zsad_bench.methods.bayes_pfl import FUSION, BayesPfl, BayesPflConfig, Noise, largest
from zsad_bench.types import Batch, Category, SampleInfo, Tap

AGAINST = "official code"  # in the README's table

FEATURES, LATENTS, TEXTS, LOGITS, MAPS, SCORES = 5e-5, 1e-5, 5e-6, 5e-5, 1e-5, 5e-5
LOSSES, GRADIENTS = 2e-5, 2e-4  # gradients: of the largest entry, or of the norm
FLAT = "fuse.compress.bias"  # a bias within a softmax, which ours does not have

paths = pytest.mark.parametrize("path", golden_params("bayes_pfl"))
RENAMED = {
    r"^prompt_state_": "prompt_",
    r"^temperature_": "log_scale_",
    r"^class_mapping": "class_map",
    r"^image_mapping": "image_map",
    r"^RCA\.q_proj_pre": "query",
    r"^RCA\.linear_proj": "patch_maps",
    r"^fuse\.fuse_modules": "fuse.reduce",
    r"^fuse\.compress": "fuse.weigh",
    r"^fuse\.post_process": "fuse.out",
    r"_encoder\.weight_(\w+)\.module": r"_encoder.\1",
    r"^PFL_(\w+)\.": r"\1_flow.",
    r"_flow\.amor_": "_flow.",
}


def our_name(official: str) -> str:
    """Our parameter of the released name."""
    for pattern, ours in RENAMED.items():
        official = re.sub(pattern, ours, official)
    return official


def our_shape(official: str, value: np.ndarray) -> np.ndarray:
    """The released code keeps axes of one entry in its flows and has a convolution of one for a linear map."""
    if re.match(r"PFL_(ab)?normal\.amor_", official):
        return value.reshape((1, *(n for n in value.shape[1:] if n > 1)))
    return value[..., 0] if official == "RCA.q_proj_pre.weight" else value


def native_model(seed: int) -> CLIP:
    """The golden weights with their native 4 x 4 positions and QuickGELU, as OpenAI's files would be loaded."""
    c = CONFIGS["large"]
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=HEAD_V, patch_size=c["patch"],
        image_size=c["native"] * c["patch"],
    )  # fmt: skip
    text = CLIPTextCfg(
        context_length=CONTEXT, vocab_size=VOCAB, width=c["text"], heads=TEXT_HEADS, layers=c["text_layers"]
    )
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=True)
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in clip_state_dict("large", seed).items()})
    return model.eval()


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the backbone that their seed draws, the images, and the noise."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    drawn = (clip_state_dict("large", seed), random_next.bayes_params(seed), random_next.bayes_draws(seed),
             inputs("large", seed))  # fmt: skip
    samples = [
        SampleInfo(f"golden/{i}", Category("golden", str(name), str(name), "object", "industrial"))
        for i, name in enumerate(golden["class_names"])
    ]
    batch = Batch(
        torch.from_numpy(golden["images"]),
        torch.from_numpy(golden["labels"]),
        torch.from_numpy(golden["masks"]).bool(),
        samples,
    )
    noise = {name: torch.from_numpy(value) for name, value in drawn[2].items()}
    of_step = Noise(noise["train.context"][:, None], noise["train.normal"][None], noise["train.abnormal"][None])
    contexts = torch.stack([noise[f"test.{i}.context"][:, 0] for i in range(len(samples))])
    at_test = Noise(contexts, noise["test.normal"][:, 0][None], noise["test.abnormal"][:, 0][None])
    return SimpleNamespace(
        golden=golden, backbone=from_model(native_model(seed), "random"), batch=batch, drawn=drawn, params=drawn[1],
        of_step=of_step, at_test=at_test, index=int(golden["prompt_index"]),
    )  # fmt: skip


def fresh(path: Path, **settings: object) -> BayesPfl:
    """The method with the golden parameters, which draws the golden noise."""
    w = world(path)
    settings = {"top_k": 2000, "few_top_k": 20, "gaussian_sigma": 8.0, "draws": len(w.at_test.normal[0]), **settings}
    config = BayesPflConfig(image_size=w.batch.images.shape[-1], fidelity="official", **settings)
    method = BayesPfl(w.backbone, config)
    own = {our_name(n): torch.tensor(our_shape(n, v)) for n, v in w.params.items() if n != FLAT}
    method.load_own_state(
        {n: v for n, v in own.items() if config.fuse_epochs or not n.startswith(("image_map", "fuse"))}
    )
    method.noise_of_step = lambda samples: (w.of_step, w.index)
    chosen = {sample.id: row for row, sample in enumerate(w.batch.samples)}
    method.noise = lambda samples: w.at_test._replace(context=w.at_test.context[[chosen[s.id] for s in samples]])
    return method.eval()


@cache
def features_of(path: Path) -> SimpleNamespace:
    with torch.no_grad():
        return fresh(path).encode(world(path).batch.images, world(path).batch.samples)


@cache
def stage1(path: Path) -> SimpleNamespace:
    """A step of the first stage: what is drawn, the losses and their gradients."""
    w, method = world(path), fresh(path)
    categories, features = [sample.category for sample in w.batch.samples], features_of(path)
    method.begin_stage(method.stages()[0])
    method.train()
    losses = method.losses(features, w.batch)
    torch.stack(list(losses.values())).sum().backward()
    assert not [name for name, p in method.backbone.named_parameters() if p.grad is not None], "the backbone learns"
    with torch.no_grad():
        latents = method.latents(features, w.of_step)
        texts = method.texts(categories, latents)
    return SimpleNamespace(method=method, features=features, losses=losses, latents=latents, texts=texts)


def check_gradients(path: Path, stage: str, found: dict[str, Tensor]) -> None:
    """All norms, and the stored tensors or their first rows."""
    golden = world(path).golden
    prefix = f"{stage}/grad_norm/"
    norms = {key.removeprefix(prefix): v for key, v in golden.items() if key.startswith(prefix)}
    norms.pop(FLAT, None)
    assert {our_name(name) for name in norms} == found.keys(), "other parameters have gradients"
    for name, expected in norms.items():
        close(found[our_name(name)].norm(), expected, GRADIENTS * float(expected), f"gradient norm of {name}")
    for key, value in golden.items():
        kind, _, name = key.removeprefix(f"{stage}/").partition("/")
        if not key.startswith(f"{stage}/grad") or kind == "grad_norm" or name == FLAT:
            continue
        expected, gradient = our_shape(name, value), found[our_name(name)]
        gradient = gradient[:4] if kind == "grad_rows0to3" else gradient
        close(gradient, expected, GRADIENTS * float(np.abs(expected).max()), f"gradient of {name}")


def gradients(method: BayesPfl) -> dict[str, Tensor]:
    return {name: p.grad for name, p in method.own_parameters().items() if p.grad is not None}


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    assert [fingerprint(arrays) for arrays in w.drawn] == list(w.golden["fingerprints"]), "the draws differ"
    for name in ("images", "labels", "masks"):
        assert (w.drawn[3][name] == w.golden[name]).all(), f"{name} are not those of the recipe"


@paths
def test_token_ids(path: Path) -> None:
    w, method = world(path), fresh(path)
    rows = method.config.n_ctx + method.config.n_state
    for sample, expected in zip(w.batch.samples, w.golden["tokens_first10"], strict=True):
        ids = method.token_ids(sample.category)[0]
        found = torch.cat([ids[:1], ids[rows : rows + len(expected) - 1]])  # one filler, as before it is replaced
        assert found.tolist() == expected.tolist(), f"token ids of {sample.category.name}"


@paths
def test_image_features(path: Path) -> None:
    w, features = world(path), features_of(path)
    close(features.pooled("cls"), w.golden["image_features"], FEATURES, "image features")
    blocks = torch.stack([features.patches(Tap(int(layer), raw=True))[1] for layer in w.golden["layers"]])
    close(blocks, w.golden["patch_tokens_image1"], FEATURES, "raw patch tokens of image 1")


@paths
def test_what_is_drawn(path: Path) -> None:
    w, s = world(path), stage1(path)
    for name, drawn in s.latents._asdict().items():
        place = f"stage1/PFL_{name}"
        close(drawn.mean, w.golden[f"{place}/mu"], LATENTS, f"{name}: mean")
        close(drawn.variance, w.golden[f"{place}/variance"], LATENTS, f"{name}: variance")
        close(drawn.start[:, 0], w.golden[f"{place}/z0"], LATENTS, f"{name}: before the flow")
        close(drawn.end[:, 0], w.golden[f"{place}/zk"], LATENTS, f"{name}: behind the flow")
        close(drawn.log_det[:, 0], w.golden[f"{place}/log_det"], LATENTS, f"{name}: log-determinant")
    found = [0.01 * divergence(drawn, len(w.batch)) for drawn in s.latents]
    close(torch.stack(found), w.golden["stage1/kl_weighted"], LOSSES, "divergence terms of the loss")


@paths
def test_stage_1(path: Path) -> None:
    w, s = world(path), stage1(path)
    close(s.texts.flatten(1, 2), w.golden["stage1/text_embeddings"], TEXTS, "text features")
    pair = s.texts[:, :, w.index : w.index + 1]
    with torch.no_grad():
        patches, attending = s.method.aligned(s.features, s.texts)[1]
        logits = s.method.image_logits(s.features, s.texts, fused=False).flatten(1)
        maps = torch.stack([level[:, 0].sigmoid() for level in s.method.level_maps(s.features, pair)])
    close(attending.flatten(1, 2), w.golden["stage1/rca_text_layer12"], TEXTS, "texts that attended, block 12")
    close(patches[1], w.golden["stage1/rca_patches_image1_layer12"], TEXTS, "patches that they attended to")
    close(logits, w.golden["stage1/image_logits"], LOGITS, "image logits")
    close(maps, w.golden["stage1/abnormal_prob"], MAPS, "maps of each level")


@paths
def test_losses_and_gradients_of_stage_1(path: Path) -> None:
    golden, s = world(path).golden, stage1(path)
    by_layer = golden["stage1/loss_focal_dice_per_layer"].sum(0)
    expected = {
        "image": golden["stage1/loss_class"], "focal": by_layer[0], "dice": by_layer[1],
        "kl": golden["stage1/loss_distribution"], "ortho": golden["stage1/loss_orthogonal"],
    }  # fmt: skip
    assert s.losses.keys() == expected.keys()
    for name, value in expected.items():
        close(s.losses[name], np.asarray(value), LOSSES, f"loss {name}")
    close(s.losses["focal"] + s.losses["dice"], golden["stage1/loss_seg"], LOSSES, "loss of the maps")
    close(sum(s.losses.values()), golden["stage1/loss_total"], LOSSES, "loss")
    without = {our_name(name) for name in golden["stage1/without_gradient"].tolist() if name != FLAT}
    assert s.method.own_parameters().keys() - gradients(s.method).keys() == without
    check_gradients(path, "stage1", gradients(s.method))


@paths
def test_losses_and_gradients_of_stage_2(path: Path) -> None:
    """Of all parameters that the loss reaches, where ours computes only those that learn."""
    w, method, features = world(path), fresh(path), features_of(path)
    categories = [sample.category for sample in w.batch.samples]
    logits = method.image_logits(features, method.texts(categories, method.latents(features, w.of_step)), fused=True)
    close(logits.flatten(1), w.golden["stage2/image_logits"], LOGITS, "image logits")
    taps = [features.patches(tap) for tap in method._taps()]
    close(method.fuse(torch.cat(taps, -1)), w.golden["stage2/fused_global"], FEATURES, "fused feature")
    torch.nn.functional.cross_entropy(logits[..., w.index], w.batch.labels).backward()
    check_gradients(path, "stage2", gradients(method))

    learner = fresh(path)
    learner.begin_stage(next(stage for stage in learner.stages() if stage.name == FUSION))
    losses = learner.losses(features, w.batch)
    assert losses.keys() == {"image"}
    close(losses["image"], w.golden["stage2/loss_total"], LOSSES, "loss")
    losses["image"].backward()
    for name, gradient in gradients(learner).items():
        expected = method.get_parameter(name).grad
        close(gradient, expected.numpy(), GRADIENTS * float(expected.abs().max()), f"gradient of {name}")


@paths
@pytest.mark.parametrize("stage", [1, 2])
def test_at_test(path: Path, stage: int) -> None:
    w, features = world(path), features_of(path)
    golden = {key.partition("/")[2]: value for key, value in w.golden.items() if key.startswith(f"test_stage{stage}/")}
    method, samples = fresh(path, fuse_epochs=stage - 1), w.batch.samples
    with torch.no_grad():
        texts = method.texts([sample.category for sample in samples], method.latents(features, w.at_test))
        logits = method.image_logits(features, texts, fused=stage == 2)
        image, maps = method.readings(features, samples)
        found = method.score(features, samples)
    close(logits.flatten(1), golden["image_logits"], LOGITS, "image logits")
    close(image, golden["image_prob"], MAPS, "image probability")
    for count in (20, 2000):
        close(largest(maps, count), golden[f"top{count}_mean"], MAPS, f"mean of the {count} largest values of a map")
    if stage == 1:
        close(texts.flatten(1, 2), golden["text_embeddings"], TEXTS, "text features")
        close(maps, golden["anomaly_map"], MAPS, "map")
        close(found.map, golden["anomaly_map_sigma8"], MAPS, "smoothed map")
    method.texts = lambda categories, latents: texts  # of their own classes, though all are scored as of one
    for name, count in (("gear", 2000), ("screw", 20)):  # the second is a class of few pixels
        of_class = [SampleInfo(s.id, Category("golden", name, name, "object", "industrial")) for s in samples]
        with torch.no_grad():
            score = method.score_set(features, of_class).score
        close(score, golden[f"image_score_minmax_top{count}"], SCORES, f"score over the class, top {count}")
