"""From a recipe to cells and to groups of cells that run together; pure, nothing is read but the registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zsad_bench import registry
from zsad_bench.data import prior as priors
from zsad_bench.errors import UsageError
from zsad_bench.planning import learnable
from zsad_bench.planning.configure import configure, takes_epochs, trains
from zsad_bench.planning.recipe import Part, Recipe, Variant
from zsad_bench.planning.suite import SUITES, Suite
from zsad_bench.planning.target import distinct, target_of
from zsad_bench.results.rows import digest
from zsad_bench.variant import differing

TOGETHER = 8  # trained methods in one group: as many share a pass over the images, and one process's memory


@dataclass(frozen=True)
class Job:
    """One method variant under one prior, draw and seed: trained at most once, whatever the number of its targets.

    settings: what differs from the suite, as rows name the variant. prior, draw: "none" and None where nothing learns.
    """

    method: str
    settings: Mapping[str, Any]
    epochs: int | None
    prior: str
    draw: int | None
    seed: int
    augment: tuple[str, ...]
    trains: bool

    @property
    def variant(self) -> str:
        """What tells it from the method as it is, for people."""
        return str(differing(self.settings, self.epochs, self.augment))

    def record(self) -> dict[str, Any]:
        """Plain fields, in one order."""
        return {
            "method": self.method,
            "settings": dict(sorted(self.settings.items())),
            "epochs": self.epochs,
            "prior": self.prior,
            "draw": self.draw,
            "seed": self.seed,
            "augment": list(self.augment),
            "trains": self.trains,
        }


@dataclass(frozen=True)
class Cell:
    """A job on one target. id: of what the recipe decides; weights and data are in the key of its rows only."""

    id: str
    job: Job
    target: str


@dataclass(frozen=True)
class Group:
    """Jobs that are tested on the same targets in the same passes, by one process."""

    jobs: tuple[Job, ...]
    targets: tuple[str, ...]

    @cached_property
    def cells(self) -> list[Cell]:
        return [Cell(cell_id(job, target), job, target) for job in self.jobs for target in self.targets]

    @cached_property
    def id(self) -> str:
        return digest([cell.id for cell in self.cells])[:12]


@dataclass(frozen=True)
class Plan:
    """groups: what is to run. absent: (job, dataset that is not here, target) of what cannot run on this machine.

    left_out: targets that are their prior's own auxiliary data, where the recipe did not name them.
    """

    recipe: Recipe
    suite: Suite
    groups: tuple[Group, ...]
    absent: tuple[tuple[Job, str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = field(default=())

    @property
    def cells(self) -> list[Cell]:
        return [cell for group in self.groups for cell in group.cells]


def plan(
    recipe: Recipe,
    found: Callable[[str], bool] = lambda name: True,
    together: int = TOGETHER,
    without: Collection[str] = (),
) -> Plan:
    """The plan of a recipe.

    found: whether a dataset's files are here. together: most trained methods in one group; fewer give more groups to
    share among GPUs. without: targets of the suite that are left out where a part names none.

    Raises:
        UsageError, UnknownNameError: with file and line: a configuration or prior that is none, a target that is
            named although its prior learns from it, or nothing to run.
    """
    suite = SUITES[recipe.suite]
    seen: set[str] = set()
    entries: dict[Any, _Entry] = {}
    absent: list[tuple[Job, str, str]] = []
    left_out: dict[tuple[str, str], None] = {}
    places: dict[Any, Any] = {}  # looked up once a variant: there may be thousands of jobs
    for part in recipe.parts:
        named = _targets(recipe, part)
        shares = {prior: _shares(recipe, part, named, prior, suite, left_out, without) for prior in part.priors}
        for job, variant, auxiliary, targets in _jobs(part, shares):
            known = (id(variant), job.epochs)
            if known not in places:
                places[known] = _place(recipe, suite, variant, job)
            place = places[known]
            if (id(variant), auxiliary) not in places and job.trains:
                places[id(variant), auxiliary] = _check_masks(recipe, suite, variant, auxiliary)
            # A training's targets come together from all parts; what does not train goes where the others go.
            entry = entries.setdefault((digest(job.record()), auxiliary if job.trains else targets), _Entry(job, place))
            for target in targets:
                cell = cell_id(job, target)
                if cell in seen:
                    continue
                seen.add(cell)
                of = target_of(target)
                needed = (*auxiliary, of.name)  # what has a colon in its name is one's own and lies where it is said to
                gone = [name for name in needed if ":" not in name and not found(name)]
                if gone:
                    absent.append((job, gone[0], target))
                else:
                    entry.targets.append(target)
    groups = _groups(entries.values(), together)
    if not groups and not absent and not recipe.published:
        raise UsageError(f"{recipe.file}:1: nothing to run; every target is its prior's own auxiliary data")
    return Plan(recipe, suite, tuple(groups), tuple(absent), tuple(left_out))


@dataclass
class _Entry:
    """place: jobs of one place can share the pass over the images; None shares with nobody."""

    job: Job
    place: Any
    targets: list[str] = field(default_factory=list)


def _groups(entries: Iterable[_Entry], together: int) -> list[Group]:
    """Jobs with equal targets and place, at most `together` trained ones each; untrained ones go with the first."""
    buckets: dict[Any, list[Job]] = {}
    for entry in entries:
        if entry.targets:
            place = entry.place or id(entry)
            buckets.setdefault((tuple(entry.targets), place), []).append(entry.job)
    groups = []
    for (targets, _), jobs in buckets.items():
        frozen, learning = ([job for job in jobs if job.trains is learns] for learns in (False, True))
        chunks = [learning[at : at + together] for at in range(0, len(learning), together)] or [[]]
        chunks[0] = frozen + chunks[0]
        groups += [Group(tuple(chunk), targets) for chunk in chunks]
    return groups


def cell_id(job: Job, target: str) -> str:
    """16 hex digits of what the recipe decides about a cell."""
    return digest([job.record(), target])


Share = tuple[tuple[str, ...], tuple[str, ...]]  # auxiliary datasets, targets


def _targets(recipe: Recipe, part: Part) -> dict[str, int]:
    """The targets that a part names, in one spelling each, with their lines; {} where it names none.

    Raises:
        UsageError, UnknownNameError: with file and line: no such dataset or category.
    """
    named: list[str] = []
    lines: dict[str, int] = {}
    for asked in part.targets or ():
        try:
            named = distinct([*named, asked])
        except UsageError as error:
            raise type(error)(f"{recipe.file}:{part.lines.get(asked, 1)}: {error}") from None
        lines.setdefault(target_of(asked).name, part.lines.get(asked, 1))
    return {target: lines[target_of(target).name] for target in named}


def _shares(
    recipe: Recipe,
    part: Part,
    targets: Mapping[str, int],
    prior: str,
    suite: Suite,
    left_out: dict[tuple[str, str], None],
    without: Collection[str],
) -> list[Share]:
    """The targets by the auxiliary data that the prior means for them; targets: those that the part names."""
    shares: dict[tuple[str, ...], list[str]] = {}
    learners = dict.fromkeys(variant.method for variant in part.variants if trains(variant.method))
    for target in targets or [name for name in suite.targets if name not in without]:
        name = target_of(target).name
        try:
            priors.check_learnable(prior, learners)
            auxiliary = priors.resolve(prior, suite.name, name).auxiliary
        except UsageError as error:
            raise type(error)(f"{recipe.file}:{part.lines[prior]}: {error}") from None
        if name not in auxiliary:
            shares.setdefault(auxiliary, []).append(target)
        elif targets:
            raise UsageError(
                f"{recipe.file}:{targets[target]}: target '{target}' is what prior '{prior}' learns from; leave it "
                "out, or give the prior a part of its own"
            )
        else:
            left_out[prior, target] = None
    return [(auxiliary, tuple(targets)) for auxiliary, targets in shares.items()]


def _jobs(
    part: Part, shares: Mapping[str, list[Share]]
) -> Iterator[tuple[Job, Variant, tuple[str, ...], tuple[str, ...]]]:
    """Every job of a part with the auxiliary data and the targets it goes with; repeats first, then priors."""
    first = shares[part.priors[0]]
    tested = [targets for _, targets in first]
    for of in shares.values():  # what the first prior learns from is still tested by what learns nothing
        rest = tuple(t for _, targets in of for t in targets if not any(t in already for already in tested))
        tested += [rest] if rest else []
    repeats = part.repeats()
    learns = {v.method: trains(v.method) for v in part.variants}
    drawing = {v.method: registry.load("methods", v.method).stochastic_at_test for v in part.variants}
    for at, (seed, draw) in enumerate(repeats):
        for variant in part.variants:
            draws = drawing[variant.method]
            if learns[variant.method] or not (at == 0 or (draws and draw == repeats[0][1])):
                continue
            job = Job(variant.method, variant.settings, None, "none", None, seed if draws else 0, (), False)
            yield from ((job, variant, (), targets) for targets in tested)
        for prior, of in shares.items():
            for variant in part.variants:
                if not learns[variant.method]:
                    continue
                epochs = part.epochs if takes_epochs(variant.method) else None
                job = Job(variant.method, variant.settings, epochs, prior, draw, seed, part.augment, True)
                yield from ((job, variant, auxiliary, targets) for auxiliary, targets in of)


def _place(recipe: Recipe, suite: Suite, variant: Variant, job: Job) -> Any:
    """Jobs of one place can share the pass over the images; None for what shares nothing.

    Raises:
        UsageError, UnknownNameError: settings that the method does not have.
    """
    own = {"epochs": job.epochs} if job.epochs is not None and job.trains else {}
    try:
        config = configure(job.method, {**suite.overrides_for(job.method), **job.settings, **own})
    except UsageError as error:
        raise type(error)(f"{recipe.file}:{variant.line}: {error}") from None
    cls = registry.load("methods", job.method)
    if _changes_what_is_encoded(cls):
        return None
    return (config.image_size, config.pos_interp)


def _check_masks(recipe: Recipe, suite: Suite, variant: Variant, auxiliary: tuple[str, ...]) -> None:
    """Refuses what learns from masks, with file and line, where an auxiliary dataset has none."""
    if unmasked := learnable.unmasked(auxiliary):
        config = configure(variant.method, {**suite.overrides_for(variant.method), **variant.settings})
        try:
            learnable.check_masks(variant.method, config, unmasked)
        except UsageError as error:
            raise UsageError(f"{recipe.file}:{variant.line}: {error}") from None


def _changes_what_is_encoded(cls: type[Any]) -> bool:
    from zsad_bench.methods.base import ZeroShotMethod

    return cls.encode is not ZeroShotMethod.encode
