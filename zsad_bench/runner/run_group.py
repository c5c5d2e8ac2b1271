"""Cell groups: some methods, one prior, one seed, some targets; trained, tested, and written down as it goes."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lightning import seed_everything

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.console import Console
from zsad_bench.data import mask_sizes
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.content import troubles
from zsad_bench.data.demo.module import DemoDataModule
from zsad_bench.data.overlap import see
from zsad_bench.data.transforms import CLIP_MEAN, CLIP_STD
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning import learnable
from zsad_bench.planning.configure import build, takes_epochs, trains
from zsad_bench.planning.suite import Suite, is_found
from zsad_bench.planning.target import categories_of, target_of
from zsad_bench.results import rows as store
from zsad_bench.runner import checkpoint, guard, provenance, resume, test_pass
from zsad_bench.runner.auxiliary import Auxiliary, auxiliary
from zsad_bench.runner.board_metadata import describe
from zsad_bench.runner.early import try_writing
from zsad_bench.runner.row_writer import Recorder, Run
from zsad_bench.runner.train import check_numbers, fit
from zsad_bench.runner.wandb_reporter import Live
from zsad_bench.tracking.mirror import Mirror
from zsad_bench.variant import Variant, differing

TEST_BATCH = 32
OnTrained = Callable[["CellGroup", str, float], None]


@dataclass(frozen=True)
class CellGroup:
    """What to run. settings: overrides of every method's configuration, checked against its types.

    targets: as `sweep/target.py` reads them. draw: of the auxiliary data; None takes the prior's own.
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

    def overrides_for(self, method: str) -> dict[str, Any]:
        """All overrides of a method's configuration."""
        epochs = {"epochs": self.epochs} if self.epochs is not None and takes_epochs(method) else {}
        return {**self.suite.overrides_for(method), **self.settings, **epochs}

    def variant(self, method: str) -> Variant:
        """What of a method differs from the suite."""
        if trains(method):
            return differing(self.settings, self.epochs if takes_epochs(method) else None, self.augment)
        return differing(self.settings)

    def _root_of(self, name: str) -> str | None:
        """The `root` that was given for a dataset: by its name, or without a name where it can only mean this one.

        Raises:
            UsageError: a root without a name, and several datasets or none that it may be meant for.
        """
        own, common = self.data.get(name, {}).get("root"), self.data.get("*", {}).get("root")
        if own is not None or common is None:
            return own
        named = [of.dataset for of in map(target_of, self.targets) if not of.place]
        meant = [each for each in named if "root" not in self.data.get(each, {})]
        if not meant:
            raise UsageError(
                f"--data root={common}: the targets bring their own paths; leave it out, or say whose it is"
            )
        if len(meant) > 1:
            whose = f"meant for {' or '.join(meant)}; say whose it is, as in --data {meant[0]}.root={common}"
            raise UsageError(f"--data root={common}: {whose}")
        return common if name == meant[0] else None  # auxiliary data lies elsewhere

    def module(
        self, target: str, backbone: Backbone | _Unseen, options: Mapping[str, Any] | None = None
    ) -> ZeroShotDataModule:
        """The data module of a target or auxiliary dataset, with the group's options for it and these."""
        name, place, _ = target_of(target)
        asked = {**self.data.get("*", {}), **self.data.get(name, {}), **(options or {})}
        asked.pop("root", None)
        given = self._root_of(name)
        if place and name in self.data and "root" in self.data[name]:
            raise UsageError(f"{target} and --data {name}.root={given}: give the path once")
        root = place or given
        cls = registry.load("datasets", name)
        try:
            return cls(root, mean=backbone.mean, std=backbone.std, **{"batch_size": TEST_BATCH, **asked})
        except TypeError:
            known = sorted(
                set(inspect.signature(cls).parameters) | set(inspect.signature(ZeroShotDataModule).parameters)
            )
            for key in asked:
                if key not in known:
                    raise UnknownNameError(registry.did_you_mean(f"option of dataset {name}", key, known)) from None
            raise


@dataclass
class Member:
    """A group on its backbone: its methods by name, what it learns from (None: nothing), and where its rows go.

    due: target as asked -> method -> names of the categories whose rows are wanted. begun: methods with rows before.
    """

    group: CellGroup
    built: dict[str, ZeroShotMethod]
    record: Run
    recorder: Recorder
    learned_from: Auxiliary | None
    due: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return self.group.runs / self.record.run_id

    def needs(self, name: str) -> bool:
        """Whether any rows of this method are wanted."""
        return any(methods.get(name) for methods in self.due.values())

    def row_fields(self, name: str, data: ZeroShotDataModule) -> dict[str, Any]:
        """What decides the numbers of a method on a target, as its rows will say it; with their key."""
        return self.recorder.cell(name, data)


def run(group: CellGroup, console: Console, skip_complete: bool = False, mirror: Mirror | None = None) -> Run:
    """Trains what needs training and tests everything; rows are on disk as soon as a category is done.

    skip_complete: only what has no complete rows yet on the board, see `run_together`.

    Raises:
        ZsadError: anything a user can mend, before training where it can be known by then.
    """
    return run_together([group], console, skip_complete, mirror=mirror)[0]


