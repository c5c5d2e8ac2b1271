"""Checks of what a GPU computes, looked at one step later, so that no step waits for its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Look = Callable[[list[float]], None]


class Waiting(NamedTuple):
    """values: on the host, or on their way there. ready: an event of the GPU behind the copy; None: there already."""

    values: Tensor
    ready: Any
    look: Look


class Pending:
    """One check at a time: `put` looks at the one before, which its device has finished by then.

    What is on the host is looked at at once. Whoever ends a pass or takes what was learned calls `finish`.
    """

    def __init__(self) -> None:
        self._waiting: Waiting | None = None

    def put(self, values: Tensor, look: Look) -> None:
        """Has `look` called with the values, (n,) or (), which raises where they are not as they should be."""
        coming = Waiting(*_copied(values.detach()), look)
        self.finish()
        self._waiting = coming
        if coming.ready is None:
            self.finish()

    def finish(self) -> None:
        """Looks at what was put last, if that was not looked at yet; waits for it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if waiting.ready is not None:
                waiting.ready.synchronize()
            waiting.look(waiting.values.flatten().tolist())

    def forget(self) -> None:
        """Looks at nothing that was put before."""
        self._waiting = None


def _copied(values: Tensor) -> tuple[Tensor, Any]:
    """The values on the host and None, or on their way into pinned memory and the event behind that."""
    if values.device.type != "cuda":
        return values.cpu(), None
    host = values.to("cpu", non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return host, ready
