"""PyTorch, Lightning and open_clip imported without what these import only because it is installed.

On import torchmetrics, which Lightning imports, takes in transformers, matplotlib and scipy.signal where they are
installed; open_clip takes in transformers, and timm, which imports the Hugging Face hub's client and wandb. Nothing of
ours calls what they add there (metrics of texts and of sound, plots of metrics, text towers of transformers and visual
towers of timm inside a CLIP, which our families of backbones refuse, and timm's own log), and half of all seconds until
a program computes went there. So they look as if they were missing while Lightning and open_clip are imported, and are
there again afterwards: whoever needs them imports them as ever.

PyTorch's compiler, `torch._dynamo`, waits until it is needed: by the first step of an optimiser, by the first batch of
a Trainer. A plan needs none of it, and importing it takes more than a second.

Only the program does this (`bench`, `sweep` and its workers). Who imports `zsad_bench` from Python gets the libraries
as they are.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from types import ModuleType, SimpleNamespace
from typing import Any

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
        with _compiler_later():
            with _missing(_OF_METRICS):
                importlib.import_module("lightning")
            with _hidden("timm", "transformers"):
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
def _compiler_later() -> Iterator[None]:
    """In here the compiler is not imported by those who want three names of it alone; any other import is as ever.

    The names are `torch.compiler.disable`, a decorator, `OptimizedModule`, which objects are compared with, and
    `is_compile_supported`, which is called. What stands for them asks the compiler as soon as it is used.
    """
    lazily, compiler = importlib.import_module("torch._compile"), importlib.import_module("torch.compiler")
    if "torch._dynamo" in sys.modules or not hasattr(lazily, "_disable_dynamo"):
        yield
        return
    disable, import_ = compiler.disable, builtins.__import__

    def disable_later(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
        if isinstance(fn, type):
            return disable(fn, recursive, **options)
        return lazily._disable_dynamo(fn, recursive)  # PyTorch's own: it asks when the function is first called

    def import_later(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        standing_in = None if level else _ASKED_LATER.get((name, tuple(fromlist or ())))
        if standing_in is not None and "torch._dynamo" not in sys.modules:
            return standing_in
        return import_(name, globals, locals, fromlist, level)

    try:
        _put(compiler, {"disable": disable_later})
        _put(builtins, {"__import__": import_later})
        yield
    finally:
        _put(builtins, {"__import__": import_})
        _put(compiler, {"disable": disable})


class _OnceCompiled(type):
    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules.get("torch._dynamo")  # nothing is compiled before it is imported
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)


class _Compiled(metaclass=_OnceCompiled):
    """Whatever `torch._dynamo.OptimizedModule` has made."""


def _is_compile_supported(device_type: str) -> bool:
    """What the function of this name in `torch._dynamo.utils` says."""
    ask: Callable[[str], bool] = importlib.import_module("torch._dynamo.utils").is_compile_supported
    return ask(device_type)


# What `from MODULE import NAMES` gets instead of the module, before the compiler is imported.
_ASKED_LATER = {
    ("torch._dynamo", ("OptimizedModule",)): SimpleNamespace(OptimizedModule=_Compiled),
    ("torch._dynamo.utils", ("is_compile_supported",)): SimpleNamespace(is_compile_supported=_is_compile_supported),
}


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
