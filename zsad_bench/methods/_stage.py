"""What a method says about one stretch of its training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
Scheduler = Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler]


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    trainables: names of the parameters, or of the modules around them, that learn in it; all others are frozen. None
    is everything that is the method's own.
    optimizer: from those parameters, or from groups of them, to an optimiser.
    scheduler: from the optimiser and the number of times it will be stepped to a scheduler; stepped after each epoch,
    or after each batch where `schedule_each` says so.
    groups: name of a parameter or module -> options of the optimiser for it alone, such as {"decoder": {"lr": 1e-4}};
    of several that fit the longest counts.
    clip: largest norm of the gradient; None does not clip.
    observes: no gradients and no optimiser; each batch goes to `observe`.
    learns_from: "labels" of a stage whose losses read no masks though the method needs them in another; None is what
    the method says.
    mosaic: share of the training images that are replaced by mosaics of four images of their category, by the name of
    their dataset, "*" for any other; `methods/_mosaic.py` has that of the released trainings.
    """

    name: str
    epochs: int
    batch_size: int
    trainables: tuple[str, ...] | None = None
    optimizer: Callable[[Parameters], torch.optim.Optimizer] | None = None
    scheduler: Scheduler | None = None
    schedule_each: Literal["epoch", "step"] = "epoch"
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    clip: float | None = None
    observes: bool = False
    learns_from: Literal["masks", "labels"] | None = None
    mosaic: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.observes == (self.optimizer is not None):
            wrong = "has an optimizer though it only observes" if self.observes else "has no optimizer"
            raise ValueError(f"stage '{self.name}' {wrong}")