def run_together(
    groups: Sequence[CellGroup],
    console: Console,
    skip_complete: bool = False,
    trained: OnTrained | None = None,
    mirror: Mirror | None = None,
    since: str = "",
) -> list[Run]:
    """One record a group. All of them are tested in the same passes, so that images are encoded once for all.

    groups: of one backbone, the same targets and data; what differs is methods, settings, prior, draw and seed.
    skip_complete: categories whose rows are on the board are not tested again, and a training whose checkpoint is
    still in `runs` is not repeated. trained: told the group, method and seconds of each training.
    mirror: shown what happens, and never a reason to fail. since: a run id; what earlier runs left is not skipped.

    Raises:
        ZsadError: anything a user can mend, before training where it can be known by then.
    """
    backbone = open_backbone(groups[0])
    targets = open_targets(groups[0], backbone)
    for data in targets:
        for note in data.notes:
            console.print(note, style="yellow")
    say = guard.printed_once(console)
    members = [prepare(group, backbone, targets, say=say) for group in groups]
    for note in dict.fromkeys(note for one in members if one.learned_from for note in one.learned_from.notes):
        console.print(note, style="yellow")
    rows_of = cache(lambda name: resume.rows_of(groups[0].board, name, since) if skip_complete else [])
    claimed: set[str] = set()
    for member in members:
        _look_up(member, targets, rows_of, claimed if skip_complete else None)
    for line in troubles():
        say(line)
    busy = [member for member in members if any(map(member.needs, member.built))]
    due = {name for member in busy for name in member.built if member.needs(name)}
    try_writing(groups[0].board, groups[0].runs, due)
    for member in busy:
        member.folder.mkdir(parents=True, exist_ok=True)
        _write_config(member, backbone)
        describe(member.group.board, backbone, targets, member.learned_from)
    live = Live(mirror, targets)
    for member in busy:
        _train(member, console, since if skip_complete else None, trained, live)
    for asked, data in zip(groups[0].targets, targets, strict=True):
        test_pass.test(asked, data, busy, console)
        live.tested(busy, asked, data)
    live.done(busy)
    return [member.record for member in members]


def open_backbone(group: CellGroup) -> Backbone:
    """The backbone that a group asks for, or its suite's."""
    asked = group.backbone or group.suite.backbone
    weights = group.suite.weights if asked == group.suite.backbone else None  # they are of the suite's own backbone
    return load_backbone(asked, group.weights or weights)


def open_targets(group: CellGroup, backbone: Backbone) -> list[ZeroShotDataModule]:
    """The data modules of a group's targets; what is wrong with one shows here, before anything is trained.

    Raises:
        DatasetError: a table that cannot be read, masks that do not fit, or a category that a partial copy lacks.
    """
    opened = []
    for asked in group.targets:
        data = group.module(asked, backbone)
        mask_sizes.check(data)
        categories_of(asked, data)
        opened.append(data)
    return opened


class _Unseen(NamedTuple):
    """In the place of a backbone, where only tables are read."""

    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD


def broken(group: CellGroup) -> dict[str, str]:
    """Target -> why it cannot be tested, for those of a group whose table or masks are wrong; nothing is decoded.

    Raises:
        UsageError: an option that a dataset does not have.
    """
    found = {}
    for asked in group.targets:
        if issubclass(registry.load("datasets", target_of(asked).dataset), DemoDataModule):
            continue  # drawn when they are used
        try:
            mask_sizes.check(group.module(asked, _Unseen()))
        except DatasetError as error:
            found[asked] = str(error)
    return found


def prepare(
    group: CellGroup,
    backbone: Backbone,
    targets: Sequence[ZeroShotDataModule],
    learn_from: Callable[[CellGroup, Backbone], Auxiliary] | None = None,
    say: guard.Say = lambda line: None,
) -> Member:
    """The group with its methods built and its auxiliary data selected and hashed; nothing is trained or written.

    learn_from: finds the auxiliary data; None is `auxiliary_of`. say: told what the leak guard warns of.

    Raises:
        ZsadError: a configuration that no run can have, or auxiliary data that is missing or is the target's.
    """
    if group.checkpoint is not None and len(group.methods) != 1:
        raise UsageError(f"--checkpoint goes with one method, found {', '.join(group.methods)}")
    if group.checkpoint is not None and (group.settings or group.epochs is not None):
        raise UsageError(f"--checkpoint {group.checkpoint}: it brings its configuration; leave out --set and --epochs")
    seed_everything(group.seed, verbose=False)
    built = {name: build(name, backbone, group.overrides_for(name), group.seed) for name in group.methods}
    record = Run(group.suite.name, group.seed, provenance.run_id())
    if group.checkpoint is not None:
        _restore(group, built, record, targets, say)
    for name, method in built.items():
        check_numbers(name, method)
    learners = [name for name, method in built.items() if method.stages() and name not in record.training]
    learned_from = None
    if learners:
        learned_from = (learn_from or auxiliary_of)(group, backbone)
        unmasked = [module.name for module in learned_from.modules if not module.has_masks]
        for name in learners:
            learnable.check_masks(name, built[name].config, unmasked)
            learnable.check_normals(name, built[name].config, learned_from.modules)
        alike = guard.check_training(learned_from.modules, targets, say)
        record.near_duplicates |= dict.fromkeys(learners, alike)
    for name in learners:
        record.training[name] = {
            "prior": learned_from.spec.name,
            "prior_hash": learned_from.hash,
            "auxiliary": list(learned_from.spec.auxiliary),
            "draw": learned_from.spec.draw,
            "seed": group.seed,
            "variant": dict(group.variant(name)),
            **({"auxiliary_partial": learned_from.partial} if learned_from.partial else {}),
        }
    return Member(group, built, record, Recorder(record, group, built, backbone), learned_from)


