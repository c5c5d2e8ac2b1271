# pytest tests/golden/test_anovl.py
"""AnoVL against its official code's numbers on shared random weights (README_more.md, README_additions.md in data/)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip_c
import torch
from goldens import close, golden_params
from torch import Tensor

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods.anovl import Adapter, AnoVl, AnoVlConfig, Draws, adaptation_losses, views_of
from zsad_bench.types import Category, SampleInfo

AGAINST = "official code"  # in the README's table

# The README's thresholds.
TEXTS, TOKENS, VIEWS, SCORES = 5e-6, 5e-5, 3e-4, 2e-6
MAPS, ADAPTED_MAPS, LOSSES = 2e-6, 1e-5, 2e-6
GRADIENTS = 5e-3  # of the largest entry
WEIGHTS, WEIGHTS_MEAN, BIAS, BIAS_MEAN = 5e-4, 2e-6, 1e-3, 1e-5
WIDE_WEIGHTS, WIDE_WEIGHTS_MEAN = 5e-5, 1e-6

paths = pytest.mark.parametrize("path", golden_params("anovl"))
moments = pytest.mark.parametrize("moments", ["reset", "carry"])


class Given(AnoVl):
    """AnoVL for which everything that it would draw is given: image -> draws."""

    given: dict[str, Draws]

    def draws(self, sample: SampleInfo, shape: Sequence[int]) -> Draws:
        found = self.given[sample.id]
        assert found.noise.shape[1:] == torch.Size(shape), f"noise {found.noise.shape} for patches {shape}"
        return found


def category(name: str) -> Category:
    # The list of names decides what is a texture, not this kind.
    return Category("golden", name, name, "object", "industrial")


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the backbone and images that their seed draws, and methods with the recipe's draws."""
    golden = dict(np.load(path, allow_pickle=False))
    seed, names = int(golden["seed"]), [str(name) for name in golden["class_names"]]
    backbone = from_model(random_clip_c.build_open_clip("plus", seed), "random")
    images = torch.from_numpy(random_clip_c.inputs("plus", seed)["images"])
    samples = [SampleInfo(str(number), category(name)) for number, name in enumerate(names)]
    sentences = int(golden["sentence_counts"][:2].sum())
    drawn = random_clip_c.anovl_draws(seed, len(samples), sentences, golden["reset/loss_per_step"].shape[1])
    wide = random_clip_c.anovl_wide(seed, golden["wide/anomaly_map"].shape[1] - golden["wide/anomaly_map"].shape[0],
                                    len(golden["wide/loss_per_step"]))  # fmt: skip

    def draws(number: int) -> Draws:
        weight, bias, noise = (torch.from_numpy(drawn[f"{key}.{number}"]) for key in ("weight", "bias", "noise"))
        return Draws(weight, bias, noise[:, 0].flatten(1, 2))

    def method(**settings) -> Given:
        """As the official code runs it, with these settings."""
        made = Given(backbone, AnoVlConfig(fidelity="official", **settings)).eval()
        made.given = {sample.id: draws(number) for number, sample in enumerate(samples)}
        made.given["wide"] = Draws(*(torch.from_numpy(wide[key]) for key in ("weight", "bias")),
                                   torch.from_numpy(wide["noise"]).flatten(2, 3))  # fmt: skip
        return made

    with torch.no_grad():
        features = method().encode(images, samples)
    return SimpleNamespace(
        golden=golden,
        seed=seed,
        images=images,
        drawn=drawn,
        wide=wide,
        samples=samples,
        features=features,
        method=method,
        wide_image=torch.from_numpy(wide["image"]),
        wide_sample=SampleInfo("wide", samples[0].category),
    )


def text_names(golden: dict[str, np.ndarray]) -> list[str]:
    """The classes whose texts the file has."""
    return [key.partition("/")[2] for key in golden if key.startswith("text_features/")]


def close_on_average(found: Tensor, expected: np.ndarray, tolerance: float, mean: float, what: str) -> None:
    """`close`, and the mean of all differences is within `mean` too."""
    close(found, expected, tolerance, what)
    off = np.abs(found.detach().numpy() - expected).mean()
    close(off, np.zeros(()), mean, f"{what}, on average")


def close_to_largest(found: Tensor, expected: np.ndarray, what: str) -> None:
    close(found, expected, GRADIENTS * float(np.abs(expected).max()), what)


# --- the recipe -------------------------------------------------------------------------------------------------------


