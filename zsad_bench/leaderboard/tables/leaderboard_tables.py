"""What a suite's leaderboard shows: tables built from rows, as grids for pages and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from zsad_bench import metric_keys
from zsad_bench.leaderboard.tables import grid, marks
from zsad_bench.leaderboard.tables.averaging import Categories, Measured, pools
from zsad_bench.leaderboard.tables.costs import LineCost, TableCosts, costs
from zsad_bench.leaderboard.tables.grid import BEST, UNDEFINED, Column, Grid, GridCell
from zsad_bench.leaderboard.tables.mixed_rows import LINE, comparable
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

COLUMNS = metric_keys.columns()  # every metric of the rows is in the CSV files


@dataclass(frozen=True)
class LeaderboardLayout:
    """How rows become a leaderboard.

    command: what regenerates it. groups: target -> title, averaged into an overall table; every other target stands
    in a table of its own and in no mean. titles: method and other target names as printed. note, apart_note: the line
    under every table of the groups, and of the others; apart_notes: target, or what stands before its colon -> another
    line than that. footnotes: target -> a sentence under each table it is in. metric_notes: metric -> what must stand
    beside its column. sanity: methods at the bottom of each table, marked. absent: method -> why it has no
    rows here. unverified: method -> why it was never compared with its official code.
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
    absent: Mapping[str, str] = field(default_factory=dict)
    unverified: Mapping[str, str] = field(default_factory=dict)

    def title(self, name: str) -> str:
        """A method or target as printed."""
        return grid.title_of(name, self.groups, self.titles)

    def note_of(self, targets: Sequence[str]) -> str:
        """The lines under a table of these targets."""
        kind = targets[0].partition(":")[0]
        apart = self.apart_notes.get(targets[0], self.apart_notes.get(kind, self.apart_note))
        first = self.note if set(targets) <= self.groups.keys() else apart
        return " ".join([first, *(self.footnotes[target] for target in targets if target in self.footnotes)])


@dataclass(frozen=True)
class Line:
    """One method under one prior. key: its `LINE` values. extra: what else tells it from the other lines.

    cells: of every metric that it has rows of. remarks: mark -> text, of those of its method on these numbers, and of
    one that was never verified.
    cost: what it takes to test it.
    """

    key: tuple
    title: str
    prior: str
    extra: tuple[str, ...]
    sanity: bool
    cells: Mapping[str, GridCell]
    remarks: Mapping[str, str] = field(default_factory=dict)
    cost: LineCost = field(default_factory=LineCost)

    @property
    def label(self) -> str:
        """The title with the marks of its remarks."""
        return self.title + ",".join(self.remarks)

    @property
    def name(self) -> str:
        """As a sentence or a terminal names it."""
        return " · ".join([self.title, *(() if self.prior in ("", "none") else (self.prior,)), *self.extra])

    @property
    def n_runs(self) -> int:
        """Runs with any row."""
        return max((one.number.n_runs_found for one in self.cells.values()), default=0)

    def cell(self, metric: str) -> GridCell:
        return self.cells.get(metric, GridCell(UNDEFINED))


