"""Compare two leaderboards value by value; exit code 1 if they differ by more than a tolerance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Annotated

from zsad_bench.errors import RowError, UsageError
from zsad_bench.options import Argument, Option
from zsad_bench.printable import say
from zsad_bench.results.compare import Measured, Pair, compare

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Options:
    first: Annotated[str, Argument("FIRST", "a leaderboard, or a folder of row files")]
    second: Annotated[str, Argument("SECOND", "another one")]
    tolerance: Annotated[float, Option("X", "how far apart two values may be, as fractions")] = 1e-6
    shared: Annotated[bool, Option(help="compare what both have; else what one of them lacks is a difference")] = False


def run(options: Options) -> int:
    """Prints how many values both have, the largest difference, and those above the tolerance.

    Raises:
        UsageError: a tolerance below zero. RowError: a folder that cannot be read, or has nothing in common.
    """
    if not options.tolerance >= 0:
        raise UsageError(f"--tolerance {options.tolerance}: expected 0 or more")
    found = compare(options.first, options.second)
    if not found.pairs:
        raise RowError(f"{options.first} and {options.second} have no value in common; compare boards of one recipe")
    apart = found.apart(options.tolerance)
    for pair in apart[:SHOWN]:
        say(_line(pair))
    if len(apart) > SHOWN:
        say(f"… and {len(apart) - SHOWN} more")
    for folder, lacking in ((options.second, found.only_first), (options.first, found.only_second)):
        if lacking:
            say(f"{folder} lacks {len(lacking)} values: {_methods(lacking)}")
    if apart:
        say("method: values above the tolerance, median and largest difference")
        for line in _by_method(found.pairs, options.tolerance):
            say(line)
    largest = found.pairs[0]
    above = f"{len(apart)} above {options.tolerance:g}" if apart else f"none above {options.tolerance:g}"
    say(f"{len(found.pairs)} values in both; the largest difference is {largest.distance:.3g}; {above}")
    different = apart or (not options.shared and (found.only_first or found.only_second))
    return 1 if different else 0


def _line(pair: Pair) -> str:
    first, second = ("undefined" if value is None else f"{value:.9g}" for value in (pair.first, pair.second))
    return f"{pair.what}: {first} and {second}, apart by {pair.distance:.3g}"


def _by_method(pairs: Iterable[Pair], tolerance: float) -> list[str]:
    distances: dict[str, list[float]] = {}
    for pair in pairs:
        distances.setdefault(pair.what.method, []).append(pair.distance)
    return [
        f"{method}: {sum(one > tolerance for one in own)} of {len(own)}, {median(own):.2g}, {max(own):.2g}"
        for method, own in sorted(distances.items())
    ]


def _methods(lacking: Iterable[Measured]) -> str:
    counts = Counter(what.method for what in lacking)
    return ", ".join(f"{method} {n}" for method, n in sorted(counts.items()))
