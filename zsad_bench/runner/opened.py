"""What the runs of one process read: backbones, data and auxiliary data, each opened and hashed once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar, cast

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.data import mask_sizes
from zsad_bench.data import prior as priors
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.demo.module import DemoDataModule
from zsad_bench.data.transforms import CLIP_MEAN, CLIP_STD
from zsad_bench.errors import DatasetError, UnknownNameError, UsageError, ZsadError
from zsad_bench.planning.target import target_of
from zsad_bench.results.rows import digest
from zsad_bench.runner import guard
from zsad_bench.runner.auxiliary import Auxiliary, auxiliary
from zsad_bench.runner.run_spec import RunSpec
from zsad_bench.types import Normalisation

TEST_BATCH = 32
T = TypeVar("T")
DataOptions = Mapping[str, Mapping[str, Any]]


class Opened:
    """Hands out what a run asks for; what was opened for another run is the same object, an error is raised again."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned when this key was first asked for."""
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except ZsadError as error:
                self._kept[key] = error
        opened = self._kept[key]
        if isinstance(opened, ZsadError):
            raise opened
        return cast(T, opened)

    def forget(self, key: Hashable) -> None:
        """Forgets it: the next call makes a new one."""
        self._kept.pop(key, None)

    def backbone(self, spec: RunSpec) -> Backbone:
        """The backbone that a run asks for, or its method's in the suite."""
        name, weights = spec.weights_of
        computed = spec.precision, spec.compiled
        return self.once(("backbone", name, weights, *computed), lambda: load_backbone(name, weights, *computed))

    def target(self, spec: RunSpec, asked: str) -> ZeroShotDataModule:
        """The data of a target under its condition, whatever categories of it are asked for."""
        target = target_of(asked)
        key = ("target", target.dataset, target.place, target.condition, digest(spec.data), spec.weights_of)
        if not target.condition:
            return self.once(key, lambda: data_module(asked, spec.data, self.backbone(spec)))

        def under_condition() -> ZeroShotDataModule:  # its files are listed and checked once for all conditions
            plain = self.target(spec, target._replace(condition="", categories=()).asked)
            return data_module(asked, spec.data, self.backbone(spec), {"samples": plain.samples()})

        return self.once(key, under_condition)

    def plain_targets(self, spec: RunSpec) -> list[ZeroShotDataModule]:
        """The data of a run's targets, each dataset once and under no condition: whose files are read."""
        found = {}
        for asked in spec.targets:
            target = target_of(asked)._replace(condition="", categories=())
            found[target.asked] = self.target(spec, target.asked)
        return list(found.values())

    def auxiliary(self, spec: RunSpec) -> Auxiliary:
        """The data of the run's prior and draw.

        Raises:
            ZsadError: a missing dataset, a prior that asks for more images than it has, or masks that do not fit.
        """
        prior = self._prior(spec)
        return self.once(self._learns_from(spec, prior), lambda: self._select(spec, prior))

    def near_duplicates(self, spec: RunSpec, say: guard.Say) -> guard.NearDuplicates:
        """What of the run's targets looks like its auxiliary data; each gets a warning.

        Raises:
            OverlapError: a dataset or an image is on both sides.
        """
        targets = self.plain_targets(spec)
        names = tuple(data.name for data in targets)
        key = ("near duplicates", self._learns_from(spec, self._prior(spec)), names)
        return self.once(key, lambda: guard.check_training(self.auxiliary(spec).modules, targets, say))

    @staticmethod
    def _prior(spec: RunSpec) -> priors.PriorSpec:
        priors.check_learnable(spec.prior, [spec.method])
        names = {target_of(asked).name for asked in spec.targets}
        meant = {priors.resolve(spec.prior, spec.suite.name, name) for name in names}  # one, as a plan groups targets
        prior = meant.pop() if len(meant) == 1 else priors.resolve(spec.prior, spec.suite.name)
        return prior if spec.draw is None else priors.with_draw(prior, spec.draw)

    @staticmethod
    def _learns_from(spec: RunSpec, prior: priors.PriorSpec) -> Hashable:
        return ("auxiliary", prior, spec.augment, digest(spec.data), spec.weights_of)

    def _select(self, spec: RunSpec, prior: priors.PriorSpec) -> Auxiliary:
        augment = {"augment": spec.augment} if spec.augment else {}

        def data_of(name: str, options: Mapping[str, Any]) -> ZeroShotDataModule:
            return data_module(name, spec.data, self.backbone(spec), {**augment, **options})

        return auxiliary(prior, data_of)


def data_module(
    asked: str, data: DataOptions, backbone: Backbone | Normalisation, options: Mapping[str, Any] | None = None
) -> ZeroShotDataModule:
    """The data module of a target or auxiliary dataset, with what `data` says of it or of all, and these options.

    backbone: whose mean and standard deviation its images get; without one, where only tables are read, both alone.

    Raises:
        UnknownNameError: an option that the dataset does not have. UsageError: two paths for one's own images, or a
            condition among the options of `data`, which what is learned from would get as well.
    """
    name, place, _, condition = target_of(asked)
    given = {**data.get("*", {}), **data.get(name, {})}
    if "condition" in given:
        raise UsageError(f"--data condition={given['condition']}: name it with --corruption or --wording instead")
    if "synthetic" in given:
        raise UsageError(
            f"--data synthetic={given['synthetic']}: generated anomalies are learned from, not tested on; name a prior "
            "instead, as in --prior synthetic"
        )
    wanted = {**given, **(options or {}), **({"condition": condition} if condition else {})}
    root = wanted.pop("root", None)
    if place and root is not None:
        raise UsageError(f"{asked} and --data {name}.root={root}: give the path once")
    cls: type[ZeroShotDataModule] = registry.load("datasets", name)
    try:
        return cls(place or root, mean=backbone.mean, std=backbone.std, **{"batch_size": TEST_BATCH, **wanted})
    except TypeError:
        known = sorted(set(inspect.signature(cls).parameters) | set(inspect.signature(ZeroShotDataModule).parameters))
        for key in wanted:
            if key not in known:
                raise UnknownNameError(registry.did_you_mean(f"option of dataset {name}", key, known)) from None
        raise


def readable_targets(suite: str, targets: Iterable[str], data: DataOptions, say: guard.Say) -> list[str]:
    """Those of a suite's targets that can be tested; for each other one a line says why not.

    Tables and masks are looked at; nothing is decoded.

    Raises:
        UsageError: an option that a dataset does not have, or none is left.
    """
    readable = []
    for asked in targets:
        try:
            # Generated data is drawn when it is used.
            if not issubclass(registry.load("datasets", target_of(asked).dataset), DemoDataModule):
                mask_sizes.check(data_module(asked, data, Normalisation(CLIP_MEAN, CLIP_STD)))
        except DatasetError as error:
            say(f"{asked} is left out, since --targets does not name it: {error}")
        else:
            readable.append(asked)
    if not readable:
        raise UsageError(f"suite {suite}: none of its datasets can be read; `zsad-bench data check all` says why")
    return readable
