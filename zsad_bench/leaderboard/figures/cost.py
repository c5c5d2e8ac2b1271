"""What a method costs, as far as rows can tell.

Rows say what encoding took, which methods share, and what a method took by itself: alone it would take both. Rows of
schema 1 say neither. Their seconds are those of a pass, and a pass tests all methods that share an encoder; rows of one
pass have the same seconds to the last bit. A method whose seconds no other cell has was tested alone, and its cost is
known; of the others only the most that it can be.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.figures.style import Mark, is_plain, label
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Place = tuple[str, str]  # a dataset and its category


class Cost(NamedTuple):
    """seconds: per image. known: whether they are of this method alone; else it can take less.

    measured: whether they are of encoding and scoring, else of whole passes. memory: MB, the peak of a pass (in rows of
    schema 1 of the process by then), other methods included; or None. shared_by: cells of the fullest pass.
    trained: parameters that it trains, the most of its configurations; 0: it learns nothing; None: no row says so.
    """

    method: str
    name: str
    seconds: float
    known: bool
    measured: bool
    memory: float | None
    shared_by: int
    trained: int | None


@dataclass(frozen=True)
class Costs:
    """methods: by name. device: that they were measured on."""

    methods: Sequence[Cost]
    device: str

    def caption(self) -> str:
        """The sentences of a caption on seconds."""
        passes = [cost for cost in self.methods if not cost.measured]
        sentence = f"Seconds are of encoding and scoring images, without reading them or training, on {self.device}."
        if len(passes) == len(self.methods):
            sentence = f"Seconds are of testing and reading images, without training, on {self.device}."
        elif passes:
            sentence += f" Those of {', '.join(cost.name for cost in passes)} are of reading images too."
        shared = [cost.shared_by for cost in self.methods if not cost.known]
        if not shared:
            return sentence
        alone = "measured by itself or tested alone" if len(passes) < len(self.methods) else "tested alone"
        return (
            f"{sentence} Filled marks: {alone}. Open marks with an arrow: at most that, for up to {max(shared)} cells "
            "were tested in one pass and share its time."
        )


def costs(rows: Iterable[Row], facts: Facts) -> Costs:
    """The cost of each method as it is, over the categories that all of them were tested on.

    Of several devices the one that has the most methods, then the most rows.

    Raises:
        RowError: no rows of a method other than sanity methods, or no category that all were tested on.
    """
    rows = list(rows)
    passes: dict[tuple, set[str]] = defaultdict(set)
    for row in rows:
        passes[_pass(row)].add(row.key)
    plain = [row for row in rows if row.backbone != "none" and is_plain(row.variant)]
    if not plain:
        raise RowError(f"none of {len(rows)} rows says what a method costs; run `zsad-bench bench`")
    counts = Counter(row.device for row in plain)
    methods = Counter(device for device, _ in {(row.device, row.method) for row in plain})
    device = max(counts, key=lambda name: (methods[name], counts[name], name))
    by_method: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in plain:
        if row.device == device:
            by_method[row.method, label(row.method, row.variant, facts)].append(row)
    common = set.intersection(*({(row.target, row.category) for row in own} for own in by_method.values()))
    if not common:
        names = ", ".join(name for _, name in by_method)
        raise RowError(f"no category that all of {names} were tested on; choose fewer with --method")
    known = [_cost(*names, own, common, passes) for names, own in by_method.items()]
    return Costs(sorted(known, key=lambda cost: cost.name.casefold()), device)


def _pass(row: Row) -> tuple:
    return row.target, row.category, row.seconds if row.pass_id is None else row.pass_id


def _cost(
    method: str,
    name: str,
    rows: Sequence[Row],
    categories: Collection[Place],
    passes: Mapping[tuple, set[str]],
) -> Cost:
    rows = [row for row in rows if (row.target, row.category) in categories]
    trained = max((row.trained_parameters for row in rows if row.trained_parameters is not None), default=None)
    measured: dict[Place, list[float]] = defaultdict(list)
    for row in rows:
        if row.seconds_encode is not None and row.seconds_score is not None:
            measured[row.target, row.category].append((row.seconds_encode + row.seconds_score) / row.n_images)
    if measured.keys() == set(categories):
        own = [row for row in rows if row.seconds_score is not None]
        return Cost(method, name, _mean_of_fastest(measured), True, True, _memory(own), 1, trained)
    shared = {_pass(row): len(passes[_pass(row)]) for row in rows}
    alone = [row for row in rows if shared[_pass(row)] == 1]
    if {(row.target, row.category) for row in alone} != set(categories):
        alone = []  # of some categories it has shared passes only
    by_category: dict[Place, list[float]] = defaultdict(list)
    for row in alone or rows:
        by_category[row.target, row.category].append(row.seconds / (row.n_images + row.n_skipped))
    seconds, memory = _mean_of_fastest(by_category), _memory(alone or rows)
    return Cost(method, name, seconds, bool(alone), False, memory, max(shared.values()), trained)


def _mean_of_fastest(by_category: Mapping[Place, Sequence[float]]) -> float:
    """The mean over categories of the fastest pass of each: what else the machine did only adds."""
    return math.fsum(min(seconds) for seconds in by_category.values()) / len(by_category)


def _memory(rows: Iterable[Row]) -> float | None:
    return min((row.peak_memory_mb for row in rows if row.peak_memory_mb is not None), default=None)


def mark(panel: Axes, cost: Cost, x: float, y: float, look: Mark) -> None:
    """Draws a cost at a place: filled where it is known, open with an arrow to the left where it is an upper bound."""
    face = look.colour if cost.known else "none"
    panel.plot(x, y, linestyle="none", marker=look.marker, color=look.colour, markerfacecolor=face, zorder=3)
    if not cost.known:
        arrow = {"arrowstyle": "<-", "color": look.colour, "shrinkA": 0, "shrinkB": 4, "linewidth": 1}
        panel.annotate("", (x, y), (-18, 0), textcoords="offset points", arrowprops=arrow)


def _short(value: float) -> str:
    """A number as an axis over several decades has room for: 0.05, 20, 10k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:,.12g}{letter}"
    return f"{value:.12g}"


def log_axis(panel: Axes, values: Sequence[float]) -> None:
    """A log x axis around these values, of a decade at least, with plain numbers that do not collide."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(values) / 2.2, max(values) * 1.8
    short = max(0.0, 1 - math.log10(high / low)) / 2
    low, high = low / 10**short, high * 10**short
    panel.set(xscale="log", xlim=(low, high))
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    panel.xaxis.set_minor_locator(NullLocator())