@paths
def test_what_the_seed_draws(path: Path) -> None:
    w = world(path)
    fingerprint = random_clip_c.fingerprint
    inputs = random_clip_c.inputs("plus", w.seed)
    found = [fingerprint(random_clip_c.clip_state_dict("plus", w.seed)), fingerprint(w.drawn), fingerprint(w.wide),
             fingerprint(inputs)]  # fmt: skip
    assert found == w.golden["fingerprints"].tolist(), "weights, draws, wide draws or inputs are drawn otherwise"
    assert np.array_equal(inputs["images"], w.golden["images"])
    assert np.array_equal(inputs["masks"], w.golden["masks"])
    assert np.array_equal(inputs["labels"], w.golden["labels"])


# --- texts ------------------------------------------------------------------------------------------------------------


@paths
def test_sentences(path: Path) -> None:
    w = world(path)
    method, counts = w.method(), []
    for name in text_names(w.golden):
        normal, anomalous = method.sentences(category(name))
        counts += [len(normal), len(anomalous)]
        ids = method.backbone.text_tower.tokenize([normal[0], normal[-1], anomalous[0], anomalous[-1]])
        assert (ids.numpy() == w.golden[f"tokens_first_last/{name}"]).all(), f"{name}: other first or last sentences"
    assert counts == w.golden["sentence_counts"].tolist()


@paths
def test_text_features(path: Path) -> None:
    w = world(path)
    method = w.method()
    with torch.no_grad():
        for name in text_names(w.golden):
            pair = method.text_features([category(name)])[0]
            close(pair.mT, w.golden[f"text_features/{name}"], TEXTS, f"text features of {name}")
        for key in [key for key in w.golden if key.startswith("sentence_embeddings_")]:
            name = key.removeprefix("sentence_embeddings_")
            of = method.adapter_for(category(name), method.given["0"]).sentences
            close(of, w.golden[key], TEXTS, f"sentences of {name}")


# --- images -----------------------------------------------------------------------------------------------------------


@paths
def test_views(path: Path) -> None:
    w = world(path)
    views = torch.cat([w.images[:, None], views_of(w.images)], 1)[..., ::8, 4::8]
    close(views, w.golden["views_sampled"], VIEWS, "views")
    found = torch.cat([w.features.pooled("cls")[:, None], w.features.extra["views"]], 1)
    close(found, w.golden["cls_per_view_raw"], TOKENS, "class tokens of the views")
    method = w.method()
    with torch.no_grad():
        scores = method.view_scores(w.features, method.text_for(w.samples))
    close(scores, w.golden["view_scores"], SCORES, "scores of the views")


@paths
def test_tokens(path: Path) -> None:
    w = world(path)
    patches = w.features.patches(w.method()._tap())
    close(patches, w.golden["patch_tokens"], TOKENS, "patches")
    both = torch.cat([w.features.pooled("cls")[:, None], patches], 1)
    close(both, w.golden["tokens_projected"], TOKENS, "class token and patches")


@paths
def test_without_adaptation(path: Path) -> None:
    w = world(path)
    method = w.method(tta_steps=0)
    with torch.no_grad():
        found = method.score(w.features, w.samples)
        patches = method.patch_probabilities(w.features.patches(method._tap()), method.text_for(w.samples))
    close(found.score, w.golden["image_score"], SCORES, "image score")
    close(patches.unflatten(1, w.features.grid), w.golden["steps0/patch_prob"], MAPS, "patches without adapter")
    close(found.map, w.golden["steps0/anomaly_map"], MAPS, "map without adapter")


# --- adaptation -------------------------------------------------------------------------------------------------------


@paths
@moments
def test_adapted_maps(path: Path, moments: str) -> None:
    """By the code of a run: image by image, or all images in their order."""
    w = world(path)
    method = w.method(moments=moments)
    if moments == "carry":
        found = method.score_set(w.features, w.samples)
    else:
        with method.adaptation():
            found = method.score(w.features, w.samples)
    close(found.score, w.golden["image_score"], SCORES, "image score")
    close(found.map, w.golden[f"{moments}/anomaly_map"], ADAPTED_MAPS, "map")