@dataclass(frozen=True)
class Table:
    """name: of its CSV file. columns: metric keys that its rows have. extras: fields of `Line.extra`.

    note: what stands under it; marked: sentences on its marked numbers. costs: of its lines, and the machines.
    """

    name: str
    title: str
    caption: str
    note: str
    marked: list[str]
    n_categories: int
    columns: list[str]
    extras: list[str]
    lines: list[Line]
    costs: TableCosts = field(default_factory=TableCosts)

    def grid(self) -> Grid:
        """As a page shows it: quality, then cost."""
        columns = [Column(name.replace("_", " "), words=True) for name in ("prior", *self.extras)]
        columns += [Column("runs"), *(Column(COLUMNS[metric]) for metric in self.columns)]
        columns += [Column(title) for title in self.costs.short_columns]
        lines = []
        for line in self.lines:
            words = [GridCell(text) for text in (line.prior, *line.extra, str(line.n_runs))]
            title = f"{line.label} *(sanity check)*" if line.sanity else line.label
            cost = line.cost.short()
            takes = [GridCell(cost[title]) for title in self.costs.short_columns]
            lines.append((title, words + [line.cell(metric) for metric in self.columns] + takes))
        return Grid(self.title, "method", columns, lines)

    def records(self) -> list[dict[str, Any]]:
        """What its CSV file has: every metric of every line, and what the line costs."""
        cost = {line.key: line.cost.record() for line in self.lines}
        return [
            dict(zip((*LINE, "metric"), key, strict=True)) | one.number.record() | cost[key[:-1]]
            for key, one in sorted(self.cells().items())
        ]

    def cells(self) -> dict[tuple, GridCell]:
        """By `LINE` values and metric."""
        return {(*line.key, metric): one for line in self.lines for metric, one in line.cells.items()}


