"""Whether a method can learn from auxiliary data: decided by names, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zsad_bench import registry
from zsad_bench.errors import UsageError
from zsad_bench.planning.configure import trains

if TYPE_CHECKING:
    from zsad_bench.data.base import ZeroShotDataModule


def check_masks(method: str, config: Any, unmasked: Iterable[str]) -> None:
    """Nothing, when the method does not learn from masks, or all of its auxiliary datasets have them.

    config: of the method, resolved or not. unmasked: names of the auxiliary datasets that have no masks.

    Raises:
        UsageError: names the method, the datasets, and the methods that image labels are enough for.
    """
    cls = registry.load("methods", method)
    names = ", ".join(unmasked)
    if names and cls.learns_from(config) == "masks":
        raise UsageError(
            f"{method} learns from masks, and auxiliary dataset {names} has none, only image labels; take a prior of a "
            f"dataset with masks, or a method that learns from image labels: {', '.join(from_labels())}"
        )


def check_normals(method: str, config: Any, modules: Iterable[ZeroShotDataModule]) -> None:
    """Nothing, when there is something to tell anomalous images from, or masks to learn from as well.

    Raises:
        UsageError: image labels are all that the method learns from, and all of them say anomalous.
    """
    if registry.load("methods", method).learns_from(config) == "labels" and not has_normals(modules):
        names = ", ".join(module.name for module in modules)
        raise UsageError(
            f"{method} learns from image labels, and of auxiliary dataset {names} no normal image is kept, so that it "
            "would learn to call everything anomalous; add a dataset that has some (NAME+NAME), or keep them (normals=)"
        )


def unmasked(auxiliary: Iterable[str]) -> list[str]:
    """Those of the auxiliary datasets that never have masks; for a user's own data only reading the folder shows it."""
    known = set(registry.names("datasets"))
    return [name for name in auxiliary if name in known and registry.load("datasets", name).level == "image"]


def has_normals(modules: Iterable[ZeroShotDataModule]) -> bool:
    """Whether any auxiliary image is normal."""
    return any(sample.label == 0 for module in modules for sample in module.samples())


def from_labels() -> list[str]:
    """The methods that image labels are enough for, in their usual configuration."""
    usual = {name: registry.load("methods", name) for name in filter(trains, registry.names("methods"))}
    return [name for name, cls in usual.items() if cls.learns_from(cls.Config()) == "labels"]
