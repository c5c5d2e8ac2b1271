"""What the processes of a training have seen together."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def of_all_ranks(rows: Tensor) -> Tensor:
    """The rows of every process of the training end to end, in the order of the processes; alone, the rows themselves.

    rows: (n,…), n may differ between processes and be 0; all call it together. They stay on the device.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    world = distributed.get_world_size()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    distributed.all_gather(counts, count)
    most = max(int(each) for each in counts)
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in range(world)]
    distributed.all_gather(gathered, padded)
    return torch.cat([part[: int(n)] for part, n in zip(gathered, counts, strict=True)])
