"""Devices, weights, datasets and versions, and what `auto` would take."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from zsad_bench import process, registry
from zsad_bench.console import Console
from zsad_bench.data import locations
from zsad_bench.errors import ZsadError
from zsad_bench.planning import suite

PACKAGES = (
    "zsad-bench",
    "torch",
    "torchvision",
    "lightning",
    "open_clip_torch",
    "torchmetrics",
    "albumentations",
    "numpy",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """None."""


def run(options: Options) -> int:
    """Prints what was found; nothing is downloaded or generated."""
    from zsad_bench.backbones.load import weights_at_hand

    console = Console()
    lines = [
        ("python", f"{sys.version.split()[0]} on {platform.platform()}"),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)),
        ("devices", ", ".join(_devices())),
        *((one.name, f"{one.value} ({one.by})") for one in process.settings()),
        ("ZSAD_DATA", str(locations.data_root() or "not set")),
        ("ZSAD_CACHE", str(locations.cache_root())),
    ]
    for one in suite.SUITES.values():
        found = "found" if weights_at_hand(one.backbone, one.weights) else "not on this machine (see --weights)"
        lines.append((f"weights of {one.name}", f"{one.backbone}: {found}"))
    console.pairs(lines)
    console.print()
    console.pairs((name, _where(name)) for name in registry.names("datasets"))
    _, why = suite.choose("auto")
    console.print(f"\n{why}")
    return 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _devices() -> list[str]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"]


def _where(name: str) -> str:
    try:
        cls = registry.load("datasets", name)
    except ZsadError as error:
        return str(error)
    found = cls.available()
    return str(found) if found is not None else f"not found: {cls.how_to_get or cls.url}"
