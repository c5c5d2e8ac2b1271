"""Means of losses over an epoch, summed where they are: logging every step takes a third of a small training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class EpochMeans:
    """Sums of losses, weighted by images. Nothing is read back from a device."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[Tensor, int]] = {}  # names -> (n,) sums, number of images

    def put(self, losses: Mapping[str, Tensor], n_images: int) -> None:
        """Scalars of a step on so many images; steps may have different losses."""
        values, names = torch.stack(list(losses.values())).detach(), tuple(losses)
        sums, count = self._sums.get(names, (torch.zeros_like(values), 0))
        self._sums[names] = sums + n_images * values, count + n_images

    def take(self) -> dict[str, tuple[Tensor, int]]:
        """Name -> (mean, a scalar; number of images that it is over), of what was put since it was last taken."""
        totals: dict[str, tuple[Tensor, int]] = {}
        for names, (sums, count) in self._sums.items():
            for name, total in zip(names, sums.unbind(), strict=True):
                before, n_images = totals.get(name, (torch.zeros_like(total), 0))
                totals[name] = before + total, n_images + count
        self._sums.clear()
        return {name: (total / n_images, n_images) for name, (total, n_images) in totals.items()}
