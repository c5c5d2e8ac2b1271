"""What the metric states share: typed list states, concatenated over batches and ranks, empty ranks included."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric


class ListStateMetric(Metric):
    """A Metric whose vectors are lists of 1-D tensors (`dist_reduce_fx="cat"`) of known dtypes.

    Work is done on the CPU in numpy; the lists live on the metric's device, so that any backend can gather them.
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._dtypes: dict[str, torch.dtype] = {}

    def add_vector(self, name: str, dtype: torch.dtype) -> None:
        """Declare a list state whose tensors have `dtype`."""
        self.add_state(name, default=[], dist_reduce_fx="cat")
        self._dtypes[name] = dtype

    def append(self, name: str, values: NDArray) -> None:
        """Keep one more part of a vector."""
        getattr(self, name).append(torch.from_numpy(values).to(self.device, self._dtypes[name]))

    def vector(self, name: str) -> NDArray:
        """The whole vector, in a numpy array of its own that may be overwritten."""
        empty = torch.zeros(0, dtype=self._dtypes[name]).numpy()
        return np.concatenate([empty, *self.parts(name)])

    def parts(self, name: str) -> list[NDArray]:
        """The vector as it was appended, part by part; views of the state, to be read only."""
        return [part.cpu().numpy() for part in self.tensors(name)]

    def tensors(self, name: str) -> list[Tensor]:
        """The vector as it was appended, part by part, on the metric's device."""
        state: list[Tensor] | Tensor = getattr(self, name)
        return [state] if isinstance(state, Tensor) else state  # after a sync it is one tensor

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As torchmetrics, but a rank without a batch takes part with empty vectors of the right dtype.

        It would otherwise gather float32 against, say, int32, and read the other ranks' bits as floats.
        """
        for name, dtype in self._dtypes.items():
            if isinstance(getattr(self, name), list) and not getattr(self, name):
                getattr(self, name).append(torch.zeros(0, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)
