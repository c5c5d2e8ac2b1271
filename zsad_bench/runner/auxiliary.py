"""The auxiliary data that a prior means: selected, hashed, and ready to train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from zsad_bench.data import complete, mask_sizes, readable
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.concat import ConcatData
from zsad_bench.data.synthetic import KINDS
from zsad_bench.errors import UsageError
from zsad_bench.planning.learnable import has_normals
from zsad_bench.prior_grammar import Part
from zsad_bench.types import Sample

DataFactory = Callable[[str, Mapping[str, Any]], ZeroShotDataModule]


@dataclass(frozen=True)
class Auxiliary:
    """spec: what was asked. hash: of what was kept. data: to train on.

    partial: "mvtec 363 of 1725" where a dataset that it draws from is not all there, as rows say it; "" where all are.
    notes: what a user should know of the data, one line each.
    """

    spec: priors.PriorSpec
    hash: str
    data: ConcatData
    partial: str = ""
    notes: tuple[str, ...] = ()

    @property
    def modules(self) -> list[ZeroShotDataModule]:
        return self.data.modules

    def prepare_training(self, image_size: int, seed: int) -> None:
        """Images of this size from now on. seed: of their order and augmentation."""
        self.data.image_size = image_size
        for module in self.modules:
            module.shuffle_seed = seed


class Kept(NamedTuple):
    """One dataset restricted to what a part of a prior keeps; partial: how much of it is there, or ""."""

    module: ZeroShotDataModule
    partial: str
    notes: tuple[str, ...]


def auxiliary(spec: priors.PriorSpec, data_of: DataFactory) -> Auxiliary:
    """The data of a resolved prior; `data_of(name, options)` builds a data module.

    Raises:
        ZsadError: a missing dataset, a prior that asks for more images than it has, or masks that do not fit.
    """
    parts = [kept(part, data_of, {}) for part in spec.parts]
    hashed = priors.prior_hash({part.module.name: part.module.manifest_hash for part in parts})
    notes = [note for part in parts for note in part.notes]
    notes += [line for part in parts for line in mask_sizes.check(part.module)]
    if not has_normals(part.module for part in parts):
        notes.append(f"prior {spec.name} keeps no normal image: losses of whole images see one label only")
    partial = ", ".join(f"{part.module.name} {part.partial}" for part in parts if part.partial)
    if partial:
        notes.append(
            f"auxiliary data are partial: {partial}; rows say so, and such numbers are not compared with others"
        )
    return Auxiliary(spec, hashed, ConcatData([part.module for part in parts]), partial, tuple(dict.fromkeys(notes)))


def kept(part: Part, data_of: DataFactory, options: Mapping[str, Any]) -> Kept:
    """What a part of a prior keeps of its dataset.

    Whether the dataset is all there is a matter of the whole table, before anything is chosen from it.
    """
    synthetic: dict[str, Any] = {"synthetic": part.draw} if part.synthetic else {}
    whole = data_of(part.asked, synthetic)
    if whole.unlabelled:
        raise UsageError(
            f"prior {part.asked}: {whole.unlabelled}, so that nothing can be learned from it; take another variant of "
            f"{whole.name}, or another dataset"
        )
    drawn = {**whole.redrawn(part.draw), **synthetic}
    if drawn != synthetic:
        whole = data_of(part.asked, drawn)
    kinds = {card.name: card.kind for card in whole.category_cards}
    table, lines = _readable(whole)
    anomaly_types = getattr(whole, "anomaly_types", None)
    if part.synthetic:
        partial, anomaly_types = whole.shortfall, {sample.category: KINDS for sample in table}
    else:
        partial = complete.shortfall(complete.counts(table), whole.whole())
    samples = priors.select(table, part, kinds, anomaly_types)
    # What cannot be read is out already: what cannot be read later on is an error.
    module = data_of(part.asked, {**options, **drawn, "samples": samples, "on_bad_image": "stop"})
    return Kept(module, partial, (*whole.notes, *lines))


def _readable(whole: ZeroShotDataModule) -> tuple[list[Sample], list[str]]:
    """(the samples that training can read, a line for each of the others); where such stop a run, all of them."""
    table = whole.samples()
    if whole.on_bad_image == "stop":
        return table, []
    bad = readable.unreadable(whole, table)
    lines = [f"left out: {why}" for why in bad.values()]
    if bad:
        lines.append(f"{len(bad)} of {len(table)} images of {whole.name} cannot be read and are not learned from")
    return [sample for sample in table if sample.id not in bad], lines
