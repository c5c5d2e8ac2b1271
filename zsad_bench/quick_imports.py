"""PyTorch, Lightning and open_clip imported without what these import only because it is installed.

On import torchmetrics, which Lightning imports, takes in transformers, matplotlib and scipy.signal where they are
installed; open_clip takes in transformers, and timm, which it imports, wandb. Nothing of ours calls what they add there
(metrics of texts and of sound, plots of metrics, text towers of transformers, which our families of backbones refuse,
and timm's own log), and half of all seconds until a program computes went there. So they look as if they were missing
while Lightning and open_clip are imported, and are there again afterwards: whoever needs them imports them as ever.

Only the program does this (`bench`, `sweep` and its workers). Who imports `zsad_bench` from Python gets the libraries
as they are.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from types import ModuleType

_OF_METRICS = ("transformers", "matplotlib", "scipy")
_IMPORTED = ("transformers", "matplotlib", "wandb")  # scipy itself is needed; torchmetrics asks before it imports it


def load() -> None:
    """Imports them; nothing happens where they are imported already.

    The garbage collector waits until it is done, and never looks through what was imported: a fifth of the time.
    """
    if "open_clip" in sys.modules and "lightning" in sys.modules:
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module("torch")
        with _missing(_OF_METRICS):
            importlib.import_module("lightning")
        with _hidden("wandb", "transformers"):
            importlib.import_module("open_clip")
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextlib.contextmanager
def _missing(names: tuple[str, ...]) -> Iterator[None]:
    """Packages that torchmetrics takes for not installed, in here; no other version of its checks is touched."""
    checks = importlib.import_module("lightning_utilities.core.imports")
    if "torchmetrics" in sys.modules or not (hasattr(checks, "_version") and hasattr(checks, "package_available")):
        yield
        return
    version, available = checks._version, checks.package_available

    def version_but(name: str) -> str:
        if name in names:
            raise PackageNotFoundError(name)
        found: str = version(name)
        return found

    changed = {"_version": version_but, "package_available": lambda name: name not in names and available(name)}
    try:
        _put(checks, changed)
        with _hidden(*(name for name in names if name in _IMPORTED)):
            yield
    finally:
        _put(checks, {"_version": version, "package_available": available})


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Modules whose import fails in here; those that are imported already stay."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _put(module: ModuleType, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        setattr(module, name, value)
