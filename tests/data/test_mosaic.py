# pytest tests/data/test_mosaic.py
"""Mosaics: four images of one category as one, in training alone, drawn by the seed from the samples in use."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from zsad_bench.data.concat import ConcatData
from zsad_bench.data.mosaic import Mosaics, tiled
from zsad_bench.types import Sample

TYPES = {"good": 6, "cut": 2, "hole": 1}
SAMPLES = [Sample(f"{category}/{kind}/{i}.png", (), int(kind != "good"), category, kind, "test")
           for category in ("cup", "nut") for kind, count in TYPES.items() for i in range(count)]  # fmt: skip


def plain(colour: int, size=(4, 2)) -> Image.Image:
    return Image.new("RGB", size, (colour, colour, colour))


def batch_of(module, mosaic) -> dict[str, tuple[np.ndarray, int, np.ndarray]]:
    """Id -> image, label, mask of one pass of training."""
    module.mosaic = mosaic
    return {
        info.id: (batch.images[i].numpy(), int(batch.labels[i]), batch.masks[i].numpy())
        for batch in module.train_dataloader()
        for i, info in enumerate(batch.samples)
    }


def test_four_are_tiled_row_by_row_with_their_masks():
    mask = Image.fromarray(np.array([[255, 0, 0, 0], [0, 0, 0, 255]], np.uint8))
    image, marks = tiled([plain(c) for c in (10, 20, 30, 40)], [None, mask, None, None])
    grey = np.asarray(image)[..., 0]
    assert grey.tolist() == [[10] * 4 + [20] * 4] * 2 + [[30] * 4 + [40] * 4] * 2
    assert (np.asarray(marks)[:2, 4:] == np.asarray(mask)).all(), "the mask is not where its image is"
    assert np.count_nonzero(marks) == 2, "an image without a mask marks something"
    assert tiled([plain(0)] * 4, [None] * 4)[1] is None


def test_images_of_other_sizes_are_brought_to_the_first_one_s():
    big = Image.new("L", (8, 8), 255)
    image, marks = tiled([plain(10), plain(20, (8, 8)), plain(30), plain(40)], [None, big, None, None])
    assert image.size == (8, 4)
    assert (np.asarray(image)[:2, 4:, 0] == 20).all()
    assert (np.asarray(marks)[:2, 4:] == 255).all()
    assert np.count_nonzero(marks) == 8, "a resized mask covers more than its image"


def test_parts_are_of_the_sample_s_category_and_every_type_is_as_likely():
    mosaics, drawn = Mosaics(SAMPLES, 1.0, seed=0), []
    for i in range(600):
        parts = mosaics.parts(SAMPLES[i % len(SAMPLES)], str(i))
        assert len(parts) == 4
        assert {part.category for part in parts} == {SAMPLES[i % len(SAMPLES)].category}
        drawn += parts
    counted = Counter(part.anomaly_type for part in drawn)
    # 2400 draws of a third each: 800 on average, 23 the standard deviation
    assert all(abs(counted[kind] - 800) < 5 * 23 for kind in TYPES), counted
    assert {part.image for part in drawn} == {sample.image for sample in SAMPLES}, "some image is never drawn"


def test_the_share_the_seed_and_the_key_decide():
    def taken(share: float, seed: int = 0) -> list[list[Sample]]:
        mosaics = Mosaics(SAMPLES, share, seed)
        return [mosaics.parts(SAMPLES[0], str(i)) for i in range(1000)]

    assert taken(0.2) == taken(0.2), "the same seed draws otherwise"
    assert taken(0.2) != taken(0.2, seed=1)
    assert not any(taken(0.0))
    assert all(taken(1.0))
    assert 200 - 5 * 13 < sum(map(bool, taken(0.2))) < 200 + 5 * 13, "one in five, standard deviation 12.6"


def test_a_mosaic_s_label_is_that_of_its_mask_and_only_samples_in_use_are_in_it(small_demo):
    table = small_demo("demo_medical").samples()

    def mosaics(labels: set[int]) -> list[tuple[int, bool]]:
        some = [sample for sample in table if sample.label in labels]
        found = batch_of(small_demo("demo_medical", image_size=64, samples=some), {"*": 1.0})
        assert len(found) == len(some), "samples were lost"
        return [(label, bool(mask.any())) for _, label, mask in found.values()]

    assert set(mosaics({0})) == {(0, False)}, "of normal images alone"
    assert set(mosaics({1})) == {(1, True)}, "of anomalous images alone"
    assert set(mosaics({0, 1})) <= {(0, False), (1, True)}, "a label is not that of the mask"


def test_all_images_are_replaced_where_the_share_is_one(small_demo):
    module = small_demo("demo_medical", image_size=32)
    before, after = batch_of(module, {}), batch_of(module, {"*": 1.0})
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[key][0], after[key][0]) for key in before), "an image was left as it is"


def test_the_dataset_s_own_share_goes_before_that_of_all(small_demo):
    module = small_demo("demo_medical", image_size=32)
    plainly = batch_of(module, {})

    def changed(mosaic) -> int:
        found = batch_of(module, mosaic)
        return sum(not np.array_equal(found[key][0], plainly[key][0]) for key in found)

    assert changed({"mvtec": 1.0}) == 0, "another dataset's share"
    assert changed({"demo_medical": 0.0, "*": 1.0}) == 0
    assert changed({"demo_medical": 1.0, "*": 0.0}) == len(plainly)


def test_testing_makes_none(small_demo):
    module = small_demo("demo_medical", image_size=32)
    expected = list(module.test_dataloader())
    module.mosaic = {"*": 1.0}
    for one, other in zip(expected, module.test_dataloader(), strict=True):
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_differ_and_workers_draw_the_same(small_demo, workers):
    def passes(workers: int) -> list[dict[str, torch.Tensor]]:
        module = small_demo("demo_medical", image_size=32, workers=workers)
        module.mosaic = {"*": 0.5}
        loader = module.train_dataloader()
        return [{s.id: image for batch in loader for s, image in zip(batch.samples, batch.images, strict=True)}
                for _ in range(2)]  # fmt: skip

    first, second = passes(workers)
    assert any(not torch.equal(first[key], second[key]) for key in first), "every epoch has the same mosaics"
    assert all(torch.equal(first[key], image) for key, image in passes(0)[0].items())


def test_of_several_datasets_each_makes_its_own(small_demo):
    modules = [small_demo(name, image_size=32) for name in ("demo_medical", "demo_textures")]
    both = ConcatData(modules)
    plainly = batch_of(both, {})
    found = batch_of(both, {"demo_textures": 1.0})
    changed = {key.split("/")[0] for key in found if not np.array_equal(found[key][0], plainly[key][0])}
    assert changed == {"demo_textures"}
