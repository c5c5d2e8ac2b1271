# pytest tests/methods/test_pending.py
"""Checks of what a GPU computes come one step late, and never not at all."""

from __future__ import annotations

import pytest
import torch

from tests.methods.conftest import learn
from zsad_bench.errors import PromiseError, TrainingError
from zsad_bench.methods import _pending
from zsad_bench.methods._pending import Pending
from zsad_bench.methods._prediction import predict


class Event:
    """Says when it was waited for."""

    waited = 0

    def synchronize(self) -> None:
        Event.waited += 1


@pytest.fixture
def on_gpu(monkeypatch):
    """As if all values came from a GPU."""
    Event.waited = 0
    monkeypatch.setattr(_pending, "_copied", lambda values: (values, Event()))


def test_on_the_host_a_check_is_looked_at_at_once():
    seen = []
    Pending().put(torch.tensor([1.0, 2.0]), seen.append)
    assert seen == [[1, 2]]


def test_on_a_gpu_a_check_is_looked_at_with_the_next_one(on_gpu):
    pending, seen = Pending(), []
    for number in range(3):
        pending.put(torch.tensor(float(number)), seen.append)
        assert seen == [[each] for each in range(number)], "the host waited for the step that it has just begun"
    pending.finish()
    pending.finish()
    assert seen == [[0], [1], [2]]
    assert Event.waited == 3


def test_a_loss_that_is_not_finite_is_known_one_step_later(make, batch, on_gpu, monkeypatch):
    method = make("coop")
    method.begin_stage(method.stages()[0])
    monkeypatch.setattr(type(method), "log", lambda *_, **__: None)
    losses = iter([float("nan"), 1.0])
    monkeypatch.setattr(method, "losses", lambda *_: {"fine": torch.ones(()), "odd": torch.tensor(next(losses))})
    method.training_step(batch, 0)
    with pytest.raises(TrainingError, match=r"not finite in step 0 of stage .* \(fine 1, odd nan\)"):
        method.training_step(batch, 1)


@pytest.mark.parametrize("end", ["on_train_epoch_end", "on_train_end", "on_save_checkpoint"])
def test_nothing_learned_from_it_is_taken_for_whole(make, batch, on_gpu, monkeypatch, end):
    method = make("coop")
    method.begin_stage(method.stages()[0])
    monkeypatch.setattr(type(method), "log", lambda *_, **__: None)
    monkeypatch.setattr(method, "losses", lambda *_: {"odd": torch.tensor(float("inf"))})
    method.training_step(batch, 0)
    with pytest.raises(TrainingError, match="odd inf"):
        getattr(method, end)(*([{"state_dict": {}}] if end == "on_save_checkpoint" else []))
    assert not method.is_trained


def test_a_new_stage_does_not_look_at_an_old_step(make, batch, on_gpu, monkeypatch):
    method = make("coop")
    method.begin_stage(method.stages()[0])
    monkeypatch.setattr(type(method), "log", lambda *_, **__: None)
    with monkeypatch.context() as patch:
        patch.setattr(method, "losses", lambda *_: {"odd": torch.tensor(float("inf"))})
        method.training_step(batch, 0)
    learn(method, 0, batch)
    assert method.is_trained


def test_a_prediction_that_is_not_finite_is_known_with_the_next_batch(make, batch, on_gpu, monkeypatch):
    method = make("clip")
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        good = method.score(features, batch.samples)
        bad = type(good)(good.score, good.map / 0)
        said = iter([bad, good, bad])
        monkeypatch.setattr(method, "score", lambda *_: next(said))
        predict(method, features, batch.samples)
        with pytest.raises(PromiseError, match="a finite map"):
            predict(method, features, batch.samples)
        predict(method, features, batch.samples)
    with pytest.raises(PromiseError, match="a finite map"):
        method.on_test_epoch_end()
