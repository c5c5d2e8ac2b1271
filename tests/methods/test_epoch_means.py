# pytest tests/methods/test_epoch_means.py
"""What a training logs of an epoch: means over its images, of every loss in the steps that had it."""

from __future__ import annotations

import pytest
import torch
from lightning import Callback, Trainer
from torch.utils.data import DataLoader

from tests.miniature import random_batch
from zsad_bench.methods._epoch_means import EpochMeans
from zsad_bench.planning.configure import build
from zsad_bench.runner.train import trainer_options


def losses(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}


def test_means_are_over_images_and_of_the_steps_that_had_a_loss():
    means = EpochMeans()
    means.put(losses(loss=1.0, pixel=4.0), 8)
    means.put(losses(loss=2.0), 2)
    means.put(losses(loss=4.0, pixel=1.0), 4)
    found = means.take()
    assert {name: (float(mean), count) for name, (mean, count) in found.items()} == {
        "loss": (pytest.approx((8 + 4 + 16) / 14), 14), "pixel": (pytest.approx((32 + 4) / 12), 12),
    }  # fmt: skip
    assert not any(mean.requires_grad for mean, _ in found.values()), "a graph of every step would be kept"
    assert means.take() == {}, "what was taken counts again in the next epoch"


class Seen(Callback):
    """The loss of each step, its images, and what callbacks find when an epoch ends."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []
        self.at_end: list[float | None] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append((float(outputs["loss"]), len(batch)))

    def on_train_epoch_end(self, trainer, pl_module):
        found = trainer.callback_metrics.get("loss")
        self.at_end.append(None if found is None else float(found))


@pytest.mark.parametrize(("stop", "n_steps"), [({"max_epochs": 2}, 6), ({"max_epochs": 2, "max_steps": 2}, 2)])
def test_a_training_logs_them_once_an_epoch_however_it_ends(mini, stop, n_steps):
    method = build("coop", mini, {"image_size": 32}, 0)
    batches = [random_batch(32, count) for count in (4, 4, 2)]
    method.begin_training([sample.category for sample in batches[0].samples])
    method.begin_stage(method.stages()[0])
    seen = Seen()
    options = trainer_options() | stop | {"accelerator": "cpu"}
    trainer = Trainer(logger=False, callbacks=[seen], enable_progress_bar=False, num_sanity_val_steps=0, **options)
    trainer.fit(method, DataLoader(batches, batch_size=None))
    assert len(seen.steps) == n_steps
    last = seen.steps[-3:]
    mean = sum(loss * count for loss, count in last) / sum(count for _, count in last)
    assert float(trainer.callback_metrics["loss"]) == pytest.approx(mean, rel=1e-6)
    if "max_steps" not in stop:
        assert seen.at_end[-1] == pytest.approx(mean, rel=1e-6), "callbacks come before the module, and find nothing"
