"""Entry points of other packages: which of them are taken, and one line on each that is not.

An entry point's own name is the name: what is typed, what rows say, what tables are keyed by. Its value is a module
with one class that carries a `title`, or `module:Class`. Nothing is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

_NAME = re.compile(r"[a-z0-9_]+")
_MEANT_OTHERWISE = {
    "all",
    "auto",
    "none",
    "rich",
    "limited",
    "synthetic",
}  # words that stand where a name may


class PlugIn(NamedTuple):
    """An entry point. attribute: the class in the module, "" where it is the one with a title."""

    name: str
    module: str
    attribute: str
    package: str

    @property
    def value(self) -> str:
        return f"{self.module}:{self.attribute}" if self.attribute else self.module

    def __str__(self) -> str:
        return f"entry point '{self.name} = {self.value}' of the package {self.package}"


class Found(NamedTuple):
    """taken: name -> plug-in. left_out: name -> one line that says why, and what to do."""

    taken: dict[str, PlugIn]
    left_out: dict[str, str]


def find(room: str, own: Collection[str]) -> Found:
    """The plug-ins of a room, given the names that zsad_bench itself has there; looking takes some 20 ms."""
    return sort(map(_read, entry_points(group=f"zsad_bench.{room}")), own)


def _read(entry: EntryPoint) -> PlugIn:
    package = entry.dist.name if entry.dist else entry.module.partition(".")[0]
    return PlugIn(entry.name, entry.module, entry.attr or "", package)


def sort(plug_ins: Iterable[PlugIn], own: Collection[str]) -> Found:
    """Which are taken. Of one name never two, of one class never two names, and no name of `own`."""
    found = Found({}, {})
    by_name: dict[str, list[PlugIn]] = {}
    for one in sorted(set(plug_ins)):
        by_name.setdefault(one.name, []).append(one)
    values: dict[str, str] = {}
    for name, several in by_name.items():
        one = several[0]
        if not _NAME.fullmatch(name):
            why = f"{one} is left out: names have lower-case letters, digits and underscores; rename it"
        elif name in own:
            why = f"{one} is left out: zsad_bench has a '{name}' of its own; rename it, or uninstall {one.package}"
        elif name in _MEANT_OTHERWISE:
            why = f"{one} is left out: '{name}' means something else where names are typed; rename it"
        elif len({other.value for other in several}) > 1:
            why = f"{' and '.join(map(str, several))} have one name and are both left out; rename or uninstall one"
        elif one.module.partition(".")[0] == "zsad_bench":
            why = f"{one} is left out: it names a file of zsad_bench; point it to a module of {one.package}"
        elif one.value in values:
            why = f"{one} is left out: '{values[one.value]}' is the same class; give it one name"
        else:
            found.taken[name], values[one.value] = one, name
            continue
        found.left_out[name] = why
    return found
