"""From a finished category to its rows on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from zsad_bench import metric_keys
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.metrics import METRIC_VERSION
from zsad_bench.results import rows as store
from zsad_bench.results.image_scores import write_scores
from zsad_bench.results.pictures import write_pictures
from zsad_bench.runner import provenance
from zsad_bench.runner.calibration_data import Calibration
from zsad_bench.runner.run_spec import RunSpec
from zsad_bench.types import Category
from zsad_bench.variant import Variant, variant_of

if TYPE_CHECKING:
    from zsad_bench.runner.metric_collector import Finished, OnCategory

UNTRAINED: Mapping[str, Any] = {"prior": "none", "prior_hash": "", "auxiliary": []}


@dataclass
class RunRecord:
    """One run: its rows so far, and what its method learned from.

    training: as its checkpoint says it. near_duplicates: target dataset -> paths of its images that look like an
    auxiliary one.
    """

    suite: str
    seed: int
    run_id: str
    started: str = field(default_factory=store.now)
    rows: list[store.Row] = field(default_factory=list)
    training: Mapping[str, Any] = field(default_factory=lambda: UNTRAINED)
    near_duplicates: Mapping[str, frozenset[str]] = field(default_factory=dict)


def hashed_config(method: ZeroShotMethod) -> dict[str, Any]:
    """What of a method's resolved configuration is hashed into rows: all but the seed, so that seeds are averaged."""
    return {key: value for key, value in method.resolved_config().items() if key != "seed"}


class Computation(NamedTuple):
    """trained_parameters: as many as change in any stage of training, 0 for a method that does not train.

    gflops: 1e9 floating-point operations to encode and score one image, texts cached; None where unknown.
    """

    trained_parameters: int | None = None
    gflops: float | None = None


class RowWriter:
    """Writes the pictures, per-image scores and rows of a category as soon as it is finished.

    calibration: what the thresholds of optional metrics come from. computation: what the method computes, once it was
    counted.
    """

    def __init__(
        self, run: RunRecord, spec: RunSpec, method: ZeroShotMethod, calibration: Calibration | None = None
    ) -> None:
        self.run, self.spec, self.method, self.calibration = run, spec, method, calibration
        self.computation: Computation | None = None
        self._cells: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._optional: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._at_start = {
            "schema": store.SCHEMA,
            "suite": run.suite,
            "package_version": provenance.package_version(),
            "commit": provenance.commit(),
            "torch": torch.__version__,
            "run_id": run.run_id,
            "started": run.started,
            "metric_version": METRIC_VERSION,
        }

    @property
    def common(self) -> dict[str, Any]:
        """The fields that all rows of a run share. Asked for by what computes, and not by a plan: it opens the GPU."""
        return {**self._at_start, "device": provenance.device()}

    def bind(self, data: ZeroShotDataModule) -> OnCategory:
        """The callback for one target."""
        types = {data.info(sample).id: sample.anomaly_type for sample in data.samples()}

        def finished(_: str, category: Category, found: Finished) -> None:
            self._write(category, found, data, [types[image] for image in found.ids])

        return finished

    def cell(self, data: ZeroShotDataModule) -> Mapping[str, Any]:
        """The fields of a row that decide its numbers on a target, with their key; made once."""
        place = _place(data)
        if place not in self._cells:
            self._cells[place] = self._cell(data)
        return self._cells[place]

    def optional(self, data: ZeroShotDataModule) -> Mapping[str, Any]:
        """What differs in rows of optional metrics: the key, and what their thresholds come from; {} without any."""
        self.cell(data)
        return self._optional[_place(data)]

    def _cell(self, data: ZeroShotDataModule) -> dict[str, Any]:
        method, training = self.method, self.run.training
        # Without training or draws the seed changes nothing: every run of such a method is the same cell. A
        # checkpoint keeps the seed that it was trained under.
        seed = training.get("seed", self.run.seed if method.stochastic_at_test else 0)
        config = hashed_config(method)
        uses_backbone = not method.is_sanity_check
        decided = {
            "method": self.spec.method,
            "method_version": method.version,
            "prior": training["prior"],
            "prior_hash": training["prior_hash"],
            "target": data.name,
            "data_hash": data.manifest_hash,
            "weights_hash": method.backbone.weights_hash if uses_backbone else "none",
            "networks": method.frozen_networks,
            "seed": seed,
            "precision": self.spec.computed_with,
            "metric_version": METRIC_VERSION,
        }
        self._optional[_place(data)] = {}
        if self.calibration is not None:
            key = store.cell_key(**decided, config=config, calibrated_on=self.calibration.hash)
            self._optional[_place(data)] = {"key": key, "calibrated_on": self.calibration.text}
        return {
            **decided,
            "key": store.cell_key(**decided, config=config),
            "variant": self._variant(),
            "auxiliary": "+".join(training["auxiliary"]),
            "auxiliary_partial": training.get("auxiliary_partial", ""),
            "target_partial": data.shortfall,
            "draw": training.get("draw", 0),
            "transductive": method.transductive,
            "data_options": ",".join(f"{key}={value}" for key, value in sorted(data.decisions().items())),
            "backbone": method.backbone.name if uses_backbone else "none",
            "config_hash": store.digest(config),
            "image_size": method.config.image_size,
        }

    def _variant(self) -> Variant:
        """As it was trained, or is tested; a checkpoint that is tested in another precision is another variant."""
        if "variant" not in self.run.training:
            return self.spec.variant(self.method)
        own = variant_of(self.run.training["variant"])
        if self.spec.checkpoint is None:
            return own
        tested = self.spec.computed_with
        return own if tested == "float32" else Variant({**own, "precision": tested})

    def _write(self, category: Category, found: Finished, data: ZeroShotDataModule, types: list[str]) -> None:
        cell, computation = self.cell(data), self.computation or Computation()
        alike = self.run.near_duplicates.get(data.name, frozenset())
        n_alike = sum(sample.category == category.name and sample.image in alike for sample in data.samples())
        of_category = {
            "category": category.name,
            "remark": self.method.remark(category),
            "set_hash": set_hash(data, found.ids) if self.method.transductive else "",
            "n_near_duplicates": n_alike,
            **computation._asdict(),
        }
        optional = dict.fromkeys(metric_keys.keys(optional=True), self.optional(data))
        rows = rows_of_category(found, {**self.common, **cell, **of_category}, optional)
        # Galleries show images as they are.
        shown = found if data.condition is None else replace(found, picks=[])
        write_category(self.spec.board, shown, rows, types, about(data))
        self.run.rows += rows


