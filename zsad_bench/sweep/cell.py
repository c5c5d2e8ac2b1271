"""One cell group: some methods, one prior, one seed, some targets; trained, tested, and written down as it goes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning import Trainer, seed_everything
from rich.console import Console

from zsad_bench import registry
from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.overlap import check_overlap
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.leaderboard.files import file_name
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.sweep import checkpoint, provenance
from zsad_bench.sweep.auxiliary import Auxiliary, auxiliary
from zsad_bench.sweep.build import build, trains
from zsad_bench.sweep.collect import Collector
from zsad_bench.sweep.gallery import Gallery
from zsad_bench.sweep.progress import progress
from zsad_bench.sweep.record import Recorder, Run
from zsad_bench.sweep.shared import SharedPass
from zsad_bench.sweep.suite import Suite, is_found
from zsad_bench.sweep.train import check_numbers, fit, stoppable, trainer_options

TEST_BATCH = 32


@dataclass(frozen=True)
class CellGroup:
    """What to run. settings: overrides of every method's configuration, checked against its types.

    targets: registry names, `folder:PATH` or `csv:FILE`. draw: of the auxiliary data; None takes the prior's own.
    data: options of data modules, by registry name, "*" for all. augment: of training images, names of data/augment.py.
    checkpoint: of one method, tested instead of training it. board: folder whose `rows/` is appended to.
    """

    suite: Suite
    methods: tuple[str, ...]
    prior: str
    targets: tuple[str, ...]
    seed: int = 0
    draw: int | None = None
    backbone: str | None = None
    weights: str | None = None
    checkpoint: Path | None = None
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    augment: tuple[str, ...] = ()
    board: Path = Path("leaderboards/demo")
    runs: Path = Path("runs")

    def overrides_for(self, method: str) -> tuple[dict[str, Any], str]:
        """All overrides of a method, and the variant's name: what differs from the suite, or ""."""
        own = dict(self.settings)
        if self.epochs is not None and trains(method):
            own["epochs"] = self.epochs
        shown = [f"{key}={json.dumps(value)}" for key, value in sorted(own.items())]
        if self.augment and trains(method):
            shown.append(f"augment={'+'.join(self.augment)}")
        return {**self.suite.overrides_for(method), **own}, ",".join(shown)

    def module(self, target: str, backbone: Backbone, options: Mapping[str, Any] | None = None) -> ZeroShotDataModule:
        """The data module of a target or auxiliary dataset, with the group's options for it and these."""
        name, _, root = target.partition(":")
        asked = {**self.data.get("*", {}), **self.data.get(name, {}), **(options or {})}
        cls = registry.load("datasets", name)
        try:
            return cls(root or None, mean=backbone.mean, std=backbone.std, **{"batch_size": TEST_BATCH, **asked})
        except TypeError:
            known = sorted(
                set(inspect.signature(cls).parameters) | set(inspect.signature(ZeroShotDataModule).parameters)
            )
            for key in asked:
                if key not in known:
                    raise UnknownNameError(registry.did_you_mean(f"option of dataset {name}", key, known)) from None
            raise


def run(group: CellGroup, console: Console) -> Run:
    """Trains what needs training and tests everything; rows are on disk as soon as a category is done.

    Raises:
        ZsadError: anything a user can mend, before training where it can be known by then.
    """
    if group.checkpoint is not None and len(group.methods) != 1:
        raise UsageError(f"--checkpoint goes with one method, found {', '.join(group.methods)}")
    if group.checkpoint is not None and (group.settings or group.epochs is not None):
        raise UsageError(f"--checkpoint {group.checkpoint}: it brings its configuration; leave out --set and --epochs")
    seed_everything(group.seed, verbose=False)
    asked = group.backbone or group.suite.backbone
    weights = group.suite.weights if asked == group.suite.backbone else None  # they are of the suite's own backbone
    backbone = load_backbone(asked, group.weights or weights)
    built = {name: build(name, backbone, group.overrides_for(name)[0], group.seed) for name in group.methods}
    targets = [group.module(name, backbone) for name in group.targets]
    for data in targets:
        data.samples()  # what is wrong with a target shows before anything is trained
        for note in data.notes:
            console.print(note, style="yellow", highlight=False, soft_wrap=True)
    record = Run(group.suite.name, group.seed, provenance.run_id())
    if group.checkpoint is not None:
        _restore(group, built, record, targets)
    for name, method in built.items():
        check_numbers(name, method)
    folder = group.runs / record.run_id
    folder.mkdir(parents=True, exist_ok=True)
    _write_config(folder, group, built, backbone)
    _train(group, built, record, targets, folder, console)
    recorder = Recorder(record, group, built, backbone)
    for data in targets:
        _test(data, built, recorder, folder, console)
    return record


