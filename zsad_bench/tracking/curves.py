"""The losses of a training, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

EVERY_SECONDS = 1.0  # reading a loss makes a GPU wait


class Curves(Callback):
    """Calls `tell` with the loss of each step (`train/<stage>/loss`) and the means of an epoch (`epoch/<stage>/…`)."""

    def __init__(self, stage: str, tell: Callable[[Mapping[str, float]], None]) -> None:
        self.stage, self.tell = stage, tell
        self.waiting: list[tuple[int, Tensor]] = []
        self.said = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.waiting.append((trainer.global_step, outputs["loss"].detach()))
        if time.monotonic() - self.said > EVERY_SECONDS:
            self._flush()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flush()
        means = {f"epoch/{self.stage}/{name}": float(value) for name, value in trainer.callback_metrics.items()}
        self.tell({f"epoch/{self.stage}/epoch": trainer.current_epoch + 1, **means})

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._flush()

    def _flush(self) -> None:
        for step, loss in self.waiting:
            self.tell({f"train/{self.stage}/step": step, f"train/{self.stage}/loss": loss.item()})
        self.waiting.clear()
        self.said = time.monotonic()