def _place(data: ZeroShotDataModule) -> tuple[str, str]:
    """What tells targets of a run apart: one dataset may be tested under several conditions."""
    return data.name, str(data.condition or "")


def set_hash(data: ZeroShotDataModule, ids: Iterable[str]) -> str:
    """16 hex digits of some images of a dataset: their ids, the bytes of their files, and how those are read."""
    paths = {data.info(sample).id: sample.image for sample in data.samples()}
    content = data.fingerprints(dict.fromkeys(paths[image] for image in ids))
    images = sorted(f"{image}|{content[paths[image]]}" for image in ids)
    return store.digest([images, sorted(data.decisions().items())])


def rows_of_category(
    found: Finished, fields: Mapping[str, Any], differing: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> list[store.Row]:
    """A row for each metric of a finished category. fields: of the rows, but for what is in `found`.

    differing: metric -> fields that are others in its row.
    """
    result, rows = found.result, []
    for metric, (value, reason) in result.values.items():
        undefined = math.isnan(value)
        interval = result.intervals.get(metric)
        rows.append(
            store.Row(
                **{**fields, **differing.get(metric, {})},
                metric=metric,
                value=None if undefined else value,
                reason=reason if undefined else None,
                error_bound=result.error_bounds.get(metric),
                ci_low=interval and interval.low,
                ci_high=interval and interval.high,
                ci_level=interval and interval.level,
                n_images=result.n_images,
                n_anomalous=result.n_anomalous,
                n_skipped=found.skipped,
                n_vanished=result.n_vanished,
                n_regions=result.n_regions if metric.startswith("pixel_") else None,
                pass_id=found.pass_id,
                seconds=found.seconds,
                seconds_encode=found.seconds_encode,
                seconds_score=found.seconds_score,
                peak_memory_mb=found.peak_memory_mb,
            )
        )
    return rows


def write_category(
    board: Path, found: Finished, rows: Sequence[store.Row], types: Sequence[str], about: Mapping[str, Any]
) -> None:
    """Writes the pictures, per-image scores and rows of a category; at least one row. types, about: of its images and
    of its dataset."""
    first, result = rows[0], found.result
    # Pictures and scores first: where the rows are, everything is.
    if found.picks:
        write_pictures(board / "pictures", first.key, first.category, found.picks, about)
    labels, scores = result.labels.tolist(), result.scores.tolist()
    write_scores(board / "scores", first.key, first.category, found.ids, labels, scores, types)
    store.append(store.file_of(board, first.method), rows)


def about(data: ZeroShotDataModule) -> dict[str, Any]:
    """What pictures say of the dataset that they are from."""
    return {"target": data.name, "title": data.title, "licence": data.licence, "redistribute": data.redistribute}
