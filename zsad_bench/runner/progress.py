"""Progress while training and testing: rich bars in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from zsad_bench.console import Console, Description

EVERY_SECONDS = 10.0


class PlainProgress(Callback):
    """One line when an epoch or a test ends, and one every ten seconds in between, with the time that remains."""

    def __init__(self, console: Console, what: str) -> None:
        self.console, self.what = console, what
        self.started = self.said = 0.0

    def _start(self) -> None:
        self.started = self.said = time.perf_counter()

    def _tick(self, done: int, total: int | float, unit: str) -> None:
        now = time.perf_counter()
        if now - self.said < EVERY_SECONDS or not done:
            return
        self.said = now
        left = (now - self.started) / done * (total - done)
        self._say(f"{done}/{total:.0f} {unit}, about {left:.0f} s left")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        self._tick(trainer.global_step, trainer.estimated_stepping_batches, "steps")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("loss")
        shown = "" if loss is None else f", loss {float(loss):.4f}"
        seconds = time.perf_counter() - self.started
        self._say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}{shown} ({seconds:.0f} s)")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._tick(args[2] + 1, sum(trainer.num_test_batches), "batches")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._say(f"done ({time.perf_counter() - self.started:.0f} s)")

    def _say(self, text: str) -> None:
        self.console.print(f"{self.what}: {text}")


class Bars(RichProgressBar):
    """Lightning's rich bars with a name: what is trained on or tested, epochs, loss and the time that remains."""

    def __init__(self, console: Console, what: str) -> None:
        super().__init__(leave=True)
        self.console, self.what = console, what

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.console.print(self.what)
        super().on_train_start(trainer, pl_module)

    @property
    def test_description(self) -> str:
        return self.what

    def configure_columns(self, trainer: Trainer) -> list:
        """Lightning's, but what is tested is data: it reads brackets in a name as markup."""
        return [Description(), *super().configure_columns(trainer)[1:]]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float | dict]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)  # the name of the log's folder
        return shown


def progress(console: Console, what: str) -> Callback:
    """The progress callback that suits the console."""
    return Bars(console, what) if console.is_terminal else PlainProgress(console, what)
