"""What one run is to do: a method to train, or a checkpoint of it, and the targets to test it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsad_bench import registry
from zsad_bench.planning.configure import necessary, takes_epochs, trains
from zsad_bench.planning.suite import Suite
from zsad_bench.results.rows import digest
from zsad_bench.types import Compile, FeatureType, Precision, rounded_as
from zsad_bench.variant import Variant, differing

if TYPE_CHECKING:
    from zsad_bench.methods.base import ZeroShotMethod

HALF_FEATURES = "+float16-features"  # behind the precision of such runs


@dataclass(frozen=True)
class FeatureOptions:
    """Where features that never change are kept, so that an image is encoded once for all epochs, seeds and variants.

    where: "memory", "off", or a folder, which keeps them beyond this process. budget: bytes of memory; None is a
    quarter of what is free. type: "float32" or "float16".
    """

    where: str = "memory"
    budget: int | None = None
    type: FeatureType = "float32"

    @property
    def keeps_on_disk(self) -> bool:
        return self.where not in ("memory", "off")


@dataclass(frozen=True)
class RunSpec:
    """A plain value. settings: overrides of the method's configuration, checked against its types.

    targets: as `planning/target.py` reads them. draw: of the auxiliary data; None takes the prior's own.
    data: options of data modules, by registry name, "*" for all. augment: of training images, names of data/augment.py.
    precision, compiled: of the frozen towers. checkpoint: tested instead of training. board: folder whose `rows/` is
    appended to. features: of the first spec of a group, for all of it. operating_points: the dataset whose normal
    images give thresholds, for the optional metrics; None computes none.
    """

    suite: Suite
    method: str
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
    precision: Precision = "float32"
    compiled: Compile = "no"
    board: Path = Path("leaderboards/demo")
    runs: Path = Path("runs")
    features: FeatureOptions = field(default_factory=FeatureOptions)
    operating_points: str | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        """All overrides of the method's configuration: the suite's, and on top of them its own."""
        epochs = {"epochs": self.epochs} if self.epochs is not None and takes_epochs(self.method) else {}
        return {**self.suite.overrides_for(self.method), **self.settings, **epochs}

    def variant(self, built: ZeroShotMethod) -> Variant:
        """What differs from the suite and makes another configuration. built: the method of this run, untrained."""
        learns = trains(self.method, self.overrides)
        epochs = {"epochs": self.epochs} if learns and self.epochs is not None and takes_epochs(self.method) else {}
        beneath = self.suite.overrides_for(self.method)
        settings = necessary(built, self.method, {**self.settings, **epochs}, beneath)
        return differing(settings, augment=self.augment if learns else (), precision=self.computed_with)

    @cached_property
    def computed_with(self) -> str:
        """The precision, as far as its numbers depend on it: those of a sanity check come from no tower.

        bf16 compiled is another one: fewer roundings. What is compiled in float32 is the same. So are features that are
        kept in half precision, of what learns from them or is tested from a folder of them.
        """
        if registry.load("methods", self.method).is_sanity_check:
            return "float32"
        rounded = rounded_as(self.precision, self.compiled)
        return f"{rounded}{HALF_FEATURES if self._reads_half_precision() else ''}"

    def _reads_half_precision(self) -> bool:
        learns = self.checkpoint is None and trains(self.method, self.overrides)
        reads = self.features.keeps_on_disk or (self.features.where != "off" and learns)
        return self.features.type == "float16" and reads

    @cached_property
    def weights_of(self) -> tuple[str, str | None]:
        """The backbone and its weights; the suite's weights are for the suite's backbone."""
        usual, weights = self.suite.backbone_for(self.method)
        backbone = self.backbone or usual
        return backbone, self.weights or (weights if backbone == usual else None)

    @cached_property
    def id(self) -> str:
        """What distinguishes it from other runs of one plan."""
        return digest([
            self.method, self.prior, list(self.targets), self.seed, self.draw, self.epochs, list(self.augment),
            {key: repr(value) for key, value in self.settings.items()}, str(self.checkpoint or ""),
            *filter(None, (self.backbone, self.weights)),
        ])  # fmt: skip
