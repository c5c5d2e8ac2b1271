"""Maps and scores that others saved, through the metrics of a run into rows: their method is not run here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule, Trainer
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from zsad_bench.console import Console
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.loaders import BatchLoader
from zsad_bench.data.saved_maps import SavedMap, read_map
from zsad_bench.data.vanished import vanished
from zsad_bench.errors import DatasetError
from zsad_bench.metrics import METRIC_VERSION
from zsad_bench.results import rows as store
from zsad_bench.results.external_maps import External, write_external
from zsad_bench.runner import provenance
from zsad_bench.runner.external_survey import Surveyed, wide
from zsad_bench.runner.metric_collector import Collector, Finished
from zsad_bench.runner.progress import progress
from zsad_bench.runner.row_writer import about, rows_of_category, write_category
from zsad_bench.runner.shared_encoder import Cost
from zsad_bench.runner.train import stoppable, trainer_options
from zsad_bench.types import Batch, Category, Prediction

VERSION = "1"  # of how saved maps become maps of the masks' size, and scores of images: part of a row's key
MAXIMUM = "image scores are the maxima of the maps"


def evaluate(
    surveyed: Surveyed,
    data: ZeroShotDataModule,
    part: ZeroShotDataModule,
    suite: str,
    board: Path,
    console: Console,
) -> list[store.Row]:
    """The rows, written as each category ends, and before them the file that says what the maps are.

    data: the whole dataset. part: the same with the samples that were surveyed alone; its `image_size` is that of the
    masks, to which maps of another size are resized (bilinear, with antialias where they get smaller).

    Raises:
        DatasetError: a map that changed since it was looked at. RowError: rows that cannot be written.
    """
    handed, run = surveyed.handed, provenance.run_id()
    missing = _missing_by_category(surveyed, data)
    types = {data.info(sample).id: sample.anomaly_type for sample in surveyed.samples}
    fields = _fields(surveyed, data, part.image_size, suite, run)
    use_maps = handed.maps is not None and data.has_masks
    rows: list[store.Row] = []
    left: dict[str, tuple[int, int]] = {}

    def finished(_: str, category: Category, found: Finished) -> None:
        # Neither time nor memory of this pass is the method's.
        skipped = found.skipped + missing[category.name]
        found = replace(found, skipped=skipped, pass_id=None, seconds_encode=None, seconds_score=None)
        found = replace(found, peak_memory_mb=None)
        made = rows_of_category(found, {**fields, "category": category.name})
        write_category(board, found, made, [types[image] for image in found.ids], about(data))
        rows.extend(made)
        left[category.name] = found.result.n_vanished, found.result.n_anomalous

    write_external(board, fields["key"], fields["maps_hash"], _told(surveyed, data, part.image_size))
    options: dict[str, Any] = {"dtype": torch.float64} if use_maps and surveyed.double else {}
    pictured = () if surveyed.double else (handed.method,)  # what float32 does not tell apart has no picture
    level = data.level if use_maps else "image"
    collector = Collector(part, finished, pictured, level=level, **options)
    callbacks = [collector, progress(console, f"metrics on {data.title}")]
    trainer = Trainer(
        logger=False, callbacks=callbacks, enable_progress_bar=console.is_terminal,
        **{**trainer_options(), "accelerator": "cpu"},
    )  # fmt: skip
    with stoppable(trainer):
        trainer.test(SavedPass(surveyed, part, use_maps), datamodule=part, verbose=False)
    loader, part.trainer = cast("BatchLoader", trainer.test_dataloaders), None
    lost = vanished(data.name, left, part.image_size)
    for line in [*(f"left out: {reason}" for reason in loader.reasons), *loader.resized, *loader.said, *lost]:
        console.print(line, style="yellow")
    return rows


class SavedPass(LightningModule):
    """Takes the place of the shared pass of a run: its predictions are read from files, image by image."""

    def __init__(self, surveyed: Surveyed, data: ZeroShotDataModule, use_maps: bool) -> None:
        super().__init__()
        self.transductive: list[str] = []
        self.costs: dict[Category, dict[str, Cost]] = {}
        self.surveyed, self.use_maps, self.size = surveyed, use_maps, data.image_size
        self.sample_of = {data.info(sample).id: sample.id for sample in surveyed.samples}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Prediction]:
        scores, maps = [], []
        for info in batch.samples:
            score, map_HW = self._read(self.sample_of[info.id])
            scores.append(score)
            if map_HW is not None:
                maps.append(torch.from_numpy(map_HW))
        stacked = torch.stack(maps) if maps else None
        return {self.surveyed.handed.method: Prediction(torch.tensor(scores, dtype=torch.float64), stacked)}

    def finish(self, category: Category) -> dict[str, Prediction]:
        """Nothing: every prediction is there when its image is."""
        return {}

    def _read(self, sample: str) -> tuple[float, NDArray | None]:
        scores = self.surveyed.scores
        if not self.use_maps and scores is not None:
            return scores[sample], None
        path = self.surveyed.folder / self.surveyed.maps[sample]
        saved = read_map(path)
        if saved.sha256 != self.surveyed.facts[sample].sha256:
            raise DatasetError(f"map {path} changed while it was evaluated; evaluate again when nothing writes to it")
        score = saved.largest if scores is None else scores[sample]
        if not self.use_maps:
            return score, None
        return score, resized(saved, self.size, np.float64 if self.surveyed.double else np.float32)


def resized(saved: SavedMap, size: int, dtype: type) -> NDArray:
    """(size,size) of a map: itself where it is so large, else bilinear, antialiased where a side gets smaller."""
    values: NDArray = saved.values.astype(dtype, copy=False)
    if values.shape == (size, size):
        return values
    tensor = torch.from_numpy(values)[None, None]
    return interpolate(tensor, (size, size), mode="bilinear", align_corners=False, antialias=True)[0, 0].numpy()


def inverted(rows: Sequence[store.Row]) -> str:
    """One line where scores or maps look as if lower meant more anomalous; "" where they do not."""
    means = {}
    for metric in ("image_auroc", "pixel_auroc"):
        values = [row.value for row in rows if row.metric == metric and row.value is not None]
        if values and (mean := math.fsum(values) / len(values)) < 0.5:
            means[metric] = f"{metric} is {mean:.3f}"
    if not means:
        return ""
    return (
        f"{' and '.join(means.values())} on average, worse than chance: if lower values mean more anomalous here, save "
        "them negated; nothing was changed"
    )


def _fields(surveyed: Surveyed, data: ZeroShotDataModule, size: int, suite: str, run: str) -> dict[str, Any]:
    """What all rows have in common."""
    handed = surveyed.handed
    config = {"external": VERSION, "image_size": size}
    decided: dict[str, Any] = {
        "method": handed.method,
        "method_version": VERSION,
        "prior": handed.prior,
        "prior_hash": "",
        "target": data.name,
        "data_hash": data.manifest_hash,
        "weights_hash": "none",
        "seed": handed.seed,
        "precision": "float32",
        "metric_version": METRIC_VERSION,
        "maps_hash": surveyed.hash,
    }
    return {
        **decided,
        "key": store.cell_key(**decided, config=config),
        "schema": store.SCHEMA,
        "suite": suite,
        "auxiliary": "",
        "target_partial": data.shortfall,
        "transductive": handed.transductive,
        "data_options": ",".join(f"{key}={value}" for key, value in sorted(data.decisions().items())),
        "remark": MAXIMUM if surveyed.scores is None and data.level != "pixel" else "",
        "backbone": "none",
        "config_hash": store.digest(config),
        "image_size": size,
        "package_version": provenance.package_version(),
        "commit": provenance.commit(),
        "torch": torch.__version__,
        "device": provenance.device(),
        "run_id": run,
        "started": store.now(),
    }


def _told(surveyed: Surveyed, data: ZeroShotDataModule, size: int) -> External:
    handed, facts = surveyed.handed, surveyed.facts
    shapes = Counter(wide(one.shape) for one in facts.values())
    return External(
        name=handed.name,
        by=handed.by,
        prior=handed.prior,
        dataset=data.name,
        data_hash=data.manifest_hash,
        image_size=size,
        files={sample: (surveyed.maps[sample], one.sha256) for sample, one in sorted(facts.items())},
        kinds=dict(sorted(Counter(one.kind for one in facts.values()).items())),
        sizes=dict(shapes.most_common()),
        resized=n_resized(surveyed, size),
        low=min((one.low for one in facts.values()), default=None),
        high=max((one.high for one in facts.values()), default=None),
        scores=() if handed.scores is None else (handed.scores.name, surveyed.scores_sha256),
        missing=sorted(surveyed.missing),
        unused=sorted(surveyed.unused),
    )


def n_resized(surveyed: Surveyed, size: int) -> int:
    """How many maps are of another size than the masks."""
    return sum(one.shape != (size, size) for one in surveyed.facts.values())


def common_size(surveyed: Surveyed) -> int | None:
    """The side of the maps where all of them are squares of one size; None where they are not."""
    shapes = {one.shape for one in surveyed.facts.values()}
    (height, width) = shapes.pop() if len(shapes) == 1 else (0, 1)
    return height if height == width else None


def _missing_by_category(surveyed: Surveyed, data: ZeroShotDataModule) -> Mapping[str, int]:
    kept = {sample.id for sample in surveyed.samples}
    return Counter(sample.category for sample in data.samples() if sample.id not in kept)
