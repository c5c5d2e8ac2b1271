"""Printed numbers of any source beside every measured line of the same method and data; Δ where they may be compared.

The papers' tables (`papers.py`) show the rows of their own protocol. Here rows of every protocol, backbone, image size
and form of a metric stand beside a printed number, each with the difference or with what keeps it from one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zsad_bench import metric_keys
from zsad_bench.leaderboard.tables import grid
from zsad_bench.leaderboard.tables.averaging import SPREAD, Categories, Measured, pools, runs_counted
from zsad_bench.leaderboard.tables.comparability import FORMS, why_not
from zsad_bench.leaderboard.tables.grid import Column, Grid, GridCell
from zsad_bench.leaderboard.tables.papers import TABLES, Numbers
from zsad_bench.leaderboard.tables.published import Facts, Published
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant


class MeasuredLine(NamedTuple):
    """What rows have in common that one printed number is set beside."""

    method: str
    variant: Variant
    prior: str
    backbone: str
    image_size: int
    precision: str
    metric: str

    def described(self, facts: Facts) -> str:
        """In a few words."""
        parts = [facts.title(self.method), str(self.variant), self.prior, self.backbone, f"{self.image_size} px",
                 "" if self.precision == "float32" else self.precision]  # fmt: skip
        return " · ".join(part for part in parts if part and part != "none")


class Comparison(NamedTuple):
    """why_not: why no difference may be shown, "" where it may."""

    published: Published
    line: MeasuredLine
    measured: Measured
    why_not: str

    @property
    def difference(self) -> float | None:
        """Measured minus printed, where the two are comparable."""
        if self.why_not or self.measured.mean is None:
            return None
        return self.measured.mean - self.published.value


def comparisons(published: Iterable[Published], rows: Sequence[Row], facts: Facts) -> list[Comparison]:
    """Each printed number beside each line of rows that it could be meant by, in the order of the printed ones.

    rows: current ones, of any backbone and prior.
    """
    published = list(published)
    means = {name: Numbers(table, published, (), facts) for name, table in TABLES.items()}
    by_line = pools(rows, _line)
    categories = Categories(rows, facts.categories)
    behind: dict[MeasuredLine, list[Row]] = {}
    for row in rows:
        behind.setdefault(_line(row), []).append(row)
    of_method: dict[tuple[str, str], list[MeasuredLine]] = {}
    for line in sorted(behind):
        of_method.setdefault((line.method, line.metric), []).append(line)
    found = []
    for one in published:
        targets = means[one.table].targets(one.metric, one.scope)
        forms = dict.fromkeys((one.metric, FORMS.get(one.metric, one.metric)))
        for line in (line for form in forms for line in of_method.get((one.entry.method, form), ())):
            own = [row for row in behind[line] if row.target in targets]
            if own and one.entry.meant(line.variant):
                measured = by_line[line].mean(targets, categories.of(targets))
                found.append(Comparison(one, line, measured, why_not(one, own, targets, facts, measured)))
    return found


def table(found: Sequence[Comparison], facts: Facts) -> tuple[Grid, list[dict[str, Any]]]:
    """The comparisons as a grid, and their exact numbers as records."""
    columns = [Column(title, words=True) for title in ("data", "metric", "measured on")]
    columns += [Column("printed"), Column("measured"), Column("Δ"), Column("why not", words=True)]
    lines = []
    for one in found:
        p = one.published
        difference = "" if one.difference is None else grid.difference(one.difference)
        words = [facts.title(p.scope), metric_keys.titles()[p.metric], one.line.described(facts)]
        cells = [grid.printed(p.value, bool(p.scored)), grid.cell(one.measured), GridCell(difference)]
        lines.append((_printed_as(p, facts), [*map(GridCell, words), *cells, GridCell(one.why_not)]))
    counted = sum(one.difference is not None for one in found)
    notes = [
        f"Percent. Measured numbers are {SPREAD}; here {runs_counted(one.measured.n_runs for one in found)}.",
        f"Δ, measured minus printed, is shown for {counted} of {len(found)} pairs: those in which protocol, "
        "composition, backbone, image size, fidelity and form of the metric agree. The others say what differs first.",
    ]
    return Grid("Printed numbers beside measured ones", "printed in", columns, lines, notes), [
        _record(one) for one in found
    ]


def _line(row: Row) -> MeasuredLine:
    return MeasuredLine(
        row.method, row.variant, row.prior, row.backbone, row.image_size, row.precision, row.metric
    )  # fmt: skip


def _printed_as(p: Published, facts: Facts) -> str:
    title = TABLES[p.table].title
    hand = ", at second hand" if p.second_hand and "second hand" not in title else ""
    return f"{title}{hand}: {facts.name(p.entry)}"


def _record(one: Comparison) -> dict[str, Any]:
    p = one.published
    return {
        "table": p.table, "source": p.source, "second_hand": p.second_hand, "protocol": p.protocol,
        "printed_scored": p.scored, "line": p.entry.label, "scope": p.scope, "printed_metric": p.metric,
        **one.line._asdict(), **one.measured.record(), "published": p.value, "difference": one.difference,
        "why_not": one.why_not,
    }  # fmt: skip
