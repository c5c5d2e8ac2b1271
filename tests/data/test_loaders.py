# pytest tests/data/test_loaders.py
"""Order, ranks and errors of the loaders, and the base class's checks of a table."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from zsad_bench.data import loaders
from zsad_bench.errors import DatasetError


@pytest.fixture
def broken(small_demo, tmp_path):
    """broken(**options): a module on a copy of a generated dataset, to damage."""
    whole = small_demo("demo_medical").root
    shutil.copytree(whole, tmp_path / "copy")
    return lambda **options: small_demo("demo_medical", root=tmp_path / "copy", **options)


def ids(loader) -> list[str]:
    return [info.id for batch in loader for info in batch.samples]


def error_of(loader) -> str:
    """The message of the DatasetError that reading ends with; keeps no traceback, which would keep the workers."""
    try:
        list(loader)
    except DatasetError as error:
        return str(error)
    pytest.fail("no DatasetError")


def test_training_order_is_shuffled_seeded_and_complete(small_demo):
    a, b = small_demo("demo_medical").train_dataloader(), small_demo("demo_medical").train_dataloader()
    first, again, second = ids(a), ids(b), ids(a)
    assert first == again, "the same seed gives another order"
    assert first != second, "two epochs have the same order"
    assert first != ids(small_demo("demo_medical", shuffle_seed=1).train_dataloader()), "the seed changes nothing"
    assert sorted(first) == sorted(second) == sorted(ids(small_demo("demo_medical").test_dataloader()))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_ranks_share_a_test_without_repeats(small_demo, world):
    whole, parts = ids(small_demo("demo_medical").test_dataloader()), []
    for rank in range(world):
        module = small_demo("demo_medical")
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world)
        parts.append(ids(module.test_dataloader()))
        assert parts[-1] == whole[rank::world], f"rank {rank} of {world} reads other samples"
    assert sorted(chain(*parts)) == sorted(whole)


def test_more_ranks_than_samples_is_an_error():
    with pytest.raises(DatasetError, match="at most 3 processes"):
        loaders.InOrder(3, rank=0, world=4)


def test_training_ranks_take_equally_many_and_miss_nothing():
    shares = [list(loaders.Shuffled(7, seed=5, rank=rank, world=3)) for rank in range(3)]
    assert {len(share) for share in shares} == {3}
    assert set(chain(*shares)) == set(range(7))


def test_workers_change_nothing(small_demo):
    alone = list(small_demo("demo_medical").test_dataloader())
    helped = list(small_demo("demo_medical", workers=2).test_dataloader())
    assert all(torch.equal(a.images, b.images) and a.samples == b.samples for a, b in zip(alone, helped, strict=True))


def test_small_sets_start_no_workers():
    assert loaders.default_workers(100) == 0
    assert 0 <= loaders.default_workers(10_000) <= 8


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_one_line_even_from_a_worker(broken, workers):
    module = broken(workers=workers)
    path = module.root / module.samples()[3].image
    path.write_bytes(path.read_bytes()[:200])
    message = error_of(module.test_dataloader())
    assert str(path) in message
    assert "\n" not in message, f"not one line: {message}"


@pytest.mark.parametrize("workers", [0, 1])
def test_mask_of_another_size_is_named(broken, workers):
    module = broken(workers=workers)
    mask = module.root / next(s.mask for s in module.samples() if s.mask)
    Image.new("L", (50, 112), 255).save(mask)
    message = error_of(module.test_dataloader())
    assert str(mask) in message
    assert "50 x 112 (width x height)" in message
    assert "\n" not in message, f"not one line: {message}"


def test_empty_folder(small_demo, tmp_path):
    with pytest.raises(DatasetError, match="no test images"):
        small_demo("demo_medical", root=tmp_path).setup()


def test_missing_folder(small_demo, tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        small_demo("demo_medical", root=tmp_path / "nowhere").setup()


def test_missing_mask_file(broken):
    module = broken()
    masks = sorted((module.root / "brain" / "ground_truth").glob("*/*.png"))
    for mask in masks:
        mask.unlink()
    with pytest.raises(DatasetError, match=f"_mask.png and {len(masks) - 1} more files missing"):
        module.setup()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"category": "bran"}, "category 'bran'"), ({"label": 1, "mask": None}, "no mask"), ({}, "listed twice")],
)
def test_tables_that_contradict_themselves(small_demo, change, message):
    samples = small_demo("demo_medical").samples()
    odd = replace(samples[0], **change)
    with pytest.raises(DatasetError, match=message):
        small_demo("demo_medical", samples=[odd, *samples[0 if not change else 1 :]]).setup()
