"""The normal images that thresholds come from: those of the test split of another dataset, all categories together."""

from __future__ import annotations

from dataclasses import dataclass

from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import UsageError
from zsad_bench.metrics.functional.operating import DEVIATIONS, RATE
from zsad_bench.planning.target import categories_of
from zsad_bench.results.row import digest
from zsad_bench.runner.opened import Opened, data_module
from zsad_bench.runner.run_spec import RunSpec


@dataclass(frozen=True)
class Calibration:
    """data: the normal images alone. hash: of them and of what is made of their scores, for keys of rows."""

    data: ZeroShotDataModule
    hash: str

    @property
    def text(self) -> str:
        """What rows say of it."""
        return f"{self.data.name}, {len(self.data.samples())} normal images"


def calibration(spec: RunSpec, opened: Opened) -> Calibration | None:
    """What a run's thresholds come from, opened once; None where no operating points were asked for.

    Raises:
        DatasetError: it is not found. UsageError: it has no normal image.
    """
    asked = spec.operating_points
    if asked is None:
        return None
    key = ("calibration", asked, digest(spec.data), spec.weights_of)
    return opened.once(key, lambda: _calibration(asked, spec, opened))


def _calibration(asked: str, spec: RunSpec, opened: Opened) -> Calibration:
    backbone = opened.backbone(spec)
    whole = data_module(asked, spec.data, backbone)
    if whole.unlabelled:
        why = whole.unlabelled
        raise UsageError(f"--operating-points {asked}: {why}; name a dataset whose normal images are known")
    wanted = categories_of(asked, whole)
    normals = [sample for sample in whole.samples() if sample.category in wanted and not sample.label]
    if not normals:
        raise UsageError(f"--operating-points {asked}: it has no normal test image; name a dataset that has some")
    part = data_module(asked, spec.data, backbone, {"samples": normals})
    return Calibration(part, digest([part.name, part.manifest_hash, RATE, DEVIATIONS]))
