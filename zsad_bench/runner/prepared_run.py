"""A run before anything is trained: its method built, its auxiliary data selected, its cells' keys known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning import seed_everything

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.errors import UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning import learnable
from zsad_bench.planning.configure import build, encodes_alone
from zsad_bench.planning.group_length import Size
from zsad_bench.planning.suite import is_found
from zsad_bench.planning.target import categories_of
from zsad_bench.results import rows as store
from zsad_bench.runner import checkpoint, guard, provenance
from zsad_bench.runner.auxiliary import Auxiliary
from zsad_bench.runner.calibration_data import calibration
from zsad_bench.runner.expected_rows import ExpectedRows, metrics_of, optional_metrics_of
from zsad_bench.runner.opened import Opened, data_module
from zsad_bench.runner.row_writer import RowWriter, RunRecord
from zsad_bench.runner.run_spec import HALF_FEATURES, RunSpec
from zsad_bench.runner.train import check_numbers
from zsad_bench.variant import variant_of


@dataclass
class PreparedRun:
    """A spec with its method on its backbone, what it learns from (None: nothing), and where its rows go.

    due: target as asked -> names of the categories whose rows are wanted. begun: some of its rows were there before.
    """

    spec: RunSpec
    method: ZeroShotMethod
    record: RunRecord
    writer: RowWriter
    learned_from: Auxiliary | None
    due: dict[str, set[str]] = field(default_factory=dict)
    begun: bool = False

    @property
    def folder(self) -> Path:
        return self.spec.runs / self.record.run_id

    @property
    def needed(self) -> bool:
        """Whether any of its rows are wanted."""
        return any(self.due.values())

    @property
    def training_id(self) -> str:
        """Equal where two runs learn the same and can share a checkpoint; "" where nothing is learned."""
        if self.learned_from is None:
            return ""
        method, training = self.method, self.record.training
        config = method.resolved_config()
        if "seed" in config:  # of a plan, the method is that of the first seed
            config["seed"] = self.spec.overrides.get("seed", self.spec.seed)
        what = [method.registry_name(), method.version, config, method.backbone.id]
        return store.digest([*what, training["prior_hash"], training["draw"], training["seed"]])

    def expected(self, asked: str, data: ZeroShotDataModule) -> ExpectedRows:
        """The rows that it will have on a target."""
        cell, optional = self.writer.cell(data), self.writer.optional(data)
        return ExpectedRows(
            cell["key"],
            tuple(categories_of(asked, data)),
            (
                *metrics_of(data.level, bool(data.groups)),
                *(() if data.level == "image" else data.further_metrics),
            ),
            cell["image_size"],
            cell["backbone"],
            optional.get("key", ""),
            optional_metrics_of(data.level) if optional else (),
        )

    def size(self, asked: str, data: ZeroShotDataModule) -> Size:
        """How much it computes for a target."""
        learned, method = self.learned_from, self.method
        n_auxiliary = 0 if learned is None else sum(module.image_counts().total() for module in learned.modules)
        wanted = set(categories_of(asked, data))
        return Size(
            method=self.spec.method,
            settings=self.spec.overrides,
            shares=not (encodes_alone(type(method)) or method.encoder_trains),
            trained=() if learned is None else tuple(stage.epochs * n_auxiliary for stage in method.stages()),
            auxiliary="" if learned is None else learned.hash,
            n_auxiliary=n_auxiliary,
            tested=sum(count for category, count in data.image_counts().items() if category.name in wanted),
        )


def prepare(spec: RunSpec, opened: Opened) -> PreparedRun:
    """The run of a spec, the same one until it is taken; nothing is trained or written.

    Raises:
        ZsadError: a configuration that no run can have, or auxiliary data that is missing.
    """
    return opened.once(("run", spec.id), lambda: _prepared(spec, opened))


def planned(spec: RunSpec, opened: Opened) -> PreparedRun:
    """The run of a spec, for its keys alone: what only differs in prior, draw and seed shares one method.

    Keys do not depend on the values that a training starts from, and a plan may have hundreds of runs.

    Raises:
        ZsadError: as `prepare`.
    """
    return opened.once(("planned run", spec.id), lambda: _prepared(spec, opened, shared=True))


def take(spec: RunSpec, opened: Opened) -> PreparedRun:
    """The run of a spec, which is then prepared anew for the next caller."""
    run = prepare(spec, opened)
    opened.forget(("run", spec.id))
    return run


def check_leaks(run: PreparedRun, opened: Opened, say: guard.Say) -> None:
    """Compares what it learned or will learn from with its targets; rows count what looks alike.

    say: called with each warning.

    Raises:
        OverlapError: a dataset or an image is on both sides.
    """
    spec = run.spec
    if run.learned_from is not None:
        run.record.near_duplicates = opened.near_duplicates(spec, say)
    elif spec.checkpoint is not None:
        targets = opened.plain_targets(spec)
        names, known = run.record.training["auxiliary"], registry.names("datasets")

        def here() -> list[ZeroShotDataModule]:
            return [data_module(other, spec.data, run.method.backbone) for other in names
                    if other in known and is_found(other)]  # fmt: skip

        run.record.near_duplicates = guard.check_checkpoint(spec.checkpoint, names, here, targets, say)


def _prepared(spec: RunSpec, opened: Opened, shared: bool = False) -> PreparedRun:
    if spec.checkpoint is not None and (spec.settings or spec.epochs is not None):
        raise UsageError(f"--checkpoint {spec.checkpoint}: it has its own configuration; leave out --set and --epochs")
    backbone = opened.backbone(spec)
    if shared:
        of = (spec.method, repr(sorted(spec.overrides.items())), spec.weights_of, spec.precision, spec.compiled)
        method = opened.once(("method", *of), lambda: _built(spec, backbone))
    else:
        method = _built(spec, backbone)
    record = RunRecord(spec.suite.name, spec.seed, provenance.run_id())
    if spec.checkpoint is not None:
        method, header = checkpoint.load(spec.checkpoint, backbone, spec.method)
        record.training = header.training
        trained_with = variant_of(header.training.get("variant", {})).get("precision", "float32")
        trained_with = trained_with.removesuffix(HALF_FEATURES)
        if trained_with not in ("float32", spec.computed_with.removesuffix(HALF_FEATURES)):
            option = f"--precision {trained_with}".replace("-compiled", " --compile default")
            raise UsageError(
                f"--checkpoint {spec.checkpoint}: trained with {option}, asked to test with {spec.computed_with}; "
                f"add {option}"
            )
    check_numbers(spec.method, method)
    learned_from = None
    if method.stages() and spec.checkpoint is None:
        learned_from = opened.auxiliary(spec)
        unmasked = [module.name for module in learned_from.modules if not module.has_masks]
        learnable.check_masks(spec.method, method.config, unmasked)
        learnable.check_normals(spec.method, method.config, learned_from.modules)
        record.training = _training(spec, method, learned_from)
    writer = RowWriter(record, spec, method, calibration(spec, opened))
    return PreparedRun(spec, method, record, writer, learned_from)


def _built(spec: RunSpec, backbone: Backbone) -> ZeroShotMethod:
    seed_everything(spec.seed, verbose=False)
    return build(spec.method, backbone, spec.overrides, spec.seed)


def _training(spec: RunSpec, method: ZeroShotMethod, learned_from: Auxiliary) -> Mapping[str, Any]:
    """What a checkpoint and rows say of a training."""
    return {
        "prior": learned_from.spec.name,
        "prior_hash": learned_from.hash,
        "auxiliary": list(learned_from.spec.auxiliary),
        "draw": learned_from.spec.draw,
        "seed": spec.seed,
        "variant": dict(spec.variant(method)),
        **({"auxiliary_partial": learned_from.partial} if learned_from.partial else {}),
    }
