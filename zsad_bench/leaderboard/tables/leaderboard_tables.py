"""What a leaderboard shows: tables built from rows, the same for Markdown, CSV and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zsad_bench import metric_keys
from zsad_bench.leaderboard.tables.partial import MARK, Partial, note, union
from zsad_bench.leaderboard.tables.summary import LINE, Summary, comparable, summarise
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

COLUMNS = metric_keys.columns()  # every metric of the rows is in the CSV files
UNDEFINED = "–"


@dataclass(frozen=True)
class Board:
    """How rows become a leaderboard.

    command: what regenerates it. groups: target -> title, averaged into an overall table; every other target stands
    in a table of its own and in no mean. titles: method and other target names as printed. note, apart_note: the line
    under every table of the groups, and of the others; apart_notes: target, or what stands before its colon -> another
    line than that. footnotes: target -> a sentence under each table it is in. metric_notes: metric -> what must stand
    beside its column. sanity: methods at the bottom of each table, marked.
    """

    suite: str
    command: str
    groups: Mapping[str, str]
    titles: Mapping[str, str]
    note: str
    apart_note: str
    apart_notes: Mapping[str, str] = field(default_factory=dict)
    footnotes: Mapping[str, str] = field(default_factory=dict)
    metric_notes: Mapping[str, str] = field(default_factory=dict)
    sanity: tuple[str, ...] = ("center_prior", "random")

    def title(self, name: str) -> str:
        """As printed; of a user's own data ("folder:my parts") their name and what they are."""
        kind, _, own = name.partition(":")
        return self.groups.get(name) or self.titles.get(name) or (f"{own} ({kind})" if own else name)

    def note_of(self, targets: Sequence[str]) -> str:
        """The lines under a table of these targets."""
        kind = targets[0].partition(":")[0]
        own = self.apart_notes.get(targets[0], self.apart_notes.get(kind, self.apart_note))
        first = self.note if set(targets) <= self.groups.keys() else own
        return " ".join([first, *(self.footnotes[target] for target in targets if target in self.footnotes)])


class Cell(NamedTuple):
    """One number of a table in [0, 1] or None, and what it averaged. best: the highest of its column.

    parts: what of the data behind it is not whole; such a number is marked, and never the best.
    """

    mean: float | None = None
    se: float | None = None
    n_runs: int = 0
    n_runs_found: int = 0
    n_categories: int = 0
    n_expected: int = 0
    best: bool = False
    parts: tuple[Partial, ...] = ()

    @property
    def spreads(self) -> bool:
        """Whether runs differ in the number, beyond the rounding of a mean of equal numbers."""
        return self.se is not None and self.se > 1e-12

    def text(self, pm: str = " ± ", gap: str = " ") -> str:
        """Percent with one decimal, the standard error where runs differ, and what is missing from the mean."""
        if self.mean is None:
            return UNDEFINED
        shown = f"{100 * self.mean:.1f}" + (f"{pm}{100 * self.se:.1f}" if self.spreads else "")
        if self.n_categories < self.n_expected:
            shown += f"{gap}({self.n_categories}/{self.n_expected})"
        if self.n_runs < self.n_runs_found:
            shown += f"{gap}({self.n_runs}/{self.n_runs_found} runs)"
        return shown + (MARK if self.parts else "")


@dataclass(frozen=True)
class Line:
    """One method under one prior. key: its `LINE` values. extra: what else tells it from the other lines."""

    key: tuple
    title: str
    prior: str
    extra: tuple[str, ...]
    n_runs: int
    sanity: bool
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Table:
    """name: of its CSV file. columns: metric keys that its rows have. extras: headers of `Line.extra`.

    partial: what is said of its marked numbers.
    """

    name: str
    title: str
    caption: str
    note: str
    n_categories: int
    columns: list[str]
    extras: list[str]
    lines: list[Line]
    summary: list[Summary]
    partial: str = ""


@dataclass(frozen=True)
class Report:
    """The tables, what was kept out of them and why, and the rows they stand on. ahead: of rows from the future."""

    board: Board
    tables: list[Table]
    rows: list[Row]
    n_rows_read: int
    conflicts: list[store.Conflict]
    left_out: list[str]
    undefined: list[str]
    ahead: list[str] = field(default_factory=list)


def build(rows: Iterable[Row], board: Board, torn: Sequence[store.Torn] = ()) -> Report:
    """The overall table, one a group, then one a target that stands apart; only those that have rows.

    torn: lines of the row files that could not be read; they are told among what was left out.
    """
    read = list(rows)
    found = store.current(read)
    kept, left_out = comparable(found.with_gaps())
    present = {row.target for row in kept}
    groups = [target for target in board.groups if target in present]
    apart = sorted(present - set(groups), key=lambda name: (board.title(name).casefold(), name))
    tables = [_table(kept, "overall", "Overall", groups, board)] if len(groups) > 1 else []
    tables += [_table(kept, name, board.title(name), [name], board) for name in (*groups, *apart)]
    left_out += [one.told(one.path.name) for one in torn]
    conflicts, undefined = sorted(found.conflicts, key=str), _undefined(kept, board)
    return Report(board, tables, kept, len(read), conflicts, left_out, undefined, store.ahead(read))


