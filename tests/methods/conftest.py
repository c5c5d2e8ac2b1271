"""Methods on a random miniature, and what they say of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from lightning import Callback, LightningDataModule
from torch.utils.data import DataLoader

from tests.methods import toys as toy_methods
from tests.miniature import random_batch
from zsad_bench.backbones.base import Backbone
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import build
from zsad_bench.runner.test_pass import run_pass
from zsad_bench.types import Batch, Prediction, SampleInfo

SIZE = 48  # 6 x 6 patches: not the native grid, so that positions are interpolated as in real runs


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrises the contract tests over the module's methods, as far as they are of the kind that a test is for."""
    kind = getattr(metafunc.function, "kind", None)
    if kind is not None:
        metafunc.parametrize("name", [name for name, cls in metafunc.module.CLASSES.items() if kind(cls)])


@pytest.fixture
def toys(plug_in) -> Iterator[None]:
    """The toy methods, installed until the test is over."""
    plug_in("zsad_toys", {}, methods=toy_methods.ENTRY_POINTS)
    toy_methods.forget()
    yield
    toy_methods.forget()


@pytest.fixture
def batch(request) -> Batch:
    """Five images of two categories, more where the method that is tested needs more. Shared: do not change it.

    One category has an image more than it needs, and one more than the other.
    """
    of_test = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    method = getattr(request.module, "CLASSES", {}).get(of_test.get("name"))
    return _batch(5 if method is None else 2 * method.fewest_images + 3)


@functools.cache
def _batch(count: int) -> Batch:
    return random_batch(SIZE, count)


@pytest.fixture
def make(mini_for, batch) -> Callable[..., ZeroShotMethod]:
    """make(name, seed=3, backbone=None, **settings): a method of its own for this test, at 48 px.

    What observes has seen the batch. backbone: None is the miniature that offers what the method needs.
    """

    def made(name: str, seed: int = 3, backbone: Backbone | None = None, **settings) -> ZeroShotMethod:
        method = build(name, backbone or mini_for(name), {"image_size": SIZE, **settings}, seed)
        fill_memory(method, batch)
        return method.eval()

    return made


@pytest.fixture(scope="session")
def predict() -> Callable[..., Prediction]:
    """predict(method, batch, sizes=None): by the code of a real run. sizes: of the batches it comes in; None is one."""

    def predicted(method: ZeroShotMethod, batch: Batch, sizes: Sequence[int] | None = None) -> Prediction:
        splits = [len(batch)] if sizes is None else list(sizes)
        rows = torch.arange(len(batch)).split(splits)
        heard = _Listener()
        batches = DataLoader([some(batch, part.tolist()) for part in rows], batch_size=None)
        run_pass({"it": method}, _Batches(batches), [heard])
        found = [heard.found[sample.id] for sample in batch.samples]
        maps = [part.map for part in found]
        return Prediction(torch.cat([part.score for part in found]), None if maps[0] is None else torch.cat(maps))

    return predicted


class _Batches(LightningDataModule):
    def __init__(self, loader: DataLoader) -> None:
        super().__init__()
        self.loader = loader

    def test_dataloader(self) -> DataLoader:
        return self.loader


class _Listener(Callback):
    """Id of an image -> its prediction."""

    def __init__(self) -> None:
        self.found: dict[str, Prediction] = {}
        self.samples: list[SampleInfo] = []

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.samples += batch.samples
        for prediction in outputs.values():
            self._take(prediction, batch.samples)

    def on_test_end(self, trainer, pl_module) -> None:
        for category in dict.fromkeys(sample.category for sample in self.samples):
            for prediction in pl_module.finish(category).values():
                self._take(prediction, [sample for sample in self.samples if sample.category == category])

    def _take(self, prediction: Prediction, samples: Sequence[SampleInfo]) -> None:
        for row, sample in enumerate(samples):
            one = None if prediction.map is None else prediction.map[[row]]
            self.found[sample.id] = Prediction(prediction.score[[row]], one)


def some(batch: Batch, rows: list[int]) -> Batch:
    """The images of a batch at these places, in this order."""
    masks = None if batch.masks is None else batch.masks[rows]
    return Batch(batch.images[rows], batch.labels[rows], masks, [batch.samples[row] for row in rows])


def fill_memory(method: ZeroShotMethod, batch: Batch) -> None:
    """Shows a batch to each stage that only observes; without it there is nothing to score with."""
    for number, stage in enumerate(method.stages()):
        if stage.observes:
            learn(method, number, batch)


def learn(method: ZeroShotMethod, stage_number: int, batch: Batch) -> dict[str, torch.Tensor]:
    """The loss terms of one optimiser step in a stage, taken as Lightning takes it; {} where it only observes."""
    stage = method.stages()[stage_number]
    method.begin_training(list(dict.fromkeys(sample.category for sample in batch.samples)))
    method.begin_stage(stage)
    method.train()
    terms = {}
    if stage.observes:
        method.training_step(batch, 0)
    else:
        optimizer = method.optimizer_for(stage)
        terms = method.losses(method.encode(batch.images, batch.samples), batch)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    method.on_train_end()
    method.eval()
    return terms