def _restore(
    group: CellGroup, built: dict[str, ZeroShotMethod], record: Run, targets: Sequence[ZeroShotDataModule]
) -> None:
    """Puts the checkpoint's method in the place of the fresh one; it must not be tested on what it learned from."""
    ((name, fresh),) = built.items()
    built[name], header = checkpoint.load(group.checkpoint, fresh.backbone, name)
    known = registry.names("datasets")
    learned_from = [group.module(other, fresh.backbone) for other in header.training["auxiliary"] if other in known]
    # Elsewhere trained, its images may not be here: then the names of the datasets are what can be compared.
    check_overlap([d for d in learned_from if d.name in group.targets or is_found(d.name)], targets)
    record.training[name] = header.training


def _train(
    group: CellGroup,
    built: Mapping[str, ZeroShotMethod],
    record: Run,
    targets: Sequence[ZeroShotDataModule],
    folder: Path,
    console: Console,
) -> None:
    """Trains every method that has stages and was not restored, and saves its checkpoint into the run's folder."""
    learners = {name: method for name, method in built.items() if method.stages() and name not in record.training}
    if not learners:
        return
    backbone = next(iter(learners.values())).backbone
    learned_from = _auxiliary(group, backbone)
    check_overlap(learned_from.modules, targets)
    for name, method in learners.items():
        training = {
            "prior": learned_from.spec.name,
            "prior_hash": learned_from.hash,
            "auxiliary": list(learned_from.spec.auxiliary),
            "draw": learned_from.spec.draw,
            "seed": group.seed,
            "variant": group.overrides_for(name)[1],
        }
        seed_everything(group.seed, verbose=False)  # the same start whatever else is trained beside it
        learned_from.data.image_size = method.config.image_size
        fit(method, learned_from.data, folder / name, console)
        checkpoint.save(folder / f"{name}.safetensors", method, training)
        record.training[name] = training


def _test(
    data: ZeroShotDataModule,
    built: Mapping[str, ZeroShotMethod],
    recorder: Recorder,
    folder: Path,
    console: Console,
) -> None:
    """One pass for the methods that read the same image size; usually that is all of them."""
    for size in sorted({method.config.image_size for method in built.values()}):
        methods = {name: method for name, method in built.items() if method.config.image_size == size}
        data.image_size = size
        shown = {name: method.title for name, method in methods.items() if not method.draws_at_test}
        callbacks = [
            Collector(data, recorder.bind(data)),
            Gallery(data, shown, folder / f"maps_{file_name(data.name)}_{size}px.png"),
            progress(console, f"test on {data.title}"),
        ]
        trainer = Trainer(
            logger=False,
            inference_mode=not any(method.needs_grad_at_test for method in methods.values()),
            callbacks=callbacks,
            enable_progress_bar=console.is_terminal,
            **trainer_options(),
        )
        with stoppable(trainer):
            loader = data.test_dataloader()
            trainer.test(SharedPass(methods), dataloaders=loader, verbose=False)
        for line in [*(f"left out: {reason}" for reason in loader.reasons), *loader.resized]:
            console.print(line, style="yellow", highlight=False, soft_wrap=True)


def _auxiliary(group: CellGroup, backbone: Backbone) -> Auxiliary:
    """The auxiliary data of the group's prior and draw."""
    spec = priors.resolve(group.prior, group.suite.name, group.targets[0] if len(group.targets) == 1 else None)
    if group.draw is not None:
        spec = priors.with_draw(spec, group.draw)
    augment = {"augment": group.augment} if group.augment else {}

    def data_of(name: str, options: Mapping[str, Any]) -> ZeroShotDataModule:
        return group.module(name, backbone, {**augment, **options})

    return auxiliary(spec, data_of, group.seed)


def _write_config(folder: Path, group: CellGroup, built: Mapping[str, ZeroShotMethod], backbone: Backbone) -> None:
    content = {
        "suite": group.suite.name,
        "prior": group.prior,
        "draw": group.draw,
        "seed": group.seed,
        "targets": list(group.targets),
        "backbone": backbone.id,
        "checkpoint": str(group.checkpoint) if group.checkpoint else None,
        "methods": {name: method.resolved_config() for name, method in built.items()},
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