@paths
@moments
def test_steps(path: Path, moments: str) -> None:
    """Step by step: losses, gradients, and the adapter after the last."""
    w = world(path)
    method = w.method(moments=moments)
    adapters: dict[Category, Adapter] = {}
    golden = {key.partition("/")[2]: value for key, value in w.golden.items() if key.startswith(f"{moments}/")}
    with method.adaptation():
        texts = method.text_for(w.samples)
        for number, sample in enumerate(w.samples):
            patches, text = w.features.patches(method._tap())[number], texts[number]
            draws = method.draws(sample, patches.shape)
            if sample.category in adapters:
                adapters[sample.category].restart(draws)
            else:
                adapters[sample.category] = method.adapter_for(sample.category, draws)
            adapter = adapters[sample.category]
            if moments == "reset":
                before = method.patch_probabilities(adapter(patches), text).unflatten(0, w.features.grid)
                close(before, w.golden["adapter_before/patch_prob"][number], MAPS, "patches behind the fresh adapter")
            terms, norms = [], []
            for step, noise in enumerate(draws.noise):
                clean, noisy = method.logits(adapter(torch.stack([patches, patches + noise])), text)
                entropy, against_noise = adaptation_losses(clean, noisy)
                total = entropy + method.config.noise_weight * against_noise
                adapter.descend(total)
                grads = gradients(adapter)
                if (number, step) == (0, 0):
                    rows = w.golden["grad_step1_image0/weight_rows0to31"]
                    close_to_largest(grads[0][: len(rows)], rows, "gradient of the weight")
                    close_to_largest(grads[1], w.golden["grad_step1_image0/bias"], "gradient of the bias")
                terms.append(torch.stack([total, entropy, against_noise]))
                norms.append(torch.stack([grad.norm() for grad in grads]))
            keys = ("loss_per_step", "loss_entropy_per_step", "loss_hard_per_step")
            for key, found in zip(keys, torch.stack(terms, 1), strict=True):
                close(found, golden[key][number], LOSSES, key)
            for key, found in zip(("weight", "bias"), torch.stack(norms, 1), strict=True):
                close_to_largest(found, golden[f"grad_norm_{key}_per_step"][number], f"norm of the {key}'s gradient")
            rows = golden["weight_rows0to7"][number]
            close_on_average(adapter.weight[: len(rows)], rows, WEIGHTS, WEIGHTS_MEAN, "weight")
            close_on_average(adapter.bias, golden["bias"][number], BIAS, BIAS_MEAN, "bias")
            after = method.patch_probabilities(adapter(patches), text).unflatten(0, w.features.grid)
            close(after, golden["patch_prob"][number], ADAPTED_MAPS, "patches behind the tuned adapter")


def gradients(adapter: Adapter) -> list[Tensor]:
    """Of weight and bias, in the step that was just taken."""
    grads = [adapter.weight.grad, adapter.bias.grad]
    assert all(grad is not None for grad in grads)
    return [grad.clone() for grad in grads if grad is not None]


# --- wide images ------------------------------------------------------------------------------------------------------


@paths
def test_wide(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(path)
    method, losses, grads, adapters = w.method(adapter="linear"), [], [], []
    descend = Adapter.descend

    def listen(adapter: Adapter, loss: Tensor) -> None:
        descend(adapter, loss)
        losses.append(loss.detach())
        grads.append(gradients(adapter)[0])
        adapters.append(adapter)

    monkeypatch.setattr(Adapter, "descend", listen)
    found = method.predict_wide(w.wide_image, [w.wide_sample])
    close(found.score[0], w.golden["wide/image_score"], SCORES, "image score")
    close(found.map[0], w.golden["wide/anomaly_map"], ADAPTED_MAPS, "map")
    close(torch.stack(losses), w.golden["wide/loss_per_step"], LOSSES, "loss")
    close_to_largest(grads[0], w.golden["wide/grad_step1_weight"], "gradient of the weight")
    norms = torch.stack([grad.norm() for grad in grads])
    close_to_largest(norms, w.golden["wide/grad_norm_weight_per_step"], "norm of the weight's gradient")
    expected = w.golden["wide/weight_after"]
    close_on_average(adapters[-1].weight, expected, WIDE_WEIGHTS, WIDE_WEIGHTS_MEAN, "weight")


@paths
def test_wide_without_adaptation(path: Path) -> None:
    w = world(path)
    method = w.method(adapter="linear", tta_steps=0)
    side = w.wide_image.shape[-2]
    tiles = torch.cat([w.wide_image[..., :side], w.wide_image[..., -side:]])
    with torch.no_grad():
        features = method.encoder(tiles, [w.wide_sample] * 2)
    close(features.patches(method._tap()), w.golden["wide/patch_tokens"], TOKENS, "patches of both tiles")
    found = method.predict_wide(w.wide_image, [w.wide_sample])
    close(found.map[0], w.golden["wide/anomaly_map_steps0"], MAPS, "map without adapter")
