# pytest tests/golden/test_adaclip.py
"""AdaCLIP against the official implementation's numbers on shared random weights (README_more.md in data/)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from zsad_bench.losses import mask_losses
from zsad_bench.methods.adaclip import AdaClip, AdaClipConfig
from zsad_bench.types import Batch, Category, SampleInfo

AGAINST = "official code"  # in the README's table

KIND = random_clip_c.METHOD_CONFIG["adaclip"]
CLUSTERS = {"k5_fp32": 5, "k5_half": 5, "k20_fp32": 20}
TOKENS, TEXTS, LOGITS, MAPS, LOSSES, STEP = 5e-5, 5e-6, 2e-4, 5e-5, 1e-4, 2e-4  # the README's thresholds
GRADIENTS = {"k5_fp32": 2e-4, "k5_half": 2e-2}  # of the largest entry

paths = pytest.mark.parametrize("path", golden_params("adaclip"))
runs = pytest.mark.parametrize("run", CLUSTERS)
whole_runs = pytest.mark.parametrize("run", GRADIENTS)  # k20_fp32 has fewer keys


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, and the backbone, parameters and images that their seed draws."""
    golden = dict(np.load(path, allow_pickle=False))
    seed, names = int(golden["seed"]), [str(name) for name in golden["class_names"]]
    # The native grid: our own resize of the positions is part of what is compared.
    model = random_clip_c.build_open_clip(KIND, seed, antialias=False)
    state = random_clip_c.clip_state_dict(KIND, seed)
    positions = torch.from_numpy(state["visual.positional_embedding"])
    resized = model.visual.positional_embedding.detach().clone()
    model.visual.positional_embedding = torch.nn.Parameter(positions)
    side = random_clip_c.CONFIGS[KIND]["native"]
    model.visual.grid_size = (side, side)
    drawn = (state, random_clip_c.adaclip_params(seed), random_clip_c.inputs(KIND, seed))
    images, masks = torch.from_numpy(golden["images"]), torch.from_numpy(golden["masks"]).bool()
    samples = [
        SampleInfo(f"golden/{i}", Category("golden", name, name, "object", "industrial"))
        for i, name in enumerate(names)
    ]
    batch = Batch(images, torch.from_numpy(golden["labels"]), masks, samples)
    return SimpleNamespace(
        golden=golden, backbone=from_model(model, "random"), batch=batch, drawn=drawn, resized=resized
    )


def method_of(path: Path, run: str, **settings) -> AdaClip:
    """The method of one run set with the golden parameters, and with its cluster labels in the place of k-means."""
    w = world(path)
    size = random_clip_c.CONFIGS[KIND]["grid"] * random_clip_c.CONFIGS[KIND]["patch"]
    half = run.endswith("half")
    config = AdaClipConfig(
        image_size=size,
        fidelity="official",
        prompt_half=half,
        n_clusters=CLUSTERS[run],
        depth=4,
        taps=(6, 12, 18, 24),
        gaussian_sigma=4.0,
        **settings,
    )
    method = AdaClip(w.backbone, config)
    with torch.no_grad():
        for name, parameter in method.own_parameters().items():
            parameter.copy_(joined(name, w.drawn[1]))
    return method


def joined(name: str, official: dict[str, np.ndarray]) -> Tensor:
    """Our parameter of that name, made of the official ones."""
    tensors = [torch.from_numpy(official[key]) for key in parts(name)]
    return torch.stack(tensors) if name.endswith("static") else tensors[0]


def parts(name: str) -> list[str]:
    """The official names whose tensors are ours of that name; static prompts are one tensor of ours."""
    first, *rest = name.split(".")
    match first:
        case "patch_maps":
            return [f"patch_token_layer.head.{'.'.join(rest)}"]
        case "class_map":
            return [f"cls_token_layer.head.0.{rest[0]}"]
    tower = first.removesuffix("_prompts")
    if rest[0] == "static":
        return [f"{tower}_prompter.static_prompts.{i}" for i in range(1 if tower == "text" else 0, 4)]
    return [f"dynamic_{tower}_prompt_generator.head.{rest[1]}.{rest[2]}"]


