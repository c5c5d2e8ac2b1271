"""Protocols: what a paper's numbers have in common, one YAML file of `zsad_bench/protocols` each (docs/protocols.md).

    title: VisA as auxiliary data      # printed
    suite: paper                       # whose targets it is for
    priors:                            # name -> auxiliary data, and what takes its place for some targets
      visa2026: {auxiliary: visa, instead: {visa: mvtec}}
      synthetic: {auxiliary: mvtec, generated: true}          # its normal images with generated anomalies, no real one
    backbone: ViT-L-14-336-quickgelu
    weights: openai                    # left out: those that the backbone's family goes with
    image_size: 518
    own_backbones:                     # methods whose printed numbers are on another one
      winclip: {backbone: ViT-B-16-plus-240, weights: laion400m_e31, image_size: 240}
      blip: {backbone: blip-itm-base-coco, stated: false}     # the choice is ours: the papers do not state it
    metrics: [image_auroc, pixel_auroc]                       # that its authors print
    targets: [mvtec, visa, ksdd2]      # left out: those of the suite. What is not registered is reported, not run
    unstated_counts: [ksdd2]           # targets whose composition its authors do not state: compared with nothing

The auxiliary data of a prior is the test split of its dataset, as everywhere. Priors are shared by all protocols of a
suite: one name means one thing in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from zsad_bench import metric_keys, registry
from zsad_bench.errors import UnknownNameError, UsageError
from zsad_bench.located_yaml import LocatedYaml, YamlPath, read_yaml

FOLDER = Path(__file__).with_name("protocols")
_KEYS = ("title", "suite", "priors", "backbone", "weights", "image_size", "own_backbones", "metrics", "targets",
         "unstated_counts")  # fmt: skip
_NEEDED = ("title", "suite", "priors", "backbone", "metrics")


@dataclass(frozen=True)
class NamedPrior:
    """auxiliary: a dataset. instead: target -> what is learned from for it. generated: its anomalies are generated, on
    normal images of that dataset."""

    auxiliary: str
    instead: Mapping[str, str] = field(default_factory=dict)
    generated: bool = False

    def for_target(self, target: str | None) -> str:
        """What is learned from where this is the target; None: where none is known."""
        return self.instead.get(target or "", self.auxiliary)


@dataclass(frozen=True)
class OwnBackbone:
    """What one method runs on. weights: None are those of the family. image_size: None is the method's own default.

    stated: whether the papers state it; else numbers are compared with none of theirs.
    """

    backbone: str
    weights: str | None = None
    image_size: int | None = None
    stated: bool = True


@dataclass(frozen=True)
class Protocol:
    """image_size: None leaves each method's own default. targets: None are the suite's; names need not be registered.

    own_backbones: method -> what it runs on instead of `backbone`. metrics: keys of those that its authors print.
    unstated_counts: targets whose composition they do not state.
    """

    name: str
    title: str
    suite: str
    priors: Mapping[str, NamedPrior]
    backbone: str
    weights: str | None
    image_size: int | None
    own_backbones: Mapping[str, OwnBackbone]
    metrics: tuple[str, ...]
    targets: tuple[str, ...] | None = None
    unstated_counts: tuple[str, ...] = ()

    def runs_on(self, method: str) -> OwnBackbone:
        """Backbone, weights and image size of a method."""
        return self.own_backbones.get(method) or OwnBackbone(self.backbone, self.weights, self.image_size)

    def auxiliary(self, prior: str, target: str) -> str:
        """What methods learn from under one of its priors for a target.

        Raises:
            KeyError: it has no such prior.
        """
        return self.priors[prior].for_target(target)

    def unregistered(self) -> tuple[str, ...]:
        """The targets that no dataset is registered for."""
        known = registry.names("datasets")
        return tuple(name for name in self.targets or () if name not in known)

    def summary(self) -> str:
        """What it says, in a line for people."""
        learns = [
            f"{name}: "
            + "generated on " * prior.generated
            + ", ".join([prior.auxiliary, *(f"{other} for {of}" for of, other in prior.instead.items())])
            for name, prior in self.priors.items()
        ]
        size = f" at {self.image_size} px" if self.image_size else ""
        absent = self.unregistered()
        lacking = f"; not registered: {', '.join(absent)}" if absent else ""
        return f"{'; '.join(learns)}; {self.backbone}{size}{lacking}"


def names() -> list[str]:
    """The protocols that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def find(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownNameError: no such protocol; lists the nearest ones. UsageError: as `read`.
    """
    if name not in names():
        raise UnknownNameError(registry.did_you_mean("protocol", name, names()))
    return read(FOLDER / f"{name}.yaml")


@cache
def named_priors(suite: str) -> Mapping[str, NamedPrior]:
    """The named priors of a suite: those of all its protocols.

    Raises:
        UsageError: two protocols mean different things by one name; or as `read`.
    """
    found: dict[str, tuple[NamedPrior, str]] = {}
    for protocol in map(find, names()):
        if protocol.suite != suite:
            continue
        for name, prior in protocol.priors.items():
            other, of = found.setdefault(name, (prior, protocol.name))
            if other != prior:
                raise UsageError(
                    f"{FOLDER / protocol.name}.yaml: prior '{name}' means something else in protocol {of}; rename one"
                )
    return {name: prior for name, (prior, _) in found.items()}


@cache
def suites() -> tuple[str, ...]:
    """The suites that have a protocol."""
    return tuple(dict.fromkeys(find(name).suite for name in names()))


def with_own_backbones(suite: str) -> frozenset[str]:
    """The methods that any protocol of a suite runs on a backbone of their own."""
    return frozenset(method for one in map(find, names()) if one.suite == suite for method in one.own_backbones)


@cache
def read(file: Path) -> Protocol:
    """The protocol in a file. Datasets are not looked up: what is not registered is reported where it is needed.

    Raises:
        UsageError, UnknownNameError: with file and line: something is missing or does not fit.
    """
    source = read_yaml(file)
    content = source.mapping((), "a protocol")
    source.only((), _KEYS)
    for key in _NEEDED:
        if key not in content:
            source.refuse((), f"no {key}; a protocol needs {', '.join(_NEEDED)}")
    metrics = source.names(("metrics",))
    for number, key in enumerate(metrics):
        if key not in metric_keys.titles():
            known = metric_keys.titles()
            source.refuse(("metrics", number), registry.did_you_mean("metric", key, known), UnknownNameError)
    return Protocol(
        name=file.stem,
        title=_required(source, ("title",)),
        suite=_required(source, ("suite",)),
        priors={name: _prior(source, ("priors", name)) for name in source.mapping(("priors",))},
        backbone=_required(source, ("backbone",)),
        weights=source.text(("weights",)),
        image_size=_size(source, ("image_size",)),
        own_backbones={
            name: _own(source, ("own_backbones", name))
            for name in (source.mapping(("own_backbones",)) if "own_backbones" in content else ())
        },
        metrics=metrics,
        targets=source.names(("targets",)) if "targets" in content else None,
        unstated_counts=source.names(("unstated_counts",)) if "unstated_counts" in content else (),
    )


def _prior(source: LocatedYaml, path: YamlPath) -> NamedPrior:
    source.mapping(path)
    source.only(path, ("auxiliary", "instead", "generated"))
    instead = source.mapping((*path, "instead")) if "instead" in source.at(path) else {}
    return NamedPrior(
        _required(source, (*path, "auxiliary")),
        {of: _required(source, (*path, "instead", of)) for of in instead},
        _flag(source, (*path, "generated"), False),
    )


def _own(source: LocatedYaml, path: YamlPath) -> OwnBackbone:
    source.mapping(path)
    source.only(path, ("backbone", "weights", "image_size", "stated"))
    return OwnBackbone(
        _required(source, (*path, "backbone")),
        source.text((*path, "weights")),
        _size(source, (*path, "image_size")),
        _flag(source, (*path, "stated"), True),
    )


def _flag(source: LocatedYaml, path: YamlPath, default: bool) -> bool:
    flag = source.at(path[:-1]).get(path[-1], default)
    if not isinstance(flag, bool):
        source.refuse(path, f"{path[-1]}: {flag!r}; expected true or false")
    return flag


def _required(source: LocatedYaml, path: YamlPath) -> str:
    text = source.text(path)
    if not text:
        source.refuse(path, f"{path[-1]}: expected a text, found nothing")
    return text


def _size(source: LocatedYaml, path: YamlPath) -> int | None:
    size = source.at(path[:-1]).get(path[-1])
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        source.refuse(path, f"image_size: {size!r}; expected a whole number of pixels")
    return size
