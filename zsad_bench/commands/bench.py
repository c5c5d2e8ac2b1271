"""Train methods under a prior, test them on targets, write rows and tables.

What is asked for is always computed, also where rows of it are there.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from zsad_bench import path_lists, registry
from zsad_bench.commands._shared import Partial, Track
from zsad_bench.console import Console
from zsad_bench.data import prior as priors
from zsad_bench.errors import UnknownNameError, UsageError, ZsadError
from zsad_bench.options import Option, split_names
from zsad_bench.planning import learnable, suite
from zsad_bench.planning.configure import configure, parse_settings, trains
from zsad_bench.planning.target import target_of
from zsad_bench.results import rows as store
from zsad_bench.sweep.executors import choose
from zsad_bench.sweep.executors.choose import ExecutorOptions

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule


def _priors(text: str, option: str) -> tuple[str, ...]:
    return tuple(path_lists.priors(text, option)) or split_names(text, option)


@dataclass(frozen=True, kw_only=True)
class Options:
    method: Annotated[tuple[str, ...], Option("NAME[,NAME…]", "see `zsad-bench ls methods`")]
    prior: Annotated[tuple[str, ...], Option("SPEC[,SPEC…]", "see `zsad-bench ls priors`", read=_priors)]
    suite: Annotated[str, Option("auto|demo|paper", "targets, backbone and image size")] = "auto"
    targets: Annotated[
        str | None,
        Option(
            "NAME[:CATEGORY][,…]",
            "datasets to test, folder:PATH and csv:FILE too; default: all of the suite that are found",
        ),
    ] = None
    backbone: Annotated[str | None, Option("NAME", "see `zsad-bench ls backbones`")] = None
    weights: Annotated[str | None, Option("PATH", "a pretrained tag, or a file of weights on this machine")] = None
    checkpoint: Annotated[str | None, Option("FILE", "test this instead of training (one method)")] = None
    seed: Annotated[tuple[int, ...], Option("N[,N…]", "of training")] = (0,)
    draw: Annotated[tuple[int, ...], Option("N[,N…]", "of the auxiliary data; default: the prior's own, 0")] = ()
    epochs: Annotated[int | None, Option("N", "instead of the method's own")] = None
    set: Annotated[tuple[str, ...], Option("KEY=VALUE", "a field of the method's configuration", repeated=True)] = ()
    data: Annotated[
        tuple[str, ...],
        Option(
            "[NAME.]KEY=VALUE",
            "an option of a dataset, or of all: layout, variant, prompt_names, mask_rule, root, …",
            repeated=True,
        ),
    ] = ()
    augment: Annotated[str | None, Option("NAME[,NAME…]", "of training images: flip, rotate, colour, blur")] = None
    cache_images: Annotated[bool, Option(help="keep decoded and resized images in the cache folder")] = False
    on_bad_image: Annotated[Literal["stop", "skip"], Option(help="skip counts what it leaves out")] = "stop"
    partial: Partial = False
    out: Annotated[str, Option("FOLDER", "where <suite>/rows and tables go", writes="folder")] = "leaderboards"
    runs: Annotated[str, Option("FOLDER", "where configuration, checkpoint and log go", writes="folder")] = "runs"
    executors: ExecutorOptions = field(default_factory=ExecutorOptions)
    track: Track = "auto"


def run(options: Options) -> int:
    """Checks the names of methods before anything slow is imported; 0."""
    known = registry.names("methods")
    for name in options.method:
        if name not in known:
            raise UsageError(registry.did_you_mean("method", name, known))
    draws: list[int | None] = [*options.draw] or [None]
    bench([*options.method], [*options.prior], [*options.seed], draws, options)
    return 0


def bench(methods: list[str], specs: list[str], seeds: list[int], draws: list[int | None], options: Options) -> None:
    """Runs methods x priors x seeds x draws on the suite's targets.

    Without training prior, seed and draw change nothing: such a method runs once, with the first of them. draws: None
    takes the prior's own.

    Raises:
        ZsadError: wrong names or options before anything runs; later failures keep the rows that were complete.
    """
    from zsad_bench.commands import table
    from zsad_bench.commands._spread import spread

    console = Console()
    place = choose.choose(options.executors)
    if options.checkpoint and options.executors.executor in ("ray", "slurm"):
        raise UsageError(
            f"--checkpoint is tested here, on one device; leave out --executor {options.executors.executor}"
        )
    chosen, why = suite.choose(options.suite)
    if why:
        console.print(why)
    settings = parse_settings(options.set)
    configs = {name: configure(name, {**chosen.overrides_for(name), **settings}) for name in methods}
    targets = tuple(suite.pick_targets(chosen, options.targets))
    data = _data_options(options)
    if not options.targets:
        targets = tuple(readable_targets(chosen, targets, data, console))
    learners = [name for name in methods if trains(name) and not options.checkpoint]
    for spec in specs:
        priors.check_learnable(spec, learners)
    shares = {spec: _shares(spec, chosen, targets, bool(learners), asked=bool(options.targets)) for spec in specs}
    for name, spec in itertools.product(learners, specs):
        learnable.check_masks(name, configs[name], learnable.unmasked(priors.resolve(spec, chosen.name).auxiliary))
    for spec in specs if learners else ():
        for target in [target for target in targets if not any(target in share for share in shares[spec])]:
            left_out = f"{target} is what prior {spec} learns from, and not tested under it"
            console.print(left_out)
    _licences(targets, console)
    common = {
        "suite": chosen,
        "backbone": options.backbone,
        "weights": options.weights,
        "checkpoint": Path(options.checkpoint) if options.checkpoint else None,
        "epochs": options.epochs,
        "settings": settings,
        "data": data,
        "augment": tuple(part.strip() for part in (options.augment or "").split(",") if part.strip()),
        "board": Path(options.out) / chosen.name,
        "runs": Path(options.runs),
    }
    lacking = ""
    if place.executor == "serial" or options.checkpoint:
        done, folders = _one_by_one(methods, learners, specs, seeds, draws, targets, shares, common, options, console)
    else:
        asked = targets if options.targets else None
        rest = set(chosen.targets) - set(targets)
        done, folders, lacking = spread(
            methods, specs, seeds, draws, asked, common, place, options.track, console, rest
        )
    if done:
        table.show(done, chosen, console)
        table.regenerate(chosen.name, options.out)
    board = common["board"]
    for what, where in (
        ("tables", board / "README.md"),
        ("rows", board / "rows"),
        ("run", ", ".join(map(str, folders))),
    ):
        console.print(f"{what}: {where}")
    if lacking:
        raise ZsadError(lacking)


def _one_by_one(
    methods: list[str],
    learners: list[str],
    specs: list[str],
    seeds: list[int],
    draws: list[int | None],
    targets: tuple[str, ...],
    shares: Mapping[str, list[tuple[str, ...]]],
    common: Mapping[str, Any],
    options: Options,
    console: Console,
) -> tuple[list[store.Row], list[Path]]:
    """The rows and the folders of the runs, one after the other in this process."""
    from zsad_bench.runner import provenance, run_group
    from zsad_bench.runner.wandb_reporter import open_mirror

    mirror = open_mirror(options.track, common["runs"], f"bench-{provenance.run_id()}", console)
    done: list[store.Row] = []
    folders: list[Path] = []
    for number, (spec, seed, draw) in enumerate(itertools.product(specs, seeds, draws)):
        again = spec != specs[0] or draw != draws[0]
        frozen = [n for n in methods if n not in learners and (number == 0 or (_is_stochastic(n) and not again))]
        due = [name for name in methods if name in learners or name in frozen]
        # A paper's auxiliary dataset may change with the target: then one group a choice. What does not learn is
        # tested on all targets in one pass, with the learners where they have the same targets.
        groups = [(share, due if share == targets else learners) for share in shares[spec]] if learners else []
        if frozen and not any(share == targets for share, _ in groups):
            groups.insert(0, (targets, frozen))
        for share, names in groups:
            if not names:
                continue
            titles = ", ".join(registry.load("methods", name).title for name in names)
            drawn = "" if draw is None or not set(names) & set(learners) else f" · draw {draw}"
            console.rule(f"{titles} · prior {spec} · seed {seed}{drawn}")
            group = run_group.CellGroup(methods=tuple(names), prior=spec, targets=share, seed=seed, draw=draw, **common)
            with mirror:
                record = run_group.run(group, console, mirror=mirror)
            done += record.rows
            folders.append(Path(options.runs) / record.run_id)
    return done, folders


def _shares(
    spec: str, chosen: suite.Suite, targets: tuple[str, ...], needed: bool, asked: bool
) -> list[tuple[str, ...]]:
    """The targets by the auxiliary data that the prior means for them; [] when nothing learns.

    Targets that are the auxiliary data itself are left out when nobody named them, else refused later by name.

    Raises:
        ZsadError: no such prior, or it leaves no target.
    """
    priors.resolve(spec, chosen.name)  # a wrong prior is told even where nothing learns
    if not needed:
        return []
    shares: dict[tuple[str, ...], list[str]] = {}
    for target in targets:
        name = target_of(target).name
        auxiliary = priors.resolve(spec, chosen.name, name).auxiliary
        if asked or name not in auxiliary:
            shares.setdefault(auxiliary, []).append(target)
    if not shares:
        raise UsageError(
            f"prior {spec} learns from every target there is ({', '.join(targets)}); name others in --targets"
        )
    return [tuple(share) for share in shares.values()]


def readable_targets(
    chosen: suite.Suite, targets: Sequence[str], data: Mapping[str, Mapping[str, Any]], console: Console
) -> list[str]:
    """Those of a suite's targets that can be tested; of the others, which nobody named, it is said why not.

    Raises:
        UsageError: an option that a dataset does not have, or none is left.
    """
    from zsad_bench.runner.run_group import CellGroup, broken

    whys = broken(CellGroup(chosen, (), "none", tuple(targets), data=data))
    for name, why in whys.items():
        console.print(f"{name} is left out, as no one named it among the targets: {why}", style="yellow")
    if len(whys) == len(targets):
        raise UsageError(f"suite {chosen.name}: none of its datasets can be read; `zsad-bench data check all` says why")
    return [name for name in targets if name not in whys]


def _data_options(options: Options) -> dict[str, dict[str, Any]]:
    """Options of data modules by dataset name, "*" for all.

    Raises:
        UnknownNameError: an option of a dataset that is not registered.
    """
    known = registry.names("datasets")
    by_name: dict[str, dict[str, Any]] = {"*": {}}
    for key, value in parse_settings(options.data, "--data", paths=("root",)).items():
        name, dot, option = key.rpartition(".")
        if dot and name not in known:
            raise UnknownNameError(registry.did_you_mean("dataset", name, known))
        by_name.setdefault(name if dot else "*", {})[option] = value
    if options.cache_images:
        by_name["*"]["cache_images"] = True
    if options.partial:
        by_name["*"]["partial"] = True
    if options.on_bad_image != "stop":
        by_name["*"]["on_bad_image"] = options.on_bad_image
    return by_name


def _is_stochastic(method: str) -> bool:
    """Whether the seed matters though nothing is trained."""
    return registry.load("methods", method).stochastic_at_test


def _licences(targets: tuple[str, ...], console: Console) -> None:
    for name in dict.fromkeys(target.partition(":")[0] for target in targets):
        cls: type[ZeroShotDataModule] = registry.load("datasets", name)
        if not cls.redistribute and cls.url:
            console.print(f"{cls.title}: {cls.licence}")