def inject(method: AdaClip, golden: dict[str, np.ndarray], run: str, image: int) -> None:
    """Feeds the golden labels of one image in; they belong to the patches in descending order of probability."""
    labels, index = (
        torch.from_numpy(golden[f"{run}/{key}"][image]).long() for key in ("cluster_labels", "topk_indices")
    )
    in_image_order = labels[index.argsort()]
    method.assign = lambda points: in_image_order[None]  # type: ignore[method-assign]


@contextmanager
def golden_dynamic(method: AdaClip, golden: dict[str, np.ndarray], run: str, image: int) -> Iterator[None]:
    """Where prompts are rounded, the golden dynamic prompts of one image stand for ours, with our gradients.

    A last bit decides how a number is rounded to half precision, and then moves features by 1e-5.
    `test_dynamic_prompts` compares ours with the golden ones.
    """
    handles = []
    if method.config.prompt_half:
        for tower in ("visual", "text"):
            values = torch.from_numpy(golden[f"{run}/dynamic_{tower}"][image])
            for generator, value in zip(getattr(method, f"{tower}_prompts").dynamic, values, strict=True):
                handles.append(
                    generator.register_forward_hook(lambda _, __, ours, value=value: ours + (value - ours).detach())
                )
    yield
    for handle in handles:
        handle.remove()


@cache
def learned(path: Path, run: str) -> list[SimpleNamespace]:
    """Of each image by itself: features, reading, prediction, losses and gradients."""
    w, found = world(path), []
    for image in range(len(w.batch)):
        method = method_of(path, run)
        inject(method, w.golden, run, image)
        one = Batch(*(part[image : image + 1] for part in (w.batch.images, w.batch.labels, w.batch.masks)),
                    samples=w.batch.samples[image : image + 1])  # fmt: skip
        method.begin_stage(method.stages()[0])
        with golden_dynamic(method, w.golden, run, image):
            features = method.encode(one.images, one.samples)
            losses = method.losses(features, one)
            with torch.no_grad():
                reading = method.read(features, one.samples)
                prediction = method.score(features, one.samples)
        sum(losses.values()).backward()
        found.append(
            SimpleNamespace(
                method=method, batch=one, features=features, losses=losses, reading=reading, prediction=prediction
            )
        )
    return found


