"""What of a cell group is there already: rows, batches that need no second look, and finished trainings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zsad_bench.errors import CheckpointError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS
from zsad_bench.results import rows as store
from zsad_bench.runner import checkpoint
from zsad_bench.types import Level, Sample
from zsad_bench.variant import variant_of


def metrics_of(level: Level) -> tuple[str, ...]:
    """The metrics that a complete category of a dataset of this level has rows of."""
    return {"image": IMAGE_KEYS, "pixel": PIXEL_KEYS, "both": (*IMAGE_KEYS, *PIXEL_KEYS)}[level]


def rows_of(board: Path, method: str, since: str = "") -> list[store.Row]:
    """Every row of a method on a board; [] when there is none. A half-written last line is another run's business.

    since: a run id; only rows of runs that began after it.
    """
    file = board / "rows" / f"{method}.jsonl"
    if not file.is_file():
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", store.RowWarning)
        return [row for row in store.load(file) if row.run_id > since]


def missing(rows: Iterable[store.Row], categories: Collection[str], metrics: Collection[str]) -> set[str]:
    """The categories that lack a row, defined or not, of any metric; rows: of one cell."""
    found = {(row.category, row.metric) for row in rows}
    return {category for category in categories if any((category, metric) not in found for metric in metrics)}


def whole_batches(samples: Sequence[Sample], categories: Collection[str], batch_size: int) -> list[Sample]:
    """The samples of every batch that holds one of these categories, in order.

    Whole batches, because the last digits of a score depend on how many images are encoded at once: a run that goes on
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
        except CheckpointError:  # a torn file is no checkpoint; training again mends it
            continue
        of = (header.method, header.version, header.backbone, header.frozen_networks)
        here = (name, method.version, method.backbone.id, method.frozen_networks)
        if of == here and (header.config, _plain(header.training)) == wanted:
            return path
    return None


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples are lists; a variant as its options, which older files have as a text."""
    told = {"variant": dict(variant_of(content["variant"]))} if "variant" in content else {}
    return json.loads(json.dumps({**content, **told}))
