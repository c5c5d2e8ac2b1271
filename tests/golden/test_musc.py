# pytest tests/golden/test_musc.py
"""MuSc against the numbers of the official code on shared random weights (README_next.md in data/)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import random_clip
import random_clip_c
import random_next
import torch
from goldens import close, golden_params

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods.musc import Musc, MuscConfig, aggregated, distance, rescored
from zsad_bench.types import Category, SampleInfo, Tap

AGAINST = "official code"  # in the README's table

TAPS, DEGREES = (6, 12, 18, 24), (1, 3, 5)
# Thresholds of README_next.md: of raw tokens that of all raw tokens there, of normalised features that of MuSc's.
RAW, FEATURE, SCORE = 5e-5, 1e-6, 2e-5
STORED = (2, 3)  # images whose tokens and maps are in the file

paths = pytest.mark.parametrize("path", golden_params("musc"))


def native_clip(seed: int) -> torch.nn.Module:
    """The recipe's CLIP before its table of positions is resized, with the exact GELU that the method asks for."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    c = random_clip_c.CONFIGS[random_next.KIND]
    vision = CLIPVisionCfg(
        layers=c["layers"], width=c["width"], head_width=64, patch_size=c["patch"], image_size=c["native"] * c["patch"]
    )
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=c["text"], heads=2, layers=c["text_layers"])
    model = CLIP(embed_dim=c["text"], vision_cfg=vision, text_cfg=text, quick_gelu=True)
    weights = random_clip_c.clip_state_dict(random_next.KIND, seed)
    model.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in weights.items()}, strict=True)
    return model


@cache
def world(path: Path) -> SimpleNamespace:
    """The golden arrays, the method with everything explicit, and what it makes of the twelve images."""
    golden = dict(np.load(path, allow_pickle=False))
    seed = int(golden["seed"])
    inputs = random_next.musc_inputs(seed)
    images = torch.from_numpy(inputs["images"])
    category = Category("golden", "any", "any", "object", "industrial")
    samples = [SampleInfo(f"golden/{i}", category) for i in range(len(images))]
    config = MuscConfig(
        image_size=images.shape[-1], pos_interp="bicubic", activation="gelu", taps=TAPS, final_norm=False,
        unit_class=True, degrees=DEGREES, share=0.3, rscin=True, windows=(1, 2, 3), subsets=1,
    )  # fmt: skip
    method = Musc(from_model(native_clip(seed), "random"), config).eval()
    with torch.no_grad():
        features = method.encode(images, samples)
    return SimpleNamespace(golden=golden, seed=seed, inputs=inputs, method=method, samples=samples, features=features)


def tap(block: int) -> Tap:
    return Tap(block, raw=True)


@paths
def test_the_draw_is_the_golden_one(path: Path) -> None:
    w = world(path)
    weights = random_clip.fingerprint(random_clip_c.clip_state_dict(random_next.KIND, w.seed))
    assert [weights, random_clip.fingerprint(w.inputs)] == list(w.golden["fingerprints"]), "another draw"
    assert tuple(w.golden["layers"]) == TAPS
    np.testing.assert_array_equal(w.inputs["labels"], w.golden["labels"])
    patch = random_clip_c.CONFIGS[random_next.KIND]["patch"]
    np.testing.assert_array_equal(w.inputs["images"][..., ::patch, ::patch], w.golden["images_corner"])


@paths
def test_features(path: Path) -> None:
    w = world(path)
    classes = torch.nn.functional.normalize(w.features.pooled("cls"), dim=-1)
    close(classes, w.golden["class_tokens"], FEATURE, "class features")
    tokens = torch.stack([w.features.rows[tap(block)][list(STORED)] for block in TAPS])
    close(tokens, w.golden["tokens_images2_3"], RAW, "raw tokens")
    for side in DEGREES:
        of_taps = [aggregated(w.features.patches(tap(block))[2:3], w.features.grid, side)[0] for block in TAPS]
        close(torch.stack(of_taps, 1), w.golden[f"aggregated/r{side}_image2"], FEATURE, f"aggregated patches, r={side}")


@paths
def test_mutual_scores(path: Path) -> None:
    w = world(path)
    patches = aggregated(w.features.patches(tap(12)), w.features.grid, 3)
    nearest = distance((patches @ patches[2].T).amax(1)).T
    others = [image for image in range(len(patches)) if image != 2]
    found, expected = nearest[:, others], w.golden["nearest/r3_layer12_image2"][:, others]
    close(found, expected, SCORE, "nearest patches, score of pairs")
    for side in DEGREES:
        scores = torch.stack([w.method.mutual(w.features, tap(block), side) for block in TAPS])
        close(scores, w.golden[f"mutual/r{side}"], SCORE, f"mutual scores, r={side}")
    close(w.method.grid_scores(w.features, w.samples), w.golden["grid_score"], SCORE, "grid scores")


@paths
def test_maps_and_image_scores(path: Path) -> None:
    w = world(path)
    prediction = w.method.score_set(w.features, w.samples)
    close(prediction.map[list(STORED)], w.golden["anomaly_map_images2_3"], SCORE, "maps")
    close(prediction.score, w.golden["rescored/k1_2_3"], SCORE, "image scores")
    largest = prediction.map.flatten(1).amax(1)
    close(largest, w.golden["image_max"], SCORE, "maximum of the maps")
    for name, windows in (("k1_8_9", (1, 8, 9)), ("k2", (2,))):
        classes = torch.nn.functional.normalize(w.features.pooled("cls"), dim=-1)
        close(rescored(largest, classes, windows), w.golden[f"rescored/{name}"], SCORE, f"image scores, {name}")


@paths
def test_the_first_seven_among_themselves(path: Path) -> None:
    """The same images in another set have other scores, in the official code as here."""
    w = world(path)
    found = w.method.grid_scores(w.features.select(slice(0, 7)), w.samples[:7])
    close(found, w.golden["first7/grid_score"], SCORE, "grid scores of the first seven")
    assert np.abs(w.golden["first7/grid_score"] - w.golden["grid_score"][:7]).max() > 100 * SCORE
