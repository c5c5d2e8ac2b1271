# pytest tests/data/test_augment.py
"""Augmentation: image and mask move together, the seed decides alone, and testing never sees it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from zsad_bench.data import augment, loaders
from zsad_bench.data.loaders import Tables
from zsad_bench.errors import UsageError

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def cross():
    """(image, mask): a white cross on black, neither square nor symmetric, so that every move shows; mask 0/255."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 20:30] = 255
    mask[36:44, :70] = 255
    return np.repeat(mask[..., None], 3, axis=2), mask


def drawn(names, cross, count=40, seed=0):
    build = augment.build(names, seed)
    return [build(*cross, key=str(i)) for i in range(count)]


@pytest.mark.parametrize("names", [["flip"], ["rotate"], ["flip", "rotate"]])
def test_image_and_mask_move_together(cross, names):
    moved = 0
    for image, mask in drawn(names, cross):
        assert image.shape == (HEIGHT, WIDTH, 3), "the size changed"
        assert set(np.unique(mask)) <= {0, 255}, "the mask is no longer 0 and 255"
        apart = ((image[..., 0] > 127) != (mask > 127)).mean()
        assert apart < 0.02, f"{apart:.1%} of the pixels of cross and mask differ after {names}"
        moved += (mask != cross[1]).mean() > 0.02
    assert 15 <= moved <= 38, f"{moved} of 40 draws of {names} moved the cross"


@pytest.mark.parametrize("names", [["colour"], ["blur"]])
def test_colour_and_blur_leave_the_mask_where_it_is(cross, names):
    photo = np.random.default_rng(0).integers(40, 200, cross[0].shape, np.uint8)
    results = drawn(names, (photo, cross[1]))
    assert all((mask == cross[1]).all() for _, mask in results)
    changed = sum((image != photo).any() for image, _ in results)
    assert 5 <= changed <= 35, f"{names} changed {changed} of 40"
    assert max(np.abs(image.mean() - photo.mean()) for image, _ in results) < 50, "stronger than documented"


def test_flips_are_exact_and_all_occur(cross):
    wanted = [cross[1][::a, ::b].tobytes() for a in (1, -1) for b in (1, -1)]
    found = {mask.tobytes() for _, mask in drawn(["flip"], cross)}
    assert found == set(wanted)


def test_rotation_stays_within_its_limit():
    """A dot 40 pixels right of the middle rises or falls by at most 40 sin(10 degrees)."""
    mask = np.zeros((101, 101), np.uint8)
    mask[48:53, 88:93] = 255
    heights = [np.argwhere(m)[:, 0].mean() - 50 for _, m in drawn(["rotate"], (np.repeat(mask[..., None], 3, 2), mask))]
    assert 4 < max(map(abs, heights)) < 40 * np.sin(np.radians(10)) + 1, "not the documented 10 degrees"


def test_seed_and_key_decide_and_nothing_else(cross):
    everything = augment.build(augment.NAMES, 3)
    first = [everything(*cross, key=str(i)) for i in range(8)]
    backwards = [augment.build(augment.NAMES[::-1], 3)(*cross, key=str(i)) for i in range(7, -1, -1)][::-1]
    copied = pickle.loads(pickle.dumps(everything))
    for i, (a, b) in enumerate(zip(first, backwards, strict=True)):
        assert (a[0] == b[0]).all(), "depends on the order of calls or of names"
        assert (a[0] == copied(*cross, key=str(i))[0]).all(), "a copy draws something else"
    other = [augment.build(augment.NAMES, 4)(*cross, key=str(i))[0] for i in range(8)]
    assert any((a[0] != b).any() for a, b in zip(first, other, strict=True)), "the seed changes nothing"


def test_image_without_mask(cross):
    image, mask = augment.build(["flip"], 0)(cross[0], None, "2")
    assert mask is None
    assert (image == augment.build(["flip"], 0)(*cross, "2")[0]).all(), "a mask changes what is drawn"


def test_names():
    assert augment.check("blur,flip,blur") == ("flip", "blur")
    assert augment.check(()) == ()
    with pytest.raises(UsageError, match="unknown augmentation 'flop'; did you mean flip"):
        augment.check(["flop"])


# In the loaders.


def batches(loader):
    """id -> (image, mask), of one pass."""
    return {i.id: (x, m) for b in loader for x, m, i in zip(b.images, b.masks, b.samples, strict=True)}


def same(a, b) -> int:
    return sum(torch.equal(a[name][0], b[name][0]) for name in a)


def test_training_alone_is_augmented_alike_with_and_without_workers(small_demo):
    plain, options = batches(small_demo("demo_medical").test_dataloader()), {"augment": ("flip", "rotate", "colour")}
    module = small_demo("demo_medical", **options)
    assert same(plain, batches(module.test_dataloader())) == len(plain), "testing was augmented"
    alone, helped = module.train_dataloader(), small_demo("demo_medical", workers=2, **options).train_dataloader()
    first, second = batches(alone), batches(alone)
    assert same(plain, first) < len(plain) / 2, "training was not augmented"
    assert same(first, second) < len(plain) / 2, "two epochs are alike"
    assert same(first, batches(helped)) == len(plain), "workers draw something else in the first epoch"
    assert same(second, batches(helped)) == len(plain), "workers draw something else in the second epoch"
    assert same(first, batches(small_demo("demo_medical", shuffle_seed=1, **options).train_dataloader())) < len(plain)
    assert all(m.any() == plain[name][1].any() for name, (_, m) in first.items()), "a mask was lost"


def test_off_by_default_and_in_the_hash_when_on(small_demo):
    plain, module = small_demo("demo_medical"), small_demo("demo_medical", augment=["rotate", "flip"])
    assert same(batches(plain.test_dataloader()), batches(plain.train_dataloader())) == len(plain.samples())
    assert module.decisions() == {"augment": "flip,rotate"}
    assert module.manifest_hash != plain.manifest_hash


def test_a_union_is_augmented_anew_in_each_epoch(small_demo):
    tables = [small_demo("demo_medical", augment=["flip"]).train_dataloader().dataset]
    table = Tables(tables)
    loader = loaders.BatchLoader(
        table, batch_size=4, sampler=loaders.SequentialShard(len(table)), collate_fn=loaders.collate
    )  # fmt: skip
    assert same(batches(loader), batches(loader)) < len(table)
