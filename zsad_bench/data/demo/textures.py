"""The texture classes of the demo suite by name; all are full-frame surfaces."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from zsad_bench.data.demo import textures_natural as natural
from zsad_bench.data.demo import textures_regular as regular
from zsad_bench.data.demo.canvas import Scene

TEXTURES: dict[str, Callable[[Generator], Scene]] = {
    "woven": regular.woven,
    "wood": natural.wood,
    "grid": regular.grid,
    "marble": natural.marble,
    "concrete": natural.concrete,
    "paper": natural.paper,
    "tile": regular.tile,
    "corrugated": regular.corrugated,
    "knit": regular.knit,
    "brick": regular.brick,
    "blotchy": natural.blotchy,
    "leather": natural.leather,
    "mesh": regular.mesh,
    "linen": regular.linen,
    "gravel": natural.gravel,
    "perforated": regular.perforated,
    "terrazzo": natural.terrazzo,
    "carpet": regular.carpet,
}
