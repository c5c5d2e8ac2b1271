"""The auxiliary data that a prior means: selected, hashed, and ready to train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.union import Union

DataFactory = Callable[[str, Mapping[str, Any]], ZeroShotDataModule]


@dataclass(frozen=True)
class Auxiliary:
    """spec: what was asked. hash: of what was kept. data: to train on."""

    spec: priors.PriorSpec
    hash: str
    data: Union

    @property
    def modules(self) -> list[ZeroShotDataModule]:
        return self.data.modules


def auxiliary(spec: priors.PriorSpec, data_of: DataFactory, seed: int) -> Auxiliary:
    """The data of a resolved prior; `data_of(name, options)` builds a data module, `seed` is of the training order.

    Raises:
        ZsadError: a dataset that is not there, or a prior that asks for more than it has.
    """
    modules = [kept(part, data_of, {"shuffle_seed": seed}) for part in spec.parts]
    hashed = priors.prior_hash({module.name: module.manifest_hash for module in modules})
    return Auxiliary(spec, hashed, Union(modules))


def kept(part: priors.Part, data_of: DataFactory, options: Mapping[str, Any]) -> ZeroShotDataModule:
    """One dataset restricted to what a part of a prior keeps."""
    whole = data_of(part.dataset, {})
    drawn = whole.redrawn(part.draw)
    if drawn:
        whole = data_of(part.dataset, drawn)
    kinds = {card.name: card.kind for card in whole.category_cards}
    samples = priors.select(whole.samples(), part, kinds, getattr(whole, "anomaly_types", None))
    return data_of(part.dataset, {**options, **drawn, "samples": samples})
