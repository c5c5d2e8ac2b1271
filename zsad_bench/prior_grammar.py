"""The items of a prior's name (`types=5`, `shots=16`, …): what they say, and how they are spelt. See data/prior.py.

And the rank by which everything is drawn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from zsad_bench import path_lists, registry
from zsad_bench.errors import UnknownNameError, UsageError

CATCH_ALL = ("combined", "other", "defective", "anomalous", "bad")  # types that say only that something is wrong
Unit = Literal["pair", "name"]


@dataclass(frozen=True)
class Part:
    """Which images of one auxiliary dataset's test split are used; the defaults use all of them.

    synthetic: instead, its normal images and as many with generated anomalies (`data/synthetic.py`). types: how many
    kinds of anomaly; unit: what a kind is. shots: how many anomalous images. normals: "all", "matched" (to the
    categories that keep an anomalous image), or how many. listed: sample ids, of a manifest. place: where own data
    lies; `dataset` is then what rows call it.
    """

    dataset: str
    synthetic: bool = False
    textures: bool = False
    types: int | None = None
    unit: Unit = "pair"
    exclude_catch_all: bool = False
    shots: int | None = None
    normals: Literal["all", "matched"] | int = "all"
    draw: int = 0
    listed: tuple[str, ...] | None = None
    place: str = ""

    @property
    def asked(self) -> str:
        """What opens the dataset: its registry name, of own data with the path behind it."""
        return f"{self.dataset.partition(':')[0]}:{self.place}" if self.place else self.dataset


def rank_of(kind: str, draw: int, item: str) -> str:
    """The sha256 of `kind|draw|item`, 64 hex digits: what is drawn first has the least, and fewer are part of more."""
    return hashlib.sha256(f"{kind}|{draw}|{item}".encode(errors="surrogateescape")).hexdigest()


def parts_of(name: str) -> tuple[Part, ...]:
    """The parts of a prior's name as rows hold it; `dataset` is the name before the items, also of a named prior.

    Raises:
        UnknownNameError, UsageError: an unknown item, or a value that does not fit.
    """
    parts = []
    for base, *items in path_lists.parts_of_name(name):
        part = Part(base)
        for item in items:
            part = with_item(part, item, name)
        parts.append(part)
    return tuple(parts)


def with_item(part: Part, item: str, spec: str) -> Part:
    """The part with one more item; spec: what was asked as a whole, for the message.

    Raises:
        UnknownNameError, UsageError: as `parts_of`.
    """
    key, sign, value = item.partition("=")
    change: dict[str, Any] = {}  # of the one field that the item names
    if key in ("synthetic", "textures", "exclude_catch_all") and not sign:
        change[key] = True
    if (key == "unit" and value in get_args(Unit)) or (key == "normals" and value in ("all", "matched")):
        change[key] = value
    least = 0 if key in ("normals", "draw") else 1
    is_number = key in ("types", "shots", "normals", "draw") and bool(sign)
    if is_number and value.isascii() and value.isdigit() and int(value) >= least:
        change[key] = int(value)
    if change:
        return replace(part, **change)
    if is_number:
        also = " or all, matched" if key == "normals" else ""
        raise UsageError(f"prior '{spec}': {item} does not fit; expected a whole number from {least}{also}")
    if key == "unit" and sign:
        raise UsageError(f"prior '{spec}': {item} does not fit; expected one of {', '.join(get_args(Unit))}")
    items = ("synthetic", "textures", "types=K", "unit=pair|name", "exclude_catch_all", "shots=N",
             "normals=all|matched|M", "draw=S")  # fmt: skip
    raise UnknownNameError(f"prior '{spec}': {registry.did_you_mean('item', item, items)}")


def spell(part: Part) -> list[str]:
    """The items of a part in one order, without defaults and without the draw."""
    items = ["synthetic"] * part.synthetic + ["textures"] * part.textures
    if part.types is not None:
        items += [f"types={part.types}"] + [f"unit={part.unit}"] * (part.unit != "pair")
        items += ["exclude_catch_all"] * part.exclude_catch_all
    if part.shots is not None:
        items.append(f"shots={part.shots}")
    return items + [f"normals={part.normals}"] * (part.normals != "all")
