# pytest tests/golden/test_blip.py
"""BLIP: its towers against transformers, the method against an independent reading (README_rest.md in data/)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_rest
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families.blip import from_model
from zsad_bench.losses import mask_losses
from zsad_bench.methods._scoring import l2_normalize, patch_probabilities
from zsad_bench.methods.blip import Blip, BlipConfig
from zsad_bench.types import Batch, Category, EncoderSpec, SampleInfo, Tap

AGAINST = "towers: transformers 5.24; the rest: an independent reading of the proposal, since no author code exists"

pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")

RUNS = ("L12", "ML")

paths = pytest.mark.parametrize("path", golden_params("blip"))
runs = pytest.mark.parametrize("run", RUNS)


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, and the backbone that their seed draws, with the vocabulary that is in the file."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    backbone = from_model(random_rest.build_blip(seed), "random", golden["vocabulary"].tolist())
    names = golden["class_names"].tolist()
    samples = [SampleInfo(f"golden/{i}", Category("golden", n, n, "object", "industrial")) for i, n in enumerate(names)]
    images, labels = torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"])
    batch = Batch(images, labels, torch.from_numpy(golden["masks"]).bool(), samples)
    return SimpleNamespace(golden=golden, seed=seed, backbone=backbone, batch=batch, samples=samples)


def config(w: SimpleNamespace, run: str, **settings) -> BlipConfig:
    blocks = w.golden["taps"].tolist()
    taps = tuple(blocks if run == "ML" else blocks[-1:])
    return BlipConfig(image_size=w.batch.images.shape[-1], taps=taps, gaussian_sigma=4.0, **settings)


@cache
def fixed(path: Path, run: str) -> SimpleNamespace:
    """Variant A."""
    w = world(path)
    method = Blip(w.backbone, config(w, run, prompts="fixed", class_names="raw"))
    with torch.no_grad():
        return SimpleNamespace(method=method, features=method.encode(w.batch.images, w.samples))


@cache
def learned(path: Path, run: str) -> SimpleNamespace:
    """Variant B with the golden context: its features, losses and gradients, and what one step of its optimiser does.

    The method itself is as it was before the step.
    """
    w = world(path)
    method = Blip(w.backbone, config(w, run))
    drawn = random_rest.blip_params(w.seed)
    stage = method.stages()[0]
    method.begin_stage(stage)
    own = dict(method.own_parameters())
    assert own.keys() == drawn.keys()
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(torch.from_numpy(drawn[name]))
    features = method.encode(w.batch.images, w.samples)
    losses = method.losses(features, w.batch)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in own.items()}
    before = {name: parameter.detach().clone() for name, parameter in own.items()}
    method.optimizer_for(stage).step()
    deltas = {name: parameter.detach() - before[name] for name, parameter in own.items()}
    after = float(sum(method.losses(features, w.batch).values()).detach())
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(before[name])
    return SimpleNamespace(
        method=method, features=features, losses=losses, gradients=gradients, deltas=deltas, after=after
    )


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    assert random_rest.fingerprints("blip", w.seed) == list(w.golden["fingerprints"])
    drawn = random_rest.inputs("blip", w.seed)
    for key in ("images", "labels", "masks"):
        close(w.golden[key].astype("f8"), drawn[key].astype("f8"), 0, key)


# --- towers -----------------------------------------------------------------------------------------------------------


@paths
def test_image_features(path: Path) -> None:
    w = world(path)
    taps = [Tap(int(block)) for block in w.golden["taps"]]
    raw = [Tap(tap.block, raw=True) for tap in taps]
    spec = EncoderSpec(w.backbone.forward_spec(w.batch.images.shape[-1]), frozenset(taps + raw), frozenset({"cls"}))
    features = w.backbone.encode_image(w.batch.images, spec)
    for i, (tap, unprojected) in enumerate(zip(taps, raw, strict=True)):
        close(features.rows[unprojected][0], w.golden["block_outputs_image0"][i], 5e-5, f"block {tap.block}")
        close(features.rows[tap], w.golden["vision_features_raw"][i], 3e-5, f"features of block {tap.block}")
    close(features.pooled("cls"), w.golden["vision_features_raw"][-1][:, 0], 3e-5, "feature of the image")


@paths
def test_texts(path: Path) -> None:
    w, method = world(path), fixed(path, "L12").method
    sentences = [method.sentences(sample.category) for sample in w.samples]
    said = [[text.lower() for text in pair] for pair in sentences]  # the tokenizer does
    assert said == [[text.lower() for text in pair] for pair in w.golden["A/sentences"].tolist()]
    flat = [text for pair in sentences for text in pair]
    tower = w.backbone.text_tower
    ids = tower.tokenize(flat)
    longest = w.golden["A/input_ids"].shape[-1]
    assert (ids[:, :longest].numpy() == w.golden["A/input_ids"].reshape(-1, longest)).all(), "token ids differ"
    assert not ids[:, longest:].any()
    mask = w.golden["A/attention_mask"].reshape(-1, longest)
    eot = tower.end_of_text(ids)
    assert (eot.numpy() + 1 == mask.sum(1)).all(), "the attention mask differs"
    rows = tower.place(tower.embed_tokens(ids[:, :longest]))
    for block in range(1, tower.n_blocks + 1):
        rows = tower.block(block, rows, eot, "own")
    close(rows[:, 0].unflatten(0, (-1, 2)), w.golden["A/text_hidden_cls"], 5e-5, "hidden [CLS]")
    encoded = w.backbone.encode_prompts(flat).unflatten(0, (-1, 2))
    close(encoded, w.golden["A/text_features_raw"], 3e-5, "text features")


@paths
def test_both_towers_together(path: Path) -> None:
    w, one = world(path), fixed(path, "L12")
    image = l2_normalize(one.features.pooled("cls"))
    text = one.method.text_for(w.samples)
    # Cosines of features that are 3e-5 apart at most.
    close(
        torch.einsum("bd,bsd->bs", image, text), w.golden["A/whole_model_cosine"], 1e-5, "cosines, scores of the whole"
    )


# --- fixed sentences --------------------------------------------------------------------------------------------------


@paths
@runs
def test_fixed_prompts(path: Path, run: str) -> None:
    w, one = world(path), fixed(path, run)
    text = one.method.text_for(w.samples)
    close(one.method.logits(one.features, text), w.golden["A/image_logits"], 3e-5, "image logits")
    expected = w.golden["A/patch_probability"][-len(one.method.config.taps) :]
    for i, block in enumerate(one.method.config.taps):
        patches = patch_probabilities(one.features.patches(Tap(block)), text, 0.07)
        close(patches, expected[i], 1e-5, f"patch probabilities of block {block}")
    with torch.no_grad():
        close(rough_map(one, text), w.golden[f"A/{run}/anomaly_map"], 3e-5, "map before smoothing")
        prediction = one.method.score(one.features, w.samples)
    close(prediction.score, w.golden["A/image_score"], 1e-5, "image score")
    close(prediction.map, w.golden[f"A/{run}/anomaly_map_sigma4"], 3e-5, "smoothed map")


def rough_map(one: SimpleNamespace, text: torch.Tensor) -> torch.Tensor:
    return torch.stack([p[:, 1] for p in one.method.probabilities(one.features, text)]).sum(0)


# --- learned tokens ---------------------------------------------------------------------------------------------------


@paths
def test_learned_texts(path: Path) -> None:
    w, one = world(path), learned(path, "L12")
    ids = w.backbone.text_tower.tokenize(["object.", "damaged object."])
    length = w.golden["B/input_ids_without_context"].shape[1]
    assert (ids[:, :length].numpy() == w.golden["B/input_ids_without_context"]).all(), "token ids differ"
    mask = w.golden["B/attention_mask_without_context"]
    assert (w.backbone.text_tower.end_of_text(ids).numpy() + 1 == mask.sum(1)).all(), "the attention mask differs"
    close(one.method.learned_texts(), w.golden["B/text_features_raw"], 3e-5, "text features")


@paths
@runs
def test_learned_prompts(path: Path, run: str) -> None:
    w, one = world(path), learned(path, run)
    with torch.no_grad():
        text = one.method.text_for(w.samples)
        close(one.method.logits(one.features, text), w.golden["B/image_logits"], 3e-5, "image logits")
        for i, block in enumerate(one.method.config.taps):
            patches = patch_probabilities(one.features.patches(Tap(block)), text, 0.07)
            close(patches, w.golden[f"B/{run}/patch_probability"][i], 1e-5, f"patch probabilities of block {block}")
        close(rough_map(one, text), w.golden[f"B/{run}/anomaly_map"], 3e-5, "map before smoothing")
        prediction = one.method.score(one.features, w.samples)
    close(prediction.score, w.golden["B/image_score"], 1e-5, "image score")
    close(prediction.map, w.golden[f"B/{run}/anomaly_map_sigma4"], 3e-5, "smoothed map")


@paths
@runs
def test_losses(path: Path, run: str) -> None:
    w, one = world(path), learned(path, run)
    with torch.no_grad():
        text = one.method.text_for(w.samples)
        terms = [mask_losses(p, w.batch.masks) for p in one.method.probabilities(one.features, text)]
    expected = w.golden[f"B/{run}/loss_focal_dicea_dicen_per_layer"]
    close(torch.tensor(terms), expected, 5e-5, "focal and Dice terms")
    close(one.losses["image"], w.golden[f"B/{run}/loss_image_ce"], 5e-5, "image loss")
    close(sum(one.losses.values()), w.golden[f"B/{run}/loss_total"], 5e-5, "total loss")


@paths
@runs
def test_gradients_and_a_step(path: Path, run: str) -> None:
    golden, one = world(path).golden, learned(path, run)
    assert sorted(one.gradients) == ["ctx_abnormal", "ctx_normal"]
    for name, gradient in one.gradients.items():
        expected, norm = golden[f"B/{run}/grad/{name}"], golden[f"B/{run}/grad_norm/{name}"]
        close(gradient, expected, 2e-4 * float(np.abs(expected).max()), f"gradient of {name}")
        close(gradient.norm(), norm, 2e-4 * float(norm), f"gradient norm of {name}")
        close(one.deltas[name], golden[f"B/{run}/step_delta/{name}"], 1e-6, f"step of {name}")
    close(one.after, golden[f"B/{run}/loss_after_step"], 5e-5, "loss after the step")
    others = [name for name, p in one.method.backbone.named_parameters() if p.grad is not None]
    assert not others, f"the frozen backbone got gradients: {others[:3]}"


@paths
def test_every_array_is_compared(path: Path) -> None:
    """A file with a key that no test above reads would be half compared."""
    read = Path(__file__).read_text(encoding="utf-8")
    for key in world(path).golden:
        parts = [part for part in key.split("/") if part not in (*RUNS, "ctx_normal", "ctx_abnormal")]
        assert parts[-1] in read, f"{key} is not compared"