def apart(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Official names, and the tensors that one of ours is there."""
    yield from zip(parts(name), tensor.unbind(0) if name.endswith("static") else [tensor], strict=True)


def gradients(method: AdaClip) -> Iterator[tuple[str, Tensor]]:
    """Official name and gradient of every parameter."""
    for name, parameter in method.own_parameters().items():
        assert parameter.grad is not None, f"{name} got no gradient"
        yield from apart(name, parameter.grad)


def stacked(found: list[SimpleNamespace], what) -> Tensor:
    return torch.cat([what(one) for one in found]).detach()


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    found = [random_clip.fingerprint(arrays) for arrays in w.drawn]
    assert found == list(w.golden["fingerprints"]), "weights, parameters or inputs differ from the golden draw"


@paths
def test_positions(path: Path) -> None:
    w = world(path)
    close(w.resized[1], w.golden["resized_positional_embedding_patch0"], TEXTS, "positions of patch 0, by the recipe")
    images = torch.zeros_like(w.batch.images[:1])
    ours = w.backbone.embed_patches(images, "bicubic")
    model = w.backbone.model
    plain = torch.cat([model.visual.class_embedding[None], torch.zeros(ours.shape[1] - 1, ours.shape[2])]) + w.resized
    close(ours[0], model.visual.ln_pre(plain).detach().numpy(), TOKENS, "rows that enter block 1 for a black image")


@paths
def test_sentences(path: Path) -> None:
    w = world(path)
    method = method_of(path, "k5_fp32")
    ids = method.token_ids(w.batch.samples[0].category)
    first = torch.cat([ids[:3], ids[28:31]]).numpy()
    assert (first == w.golden["tokens_image0_first3"]).all(), "ids of the first normal and anomalous sentences differ"
    # The README's class, and in a file with other classes its own.
    hyphened = {"pipe-fryum", *(sample.category.name for sample in w.batch.samples if "-" in sample.category.name)}
    ids_of = {name: method.token_ids(Category("golden", name, "", "object", "industrial"))[:1] for name in hyphened}
    golden = w.golden["tokens_hyphen_first"]
    assert any((ids.numpy() == golden).all() for ids in ids_of.values()), f"a hyphen is no blank in {sorted(ids_of)}"


@paths
def test_prompted_pass(path: Path) -> None:
    w, found = world(path), learned(path, "k5_fp32")
    close(
        stacked(found, lambda one: one.features.extra["frozen"]), w.golden["frozen_feature"], TOKENS, "frozen feature"
    )
    rows = torch.cat([found[0].features.rows[tap] for tap in found[0].method._taps()])
    close(rows, w.golden["prompted_tokens_image0"], TOKENS, "rows behind the taps, image 0")
    pooled = found[0].features.pooled("cls")[0]
    close(pooled, w.golden["prompted_cls_feature_image0"], TOKENS, "prompted class token, image 0")


@paths
@whole_runs
def test_dynamic_prompts(path: Path, run: str) -> None:
    golden, found = world(path).golden, learned(path, run)
    for tower in ("visual", "text"):
        prompts = []
        for one in found:
            maps, frozen = getattr(one.method, f"{tower}_prompts").dynamic, one.features.extra["frozen"]
            prompts.append(torch.stack([of(frozen) for of in maps], 1))
        close(torch.cat(prompts), golden[f"{run}/dynamic_{tower}"], TOKENS, f"dynamic {tower} prompts")


@paths
@whole_runs
def test_features(path: Path, run: str) -> None:
    golden, found = world(path).golden, learned(path, run)
    text = stacked(found, lambda one: one.reading.text).transpose(1, 2)
    close(text, golden[f"{run}/text_features"], TEXTS, "text features")
    close(stacked(found, lambda one: one.reading.image), golden[f"{run}/cls_feature"], TEXTS, "class feature")
    if f"{run}/patch_features" in golden:
        patches = stacked(found, lambda one: one.reading.patches)
        close(patches, golden[f"{run}/patch_features"], TEXTS, "patch features")
    close(stacked(found, lambda one: one.reading.logits), golden[f"{run}/patch_logits"], LOGITS, "patch logits")


@paths
@runs
def test_fusion_and_scores(path: Path, run: str) -> None:
    golden, found = world(path).golden, learned(path, run)
    abnormal = stacked(found, lambda one: one.reading.logits).mean(1).softmax(-1)[..., 1]
    index = found[0].method.strongest(abnormal).numpy()
    assert (index == golden[f"{run}/topk_indices"]).all(), "other patches are clustered, or in another order"
    clusters = stacked(found, lambda one: one.reading.clusters)
    close(clusters, golden[f"{run}/cluster_feature"], TEXTS, "cluster feature")
    close(stacked(found, lambda one: one.reading.probs), golden[f"{run}/train_scores"], MAPS, "training scores")
    close(stacked(found, lambda one: one.prediction.score), golden[f"{run}/image_score"], MAPS, "image score")


@paths
@whole_runs
def test_maps(path: Path, run: str) -> None:
    w, found = world(path), learned(path, run)
    close(stacked(found, lambda one: one.prediction.map), w.golden[f"{run}/anomaly_map_sigma4"], MAPS, "smoothed map")
    rough = method_of(path, run)
    object.__setattr__(rough.config, "gaussian_sigma", 0.0)
    maps = []
    for image, one in enumerate(found):
        inject(rough, w.golden, run, image)
        with torch.no_grad(), golden_dynamic(rough, w.golden, run, image):
            maps.append(rough.score(one.features, one.batch.samples).map)
    close(torch.cat(maps), w.golden[f"{run}/anomaly_map"], MAPS, "map before smoothing")


@paths
@runs
def test_losses(path: Path, run: str) -> None:
    golden, found = world(path).golden, learned(path, run)
    image = torch.stack([one.losses["image"] for one in found])
    close(image, golden[f"{run}/loss_image_focal"], LOSSES, "focal loss of the image")
    close(torch.stack([sum(one.losses.values()) for one in found]), golden[f"{run}/loss_total"], LOSSES, "total loss")
    if f"{run}/loss_focal_dicea_dicen_per_layer" in golden:
        close(terms(found, "per_row"), golden[f"{run}/loss_focal_dicea_dicen_per_layer"], LOSSES, "terms of each tap")


def terms(found: list[SimpleNamespace], dice: str) -> Tensor:
    """(images, taps, 3): focal, Dice of the anomalous and of the normal channel."""
    per_tap = [
        [
            torch.stack(mask_losses(p, one.batch.pixel_masks, dice))
            for p in one.method.probabilities(one.reading, one.features)
        ]
        for one in found
    ]
    return torch.stack([torch.stack(each) for each in per_tap])


@paths
@whole_runs
def test_gradients(path: Path, run: str) -> None:
    golden, found = world(path).golden, learned(path, run)
    compare_norms(golden, run, found, GRADIENTS[run])
    stored = 0
    for name, gradient in gradients(found[1].method):
        if (expected := golden.get(f"{run}/grad_image1/{name}")) is not None:
            stored += 1
            close(gradient, expected, GRADIENTS[run] * float(np.abs(expected).max()), f"gradient of {name}, image 1")
    assert stored == sum(key.startswith(f"{run}/grad_image1/") for key in golden), "gradients that were not compared"
    others = [name for name, p in found[0].method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"


def compare_norms(golden: dict[str, np.ndarray], prefix: str, found: list[SimpleNamespace], relative: float) -> None:
    norms: dict[str, list[Tensor]] = {}
    for one in found:
        for name, gradient in gradients(one.method):
            norms.setdefault(name, []).append(gradient.norm())
    expected = {
        key.removeprefix(f"{prefix}/grad_norm/"): golden[key]
        for key in golden
        if key.startswith(f"{prefix}/grad_norm/")
    }
    assert norms.keys() == expected.keys(), "other parameters have gradients than in the golden file"
    for name, values in norms.items():
        close(torch.stack(values), expected[name], relative * float(expected[name].max()), f"gradient norm of {name}")


@paths
def test_a_step(path: Path) -> None:
    golden, run = world(path).golden, "k5_fp32"
    one = learned(path, run)[1]
    method = method_of(path, run)
    for name, parameter in method.own_parameters().items():
        parameter.grad = one.method.own_parameters()[name].grad.clone()
    optimizer = method.optimizer_for(method.stages()[0])
    optimizer.step()
    updated = {}
    for name, parameter in method.own_parameters().items():
        updated |= dict(apart(name, parameter.detach()))
    stored = [key for key in golden if key.startswith(f"{run}/step_image1/")]
    assert stored, "no step is stored"
    for key in stored:
        name = key.removeprefix(f"{run}/step_image1/")
        close(updated[name], golden[key], STEP, f"{name} after a step")


@paths
def test_what_never_gets_a_gradient_does_not_exist(path: Path) -> None:
    golden = world(path).golden
    ours = {name for own in method_of(path, "k5_fp32").own_parameters() for name in parts(own)}
    missing = world(path).drawn[1].keys() - ours
    assert missing == set(golden["parameters_without_gradient"].tolist()), "ours has other parameters than it should"


@paths
def test_dice_over_images(path: Path) -> None:
    w, key = world(path), "k5_fp32/per_image_dice"
    found = []
    for image, one in enumerate(learned(path, "k5_fp32")):
        method = method_of(path, "k5_fp32", dice="per_image")
        inject(method, w.golden, "k5_fp32", image)
        method.begin_stage(method.stages()[0])
        features = method.encode(one.batch.images, one.batch.samples)
        losses = method.losses(features, one.batch)
        sum(losses.values()).backward()
        with torch.no_grad():
            reading = method.read(features, one.batch.samples)
        found.append(SimpleNamespace(method=method, batch=one.batch, features=features, losses=losses, reading=reading))
    close(terms(found, "per_image"), w.golden[f"{key}/loss_focal_dicea_dicen_per_layer"], LOSSES, "terms of each tap")
    close(torch.stack([sum(one.losses.values()) for one in found]), w.golden[f"{key}/loss_total"], LOSSES, "total loss")
    compare_norms(w.golden, key, found, GRADIENTS["k5_fp32"])
