"""A plan as every process of a sweep reads it: from a file that says which schema it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zsad_bench.errors import ZsadError
from zsad_bench.planning.plan import Job, JobGroup, Plan
from zsad_bench.planning.suite import Suite, under
from zsad_bench.planning.target import with_named_root
from zsad_bench.results.row import digest
from zsad_bench.runner.run_spec import FeatureOptions, RunSpec
from zsad_bench.types import Compile, Precision

SCHEMA = 2  # of plan.json and cells.json; what has no number in it is of schema 1


@dataclass(frozen=True)
class StoredPlan:
    """groups: what is to run. name: of the recipe. data: options of data modules, by registry name, "*" for all.

    since: a run id; what earlier runs left counts for nothing. checkpoint: tested instead of training.
    precision, compiled: of the frozen towers. features: where features of images are kept.
    operating_points: the dataset whose normal images give thresholds; None: no operating points.
    protocol: that the suite is under, by name.
    """

    name: str
    suite: str
    groups: tuple[JobGroup, ...]
    board: Path
    runs: Path
    backbone: str | None = None
    weights: str | None = None
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    since: str = ""
    checkpoint: Path | None = None
    precision: Precision = "float32"
    compiled: Compile = "no"
    features: FeatureOptions = field(default_factory=FeatureOptions)
    operating_points: str | None = None
    protocol: str | None = None

    @classmethod
    def of(
        cls, plan: Plan, board: Path, runs: Path, since: str = "", features: FeatureOptions | None = None
    ) -> StoredPlan:
        """What is kept of a plan; paths are made absolute, for processes that stand elsewhere.

        Raises:
            UsageError: a path that belongs to no dataset of the plan.
        """
        recipe = plan.recipe
        targets = dict.fromkeys(cell.target for cell in plan.cells)
        return cls(
            name=recipe.name,
            suite=plan.suite.name,
            groups=plan.groups,
            board=board.resolve(),
            runs=runs.resolve(),
            backbone=recipe.backbone,
            weights=recipe.weights,
            data=with_named_root(recipe.data, targets),
            since=since,
            checkpoint=recipe.checkpoint and recipe.checkpoint.resolve(),
            precision=recipe.precision,
            compiled=recipe.compiled,
            features=features or FeatureOptions(),
            operating_points=recipe.operating_points,
            protocol=recipe.protocol,
        )

    def to_json(self) -> str:
        """What `from_json` reads."""
        content = {
            "schema": SCHEMA,
            "name": self.name,
            "suite": self.suite,
            "backbone": self.backbone,
            "weights": self.weights,
            "precision": self.precision,
            "compiled": self.compiled,
            "data": {name: dict(options) for name, options in self.data.items()},
            "board": str(self.board),
            "runs": str(self.runs),
            "since": self.since,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "features": asdict(self.features),
            "operating_points": self.operating_points,
            "protocol": self.protocol,
            "groups": [
                {"id": group.id, "jobs": [{**job.record(), "targets": list(job.targets)} for job in group.jobs]}
                for group in self.groups
            ],
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, file: Path) -> StoredPlan:
        """The plan that `to_json` wrote; file: where it lies, for the message.

        Raises:
            ZsadError: it is damaged, or of another schema.
        """
        content = checked_schema(text, file)
        try:
            groups = tuple(JobGroup(tuple(map(_job, group["jobs"]))) for group in content["groups"])
            return cls(
                name=content["name"],
                suite=content["suite"],
                groups=groups,
                board=Path(content["board"]),
                runs=Path(content["runs"]),
                backbone=content["backbone"],
                weights=content["weights"],
                data=content["data"],
                since=content["since"],
                checkpoint=None if content["checkpoint"] is None else Path(content["checkpoint"]),
                precision=content.get("precision", "float32"),  # none of these five is in plans of before
                compiled=content.get("compiled", "no"),
                features=FeatureOptions(**content.get("features", {})),
                operating_points=content.get("operating_points"),
                protocol=content.get("protocol"),
            )
        except (KeyError, TypeError) as error:
            raise ZsadError(f"{file}: a damaged plan ({error!r}); start the sweep again") from None

    @cached_property
    def id(self) -> str:
        """16 digits of all that it says."""
        return digest(self.to_json())

    def group(self, id_: str) -> JobGroup | None:
        """The group of this id, or None."""
        return next((group for group in self.groups if group.id == id_), None)

    @cached_property
    def _suite(self) -> Suite:
        return under(self.suite, self.protocol)

    def _backbone_of(self, job: Job) -> str:
        return job.backbone or self.backbone or self._suite.backbone_for(job.method)[0]

    @cached_property
    def _weighted(self) -> str:
        """The backbone that `weights` are of: the only one of the plan, or of several the one that the suite has."""
        several = {self._backbone_of(job) for group in self.groups for job in group.jobs}
        return several.pop() if len(several) == 1 else self.backbone or self._suite.backbone

    def run_spec_of(self, job: Job) -> RunSpec:
        """What a run of one of its jobs is to do."""
        return RunSpec(
            suite=self._suite,
            method=job.method,
            prior=job.prior,
            targets=job.targets,
            seed=job.seed,
            draw=job.draw,
            backbone=job.backbone or self.backbone,
            weights=job.weights or (self.weights if self._backbone_of(job) == self._weighted else None),
            checkpoint=self.checkpoint,
            epochs=job.epochs,
            settings=job.settings,
            data=self.data,
            augment=job.augment,
            precision=self.precision,
            compiled=self.compiled,
            board=self.board,
            runs=self.runs,
            features=self.features,
            operating_points=self.operating_points,
        )


def checked_schema(text: str, file: Path) -> dict[str, Any]:
    """The content of a file of a sweep.

    Raises:
        ZsadError: not a JSON object, or of another schema.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ZsadError(f"{file}: damaged ({error}); start the sweep again") from None
    found = content.get("schema", 1) if isinstance(content, dict) else "unknown"
    if found != SCHEMA:
        raise ZsadError(
            f"{file}: of schema {found}, this version of zsad-bench reads schema {SCHEMA}; start the sweep again, "
            "which computes only what has no rows"
        )
    checked: dict[str, Any] = content
    return checked


def _job(record: Mapping[str, Any]) -> Job:
    return Job(**{**record, "augment": tuple(record["augment"]), "targets": tuple(record["targets"])})
