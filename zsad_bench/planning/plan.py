"""From a recipe to cells and to groups of cells that run together; pure, nothing is read but the registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from zsad_bench import conditions, registry
from zsad_bench.data import prior as priors
from zsad_bench.errors import UsageError
from zsad_bench.planning import learnable
from zsad_bench.planning.configure import configure, encodes_alone, takes_epochs
from zsad_bench.planning.recipe import Recipe, RecipeBlock, Variant
from zsad_bench.planning.suite import Suite, under
from zsad_bench.planning.target import distinct, target_of
from zsad_bench.results.rows import digest
from zsad_bench.variant import differing

TOGETHER = 8  # trained methods in one group: as many share a pass over the images, and one process's memory


@dataclass(frozen=True)
class Job:
    """One method variant under one prior, draw and seed: trained at most once, and tested on its targets.

    settings: what differs from the suite, as rows name the variant. prior, draw: "none" and None where nothing learns.
    backbone, weights: what this job runs on; None is the plan's choice.
    """

    method: str
    settings: Mapping[str, Any]
    epochs: int | None
    prior: str
    draw: int | None
    seed: int
    augment: tuple[str, ...]
    trains: bool
    targets: tuple[str, ...] = ()
    backbone: str | None = None
    weights: str | None = None

    @property
    def variant(self) -> str:
        """How it differs from the default method, for people."""
        return str(differing(self.settings, self.epochs, self.augment))

    def record(self) -> dict[str, Any]:
        """Plain fields in one order, without the targets: what says which training it is."""
        runs_on = {"backbone": self.backbone, "weights": self.weights}
        return {
            "method": self.method,
            "settings": dict(sorted(self.settings.items())),
            "epochs": self.epochs,
            "prior": self.prior,
            "draw": self.draw,
            "seed": self.seed,
            "augment": list(self.augment),
            "trains": self.trains,
            **{key: value for key, value in runs_on.items() if value is not None},
        }

    @cached_property
    def digest(self) -> str:
        """Of the record."""
        return digest(self.record())


@dataclass(frozen=True)
class Cell:
    """A job on one target. id: of what the recipe decides; weights and data are in the key of its rows only."""

    id: str
    job: Job
    target: str


@dataclass(frozen=True)
class JobGroup:
    """Jobs that one process runs: each target is passed over once for all of them that are tested on it."""

    jobs: tuple[Job, ...]

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Those of all its jobs, each once."""
        return tuple(dict.fromkeys(target for job in self.jobs for target in job.targets))

    @cached_property
    def cells(self) -> list[Cell]:
        return [Cell(cell_id(job, target), job, target) for job in self.jobs for target in job.targets]

    @cached_property
    def id(self) -> str:
        return digest([cell.id for cell in self.cells])[:12]


