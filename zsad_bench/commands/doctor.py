"""`zsad-bench doctor`: devices, weights, datasets and versions, and what `auto` would take."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch
from rich.console import Console
from rich.table import Table

from zsad_bench import registry
from zsad_bench.backbones.load import weights_at_hand
from zsad_bench.data import roots
from zsad_bench.sweep import suite

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


def doctor() -> None:
    """Prints what was found; nothing is downloaded or generated."""
    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("python", f"{sys.version.split()[0]} on {platform.platform()}")
    table.add_row("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    table.add_row("devices", ", ".join(_devices()))
    table.add_row("ZSAD_DATA", str(roots.data_root() or "not set"))
    table.add_row("ZSAD_CACHE", str(roots.cache_root()))
    for one in suite.SUITES.values():
        found = "found" if weights_at_hand(one.backbone, one.weights) else "not on this machine (see --weights)"
        table.add_row(f"weights of {one.name}", f"{one.backbone}: {found}")
    console.print(table)
    datasets = Table("dataset", "", box=None, pad_edge=False)
    for entry in registry.describe("datasets"):
        datasets.add_row(entry.name, _where(entry.name))
    console.print()
    console.print(datasets)
    _, why = suite.choose("auto")
    console.print(f"\n{why}", highlight=False, soft_wrap=True)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _devices() -> list[str]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"]


def _where(name: str) -> str:
    cls = registry.load("datasets", name)
    found = cls.available()
    return str(found) if found is not None else f"not found: {cls.how_to_get or cls.url}"