@dataclass(frozen=True)
class Report:
    """The tables, what was kept out of them and why, and the rows they stand on. ahead: of rows from the future."""

    layout: LeaderboardLayout
    tables: list[Table]
    rows: list[Row]
    n_rows_read: int
    conflicts: list[str]
    left_out: list[str]
    undefined: list[str]
    ahead: list[str] = field(default_factory=list)

    def lines(self) -> list[Line]:
        """Each line of all tables once, in their order: by title, sanity checks last."""
        lines: dict[tuple, tuple[bool, str, int, Line]] = {}
        for table in self.tables:
            for place, line in enumerate(table.lines):
                lines.setdefault(line.key, (line.sanity, line.title.casefold(), place, line))
        return [line for *_, line in sorted(lines.values(), key=lambda one: one[:3])]

    def places(self) -> dict[tuple, int]:
        """Line key -> its place in `lines`."""
        return {line.key: place for place, line in enumerate(self.lines())}

    def remarks(self) -> list[tuple[str, list[str]]]:
        """The notes beside the tables, with a title for each kind."""
        kinds = [
            ("Conflicts: two values for one number in one run; neither is used", self.conflicts),
            ("Undefined", self.undefined),
            ("Left out", self.left_out),
            ("From the future", self.ahead),
        ]
        return [(title, sentences) for title, sentences in kinds if sentences]

    def provenance(self, row_files: Iterable[str]) -> list[tuple[str, list[str]]]:
        """What all rows together were measured with: name and values. row_files: that the rows came from."""
        rows = self.rows
        if not rows:
            return []
        days = sorted(row.started[:10] for row in rows)
        standing = "all standing" if len(rows) == self.n_rows_read else f"{len(rows)} standing"
        facts = {
            "rows": [f"{self.n_rows_read} read, {standing}"],
            "files": row_files,
            "commit": (row.commit or "none" for row in rows),
            "package": (f"zsad-bench {row.package_version}" for row in rows),
            "weights": (f"{row.backbone} {row.weights_hash}" for row in rows if row.backbone != "none"),
            "torch": (row.torch for row in rows),
            "device": (row.device for row in rows),
            "precision": (row.precision for row in rows),
            "metrics": (f"version {row.metric_version}" for row in rows),
            "measured": [days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"],
        }
        listed = [(name, sorted(set(values))) for name, values in facts.items()]
        return [(name, values) for name, values in listed if any(values)]


def build(
    rows: Iterable[Row],
    layout: LeaderboardLayout,
    torn: Sequence[store.Torn] = (),
) -> Report:
    """The overall table, one per group, then one per target that stands apart; only those that have rows.

    Rows of corrupted images and other wordings are in none, and counted with what was left out. torn: lines of the row
    files that could not be read; they are listed there too.
    """
    given = list(rows)
    read = store.standard(given)
    current = store.current(read)
    kept, left_out = comparable(current.with_gaps())
    present = {row.target for row in kept}
    groups = [target for target in layout.groups if target in present]
    apart = sorted(present - set(groups), key=lambda name: (layout.title(name).casefold(), name))
    numbering = marks.numbered(row.remark for row in kept)  # one for all tables, so that a mark means the same in each
    asked = [("overall", "Overall", groups)] if len(groups) > 1 else []
    asked += [(name, layout.title(name), [name]) for name in (*groups, *apart)]
    tables = [_table(kept, *of, layout, numbering) for of in asked]
    left_out += [one.message(one.path.name) for one in torn]
    if apart_from_standard := len(given) - len(read):
        left_out.append(
            f"{_count(apart_from_standard, 'row')} of corrupted images or other wordings; `zsad-bench table robustness`"
        )
    conflicts = sorted(map(str, current.conflicts))
    return Report(layout, tables, kept, len(read), conflicts, left_out, _undefined(kept, layout), store.ahead(read))


def means(rows: Sequence[Row]) -> dict[tuple, Measured]:
    """`LINE` values and metric -> mean over the datasets of these rows, sorted. rows: current and comparable ones.

    What a mean lacks is counted among the categories that any row has.
    """
    expected = Categories(rows).of({row.target for row in rows})
    by_line = sorted(pools(rows, attrgetter(*LINE, "metric")).items())
    return {key: pool.mean(expected=expected) for key, pool in by_line}


def cell(number: Measured) -> GridCell:
    """A number as leaderboards print it."""
    return grid.cell(number, counted="")


def terminal_grids(report: Report) -> list[Grid]:
    """The groups with their overall mean method by method, then each target that stands apart; for 80 columns."""
    groups = [table for table in report.tables if table.name == "overall" or table.name in report.layout.groups]
    groups.sort(key=lambda table: table.name == "overall")  # the overall line closes each method's block
    blocks = [(f"{report.layout.suite} suite", groups)] if groups else []
    blocks += [(table.title, [table]) for table in report.tables if table not in groups]
    return [_terminal_grid(title, tables) for title, tables in blocks]


def _terminal_grid(title: str, tables: Sequence[Table]) -> Grid:
    titles = metric_keys.columns(terminal=True)
    metrics = [metric for metric in titles if any(metric in table.columns for table in tables)]
    by_key: dict[tuple, list[tuple[Table, Line]]] = {}
    for table in tables:
        for line in table.lines:
            by_key.setdefault(line.key, []).append((table, line))
    lines: list[tuple[str, list[GridCell]]] = []
    ends = set()
    for block in by_key.values():
        line = block[0][1]
        # The last table of a block is the mean, which has the remarks of all others.
        name = line.name + ",".join(block[-1][1].remarks) + " · sanity" * line.sanity
        runs = _count(line.n_runs, "run")
        if len(tables) > 1:
            lines.append((name, [GridCell(runs), *([GridCell()] * len(metrics))]))
        for table, own in block:
            label, count = (name, runs) if len(tables) == 1 else (f"  {table.title}", f"{table.n_categories} cat.")
            lines.append((label, [GridCell(count), *(own.cell(metric) for metric in metrics)]))
        ends.add(len(lines))
    varies = any(one.number.error for table in tables for own in table.lines for one in own.cells.values())
    spread = " ± standard deviation over runs" if varies else ""
    columns = [Column("", words=True), *(Column(titles[metric]) for metric in metrics)]
    notes = [note for note in (tables[-1].note, *tables[-1].marked) if note]
    rules = frozenset(ends) if len(tables) > 1 else frozenset()
    return Grid(f"{title}: percent, mean over categories{spread}", "method · prior", columns, lines, notes, rules)


def _table(
    rows: Sequence[Row],
    name: str,
    title: str,
    targets: Sequence[str],
    layout: LeaderboardLayout,
    numbering: Mapping[str, str],
) -> Table:
    rows = [row for row in rows if row.target in targets]
    takes = costs(rows)
    by_key: dict[tuple, dict[str, GridCell]] = {}
    for place, number in means(rows).items():
        by_key.setdefault(place[:-1], {})[place[-1]] = cell(number)
    present = dict.fromkeys(metric for cells in by_key.values() for metric in cells)
    for metric in present:
        keys = [key for key in by_key if metric in by_key[key]]
        for key, one in zip(keys, grid.ranked([by_key[key][metric] for key in keys]), strict=True):
            by_key[key][metric] = one._replace(rank=one.rank if one.rank == BEST else 0)
    values = {field: {getattr(row, field) for row in rows} - {"", "none"} for field in LINE[3:]}
    extras = [field for field, several in values.items() if len(several) > 1]
    lines = []
    for key in sorted(by_key, key=lambda key: _order(dict(zip(LINE, key, strict=True)), layout)):
        of = dict(zip(LINE, key, strict=True))
        method = layout.title(of["method"]) + (f" ({of['variant']})" if of["variant"] else "")
        extra = tuple(str(of[field]) for field in extras)
        texts = {remark.text for one in by_key[key].values() for remark in one.number.remarks}
        remarks = {mark: text for text, mark in numbering.items() if text in texts}
        if why := layout.unverified.get(of["method"]):
            remarks[marks.UNVERIFIED] = f"not verified against official code: {why}"
        sanity = of["method"] in layout.sanity
        lines.append(Line(key, method, of["prior"], extra, sanity, by_key[key], remarks, takes.by_line[key]))
    columns = [metric for metric in COLUMNS if metric in present]
    numbers = {line.name: [line.cell(metric).number for metric in columns] for line in lines}
    n_categories = len({(row.target, row.category) for row in rows})
    return Table(
        name=name,
        title=title,
        caption=_caption(rows, targets, layout),
        note=layout.note_of(targets),
        marked=[
            *marks.notes(numbers, len(lines), layout.title, numbering, n_categories),
            *marks.unverified_note({line.title: why for line in lines if (why := layout.unverified.get(line.key[0]))}),
        ],
        n_categories=n_categories,
        columns=columns,
        extras=extras,
        lines=lines,
        costs=takes,
    )


def _order(of: Mapping[str, Any], layout: LeaderboardLayout) -> tuple:
    return (of["method"] in layout.sanity, layout.title(of["method"]).casefold(), *(of[name] for name in LINE))


def _caption(rows: Sequence[Row], targets: Sequence[str], layout: LeaderboardLayout) -> str:
    """How many categories and images stand behind the table, and which groups have no rows yet."""
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        place = row.target, row.category
        sizes[place] = max(sizes.get(place, (0, 0)), (row.n_images, row.n_anomalous))
    images, anomalous = (sum(size[i] for size in sizes.values()) for i in (0, 1))
    text = f"{len(sizes)} {'category' if len(sizes) == 1 else 'categories'}, {images} images, {anomalous} anomalous"
    if len(targets) == 1:
        return text
    missing = [title for target, title in layout.groups.items() if target not in targets]
    lacking = f" (no rows yet: {', '.join(missing)})" if missing else ""
    names = ", ".join(layout.title(target) for target in targets)
    return f"Mean over {len(targets)} datasets{lacking}: {names}. {text}"


def _undefined(rows: Sequence[Row], layout: LeaderboardLayout) -> list[str]:
    """A sentence per category and reason; methods are named where others have a value there."""
    places: dict[tuple[str, str, str | None], tuple[set[str], set[str]]] = {}
    everyone: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        everyone.setdefault((row.target, row.category), set()).add(row.method)
        if row.value is None and row.reason != store.CONFLICT:
            metrics, methods = places.setdefault((row.target, row.category, row.reason), (set(), set()))
            metrics.add(row.metric)
            methods.add(row.method)
    return [
        f"{layout.title(target)}/{category}, {', '.join(sorted(metrics))}: {reason}"
        + ("" if methods == everyone[target, category] else f" ({', '.join(map(layout.title, sorted(methods)))})")
        for (target, category, reason), (metrics, methods) in sorted(places.items())
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