def _table(rows: Sequence[Row], name: str, title: str, targets: Sequence[str], board: Board) -> Table:
    rows = [row for row in rows if row.target in targets]
    summary = summarise(rows, targets)
    columns = [metric for metric in COLUMNS if any(line.metric == metric for line in summary)]
    cells = _cells(summary)
    used = {field: {row_value for row in rows if (row_value := getattr(row, field)) not in ("", "none")}
            for field in LINE[3:]}  # fmt: skip
    extras = [field for field, values in used.items() if len(values) > 1]
    keys = sorted({key[:-1] for key in cells}, key=lambda key: _order(dict(zip(LINE, key, strict=True)), board))
    lines = []
    for key in keys:
        of = dict(zip(LINE, key, strict=True))
        own = {metric: cells.get((*key, metric), Cell()) for metric in columns}
        lines.append(
            Line(
                key=key,
                title=board.title(of["method"]) + (f" ({of['variant']})" if of["variant"] else ""),
                prior=of["prior"],
                extra=tuple(str(of[field]) for field in extras),
                n_runs=max((cell.n_runs_found for cell in own.values()), default=0),
                sanity=of["method"] in board.sanity,
                cells=own,
            )
        )
    extras = [field.replace("_", " ") for field in extras]
    return Table(
        name=name,
        title=title,
        caption=_caption(rows, targets, board),
        note=board.note_of(targets),
        n_categories=len({(row.target, row.category) for row in rows}),
        columns=columns,
        extras=extras,
        lines=lines,
        summary=summary,
        partial=_partial(lines, board),
    )


def _cells(summary: Sequence[Summary]) -> dict[tuple, Cell]:
    """LINE values and metric -> Cell. The best is taken among the means that cover the most, when there are two."""
    most: dict[str, int] = {}
    for line in summary:
        most[line.metric] = max(most.get(line.metric, 0), line.n_categories)
    full: dict[str, list[float]] = {}
    for line in summary:
        if line.mean is not None and line.n_categories == most[line.metric] and not line.parts:
            full.setdefault(line.metric, []).append(round(100 * line.mean, 1))
    cells = {}
    for line in summary:
        ranked = full.get(line.metric, [])
        whole = line.mean is not None and line.n_categories == most[line.metric] and not line.parts
        cells[line[: len(LINE) + 1]] = Cell(
            mean=line.mean,
            se=line.se,
            n_runs=line.n_runs,
            n_runs_found=line.n_runs_found,
            n_categories=line.n_categories,
            n_expected=line.n_categories_expected,
            best=whole and len(ranked) > 1 and round(100 * line.mean, 1) == max(ranked),
            parts=line.parts,
        )
    return cells


def _partial(lines: Sequence[Line], board: Board) -> str:
    """What is said of the marked numbers of these lines."""
    marked = {
        " · ".join([line.title, *(() if line.prior in ("", "none") else (line.prior,)), *line.extra]): parts
        for line in lines
        if (parts := union(cell.parts for cell in line.cells.values()))
    }
    return note(marked, len(lines), board.title)


def _order(of: Mapping[str, object], board: Board) -> tuple:
    return (of["method"] in board.sanity, board.title(of["method"]).casefold(), *(of[name] for name in LINE))


def _caption(rows: Sequence[Row], targets: Sequence[str], board: Board) -> str:
    """How many categories and images stand behind the table, and which groups have no rows yet."""
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        place = row.target, row.category
        sizes[place] = max(sizes.get(place, (0, 0)), (row.n_images, row.n_anomalous))
    images, anomalous = (sum(size[i] for size in sizes.values()) for i in (0, 1))
    text = f"{len(sizes)} {'category' if len(sizes) == 1 else 'categories'}, {images} images, {anomalous} anomalous"
    if len(targets) == 1:
        return text
    missing = [title for target, title in board.groups.items() if target not in targets]
    lacking = f" (no rows yet: {', '.join(missing)})" if missing else ""
    names = ", ".join(board.title(target) for target in targets)
    return f"Mean over {len(targets)} datasets{lacking}: {names}. {text}"


def _undefined(rows: Sequence[Row], board: Board) -> list[str]:
    """A sentence a category and reason; methods are named where others have a value there."""
    found: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
    everyone: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        everyone.setdefault((row.target, row.category), set()).add(row.method)
        if row.value is None and row.reason != store.CONFLICT:
            metrics, methods = found.setdefault((row.target, row.category, row.reason), (set(), set()))
            metrics.add(row.metric)
            methods.add(row.method)
    return [
        f"{board.title(target)}/{category}, {', '.join(sorted(metrics))}: {reason}"
        + ("" if methods == everyone[target, category] else f" ({', '.join(map(board.title, sorted(methods)))})")
        for (target, category, reason), (metrics, methods) in sorted(found.items())
    ]
