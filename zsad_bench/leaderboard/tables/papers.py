"""The papers' tables from rows, with the printed numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from zsad_bench import metric_keys
from zsad_bench.leaderboard.tables import grid
from zsad_bench.leaderboard.tables.averaging import NOTHING, Measured, Pool, pools
from zsad_bench.leaderboard.tables.comparability import why_not
from zsad_bench.leaderboard.tables.grid import Column, Grid, Shown
from zsad_bench.leaderboard.tables.partial import MARK, note, union
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published, fidelity, targets_of
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant

METRICS = metric_keys.titles()
_MEANS = {"industrial": "Industrial mean", "medical": "Medical mean"}
_ALL = "Mean of all"
_IMAGE, _PIXEL = ("image_auroc", "image_ap"), ("pixel_auroc", "pixel_aupro_legacy200")
_DIVE_METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_rcpro", "pixel_aupro")
_DIVE_INDUSTRIAL = {"rich": ("visa", "btad", "mpdd", "sdd", "dtd"), "limited": ("mvtec", "visa", "btad", "mpdd", "sdd")}
_DIVE_MEDICAL = {"image": ("headct", "brainmri", "br35h"), "pixel": ("isic", "colondb", "tn3k")}


@dataclass(frozen=True)
class PaperTable:
    """recipe: the sweep that computes it."""

    name: str
    title: str
    recipe: str
    prior: str
    metrics: tuple[str, ...]


TABLES = {
    table.name: table
    for table in (
        PaperTable("faprompt_1", "FAPrompt Table 1: image level", "faprompt_tables_1_2", "rich", _IMAGE),
        PaperTable("faprompt_2", "FAPrompt Table 2: pixel level", "faprompt_tables_1_2", "rich", _PIXEL),
        PaperTable("faprompt_3", "FAPrompt Table 3: its parts", "faprompt_table_3", "rich", _IMAGE + _PIXEL),
        PaperTable("faprompt_4", "FAPrompt Table 4: the prior", "faprompt_table_4", "rich", _IMAGE + _PIXEL),
        PaperTable("faprompt_5", "FAPrompt Table 5: ensembles", "faprompt_table_5", "rich", _IMAGE + _PIXEL),
        PaperTable("dive_rich", "DIVE: means under the rich prior", "dive_main", "rich", _DIVE_METRICS),
        PaperTable("dive_limited", "DIVE: means under the limited prior", "dive_main", "limited", _DIVE_METRICS),
        PaperTable("dive_ablation", "DIVE: ablation", "dive_ablation", "limited", ("image_auroc", "pixel_aupro")),
    )
}


class Number(NamedTuple):
    """One cell of a paper's table: what was measured, what is printed, and why they may not be compared ("")."""

    entry: Entry
    variant: Variant | None
    metric: str
    scope: str
    targets: tuple[str, ...]
    measured: Measured
    published: float | None
    why_not: str
    rows: tuple[Row, ...]

    @property
    def difference(self) -> float | None:
        """Measured minus published, where the two are comparable."""
        ready = self.measured.mean is not None and self.published is not None and not self.why_not
        return self.measured.mean - self.published if ready else None


