# pytest tests/runner/test_progress.py
"""Bars for a terminal, whole plain lines for everything else."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import RichProgressBar

from zsad_bench.console import Console
from zsad_bench.runner import progress as module
from zsad_bench.runner.progress import PlainProgress, progress


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that is set by hand."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock.now)
    return clock


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_the_console_decides():
    assert isinstance(progress(Console(file=io.StringIO(), force_terminal=True), "train"), RichProgressBar)
    assert isinstance(progress(Console(file=io.StringIO(), force_terminal=False), "train"), PlainProgress)


def test_a_line_every_ten_seconds_with_the_time_that_remains(quiet, clock):
    plain = PlainProgress(quiet, "test on a dataset with a long name")
    trainer = SimpleNamespace(num_test_batches=[40, 60])
    plain.on_test_start(trainer, None)
    for batch in range(100):
        clock.now += 0.5
        plain.on_test_batch_end(trainer, None, None, None, batch)
    clock.now += 1
    plain.on_test_end(trainer, None)
    said = lines(quiet)
    assert said == [
        "test on a dataset with a long name: 20/100 batches, about 40 s left",
        "test on a dataset with a long name: 40/100 batches, about 30 s left",
        "test on a dataset with a long name: 60/100 batches, about 20 s left",
        "test on a dataset with a long name: 80/100 batches, about 10 s left",
        "test on a dataset with a long name: 100/100 batches, about 0 s left",
        "test on a dataset with a long name: done (51 s)",
    ], "lines are broken, missing or too many"


def test_epochs_are_told_with_their_loss(quiet, clock):
    plain = PlainProgress(quiet, "train X on Y")
    trainer = SimpleNamespace(
        callback_metrics={}, current_epoch=0, max_epochs=3, global_step=7, estimated_stepping_batches=21.0
    )
    plain.on_train_start(trainer, None)
    clock.now += 12
    plain.on_train_batch_end(trainer, None, None, None, 6)
    plain.on_train_epoch_end(trainer, None)
    trainer.callback_metrics, trainer.current_epoch = {"loss": 1.23456}, 1
    plain.on_train_epoch_end(trainer, None)
    assert lines(quiet) == [
        "train X on Y: 7/21 steps, about 24 s left",
        "train X on Y: epoch 1/3 (12 s)",
        "train X on Y: epoch 2/3, loss 1.2346 (12 s)",
    ]


@pytest.mark.parametrize("name", ["batch[a]", "x[/y]", ":warning:", "[red]"])
def test_what_a_bar_tests_is_no_markup(name):
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    bars = progress(console, f"Test on {name}")
    (description, *_) = bars.configure_columns(None)
    shown = description.render(SimpleNamespace(description=bars.test_description, fields={}))
    assert shown.plain == f"Test on {name}"
