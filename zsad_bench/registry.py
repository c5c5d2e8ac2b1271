"""Names to classes: the file name is the registration (`methods/dive.py` is `METHOD=dive`).

Listing reads file names and docstrings only, so that it stays free of torch; a class is imported when asked for.
Other packages plug in through the entry-point groups `zsad_bench.methods` and `zsad_bench.datasets`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from zsad_bench.errors import UnknownNameError

Room = Literal["methods", "datasets"]
_PACKAGES = {"methods": "zsad_bench.methods", "datasets": "zsad_bench.data.datasets"}
_NOT_ENTRIES = {"base"}


@dataclass(frozen=True)
class Entry:
    """A registered name. title: as printed; summary: the first line of the file's docstring."""

    name: str
    module: str
    title: str
    summary: str


def names(room: Room) -> list[str]:
    """Sorted names of what is in a room, own files and plug-ins."""
    return sorted(_modules(room))


def describe(room: Room) -> list[Entry]:
    """The entries of a room, sorted by name, read without importing them."""
    return [_read_entry(name, module) for name, module in sorted(_modules(room).items())]


def load(room: Room, name: str) -> type[Any]:
    """The class registered under `name`: the one class defined in the file that carries a `title`.

    Raises:
        UnknownNameError: no such name; the message lists the nearest ones.
    """
    modules = _modules(room)
    if name not in modules:
        raise UnknownNameError(did_you_mean(room.removesuffix("s"), name, modules))
    return _class_of(importlib.import_module(modules[name]))


def did_you_mean(what: str, name: str, known: Iterable[str]) -> str:
    """One line: what was asked, the nearest known names, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} '{name}'; {hint}"


def _modules(room: Room) -> dict[str, str]:
    package = _PACKAGES[room]
    spec = importlib.util.find_spec(package)
    found = {
        info.name: f"{package}.{info.name}"
        for info in pkgutil.iter_modules(spec.submodule_search_locations or [])
        if info.name not in _NOT_ENTRIES and not info.name.startswith("_")
    }
    for name, module in _plugged_in(room, tuple(sys.path)):
        found.setdefault(name, module)
    return found


@cache
def _plugged_in(room: Room, path: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and modules of other packages' entries; looking through all that is installed takes 20 ms."""
    return [(entry.name, entry.module) for entry in entry_points(group=f"zsad_bench.{room}")]


def _class_of(module: ModuleType) -> type[Any]:
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    titled = [c for c in own if "title" in vars(c)]
    if len(titled) != 1:
        raise TypeError(f"{module.__name__}: expected one class with a `title`, found {len(titled)}")
    return titled[0]


def _read_entry(name: str, module: str) -> Entry:
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    titles = (
        node.value.value
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "id", "") == "title"
        and isinstance(node.value, ast.Constant)
    )
    return Entry(name, module, next(titles, name), summary)
