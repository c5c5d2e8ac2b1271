# pytest tests/planning/test_group_length.py
"""Groups are compared by what they compute; worked out by hand, with parts that were made up."""

from __future__ import annotations

import pytest

from zsad_bench.planning.gpu_hours import parse
from zsad_bench.planning.group_length import Size, expected_seconds

PARTS = parse("""
device: GPU A
precision: float32
weights: random
source: docs/page.md
step_images: 2
methods:
  center_prior: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [0.5, 1], steps: []}
  clip: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [1.5, 1], steps: []}
  anomalyclip: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [2.0, 1], steps: [[6.0, 1]]}
  aa_clip: {backbone: ViT-L-14-336-quickgelu, image_size: 518, image: [3.0, 1], steps: [[4.0, 1], [10.0, 1]]}
""")  # an image is encoded in one second
CLIP = Size("clip", {}, True, (), "", 0, 100)
LEARNER = Size("anomalyclip", {}, True, (30,), "prior", 10, 100)
ALONE = Size("aa_clip", {}, False, (20, 30), "prior", 10, 100)


def test_an_image_is_encoded_once_for_all_that_share_it():
    assert expected_seconds([("a", "visa", CLIP)], PARTS) == 100 * 1.5
    both = [("a", "visa", CLIP), ("b", "visa", CLIP)]
    assert expected_seconds(both, PARTS) == 100 * (1 + 0.5 + 0.5)
    assert expected_seconds([("a", "visa", CLIP), ("b", "btad", CLIP)], PARTS) == 2 * 100 * 1.5


def test_a_training_is_done_once_and_its_images_are_encoded_once():
    trained = 30 * (6 / 2 - 1) + 10  # three epochs of ten images from stored features, and the images themselves
    assert expected_seconds([("a", "visa", LEARNER)], PARTS) == trained + 100 * 2
    assert expected_seconds([("a", "visa", LEARNER), ("a", "btad", LEARNER)], PARTS) == trained + 2 * 100 * 2
    seeds = [("a", "visa", LEARNER), ("b", "visa", LEARNER)]
    assert expected_seconds(seeds, PARTS) == 2 * (trained - 10) + 10 + 100 * (1 + 1 + 1)


def test_what_changes_the_encoding_shares_nothing():
    alone = 20 * 4 / 2 + 30 * 10 / 2 + 100 * 3
    assert expected_seconds([("a", "visa", ALONE)], PARTS) == alone
    assert expected_seconds([("a", "visa", ALONE), ("b", "visa", CLIP)], PARTS) == alone + 100 * 1.5


@pytest.mark.parametrize("unknown", ["a_plug_in", "filo"])
def test_what_was_never_measured_takes_the_median(unknown):
    size = Size(unknown, {}, False, (20,), "prior", 10, 100)
    assert expected_seconds([("a", "visa", size)], PARTS) == 20 * 6 / 2 + 100 * (1.5 + 2.0) / 2
    stages = Size("anomalyclip", {}, False, (20, 20), "prior", 10, 100)  # another number of stages than was measured
    assert expected_seconds([("a", "visa", stages)], PARTS) == 2 * 20 * 6 / 2 + 100 * 2.0
