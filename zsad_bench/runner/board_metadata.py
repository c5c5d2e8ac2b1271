"""What tables ask for beside the rows: what a prior kept, and how a backbone reads the names of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from zsad_bench.backbones.base import Backbone
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.results.class_embeddings import TEMPLATE, Classes, read_classes, write_classes
from zsad_bench.results.prior_contents import Kept, write_kept
from zsad_bench.runner.auxiliary import Auxiliary


def describe(
    board: Path, backbone: Backbone, targets: Iterable[ZeroShotDataModule], learned_from: Auxiliary | None
) -> None:
    """Writes both beside the rows; names that are there already are not encoded again, and none without a text tower.

    Raises:
        RowError: the board cannot be written.
    """
    read = (*targets, *(learned_from.modules if learned_from else ())) if backbone.text else ()
    for data in read:
        names = {card.name: card.friendly or card.prompt_name for card in data.category_cards}
        known = read_classes(board, backbone.weights_hash, data.name)
        if known is None or known.names != names:
            write_classes(board, backbone.weights_hash, data.name, _encoded(backbone, names))
    if learned_from:
        write_kept(board, learned_from.hash, _kept(learned_from))


def _kept(learned_from: Auxiliary) -> Kept:
    classes: dict[str, dict[str, dict[str, int]]] = {}
    for module in learned_from.modules:
        counts = Counter((sample.category, sample.anomaly_type) for sample in module.samples())
        of = classes.setdefault(module.name, {})
        for (category, kind), count in sorted(counts.items()):
            of.setdefault(category, {})[kind] = count
    return Kept(learned_from.spec.name, learned_from.spec.draw, classes)


def _encoded(backbone: Backbone, names: dict[str, str]) -> Classes:
    with torch.no_grad():
        found = backbone.encode_prompts([TEMPLATE.format(name) for name in names.values()])
        unit = torch.nn.functional.normalize(found.double(), dim=-1)
    return Classes(names, dict(zip(names, unit.tolist(), strict=True)))