def _look_up(
    member: Member,
    targets: Sequence[ZeroShotDataModule],
    rows_of: Callable[[str], list[store.Row]],
    claimed: set[str] | None,
) -> None:
    """Fills in what is due: every category and method whose rows are not all among those found.

    claimed: keys that another member computes already (two points of a grid may be one configuration); None lets each
    compute its own.
    """
    for asked, data in zip(member.group.targets, targets, strict=True):
        categories = set(categories_of(asked, data))
        member.due[asked] = {}
        for name in member.built:
            rows, key = rows_of(name), member.row_fields(name, data)["key"]
            found = [row for row in rows if row.key == key]
            due = resume.missing(found, categories, resume.metrics_of(data.level))
            member.due[asked][name] = set() if claimed is not None and key in claimed else due
            member.begun |= {name} if found else set()
            if claimed is not None:
                claimed.add(key)


def _restore(
    group: CellGroup,
    built: dict[str, ZeroShotMethod],
    record: Run,
    targets: Sequence[ZeroShotDataModule],
    say: guard.Say,
) -> None:
    """Puts the checkpoint's method in the place of the fresh one; it must not be tested on what it learned from."""
    ((name, fresh),) = built.items()
    built[name], header = checkpoint.load(group.checkpoint, fresh.backbone, name)
    names, known = header.training["auxiliary"], registry.names("datasets")

    def here() -> list[ZeroShotDataModule]:
        return [group.module(other, fresh.backbone) for other in names if other in known and is_found(other)]

    record.near_duplicates[name] = guard.check_checkpoint(group.checkpoint, names, here, targets, say)
    record.training[name] = header.training


def _train(member: Member, console: Console, reuse: str | None, trained: OnTrained | None, live: Live) -> None:
    """Trains every method that learns and has rows due, and saves its checkpoint into the run's folder.

    reuse: a checkpoint in `runs` that was trained exactly so, after this run id, takes the place of the training; None
    trains.
    """
    group, record = member.group, member.record
    if member.learned_from is None:
        return
    for name, method in member.built.items():
        if not method.stages() or not member.needs(name):
            continue
        training = record.training[name]
        if reuse is not None:
            kept = resume.find_checkpoint(group.runs, name, method, training, reuse)
            if kept is not None:
                member.built[name], _ = checkpoint.load(kept, method.backbone, name)
                console.print(f"{method.title}: trained before, {kept}")
                continue
            if name in member.begun:
                gone = f"{method.title}: has rows already, but its checkpoint is not in {group.runs} any more"
                console.print(f"{gone}; training again", style="yellow")
        watch = live.curves(member, name)
        started = time.perf_counter()
        seed_everything(group.seed, verbose=False)  # the same start whatever else is trained beside it
        member.learned_from.data.image_size = method.config.image_size
        fit(method, member.learned_from.data, member.folder / name, console, watch)
        checkpoint.save(member.folder / f"{name}.safetensors", method, training, see(member.learned_from.modules))
        if trained is not None:
            trained(group, name, time.perf_counter() - started)


def auxiliary_of(group: CellGroup, backbone: Backbone) -> Auxiliary:
    """The auxiliary data of the group's prior and draw."""
    priors.check_learnable(group.prior, group.methods)
    only = target_of(group.targets[0]).name if len(group.targets) == 1 else None
    spec = priors.resolve(group.prior, group.suite.name, only)
    if group.draw is not None:
        spec = priors.with_draw(spec, group.draw)
    augment = {"augment": group.augment} if group.augment else {}

    def data_of(name: str, options: Mapping[str, Any]) -> ZeroShotDataModule:
        return group.module(name, backbone, {**augment, **options})

    return auxiliary(spec, data_of, group.seed)


def _write_config(member: Member, backbone: Backbone) -> None:
    group = member.group
    content = {
        "suite": group.suite.name,
        "prior": group.prior,
        "draw": group.draw,
        "seed": group.seed,
        "targets": list(group.targets),
        "backbone": backbone.id,
        "checkpoint": str(group.checkpoint) if group.checkpoint else None,
        "methods": {name: method.resolved_config() for name, method in member.built.items()},
    }
    (member.folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
