"""The classes of the demo suite: what each is called, which split it belongs to and what can be wrong with it.

No class is in two splits. Crack, bent, bump, burn and tumor are never seen before the targets; thread only by the
auxiliary and held-back classes. A test enforces both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["textures", "objects", "medical"]
Split = Literal["pretraining", "auxiliary", "heldback", "target"]


@dataclass(frozen=True)
class DemoClass:
    """One class. prompt_name: as prompts and captions say it."""

    name: str
    group: Group
    split: Split
    defects: tuple[str, ...]
    prompt_name: str


_SURFACE = "hole scratch stain discoloration cut contamination scramble"
_FULL = "hole scratch stain discoloration missing cut contamination scramble"
_AUXILIARY = "hole scratch stain discoloration missing cut thread"

# name (= renderer), prompt name, defects
_TABLE: dict[tuple[Group, Split], tuple[tuple[str, str, str], ...]] = {
    ("textures", "pretraining"): (
        ("woven", "woven fabric", _FULL),
        ("wood", "wood", _SURFACE),
        ("grid", "grid", _FULL),
        ("marble", "marble", _SURFACE),
        ("concrete", "concrete", _SURFACE),
        ("paper", "paper", _FULL),
        ("tile", "tile", _FULL),
        ("corrugated", "corrugated sheet", _FULL),
        ("knit", "knitted fabric", _FULL),
        ("brick", "brick wall", _FULL),
        ("blotchy", "blotchy surface", _SURFACE),
    ),
    ("objects", "pretraining"): (
        ("bolt", "bolt", "scratch stain discoloration missing cut contamination"),
        ("pill", "pill", _FULL),
        ("washer", "washer", "scratch stain discoloration missing cut contamination"),
        ("coin", "coin", _FULL),
        ("button", "button", _FULL),
        ("cookie", "cookie", _FULL),
        ("gear", "gear", "hole scratch stain discoloration missing contamination scramble"),
        ("candle", "candle", "hole scratch stain discoloration missing cut contamination"),
        ("blob", "thing", _FULL),
    ),
    ("medical", "pretraining"): (
        ("liver", "liver", "lesion stain"),
        ("kidney", "kidney", "lesion stain"),
        ("skin", "skin", "lesion scratch discoloration stain"),
    ),
    ("textures", "auxiliary"): (
        ("leather", "leather", _AUXILIARY),
        ("mesh", "mesh", _AUXILIARY),
    ),
    ("objects", "auxiliary"): (
        ("capsule", "capsule", _AUXILIARY),
        ("nut", "metal nut", "scratch stain discoloration missing cut thread"),
        ("chip", "chip", _AUXILIARY),
    ),
    ("medical", "auxiliary"): (("retina", "retina", "lesion stain discoloration"),),
    ("textures", "heldback"): (
        ("linen", "linen", _AUXILIARY),
        ("gravel", "gravel", "hole stain discoloration thread"),
    ),
    ("objects", "heldback"): (
        ("gasket", "gasket", "scratch stain discoloration missing cut thread"),
        ("cracker", "cracker", _AUXILIARY),
    ),
    ("medical", "heldback"): (("lung", "lung", "lesion stain"),),
    ("textures", "target"): (
        ("perforated", "perforated plate", "crack bump scratch stain missing thread"),
        ("terrazzo", "terrazzo", "crack hole stain burn"),
        ("carpet", "carpet", "hole stain thread burn missing"),
    ),
    ("objects", "target"): (
        ("bottle", "bottle", "crack missing stain scratch"),
        ("screw", "screw", "bent missing scratch stain"),
        ("key", "key", "bent missing scratch crack"),
        ("hazelnut", "hazelnut", "crack hole missing bump burn"),
        ("cable", "cable", "bent missing hole burn"),
    ),
    ("medical", "target"): (
        ("brain", "brain", "tumor lesion"),
        ("colon", "colon", "tumor lesion bump"),
        ("cell", "cell", "tumor lesion stain"),
    ),
}

CLASSES: dict[str, DemoClass] = {
    name: DemoClass(name, group, split, tuple(defects.split()), prompt_name)
    for (group, split), rows in _TABLE.items()
    for name, prompt_name, defects in rows
}