class Numbers:
    """Looks up the cells of one paper table."""

    def __init__(self, table: PaperTable, published: Sequence[Published], rows: Iterable[Row], facts: Facts) -> None:
        self.table, self.facts, self.every = table, facts, published
        self.published = [p for p in published if p.table == table.name]
        self.entries = list(dict.fromkeys(p.entry for p in self.published))
        self._printed = {(p.entry, p.metric, p.scope): p for p in self.published}
        self.rows = [row for row in rows if row.metric in table.metrics and row.prior in (table.prior, "none")]
        self._pools: dict[tuple, Pool] = pools(self.rows, lambda row: (row.method, row.variant, row.metric), _no_line)
        self._behind: dict[tuple, list[Row]] = {}
        for row in self.rows:
            self._behind.setdefault((row.method, row.variant, row.metric, row.target), []).append(row)
        self._variants = {entry: self._found(entry) for entry in self.entries}

    def _found(self, entry: Entry) -> list[Variant]:
        found = {row.variant for row in self.rows if row.method == entry.method}
        meant = [variant for variant in found if entry.meant(variant)]
        return sorted(meant, key=lambda variant: (self._preset(entry, variant) != "official", variant))

    def variants(self, entry: Entry) -> list[Variant]:
        """The variants of rows that are this entry, `official` first."""
        return self._variants[entry]

    def name(self, entry: Entry, variant: Variant | None) -> str:
        """As printed, with the preset where there are several."""
        preset = "" if variant is None else self._preset(entry, variant)
        return self.facts.name(entry) + (f" ({preset})" if preset else "")

    def _preset(self, entry: Entry, variant: Variant) -> str:
        return fidelity(variant, entry.method, self.facts)

    def targets(self, metric: str, scope: str) -> tuple[str, ...]:
        """The datasets that a scope is the mean over."""
        if scope in _MEANS:
            return targets_of(self.every, metric, scope)
        if scope == _ALL:
            return tuple(name for domain in _MEANS for name in targets_of(self.every, metric, domain))
        if scope == "all":
            return _DIVE_INDUSTRIAL[self.table.prior] + _DIVE_MEDICAL[metric.split("_")[0]]
        return (scope,)

    def at(self, entry: Entry, variant: Variant | None, metric: str, scope: str) -> Number:
        targets = self.targets(metric, scope)
        pool = self._pools.get((entry.method, variant, metric))
        found = NOTHING if pool is None else pool.mean(targets)
        behind = [r for target in targets for r in self._behind.get((entry.method, variant, metric, target), ())]
        printed = self._printed.get((entry, metric, scope))
        reason = why_not(printed, behind, targets, self.facts) if printed and behind else ""
        value = printed.value if printed else self._printed_mean(entry, metric, scope, targets).mean
        if printed is None and value is not None and behind:
            # A mean over printed numbers may be compared where each of them may.
            parts = [self.at(entry, variant, metric, target) for target in targets]
            reason = next((part.why_not or "not measured" for part in parts if part.difference is None), "")
        return Number(entry, variant, metric, scope, targets, found, value, reason, tuple(behind))

    def _printed_mean(self, entry: Entry, metric: str, scope: str, targets: Sequence[str]) -> Measured:
        """The mean of printed numbers of datasets, by the code that averages rows."""
        pool = Pool()
        for target in targets:
            if (entry, metric, target) in self._printed:
                pool.put((0, 0), target, "", self._printed[entry, metric, target].value)
        found = pool.mean(targets)
        return found if len(found.datasets) == len(targets) else NOTHING


def numbers(
    name: str, published: Sequence[Published], rows: Iterable[Row], facts: Facts
) -> tuple[list[Grid], list[Number]]:
    """The grids of one paper table and, of the same cells, the exact numbers.

    rows: current ones of one backbone and data. Means over datasets leave MVTecAD out, as FAPrompt's own do.
    """
    found = Numbers(TABLES[name], published, rows, facts)
    seen: list[Number] = []

    def at(entry: Entry, variant: Variant | None, metric: str, scope: str) -> Number:
        number = found.at(entry, variant, metric, scope)
        seen.append(number)
        return number

    table = found.table
    if name in ("faprompt_1", "faprompt_2"):
        grids = [_by_dataset(found, metric, at) for metric in table.metrics]
    elif name.startswith("faprompt"):
        grids = [
            _by_entry(found, METRICS[metric], [(_MEANS[domain], metric, domain) for domain in _MEANS], at)
            for metric in table.metrics
        ]
    elif name == "dive_ablation":
        places = [(f"{facts.title(s)} {METRICS[m]}", m, s) for s in ("mvtec", "visa") for m in table.metrics]
        grids = [_by_entry(found, "", places, at)]
    else:
        grids = [_by_entry(found, "", [(METRICS[m], m, "all") for m in table.metrics], at)]
    notes = _notes(found, seen)
    titled = [replace(one, title=f"{table.title}, {one.title}" if one.title else table.title) for one in grids]
    return [*titled[:-1], replace(titled[-1], notes=notes)], seen


_At = Callable[[Entry, "str | None", str, str], Number]


def _by_dataset(found: Numbers, metric: str, at: _At) -> Grid:
    """Lines are datasets and their means, with a group of columns a method."""
    names = dict.fromkeys(p.scope for p in found.published if p.metric == metric)
    scopes = [*names, *_MEANS, _ALL]
    columns: list[Column] = []
    cells: list[list[Shown]] = []
    for entry in found.entries:
        group = found.facts.name(entry)
        for variant in found.variants(entry):
            own = [at(entry, variant, metric, scope) for scope in scopes]
            columns.append(Column(found.name(entry, variant), group))
            cells.append([Shown(_measured(number)) for number in own])
            if any(number.difference is not None for number in own):
                columns.append(Column("Δ", group))
                cells.append([_difference(number) for number in own])
        own = [at(entry, None, metric, scope) for scope in scopes]
        columns.append(Column(f"{group}: printed", group))
        cells.append([Shown(grid.percent(number.published)) for number in own])
    lines = []
    for i, scope in enumerate(scopes):
        count = len(found.targets(metric, scope))
        label = f"{_MEANS.get(scope, scope)} ({count})" if scope in (*_MEANS, _ALL) else found.facts.title(scope)
        lines.append((label, _ranked([column[i] for column in cells], columns)))
    return Grid(METRICS[metric], "dataset", columns, lines, rules=frozenset({len(names)}))


