# pytest tests/golden/test_winclip.py
"""WinCLIP against public re-implementations' numbers on shared random weights (README_winclip_aprilgan.md in data/)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip_b
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods.winclip import WinClip, WinClipConfig, harmonic_map, window_members
from zsad_bench.types import Category, EncoderSpec, SampleInfo, Tap

AGAINST = "public re-implementations"  # in the README's table

EMBEDDINGS, TEXTS, MAPS = 2e-5, 1e-5, 5e-6  # the README's thresholds

paths = pytest.mark.parametrize("path", golden_params("winclip"))
sides = pytest.mark.parametrize("side", [2, 3])


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the backbone and images that their seed draws, and what our method makes of them."""
    golden = dict(np.load(path, allow_pickle=False))
    seed, names = int(golden["seed"]), [str(name) for name in golden["class_names"]]
    backbone = from_model(random_clip_b.build_open_clip(random_clip_b.WINCLIP, seed), "random")
    images = random_clip_b.make_images(random_clip_b.WINCLIP, seed, len(names))
    samples = [SampleInfo(name, Category("golden", name, name, "object", "industrial")) for name in names]
    # The file's class names are used as they stand.
    method = WinClip(backbone, WinClipConfig(fidelity="official", class_names="folder")).eval()
    with torch.no_grad():
        features = method.encode(images, samples)
        prediction = method.score(features, samples)
        text = method.text_for(samples)
    return SimpleNamespace(
        golden=golden,
        backbone=backbone,
        images=images,
        samples=samples,
        method=method,
        features=features,
        prediction=prediction,
        text=text,
    )


@paths
def test_sentences(path: Path) -> None:
    w = world(path)
    bottle = Category("golden", "bottle", "bottle", "object", "industrial")
    ids = w.backbone.text_tower.tokenize(w.method.sentences(bottle)[0][:3])
    assert (ids.numpy() == w.golden["tokens_bottle_normal_first3"]).all(), "token ids of the first sentences differ"


@paths
def test_text_means(path: Path) -> None:
    w = world(path)
    with torch.no_grad():
        means = torch.stack([w.method.text_means(sample.category) for sample in w.samples])
    close(means[:, 0], w.golden["text_normal_mean"], TEXTS, "mean of the normal sentences")
    close(means[:, 1], w.golden["text_abnormal_mean"], TEXTS, "mean of the anomalous sentences")


@paths
def test_full_image(path: Path) -> None:
    w = world(path)
    close(w.features.pooled("cls"), w.golden["cls_embed"], EMBEDDINGS, "full-image embedding")
    last = Tap(w.backbone.vision.n_blocks, raw=True)
    spec = EncoderSpec(w.backbone.forward_spec(w.backbone.image_size), frozenset({last}))
    with torch.no_grad():
        tokens = w.backbone.encode_image(w.images[:1], spec).patches(last)[0]
    close(tokens, w.golden["patch_tokens_image0"], EMBEDDINGS, "patch tokens of image 0")


@paths
@sides
def test_windows(path: Path, side: int) -> None:
    w = world(path)
    members = 1 + window_members(*w.features.grid, side).T.numpy()  # golden indices count the class token
    assert (members == w.golden[f"mask{side}"]).all(), f"members of windows of side {side} differ"
    embedded = w.features.extra["windows"][side]
    close(embedded, w.golden[f"window{side}_embed"], EMBEDDINGS, f"embeddings of windows of side {side}")
    scores = w.method.probabilities(embedded, w.text)
    close(scores, w.golden[f"window{side}_score"], MAPS, f"scores of windows of side {side}")
    found = harmonic_map(scores, window_members(*w.features.grid, side)).unflatten(1, w.features.grid)
    close(found, w.golden[f"map{side}"], MAPS, f"map of windows of side {side}")


@paths
def test_prediction(path: Path) -> None:
    w = world(path)
    close(w.prediction.score, w.golden["image_score"], MAPS, "image score")
    patches = w.method.patch_map(w.features, w.prediction.score, w.text).unflatten(1, w.features.grid)
    close(patches, w.golden["map_multi"], MAPS, "map over all scales")
    close(w.prediction.map, w.golden["anomaly_map"], MAPS, "final map")


@paths
def test_variant_with_22_templates(path: Path) -> None:
    w = world(path)
    # mala-lab's: every sentence normalised before the mean, logit factor 100.
    config = WinClipConfig(class_names="folder", normalize_before_mean=True, temperature=0.01)
    method = WinClip(w.backbone, config).eval()
    assert method.config.template_set == "paper22"
    with torch.no_grad():
        close(method.text_for(w.samples), w.golden["alt_text_pair"], TEXTS, "text pair of the variant")
        close(method.score(w.features, w.samples).score, w.golden["alt_image_score"], MAPS, "score of the variant")
