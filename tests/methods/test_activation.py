# pytest tests/methods/test_activation.py
"""`activation` reaches every pass of a method: weights trained with another one then do what is asked for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch

from tests.methods.conftest import fill_memory
from tests.miniature import miniature_blip, random_batch
from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.methods._prediction import predict, predict_set
from zsad_bench.planning.configure import build

SIZE = 48
NAMES = [name for name in registry.names("methods") if registry.load("methods", name).needs]
# What reads the last block of both towers in other ways than by default.
VARIANTS = [
    *((name, {}) for name in NAMES),
    ("cocoop", {"preset": "zsad", "deep_tokens": True}),
    ("dive", {"patch_attention": "vv"}),
    ("anomalyclip", {"ensemble": "orthogonal", "members": 2}),
]


@pytest.fixture(scope="module")
def exact_clip(mini_clip):
    """The miniature with exact GELU in the place of QuickGELU, built so."""
    model = copy.deepcopy(mini_clip)
    for block in (*model.visual.transformer.resblocks, *model.transformer.resblocks):
        block.mlp.gelu = torch.nn.GELU()
    return from_model(model, "exact")


@pytest.fixture(scope="module")
def exact_of(mini, exact_clip) -> Callable[[Backbone], Backbone]:
    """exact_of(miniature): the one that is like it, but for exact GELU."""
    blip = functools.cache(lambda: miniature_blip("gelu"))
    return lambda miniature: exact_clip if miniature is mini else blip()


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_the_activation_asked_for_is_the_one_computed(name, settings, mini_for, exact_of):
    predictions = []
    batch = random_batch(SIZE, count=max(2, registry.load("methods", name).fewest_images))
    quick = mini_for(name)
    for backbone, activation in ((quick, "gelu"), (exact_of(quick), "own"), (quick, "own")):
        overrides = {"image_size": SIZE, "activation": activation, **settings}
        method = build(name, backbone, overrides, seed=3)
        fill_memory(method, random_batch(SIZE, seed=2))
        method.eval()
        with torch.no_grad():  # adaptation turns gradients on where it needs them
            score = predict_set if method.transductive else predict
            predictions.append(score(method, method.encode(batch.images, batch.samples), batch.samples))
    asked, built, plain = predictions
    assert torch.allclose(asked.score, built.score, atol=1e-6), f"{name}: a pass of the score runs another activation"
    assert torch.allclose(asked.map, built.map, atol=1e-6), f"{name}: a pass of the map runs another activation"
    assert not torch.allclose(asked.map, plain.map, atol=1e-6), f"{name}: the activation changes nothing here"