@dataclass(frozen=True)
class Plan:
    """groups: what is to run. absent: (job, dataset that is not here, target) of what cannot run on this machine.

    left_out: (prior, target) where a target is its prior's own auxiliary data and the recipe did not name it.
    same_words: sentences on what a wording would not change, and is not tested under it.
    """

    recipe: Recipe
    suite: Suite
    groups: tuple[JobGroup, ...]
    absent: tuple[tuple[Job, str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = field(default=())
    same_words: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        return [cell for group in self.groups for cell in group.cells]


def plan(
    recipe: Recipe,
    found: Callable[[str], bool] = lambda name: True,
    together: int = TOGETHER,
    without: Collection[str] = (),
    equal_targets: bool = True,
) -> Plan:
    """The plan of a recipe.

    found: whether a dataset's files are here. together: most trained methods in one group; fewer give more groups to
    share among GPUs. without: targets of the suite that are left out where a block names none.
    equal_targets: the jobs of a group have the same targets. Without it each has its own, and groups are as few as can
    be: for one process that does all.

    Raises:
        UsageError, UnknownNameError: with file and line, where there is a file: a wrong configuration or prior,
            a target that is named although its prior learns from it, or nothing to run. OverlapError: such a target,
            where there is no file.
    """
    suite = under(recipe.suite, recipe.protocol)
    planned: set[str] = set()
    entries: dict[Hashable, _Entry] = {}
    absent: list[tuple[Job, str, str]] = []
    left_out: dict[tuple[str, str], None] = {}
    encoder_keys: dict[Hashable, Hashable] = {}  # looked up once per variant: there may be thousands of jobs
    checked: set[Hashable] = set()
    same_words: dict[str, None] = {}
    for block in recipe.blocks:
        named = _targets(recipe, block)
        targets = tuple(named) or tuple(name for name in suite.targets if name not in without)
        learns = {id(v): recipe.checkpoint is None and _trains(recipe, suite, v) for v in block.variants}
        learners = dict.fromkeys(v.method for v in block.variants if learns[id(v)])
        shares = {
            prior: _shares(recipe, block, targets, named, prior, suite, learners, left_out) for prior in block.priors
        }
        drawing = {id(variant): _draws(recipe, suite, variant) for variant in block.variants}
        seeded = {id(v) for v in block.variants if drawing[id(v)] or _learns_by_seed(block, v)}
        beside = {id(variant): _conditions(recipe, suite, block, variant, same_words) for variant in block.variants}
        for job, variant, auxiliary in _jobs(block, targets, shares, learns, drawing, seeded):
            known = (id(variant), job.epochs)
            if known not in encoder_keys:
                encoder_keys[known] = _encoder_key(recipe, suite, variant, job)
            if job.trains and (id(variant), job.prior, auxiliary) not in checked:
                checked.add((id(variant), job.prior, auxiliary))
                _check_masks(recipe, suite, variant, job.prior, auxiliary)
            # A training's targets come together from all blocks; what does not train goes where the others go.
            with_whom: Hashable = auxiliary if job.trains else job.targets if equal_targets else ()
            for target in _under_conditions(job.targets, beside[id(variant)], same_words):
                # Methods that read no names would have other targets, and share no pass with those that do.
                apart = equal_targets and "@wording:" in target
                entry = entries.setdefault((job.digest, with_whom, apart), _Entry(job, encoder_keys[known]))
                cell = cell_id(job, target)
                if cell in planned:
                    continue
                planned.add(cell)
                needed = (*auxiliary, target_of(target).name)
                # A name with a colon is a user's own data, and says where that lies.
                gone = [name for name in needed if ":" not in name and not found(name)]
                if gone:
                    absent.append((job, gone[0], target))
                else:
                    entry.targets.append(target)
    groups = _groups(entries.values(), together, equal_targets)
    if not groups and not absent and not recipe.published:
        raise UsageError(f"{recipe.at(1)}nothing to run; every target is its prior's own auxiliary data")
    return Plan(recipe, suite, tuple(groups), tuple(absent), tuple(left_out), tuple(same_words))


@dataclass
class _Entry:
    """encoder_key: jobs with one key share the pass over the images; None never shares."""

    job: Job
    encoder_key: Hashable
    targets: list[str] = field(default_factory=list)


def _groups(entries: Iterable[_Entry], together: int, equal_targets: bool) -> list[JobGroup]:
    """Jobs of one encoder, at most `together` trained ones each; untrained ones go with the first."""
    buckets: dict[Hashable, list[Job]] = {}
    for entry in entries:
        if entry.targets:
            targets = tuple(entry.targets)
            key = id(entry) if entry.encoder_key is None else entry.encoder_key
            buckets.setdefault((targets if equal_targets else (), key), []).append(replace(entry.job, targets=targets))
    groups = []
    for jobs in buckets.values():
        frozen, learning = ([job for job in jobs if job.trains is learns] for learns in (False, True))
        chunks = [learning[at : at + together] for at in range(0, len(learning), together)] or [[]]
        chunks[0] = frozen + chunks[0]
        groups += [JobGroup(tuple(chunk)) for chunk in chunks]
    return groups


def cell_id(job: Job, target: str) -> str:
    """16 hex digits of what the recipe decides about a cell."""
    return digest([job.record(), target])


Share = tuple[tuple[str, ...], tuple[str, ...]]  # auxiliary datasets, targets


def _targets(recipe: Recipe, block: RecipeBlock) -> dict[str, int]:
    """The targets that a block names, in one spelling each, with their lines; {} where it names none.

    Raises:
        UsageError, UnknownNameError: with file and line: no such dataset or category.
    """
    named: list[str] = []
    lines: dict[str, int] = {}
    for asked in block.targets or ():
        line = block.lines.get(asked, 1)
        try:
            named = distinct([*named, asked])
        except UsageError as error:
            raise type(error)(f"{recipe.at(line)}{error}") from None
        lines.setdefault(target_of(asked).name, line)
    return {target: lines[target_of(target).name] for target in named}


def _shares(
    recipe: Recipe,
    block: RecipeBlock,
    targets: tuple[str, ...],
    named: Mapping[str, int],
    prior: str,
    suite: Suite,
    learners: Collection[str],
    left_out: dict[tuple[str, str], None],
) -> list[Share]:
    """The targets by the auxiliary data that the prior means for them; all of them, and nothing, where nothing learns.

    named: those of the targets that the block names, with their lines.
    """
    shares: dict[tuple[str, ...], list[str]] = {}
    try:
        priors.check_learnable(prior, learners)
        priors.resolve(prior, suite.name)  # a wrong prior is an error even where nothing learns
        if not learners:
            return [((), targets)]
        auxiliary_of = {target: priors.resolve(prior, suite.name, target_of(target).name).auxiliary
                        for target in targets}  # fmt: skip
    except UsageError as error:
        raise type(error)(f"{recipe.at(block.lines.get(prior, 1))}{error}") from None
    for target, auxiliary in auxiliary_of.items():
        if target_of(target).name not in auxiliary:
            shares.setdefault(auxiliary, []).append(target)
        elif target not in named:
            left_out[prior, target] = None
        elif recipe.file is None:
            from zsad_bench.data.overlap import check_names  # reads pixels, and `--help` needs no numpy

            check_names(auxiliary, [target_of(target)])
        else:
            raise UsageError(
                f"{recipe.at(named[target])}target '{target}' is what prior '{prior}' learns from; leave it "
                "out, or put the prior into a block of its own"
            )
    if recipe.file is None and not shares:
        raise UsageError(
            f"prior {prior} learns from every target there is ({', '.join(targets)}); name others in --targets"
        )
    return [(auxiliary, tuple(of)) for auxiliary, of in shares.items()]


def _jobs(
    block: RecipeBlock,
    targets: tuple[str, ...],
    shares: Mapping[str, list[Share]],
    learns: Mapping[int, bool],
    drawing: Mapping[int, bool],
    seeded: Collection[int],
) -> Iterator[tuple[Job, Variant, tuple[str, ...]]]:
    """Every job of a block with the auxiliary data it learns from; repeats first, then priors.

    learns, drawing: id of a variant -> whether it trains; whether, untrained, its test depends on the seed.
    seeded: ids of the variants whose numbers depend on the seed once they are trained; all others are trained once per
    prior and draw.
    """
    tested = [of for _, of in shares[block.priors[0]]]
    # What a prior learns from is still tested by what learns nothing.
    rest = tuple(target for target in targets if not any(target in of for of in tested))
    tested += [rest] if rest else []
    repeats = block.repeats()
    for number, (seed, draw) in enumerate(repeats):
        for variant in block.variants:
            draws = drawing[id(variant)]
            if learns[id(variant)] or not (number == 0 or (draws and draw == repeats[0][1])):
                continue
            for of in tested:
                frozen = Job(variant.method, variant.settings, None, "none", None, seed if draws else 0, (), False, of)
                yield replace(frozen, backbone=variant.backbone, weights=variant.weights), variant, ()
        for prior, by_auxiliary in shares.items():
            for variant in block.variants:
                if not learns[id(variant)]:
                    continue
                epochs = block.epochs if takes_epochs(variant.method) else None
                own = seed if id(variant) in seeded else 0
                for auxiliary, of in by_auxiliary:
                    yield Job(
                        variant.method, variant.settings, epochs, prior, draw, own, block.augment, True, of,
                        variant.backbone, variant.weights,
                    ), variant, auxiliary  # fmt: skip


def _encoder_key(recipe: Recipe, suite: Suite, variant: Variant, job: Job) -> Hashable:
    """Jobs with one key share the pass over the images; None never shares.

    Raises:
        UsageError, UnknownNameError: settings that the method does not have.
    """
    own = {"epochs": job.epochs} if job.epochs is not None and job.trains else {}
    config = _configured(recipe, suite, variant, own)
    if encodes_alone(registry.load("methods", job.method)):
        return None
    backbone = job.backbone or recipe.backbone or suite.backbone_for(job.method)[0]
    # Of one plan, jobs on one backbone have the same weights unless they name their own.
    return (backbone, job.weights, config.image_size, config.pos_interp, config.activation)


def _trains(recipe: Recipe, suite: Suite, variant: Variant) -> bool:
    """Whether a variant learns anything; wrong settings are refused as `_configured` does."""
    cls = registry.load("methods", variant.method)
    return bool(cls.trains(_configured(recipe, suite, variant)))


def _configured(recipe: Recipe, suite: Suite, variant: Variant, own: Mapping[str, Any] | None = None) -> Any:
    """The configuration of a variant in a suite, not resolved. own: fields on top of it.

    Raises:
        UsageError, UnknownNameError: settings that the method does not have, with file and line.
    """
    overrides = {**suite.overrides_for(variant.method), **variant.settings, **(own or {})}
    try:
        return configure(variant.method, overrides)
    except UsageError as error:
        raise type(error)(f"{recipe.at(variant.line)}{error}") from None


def _draws(recipe: Recipe, suite: Suite, variant: Variant) -> bool:
    """Whether a test of the variant depends on the seed even where nothing is trained. Raises as `_configured`."""
    cls = registry.load("methods", variant.method)
    if not cls.stochastic_at_test:
        return False
    return bool(cls.draws_at_test(_configured(recipe, suite, variant)))


def _learns_by_seed(block: RecipeBlock, variant: Variant) -> bool:
    """Whether a training of the variant depends on the seed; augmentation draws for any method."""
    return bool(block.augment) or registry.load("methods", variant.method).stochastic_in_training


def _conditions(
    recipe: Recipe, suite: Suite, block: RecipeBlock, variant: Variant, same_words: dict[str, None]
) -> tuple[str, ...]:
    """The conditions of a block that change what a variant sees: wordings only where it reads names."""
    if not any(conditions.parse(each).kind == "wording" for each in block.conditions):
        return block.conditions
    config = _configured(recipe, suite, variant)
    cls = registry.load("methods", variant.method)
    if cls.reads_names(config):
        return block.conditions
    same_words[
        f"{cls.title} is not tested under other wordings: as it is configured here, its test reads no names of the "
        "dataset's card"
    ] = None
    return tuple(each for each in block.conditions if conditions.parse(each).kind != "wording")


def _under_conditions(targets: Iterable[str], under: Iterable[str], same_words: dict[str, None]) -> Iterator[str]:
    """The targets as they are, then each under each condition; not under a wording that has no word for it."""
    targets = list(targets)
    yield from targets
    for condition in under:
        what = conditions.parse(condition)
        for target in targets:
            if what.kind == "wording" and (nothing := _unworded(target, what.name)):
                same_words[nothing] = None
            else:
                yield f"{target}@{condition}"


@cache
def _unworded(target: str, wording: str) -> str:
    """A sentence where a wording has no other word for any category of a target; "" where it has, or files decide."""
    of = target_of(target)
    if of.place:
        return ""
    from zsad_bench.prompts.wordings import noun_in

    cards = registry.load("datasets", of.dataset).category_cards
    asked = [card for card in cards if not of.categories or card.name in of.categories]
    if any(noun_in(wording, card.prompt_name) for card in asked):
        return ""
    return f"{target} is not tested under wording {wording}, which has no other word for any of its categories"


def _check_masks(recipe: Recipe, suite: Suite, variant: Variant, prior: str, auxiliary: tuple[str, ...]) -> None:
    """Refuses what learns from masks, with file and line, where an auxiliary dataset has none."""
    parts = priors.resolve(prior, suite.name).parts
    real = [name for name, part in zip(auxiliary, parts, strict=True) if not part.synthetic]
    if unmasked := learnable.unmasked(real):
        config = _configured(recipe, suite, variant)
        try:
            learnable.check_masks(variant.method, config, unmasked)
        except UsageError as error:
            raise UsageError(f"{recipe.at(variant.line)}{error}") from None
