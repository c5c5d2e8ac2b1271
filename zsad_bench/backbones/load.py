"""From a name and weights to a checked `Backbone`, or one clear line saying why not; which family, the name decides."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone, BackboneFamily
from zsad_bench.backbones.precision import check_name
from zsad_bench.backbones.releases import WeightSource
from zsad_bench.backbones.weights import OtherWeights, read_state
from zsad_bench.errors import BackboneError, RegistrationError, UnknownNameError
from zsad_bench.types import Compile

if TYPE_CHECKING:
    from torch import Tensor


def load_backbone(
    name: str, weights: str | Path | None = None, precision: str = "float32", compiled: Compile = "no"
) -> Backbone:
    """The frozen backbone `name` with `weights`, float32 on the CPU at its native size.

    name: one that `zsad-bench ls backbones` prints. weights: a tag, a file or a folder; None takes what the family
    goes with. A cached checkpoint needs no network; an unreachable hub is reported within ten seconds.
    precision: what the blocks of its towers compute with, `float32`, `tf32` or `bf16`; whether a device does is known
    when they run. compiled: whether and how the blocks of the visual tower are.

    Raises:
        UnknownNameError: no such name or tag; the message lists the nearest, or all tags.
        UsageError: no such precision.
        BackboneError: weights that are missing, damaged, of another architecture, family or activation, or out of
            reach.
    """
    family, known = family_of(name), check_name(precision)
    try:
        backbone = family.load(name, weights)
        backbone.precision, backbone.compiled = known, compiled
        return backbone
    except OtherWeights as error:
        for other in families().values():
            if other is not family and any(map(error.has, other.marks)):
                raise BackboneError(
                    f"{error.path.name} holds weights of {other.title}, but {name} is {family.title}; give it with a "
                    f"--backbone of theirs, such as {other.example}"
                ) from None
        raise


def weights_at_hand(name: str, weights: str | Path | None = None) -> bool:
    """Whether `load_backbone` would find a weight file on this machine, without reading it or asking the network.

    Raises:
        UnknownNameError, BackboneError: no such name or tag, or no weights named.
    """
    return family_of(name).at_hand(name, weights)


def weight_sources(name: str) -> list[WeightSource]:
    """Where weights of a backbone come from, the choice of its family first; [] where the user always gives them.

    Raises:
        UnknownNameError: no such name.
    """
    return family_of(name).sources(name)


def fitting_names(state: Mapping[str, Tensor], activation: str = "") -> list[str]:
    """The backbones whose parameters these are; of two that differ in their activation alone, there are both.

    activation: only those that compute this one; "" takes all.
    """
    names = [name for family in families().values() for name in family.fitting(state)]
    return [name for name in names if not activation or architecture(name).vision.activation == activation]


def read_any(path: Path) -> dict[str, Tensor]:
    """The parameters in a weight file of any family, as `read_state` reads them.

    Raises:
        BackboneError: as `read_state`.
    """
    return read_state(path, [mark for family in families().values() for mark in family.marks])


def brings_weights(name: str) -> bool:
    """Whether the name itself says which weights are meant (`tiny`, a folder), so that none need to be named."""
    return family_of(name).brings_weights(name)


def architecture(name: str) -> Backbone:
    """The backbone of a name without values, as `BackboneFamily.architecture` describes it; its id is the name.

    Raises:
        UnknownNameError: no such name. BackboneError: one that no backbone can be made of.
    """
    return family_of(name).architecture(name)


def listing() -> dict[str, str]:
    """The backbones that can be loaded: name, or pattern of names -> a description; family by family."""
    return {name: said for family in families().values() for name, said in family.listing().items()}


def families() -> dict[str, type[BackboneFamily]]:
    """Registry name -> family, of each that is installed."""
    return registry.classes("backbones")


def family_of(name: str) -> type[BackboneFamily]:
    """The family that a name is of.

    Raises:
        UnknownNameError: of none; the message lists the nearest names. RegistrationError: of two.
    """
    known_families = families()
    found = {key: family for key, family in known_families.items() if family.knows(name)}
    if not found:
        known = {each.lower(): each for family in known_families.values() for each in family.names()}
        near = [known[each] for each in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)]
        hint = f"did you mean {', '.join(near)}?" if near else "see `zsad-bench ls backbones`"
        raise UnknownNameError(f"unknown backbone '{name}'; {hint}")
    if len(found) > 1:
        raise RegistrationError(f"backbone '{name}' is a name of {' and of '.join(found)}; uninstall one of them")
    return next(iter(found.values()))
