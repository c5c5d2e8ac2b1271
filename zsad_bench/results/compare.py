"""Two folders of rows, value by value: whether the same things were measured, and how far the numbers are apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant


class Measured(NamedTuple):
    """What a number is of, whatever version of code, data hash or machine it came from."""

    method: str
    variant: Variant
    prior: str
    auxiliary: str
    draw: int
    seed: int
    target: str
    category: str
    metric: str
    image_size: int
    data_options: str
    target_partial: str
    auxiliary_partial: str

    @classmethod
    def of(cls, row: Row) -> Measured:
        return cls(*(getattr(row, name) for name in cls._fields))

    def __str__(self) -> str:
        variant = f" ({self.variant})" if self.variant else ""
        trained = "" if self.prior == "none" else f", {self.prior}, draw {self.draw}, seed {self.seed}"
        return f"{self.metric} of {self.method}{variant} on {self.target}/{self.category}{trained}"


class Pair(NamedTuple):
    """Two values of one thing; None is undefined."""

    what: Measured
    first: float | None
    second: float | None

    @property
    def distance(self) -> float:
        """How far apart they are: infinite where only one of them is undefined."""
        if self.first is None or self.second is None:
            return 0.0 if self.first is self.second else float("inf")
        return abs(self.first - self.second)


@dataclass(frozen=True)
class Comparison:
    """pairs: what both folders have, furthest apart first. only_first, only_second: what one of them lacks."""

    pairs: list[Pair]
    only_first: list[Measured]
    only_second: list[Measured]

    def apart(self, tolerance: float) -> list[Pair]:
        """Pairs that are further apart than this."""
        return [pair for pair in self.pairs if pair.distance > tolerance]


def compare(first: str | Path, second: str | Path) -> Comparison:
    """The rows that two leaderboards (or folders of row files) share. Memory: O(rows).

    Raises:
        RowError: no such folder, a bad line, two values for one key, or several rows of one thing (of two versions).
    """
    of_first, of_second = _standing(first), _standing(second)
    pairs = [Pair(what, of_first[what], of_second[what]) for what in of_first.keys() & of_second.keys()]
    return Comparison(
        sorted(pairs, key=lambda pair: (-pair.distance, pair.what)),
        sorted(of_first.keys() - of_second.keys()),
        sorted(of_second.keys() - of_first.keys()),
    )


def _standing(folder: str | Path) -> dict[Measured, float | None]:
    folder = Path(folder)
    current = store.current(store.load(folder / "rows" if (folder / "rows").is_dir() else folder))
    if current.conflicts:
        raise RowError(f"{folder}: {current.conflicts[0]}")
    return _by_measured(current.rows, folder)


def _by_measured(rows: Iterable[Row], folder: Path) -> dict[Measured, float | None]:
    values: dict[Measured, float | None] = {}
    for row in rows:
        what = Measured.of(row)
        if what in values:
            raise RowError(f"{folder}: several rows of {what}, of other data, weights or versions; keep one of them")
        values[what] = row.value
    return values
