# pytest tests/planning/test_learnable.py
"""What auxiliary data a method can learn from: by name, with the methods that could."""

from __future__ import annotations

import pytest

from tests.miniature import random_batch
from zsad_bench import registry
from zsad_bench.errors import UsageError
from zsad_bench.planning import learnable
from zsad_bench.planning.configure import build, configure, trains

TRAINED = [name for name in registry.names("methods") if trains(name)]
SETTINGS = [
    ("coop", {}, "labels"),
    ("coop", {"local_weight": 0.0}, "labels"),
    ("coop", {"local_weight": 0.5}, "masks"),
    ("cocoop", {}, "labels"),
    ("cocoop", {"preset": "zsad"}, "masks"),
    ("cocoop", {"preset": "zsad", "local_weight": 0.0}, "labels"),
    ("cocoop", {"preset": "plain", "local_weight": 2.0}, "masks"),
    ("anomalyclip", {}, "masks"),
    ("faprompt", {"fidelity": "official"}, "masks"),
    ("dive", {}, "masks"),
]


@pytest.mark.parametrize(("method", "settings", "says"), SETTINGS)
def test_a_configuration_says_it_before_and_after_it_is_resolved(method, settings, says, mini):
    built = build(method, mini, {"image_size": 48, **settings}, 0)
    assert built.learns_from(built.config) == says
    assert built.learns_from(configure(method, settings)) == says
    batch = random_batch(48)
    batch.masks = None
    if says == "labels":
        assert built.losses(built.encode(batch.images, batch.samples), batch)["image"].isfinite()


@pytest.mark.parametrize("method", TRAINED)
def test_data_without_masks_is_refused_by_name_with_the_methods_that_can(method):
    config = configure(method, {})
    learnable.check_masks(method, config, [])
    if registry.load("methods", method).learns_from(config) == "labels":
        learnable.check_masks(method, config, ["elpv"])
        assert method in learnable.from_labels()
        return
    with pytest.raises(UsageError) as refused:
        learnable.check_masks(method, config, ["elpv", "br35h"])
    line = str(refused.value)
    assert line.startswith(f"{method} learns from masks, and auxiliary dataset elpv, br35h has none")
    assert line.endswith(": " + ", ".join(learnable.from_labels()))
    assert "\n" not in line


def test_some_method_can_learn_from_image_labels():
    assert {"coop", "cocoop"} <= set(learnable.from_labels())


@pytest.mark.parametrize("method", ["coop", "anomalyclip"])
def test_labels_that_all_say_anomalous_teach_nothing_alone(method, small_limited):
    whole, bad = small_limited
    config = configure(method, {})
    learnable.check_normals(method, config, [whole, bad])
    if method == "anomalyclip":  # its masks say where nothing is wrong
        learnable.check_normals(method, config, [bad])
        return
    with pytest.raises(UsageError, match=r"coop learns from image labels, .* demo_limited no normal image"):
        learnable.check_normals(method, config, [bad])


@pytest.fixture
def small_limited():
    """A small generated dataset, and its anomalous images alone."""
    load = registry.load("datasets", "demo_limited")
    whole = load(scale=0.04)
    return whole, load(scale=0.04, samples=[sample for sample in whole.samples() if sample.label])
