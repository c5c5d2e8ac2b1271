# pytest tests/data/test_concat.py
"""Data modules, and several as one, in the hands of a Trainer."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from zsad_bench import registry
from zsad_bench.data.concat import ConcatData
from zsad_bench.data.loaders import Ranks, ShuffledShard
from zsad_bench.errors import UsageError


class Reader(LightningModule):
    """Learns nothing and writes down which images it was shown, and at what size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[str]] = {"fit": [], "test": [], "predict": []}
        self.sizes: set[tuple[int, ...]] = set()

    def _see(self, what: str, batch) -> None:
        self.seen[what] += [sample.id for sample in batch.samples]
        self.sizes.add(tuple(batch.images.shape[-2:]))

    def training_step(self, batch, batch_idx):
        self._see("fit", batch)
        return self.weight * batch.images.mean()

    def test_step(self, batch, batch_idx):
        self._see("test", batch)

    def predict_step(self, batch, batch_idx):
        self._see("predict", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def trainer() -> Trainer:
    return Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def everything(*modules) -> list[str]:
    return sorted(module.info(sample).id for module in modules for sample in module.samples())


def test_a_trainer_takes_a_data_module(small_demo, reader, trainer):
    data = small_demo("demo_medical")
    data.image_size, data.batch_size = 24, 5  # plain attributes, read when the loader is made
    trainer.fit(reader, datamodule=data)
    trainer.test(reader, datamodule=data, verbose=False)
    trainer.predict(reader, datamodule=data)
    assert {what: sorted(seen) for what, seen in reader.seen.items()} == dict.fromkeys(reader.seen, everything(data))
    assert reader.seen["test"] == reader.seen["predict"] == [data.info(sample).id for sample in data.samples()]
    assert reader.seen["fit"] != reader.seen["test"], "training is not shuffled"
    assert reader.sizes == {(24, 24)}


def test_several_are_learned_from_as_one(small_demo, reader, trainer):
    modules = [small_demo("demo_medical"), small_demo("demo_textures")]
    data = ConcatData(modules)
    data.image_size, data.batch_size = 24, 7
    trainer.fit(reader, datamodule=data)
    assert sorted(reader.seen["fit"]) == everything(*modules)
    first = [one.partition("/")[0] for one in reader.seen["fit"][:7]]
    assert len(set(first)) == 2, "one dataset after the other"
    assert reader.sizes == {(24, 24)}
    assert data.categories() == [category for module in modules for category in module.categories()]
    assert data.title == f"{modules[0].title} + {modules[1].title}"
    assert trainer.train_dataloader.said == []


def test_one_alone_is_read_as_it_is_by_itself(small_demo):
    alone, as_one = small_demo("demo_medical"), ConcatData([small_demo("demo_medical")])
    ids = [[sample.id for batch in data.train_dataloader() for sample in batch.samples] for data in (alone, as_one)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_each_step(small_demo, world):
    """What all ranks read in a step is what one process reads in it, of one dataset and of several."""
    for made in (lambda: small_demo("demo_medical"), lambda: ConcatData([small_demo("demo_medical")] * 2)):
        steps, one = [], made()
        one.batch_size = 6
        for rank in range(world):
            data = made()
            data.batch_size, data.trainer = 6, SimpleNamespace(global_rank=rank, world_size=world)
            steps.append([[sample.id for sample in batch.samples] for batch in data.train_dataloader()])
        whole = [[sample.id for sample in batch.samples] for batch in one.train_dataloader()]
        together = [sorted(chain(*ranks)) for ranks in zip(*steps, strict=True)]
        full = [sorted(ids) for ids in whole if len(ids) == 6]
        assert together[: len(full)] == full


def test_a_batch_that_cannot_be_shared(small_demo):
    data = small_demo("demo_medical", batch_size=5)
    data.trainer = SimpleNamespace(global_rank=0, world_size=2)
    with pytest.raises(UsageError, match="2 processes cannot share training batches of 5 images evenly"):
        data.train_dataloader()
    assert len(data.test_dataloader()) > 0


def test_lightning_leaves_our_samplers_alone():
    """It replaces every sampler that is no DistributedSampler, by one that repeats images."""
    assert isinstance(ShuffledShard(4, 0), torch.utils.data.DistributedSampler)
    assert Ranks.of(None) == (0, 1)
    assert Ranks.of(SimpleNamespace(global_rank=1, world_size=3)) == (1, 3)


def test_masks_in_all_or_in_none(small_demo):
    bare = SimpleNamespace(name="labels_only", title="Labels", has_masks=False, image_size=32, batch_size=8)
    with pytest.raises(UsageError, match="demo_medical with, labels_only without"):
        ConcatData([small_demo("demo_medical"), bare])
    with pytest.raises(UsageError, match="at least one"):
        ConcatData([])


def test_a_missing_dataset_shows_before_training(reader, trainer, tmp_path):
    from zsad_bench.errors import DatasetError

    with pytest.raises(DatasetError, match="is not a folder"):
        trainer.fit(reader, datamodule=registry.load("datasets", "mvtec")(tmp_path / "nowhere"))
    assert not reader.seen["fit"]
