"""What of a run need not be done again: batches that need no second look, and finished trainings."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from zsad_bench.errors import CheckpointError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.runner import checkpoint
from zsad_bench.types import Sample
from zsad_bench.variant import variant_of


def whole_batches(samples: Sequence[Sample], categories: Collection[str], batch_size: int) -> list[Sample]:
    """The samples of every batch that holds one of these categories, in order.

    Whole batches, because the last digits of a score depend on how many images are encoded at once: a resumed run
    then writes what an uninterrupted one would have.
    """
    kept: list[Sample] = []
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        if any(sample.category in categories for sample in batch):
            kept += batch
    return kept


def find_checkpoint(
    runs: Path, name: str, method: ZeroShotMethod, training: Mapping[str, Any], since: str = ""
) -> Path | None:
    """The newest checkpoint in `runs` of exactly this method, configuration, backbone, prior, draw and seed.

    since: a run id; only checkpoints of runs that began after it.
    """
    wanted = _plain(method.resolved_config()), _plain(training)
    for path in sorted(runs.glob(f"*/{name}.safetensors"), reverse=True):
        if path.parent.name <= since:
            return None
        try:
            header = checkpoint.read_header(path)
        except CheckpointError:  # a half-written file is not a checkpoint; training again replaces it
            continue
        of = (header.method, header.version, header.backbone, header.frozen_networks)
        here = (name, method.version, method.backbone.id, method.frozen_networks)
        if of == here and (header.config, _plain(header.training)) == wanted:
            return path
    return None


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples are lists; a variant as its options, which older files have as a text."""
    options = {"variant": dict(variant_of(content["variant"]))} if "variant" in content else {}
    plain: dict[str, Any] = json.loads(json.dumps({**content, **options}))
    return plain
