"""What rows a cell must have, and which of them are there: the one place that says whether a cell is complete."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from zsad_bench import metric_keys
from zsad_bench.metrics import IMAGE_KEYS, PIXEL_KEYS, SAMPLE_KEYS
from zsad_bench.results import rows as store
from zsad_bench.types import Level


@dataclass(frozen=True)
class ExpectedRows:
    """A row for each metric, defined or not, of each category, under the key of the cell.

    image_size, backbone: as the rows will say them, by which earlier rows tell how long it takes. optional: further
    metrics that were asked for, whose rows are under `optional_key`.
    """

    key: str
    categories: tuple[str, ...]
    metrics: tuple[str, ...]
    image_size: int
    backbone: str
    optional_key: str = ""
    optional: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """Of all of its rows."""
        return frozenset((self.key, self.optional_key) if self.optional else (self.key,))

    def lacking(self, there: Collection[tuple[str, str]]) -> dict[str, int]:
        """Category -> how many of its rows are missing, for those that lack any; there: (category, metric) found."""
        metrics = (*self.metrics, *self.optional)
        missing = {c: sum((c, metric) not in there for metric in metrics) for c in self.categories}
        return {category: count for category, count in missing.items() if count}


def metrics_of(level: Level, grouped: bool = False) -> tuple[str, ...]:
    """The metrics that a complete category of a dataset of this level has rows of.

    grouped: several of its images show one object, so that objects have metrics too.
    """
    of_images = (*IMAGE_KEYS, *SAMPLE_KEYS) if grouped else IMAGE_KEYS
    return {"image": of_images, "pixel": PIXEL_KEYS, "both": (*of_images, *PIXEL_KEYS)}[level]


def optional_metrics_of(level: Level) -> tuple[str, ...]:
    """The metrics at operating points that a dataset of this level can have."""
    return metric_keys.keys("" if level == "both" else level, optional=True)


def rows_of(board: Path, method: str, since: str = "") -> list[store.Row]:
    """Every row of a method on a board; [] when the board has no such row.

    A half-written last line is left to the run that writes it. since: a run id; only rows of runs that began after it.
    """
    file = board / "rows" / f"{method}.jsonl"
    if not file.is_file():
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", store.RowWarning)
        return [row for row in store.load(file) if row.run_id > since]
