"""The figures, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass

from zsad_bench.leaderboard.figures.catalogue import FIGURES
from zsad_bench.printable import say


@dataclass(frozen=True, kw_only=True)
class Options:
    """None."""


def run(options: Options) -> int:
    """Prints two lines per figure."""
    for name, entry in FIGURES.items():
        say(f"{name:17} {entry.shows}")
        say(f"{'':17} needs {entry.needs}")
    return 0
