# pytest tests/data/test_loaders.py
"""Order, ranks and errors of the loaders, and the base class's checks of a table."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from zsad_bench.data import loaders
from zsad_bench.errors import DatasetError, UsageError


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
        loaders.SequentialShard(3, rank=0, world=4)


def test_training_ranks_take_equally_many_and_miss_nothing():
    shares = [list(loaders.ShuffledShard(7, seed=5, rank=rank, world=3)) for rank in range(3)]
    assert {len(share) for share in shares} == {3}
    assert set(chain(*shares)) == set(range(7))


def test_workers_change_nothing(small_demo):
    alone = list(small_demo("demo_medical").test_dataloader())
    helped = list(small_demo("demo_medical", workers=2).test_dataloader())
    assert all(torch.equal(a.images, b.images) and a.samples == b.samples for a, b in zip(alone, helped, strict=True))


def test_small_sets_start_no_workers():
    assert loaders.default_workers(100) == 0
    assert 0 <= loaders.default_workers(10_000) <= 8


def by_id(loader) -> dict[str, torch.Tensor]:
    return {info.id: image for batch in loader for info, image in zip(batch.samples, batch.images, strict=True)}


def test_small_training_sets_are_decoded_once(small_demo, monkeypatch):
    module, decoded = small_demo("demo_medical"), []
    read = loaders.decode.read_image
    monkeypatch.setattr(loaders.decode, "read_image", lambda path: decoded.append(path) or read(path))
    loader = module.train_dataloader()
    first = by_id(loader)
    assert len(decoded) == len(module.samples())
    for again in (by_id(loader), by_id(module.train_dataloader())):
        assert again.keys() == first.keys()
        assert all(torch.equal(image, first[name]) for name, image in again.items())
    assert len(decoded) == len(module.samples())
    module.image_size *= 2
    by_id(module.train_dataloader())
    assert len(decoded) == 2 * len(module.samples()), "another size is another image"


@pytest.mark.parametrize("options", [{"augment": ["flip"]}, {}], ids=["augmented", "too many"])
def test_others_are_decoded_in_each_epoch(small_demo, monkeypatch, options):
    monkeypatch.setattr(loaders, "_KEPT", loaders._KEPT if options else 1000)
    module = small_demo("demo_medical", **options)
    loader = module.train_dataloader()
    decoded = []
    read = loaders.decode.read_image
    monkeypatch.setattr(loaders.decode, "read_image", lambda path: decoded.append(path) or read(path))
    by_id(loader)
    by_id(loader)
    assert len(decoded) == 2 * len(module.samples())


def test_pixels_have_a_content_unless_they_change(small_demo):
    def contents(loader) -> dict[str, str]:
        return {info.id: info.content for batch in loader for info in batch.samples}

    module = small_demo("demo_medical")
    tested = contents(module.test_dataloader())
    assert len(set(tested.values())) == len(tested) == len(module.samples())
    assert contents(module.train_dataloader()) == tested
    module.image_size *= 2
    assert not set(contents(module.test_dataloader()).values()) & set(tested.values())
    assert set(contents(small_demo("demo_medical", augment=["flip"]).train_dataloader()).values()) == {""}


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_one_line_even_from_a_worker(broken, workers):
    module = broken(workers=workers)
    path = module.root / module.samples()[3].image
    path.write_bytes(path.read_bytes()[:200])
    message = error_of(module.test_dataloader())
    assert str(path) in message
    assert "\n" not in message, f"not one line: {message}"


def damage(module, *positions: int) -> list[str]:
    """Cuts image files off; the ids of their samples."""
    for position in positions:
        path = module.root / module.samples()[position].image
        path.write_bytes(path.read_bytes()[:200])
    return [module.info(module.samples()[position]).id for position in positions]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_can_be_skipped_and_are_counted(broken, workers):
    whole = ids(broken().test_dataloader())
    module = broken(workers=workers, on_bad_image="skip", batch_size=2)
    bad = damage(module, 1, 4, 5)  # 4 and 5 are a batch of their own
    loader = module.test_dataloader()
    for again in range(2):
        batches = list(loader)
        assert [info.id for info in loader.skipped] == bad, f"pass {again}: counts the bad images once"
        assert [i.id for b in batches for i in b.samples] == [name for name in whole if name not in bad]
        assert [len(b) for b in batches[:3]] == [2 - 1, 2, 2], "the batch of bad images alone is passed over"
        assert all(b.images.shape[0] == len(b.labels) == len(b.masks) == len(b) for b in batches)
    assert loader.skipped[0].category == module.categories()[0]
    assert len(loader.reasons) == 3
    assert str(module.root / module.samples()[1].image) in loader.reasons[0]


def test_an_unreadable_mask_is_skipped_as_its_image_is(broken):
    module = broken(on_bad_image="skip")
    victim = next(s for s in module.samples() if s.masks)
    (module.root / victim.masks[0]).write_text("no mask")
    loader = module.test_dataloader()
    assert module.info(victim).id not in ids(loader)
    assert loader.skipped == [module.info(victim)]


def test_nothing_readable_at_all_is_an_error_even_when_skipping(broken):
    module = broken(on_bad_image="skip")
    damage(module, *range(len(module.samples())))
    message = error_of(module.test_dataloader())
    assert f"none of the {len(module.samples())} images can be read" in message


def test_a_trainer_is_content_with_fewer_batches_than_promised(broken):
    from lightning.pytorch import LightningModule, Trainer

    class Reader(LightningModule):
        def test_step(self, batch, batch_idx):
            seen.extend(info.id for info in batch.samples)

    seen: list[str] = []
    module = broken(on_bad_image="skip", batch_size=1)
    bad = damage(module, 0, len(module.samples()) - 1)
    loader = module.test_dataloader()
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    Trainer(accelerator="cpu", **quiet).test(Reader(), dataloaders=loader, verbose=False)
    assert [info.id for info in loader.skipped] == bad
    assert sorted(seen + bad) == sorted(module.info(s).id for s in module.samples())


def test_unknown_choice_for_bad_images(small_demo):
    with pytest.raises(UsageError, match="unknown on_bad_image 'skp'; did you mean skip"):
        small_demo("demo_medical", on_bad_image="skp")


def odd_masks(module, count: int) -> list[Path]:
    """Writes masks of another size, white in the left half; their paths."""
    masks = [module.root / s.masks[0] for s in module.samples() if s.masks][:count]
    for mask in masks:
        odd = Image.new("L", (50, 113))
        odd.paste(255, (0, 0, 25, 113))
        odd.save(mask)
    return masks


@pytest.mark.parametrize("workers", [0, 1])
def test_masks_of_another_size_are_an_error_when_they_are_many(broken, workers):
    module = broken(workers=workers)
    (mask,) = odd_masks(module, 1)  # one of a few is more than 1 %
    message = error_of(module.test_dataloader())
    assert str(mask) in message
    assert "50 x 113 (width x height)" in message
    assert "more than 1 %" in message
    assert "\n" not in message, f"not one line: {message}"


@pytest.mark.parametrize("workers", [0, 2])
def test_few_masks_of_another_size_are_resized_and_counted(broken, monkeypatch, workers):
    module = broken(workers=workers)
    (mask,) = odd_masks(module, 1)
    total = sum(len(s.masks) for s in module.samples())
    monkeypatch.setattr(loaders, "MOST_RESIZED", 1 / total)  # as it is in a set a hundred times as large
    loader = module.test_dataloader()
    for _ in range(2):
        halves = [
            m for b in loader for m, i in zip(b.masks, b.samples, strict=True) if mask.stem[:3] in i.id and m.any()
        ]
        assert len(loader.resized) == 1
        assert str(mask) in loader.resized[0]
    left_half = torch.zeros(module.image_size, module.image_size, dtype=torch.bool)
    left_half[:, : module.image_size // 2] = True
    assert any(torch.equal(half, left_half) for half in halves), "the mask does not cover what it covered in its file"
    odd_masks(module, 2)
    assert "(2 so far)" in error_of(module.test_dataloader())


def test_a_dataset_can_insist_on_the_size_of_masks(broken, monkeypatch):
    module = broken()
    monkeypatch.setattr(loaders, "MOST_RESIZED", 1.0)
    module.strict_mask_size = True
    (mask,) = odd_masks(module, 1)
    message = error_of(module.test_dataloader())
    assert str(mask) in message
    assert "must have the same size" in message


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
    [({"category": "bran"}, "category 'bran'"), ({"label": 1, "masks": ()}, "no mask"), ({}, "listed twice")],
)
def test_tables_that_contradict_themselves(small_demo, change, message):
    samples = small_demo("demo_medical").samples()
    odd = replace(samples[0], **change)
    with pytest.raises(DatasetError, match=message):
        small_demo("demo_medical", samples=[odd, *samples[0 if not change else 1 :]]).setup()
