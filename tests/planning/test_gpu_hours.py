# pytest tests/planning/test_gpu_hours.py
"""Hours are planned from measured parts, and from nothing else."""

from __future__ import annotations

import pytest

from zsad_bench import registry
from zsad_bench.planning.gpu_hours import parse, read_parts, scores_sets

PARTS = parse("""
device: GPU A
precision: float32
weights: random
source: docs/page.md
step_images: 2
methods:
  clip: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [0.5, 1800], steps: []}
  anomalyclip: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [0.25, 1800], steps: [[3.0, 1900]]}
  aa_clip: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [0.25, 1800], steps: [[1.0, 1], [3.0, 1]]}
  filo: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [0.25, 1800], steps: [[1.0, 1], [3.0, 1]]}
  musc: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [0.5, 1800], steps: []}
  blip: {backbone: blip-itm-large-coco, image_size: 384, image: [0.25, 1800], steps: [[1.0, 1]]}
""")


def test_a_test_is_its_images():
    assert PARTS.test_seconds("clip", {}, 100) == 50.0
    assert PARTS.train_seconds("clip", {}, 100) == 0.0, "it does not train"


def test_a_training_is_its_epochs_of_images():
    # 15 epochs in AnomalyCLIP's paper and code, on batches of 8; the step that was measured had two images
    assert PARTS.train_seconds("anomalyclip", {"fidelity": "official"}, 40) == 15 * 40 * 3.0 / 2
    assert PARTS.train_seconds("anomalyclip", {"epochs": 2}, 40) == 2 * 40 * 3.0 / 2
    texts, images = 2, 4
    settings = {"text_epochs": texts, "epochs": images}
    assert PARTS.train_seconds("aa_clip", settings, 10) == (texts * 1.0 + images * 3.0) * 10 / 2, "each stage its own"


@pytest.mark.parametrize(
    ("method", "settings"),
    [("winclip", {}), ("blip", {}), ("filo", {"boxes": "grounding_dino"}), ("anomalyclip", {"ensemble": "seeds"})],
)
def test_what_was_never_measured_is_not_guessed(method, settings):
    assert PARTS.test_seconds(method, settings, 10) is None
    if method != "winclip":
        assert PARTS.train_seconds(method, settings, 10) is None


def test_images_that_score_one_another_have_no_seconds_each():
    assert PARTS.test_seconds("musc", {}, 10) is None
    assert PARTS.train_seconds("musc", {}, 10) == 0.0


def test_a_setting_at_its_default_is_no_other_work():
    assert PARTS.test_seconds("filo", {"boxes": "none"}, 4) == 1.0
    assert PARTS.train_seconds("filo", {"boxes": "none", "epochs": 1, "adapter_epochs": 0}, 4) == 2.0


NOT_MEASURED = {"bayes_pfl", "mrad", "visualad"}  # newer than the last measurement on a GPU; their hours are –


def test_the_parts_that_ship_have_every_method():
    parts = read_parts()
    sets = {name for name in registry.names("methods") if scores_sets(name)}
    assert set(registry.names("methods")) - set(parts.methods) == NOT_MEASURED | sets
    assert parts.device in parts.assumption()
    for name, of in parts.methods.items():
        assert 0 < of.image.seconds < 10, name
        if name != "blip":
            trained = parts.train_seconds(name, {}, 1725)
            assert trained is not None, f"{name}: it has another number of stages than of measured steps"
            assert (trained > 0) == bool(of.steps), name
