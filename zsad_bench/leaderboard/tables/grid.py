"""A table as it is shown: text with marks, the same for Markdown, LaTeX, CSV and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zsad_bench.leaderboard.tables.averaging import Measured
from zsad_bench.leaderboard.tables.partial import MARK

UNDEFINED = "–"
BEST, SECOND = 1, 2


class Shown(NamedTuple):
    """A cell. rank: 1 is bold, 2 underlined, 0 plain."""

    text: str = ""
    rank: int = 0


@dataclass(frozen=True)
class Column:
    """title: of the column. group: columns of one group stay side by side when a table is cut to a width."""

    title: str
    group: str = ""


@dataclass(frozen=True)
class Grid:
    """One table. stub: title of the first column. rules: numbers of lines that a rule stands before."""

    title: str
    stub: str
    columns: list[Column]
    lines: list[tuple[str, list[Shown]]]
    notes: list[str] = field(default_factory=list)
    rules: frozenset[int] = frozenset()


def percent(value: float | None, sd: float | None = None, pm: str = " ± ") -> str:
    """Percent with one decimal, and the standard deviation where runs differ."""
    if value is None:
        return UNDEFINED
    return f"{100 * value:.1f}" + (f"{pm}{100 * sd:.1f}" if sd is not None and sd > 1e-12 else "")


def measured(cell: Measured, n_datasets: int | None = None) -> str:
    """A measured mean with what is missing from it: datasets of a mean, categories of a dataset, runs, or images."""
    if cell.mean is None:
        return UNDEFINED
    text = percent(cell.mean, cell.sd)
    if n_datasets is not None and len(cell.datasets) < n_datasets:
        text += f" ({len(cell.datasets)}/{n_datasets})"
    elif cell.n_categories < cell.n_expected:
        text += f" ({cell.n_categories}/{cell.n_expected} categories)"
    if cell.n_runs < cell.n_runs_found:
        text += f" ({cell.n_runs}/{cell.n_runs_found} runs)"
    return text + (MARK if cell.parts else "")


def difference(value: float) -> str:
    """A difference in percentage points with its sign; a true minus sign, no minus zero."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def ranks(values: Sequence[float | None]) -> list[int]:
    """1 for the highest, 2 for the second highest, as printed with one decimal, ties alike; 0 for the rest.

    None does not take part, and a lone value is not the best of anything.
    """
    shown = [None if value is None else round(100 * value, 1) for value in values]
    top = sorted({value for value in shown if value is not None}, reverse=True)
    if sum(value is not None for value in shown) < 2:
        return [0] * len(shown)
    best, second = top[0], top[1] if len(top) > 1 else None
    return [BEST if v is not None and v == best else SECOND if v is not None and v == second else 0 for v in shown]