def _by_entry(found: Numbers, title: str, places: list[tuple[str, str, str]], at: _At) -> Grid:
    """Lines are methods or their ablations, with a group of columns a place: its title, metric and scope."""
    tracks = [(entry, variant) for entry in found.entries for variant in (found.variants(entry) or [None])]
    columns: list[Column] = []
    cells: list[list[Shown]] = []
    for name, metric, scope in places:
        own = [at(entry, variant, metric, scope) for entry, variant in tracks]
        kinds = [("printed", [Shown(grid.percent(number.published)) for number in own])]
        if any(number.rows for number in own):
            kinds.insert(0, ("measured", [Shown(_measured(number)) for number in own]))
        if any(number.difference is not None for number in own):
            kinds.append(("Δ", [_difference(number) for number in own]))
        for kind, shown in kinds:
            columns.append(Column(f"{name}: {kind}" if kind != "Δ" else "Δ", name))
            cells.append(_best(shown) if kind != "Δ" else shown)
    lines = [(found.name(*track), [column[i] for column in cells]) for i, track in enumerate(tracks)]
    return Grid(title, "method", columns, lines)


def _measured(number: Number) -> str:
    if not number.rows:
        return ""  # not run is not the same as undefined
    several = number.scope in (*_MEANS, _ALL, "all")
    return grid.measured(number.measured, len(number.targets) if several else None)


def _difference(number: Number) -> Shown:
    return Shown("" if number.difference is None else grid.difference(number.difference))


def _ranked(cells: list[Shown], columns: list[Column]) -> list[Shown]:
    """Measured numbers and printed ones each have a best and a second."""
    done = list(cells)
    for printed in (False, True):
        places = [i for i, c in enumerate(columns) if c.title != "Δ" and c.title.endswith(": printed") == printed]
        for i, shown in zip(places, _best([cells[i] for i in places]), strict=True):
            done[i] = shown
    return done


def _best(cells: list[Shown]) -> list[Shown]:
    """Ranked among those that cover everything."""
    values = [
        None if "/" in c.text or MARK in c.text or c.text in ("", grid.UNDEFINED) else float(c.text.split()[0]) / 100
        for c in cells
    ]
    return [cell._replace(rank=rank) for cell, rank in zip(cells, grid.ranks(values), strict=True)]


def _notes(found: Numbers, seen: Sequence[Number]) -> list[str]:
    notes = [
        "Percent. Measured numbers are mean ± standard deviation over training seeds and draws of the auxiliary data; "
        "bold is the best, underlined the second best, of the measured and of the printed numbers each.",
        "Δ is measured minus printed, only where backbone, image size, fidelity preset, auxiliary set, image counts "
        "and form of the metric agree, and nothing is partial.",
    ]
    metrics = set(found.table.metrics)
    if found.table.name.startswith("faprompt"):
        notes.append("Means over datasets leave MVTecAD out, as FAPrompt's own do.")
    if "pixel_aupro_legacy200" in metrics:
        notes.append("AUPRO is the papers' form with 200 thresholds, never compared with the exact one.")
    if "pixel_aupro" in metrics:
        notes.append("AUPRO measured here is exact; which form DIVE's is, is not known.")
    if found.table.name.startswith("dive") and "image_ap" in metrics:
        notes.append("DIVE's AP is another one than scikit-learn's average precision, which is measured here.")
    if "pixel_rcpro" in metrics:
        notes.append("RCPRO is defined here from the paper's words only.")
    targets = {target for number in seen for target in number.targets}
    notes += dict.fromkeys(text for name, text in found.facts.footnotes.items() if name in targets)
    parts: dict[str, tuple] = {}
    for number in seen:
        if number.measured.parts:
            name = found.name(number.entry, number.variant)
            parts[name] = union((parts.get(name, ()), number.measured.parts))
    notes += filter(None, [note(parts, 0, found.facts.title)])
    reasons = dict.fromkeys(
        f"{found.name(number.entry, number.variant)}: {number.why_not}" for number in seen if number.why_not
    )
    if reasons:
        notes.append("Not compared: " + "; ".join(list(reasons)[:12]) + ("; …" if len(reasons) > 12 else "") + ".")
    if not found.rows:
        notes.insert(0, "Nothing of this table has been measured yet: all numbers are the papers'.")
    return notes


def _no_line(row: Row) -> None:
    return None
