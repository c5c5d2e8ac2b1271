"""Names to classes: the file name is the registration (`methods/dive.py` is `METHOD=dive`).

Listing reads file names and docstrings only, so that it stays free of torch; a class is imported when asked for.
Other packages plug in through the entry-point groups `zsad_bench.methods`, `zsad_bench.datasets` and
`zsad_bench.backbones` (`plugins.py`).
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NoReturn

from zsad_bench import plugins
from zsad_bench.errors import RegistrationError, UnknownNameError, ZsadError
from zsad_bench.plugins import PlugIn
from zsad_bench.printable import say

Room = Literal["methods", "datasets", "backbones"]
_PACKAGES = {
    "methods": "zsad_bench.methods",
    "datasets": "zsad_bench.data.datasets",
    "backbones": "zsad_bench.backbones.families",
}
# These distinguish a method, a dataset and a family of backbones from each other and from anything else.
_HOOKS = {"methods": "score", "datasets": "index", "backbones": "architecture"}
_BASES = {"methods": "ZeroShotMethod", "datasets": "ZeroShotDataModule", "backbones": "BackboneFamily"}
_NOT_ENTRIES = {"base"}
_OURS = "zsad_bench"


@dataclass(frozen=True)
class Entry:
    """A registered name. title: as printed; summary: the first line of the file's docstring."""

    name: str
    module: str
    title: str
    summary: str


def names(room: Room) -> list[str]:
    """Sorted names of what is in a room, own files and plug-ins."""
    return sorted(_places(room))


def describe(room: Room) -> list[Entry]:
    """The entries of a room, sorted by name, read without importing them; the summary of an unreadable one says so."""
    return [_read_entry(place) for _, place in sorted(_places(room).items())]


def load(room: Room, name: str) -> type[Any]:
    """The class registered under `name`, which it then carries: the one class of the file that has a `title`.

    Raises:
        UnknownNameError: no such name; the message lists the nearest ones.
        RegistrationError: it cannot be imported, is not one class, or its entry point is left out; names the package.
    """
    places = _places(room)
    if name not in places:
        if why := _plugged_in(room, tuple(sys.path)).left_out.get(name):
            raise RegistrationError(why)
        raise UnknownNameError(did_you_mean(room.removesuffix("s"), name, places))
    return _load(room, places[name])


def classes(room: Room) -> dict[str, type[Any]]:
    """Name -> class of every entry that can be loaded, by name; standard error reports each other one, once."""
    loaded = {}
    for name in names(room):
        try:
            loaded[name] = load(room, name)
        except ZsadError as error:
            _say(str(error))
    return loaded


def did_you_mean(what: str, name: str, known: Iterable[str]) -> str:
    """One line: what was asked, the nearest known names, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} '{name}'; {hint}"


def _places(room: Room) -> Mapping[str, PlugIn]:
    """Name -> where its class is. A plan asks ten thousand times, so what was found is kept until a folder changes."""
    found = _plugged_in(room, tuple(sys.path))
    for why in found.left_out.values():
        _say(why)
    folders = _folders(room)
    return _merged(room, tuple(sys.path), folders, tuple(Path(folder).stat().st_mtime_ns for folder in folders))


@cache
def _merged(room: Room, path: tuple[str, ...], folders: tuple[str, ...], changed: tuple[int, ...]) -> dict[str, PlugIn]:
    ours = {name: PlugIn(name, f"{_PACKAGES[room]}.{name}", "", _OURS) for name in _own(room)}
    return _plugged_in(room, path).taken | ours


def _own(room: Room) -> set[str]:
    files = {info.name for info in pkgutil.iter_modules(_folders(room))}
    return {name for name in files - _NOT_ENTRIES if not name.startswith("_")}


def _folders(room: Room) -> tuple[str, ...]:
    spec = importlib.util.find_spec(_PACKAGES[room])
    return tuple(spec.submodule_search_locations or ()) if spec else ()


@cache
def _plugged_in(room: Room, path: tuple[str, ...]) -> plugins.Found:
    return plugins.find(room, _own(room))


@cache
def _say(line: str) -> None:
    """Once per process: every command lists names again and again."""
    say(f"zsad-bench: {line}", error=True)


def _load(room: Room, place: PlugIn) -> type[Any]:
    try:
        module = importlib.import_module(place.module)
    except (Exception, SystemExit) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        _refuse(place, f"fails at import ({said})", error)
    try:
        cls = attrgetter(place.attribute)(module) if place.attribute else _titled(module, place)
    except AttributeError as error:
        _refuse(place, f"names a class that is not there ({error})", error)
    registered: type[Any] = cls
    if not (isinstance(cls, type) and hasattr(cls, "title") and hasattr(cls, _HOOKS[room])):
        what = f"expected a subclass of {_BASES[room]} with a `title`, found {cls!r}"
        _refuse(place, f"is not a {room.removesuffix('s')}: {what}")
    if place.package != _OURS:
        other = _names_of.setdefault(registered, place.name)
        if other != place.name:
            _refuse(place, f"is the class of '{other}' as well; give it one name")
        registered.name = place.name
    return registered


_names_of: dict[type[Any], str] = {}  # classes of plug-ins that were loaded


def _titled(module: Any, place: PlugIn) -> type[Any]:
    classes_here = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    titled = [c for c in dict.fromkeys(classes_here) if "title" in vars(c)]
    if len(titled) != 1:
        several = f"; name one of {', '.join(c.__name__ for c in titled)} behind a colon" if titled else ""
        hint = several if place.package != _OURS else ""
        _refuse(place, f"has {len(titled)} classes with a `title`, expected one{hint}")
    return titled[0]


def _refuse(place: PlugIn, why: str, error: BaseException | None = None) -> NoReturn:
    if place.package == _OURS:
        spec = _spec(place.module)
        raise RegistrationError(f"{place.name} ({spec.origin if spec else place.module}) {why}") from error
    raise RegistrationError(f"{place} {why}; fix or uninstall {place.package}") from error


def _read_entry(place: PlugIn) -> Entry:
    try:
        spec = _spec(place.module)
        if spec is None or spec.origin is None:
            raise ImportError("there is no such file")
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, ImportError) as error:
        what = f"{place.module} cannot be read ({' '.join(str(error).split())})"
        return Entry(place.name, place.module, place.name, what)
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    titles = (
        node.value.value
        for cls in tree.body
        if isinstance(cls, ast.ClassDef) and place.attribute in ("", cls.name)
        for node in cls.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and getattr(node.targets[0] if isinstance(node, ast.Assign) else node.target, "id", "") == "title"
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
    return Entry(place.name, place.module, next(titles, place.name), summary)


def _spec(module: str) -> ModuleSpec | None:
    """The spec of a module. Unlike `importlib.util.find_spec`, this does not import the packages around it."""
    top, *inner = module.split(".")
    spec, name = importlib.util.find_spec(top), top
    for part in inner:
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec else None
    return spec
