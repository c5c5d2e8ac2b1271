"""A table as it is shown, the same for leaderboards, the papers' tables, pivots, claims and curves, in every format.

A grid has lines of cells under columns; a cell has its text, its rank, and the number behind both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zsad_bench.leaderboard.tables.averaging import NOTHING, Measured, widest
from zsad_bench.leaderboard.tables.marks import signs

UNDEFINED = "–"
BEST, SECOND = 1, 2


class GridCell(NamedTuple):
    """rank: 1 is bold, 2 underlined, 0 plain. number: what the text says, for ranks and pages; NOTHING for words."""

    text: str = ""
    rank: int = 0
    number: Measured = NOTHING


@dataclass(frozen=True)
class Column:
    """group: columns of one group stay side by side when a table is cut to a width. words: aligned left, and repeated
    on every part of a table that is cut."""

    title: str
    group: str = ""
    words: bool = False


@dataclass(frozen=True)
class Grid:
    """One table. stub: title of the first column. lines: what stands there, and as many cells as there are columns.

    rules: numbers of lines that a rule stands before.
    """

    title: str
    stub: str
    columns: list[Column]
    lines: list[tuple[str, list[GridCell]]]
    notes: list[str] = field(default_factory=list)
    rules: frozenset[int] = frozenset()


def cell(number: Measured, n_datasets: int | None = None, counted: str = " categories") -> GridCell:
    """Percent with one decimal, ± where runs differ, what is missing from the mean, and its signs.

    Missing are datasets of a mean over `n_datasets`, else categories of a dataset ("(2/3 categories)", `counted` after
    the numbers), and runs.
    """
    if number.mean is None:
        return GridCell(UNDEFINED, number=number)
    text = percent(number.mean, number.error)
    if n_datasets is not None and len(number.datasets) < n_datasets:
        text += f" ({len(number.datasets)}/{n_datasets})"
    elif number.n_categories < number.n_expected:
        text += f" ({number.n_categories}/{number.n_expected}{counted})"
    if number.n_runs < number.n_runs_found:
        text += f" ({number.n_runs}/{number.n_runs_found} runs)"
    return GridCell(text + signs(number), number=number)


def printed(value: float | None, transductive: bool = False) -> GridCell:
    """A number that a paper prints. transductive: obtained with the whole test set; it is marked, and not ranked."""
    number = NOTHING._replace(mean=value, transductive=transductive and value is not None)
    return GridCell(percent(value) + signs(number), number=number)


def percent(value: float | None, error: float | None = None) -> str:
    """Percent with one decimal, and the error where there is one."""
    if value is None:
        return UNDEFINED
    return f"{100 * value:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def difference(value: float) -> str:
    """A difference in percentage points with its sign; a true minus sign, no minus zero."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else signed(text)


def signed(text: str) -> str:
    """With a true minus sign."""
    return text.replace("-", "−")


def ranked(cells: Sequence[GridCell]) -> list[GridCell]:
    """The cells with the ranks of their numbers among those that cover the most categories, and the same ones."""
    places = widest(one.number.places for one in cells)
    values = [one.number.mean if one.number.ranked and one.number.places == places else None for one in cells]
    return [one._replace(rank=rank) for one, rank in zip(cells, ranks(values), strict=True)]


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


def title_of(name: str, *titles: Mapping[str, str]) -> str:
    """A name as printed, by the first that has it; of a user's own data ("folder:my parts") their name and kind."""
    kind, _, own = name.partition(":")
    return next((of[name] for of in titles if of.get(name)), f"{own} ({kind})" if own else name)
