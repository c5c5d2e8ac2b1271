"""The papers' tables from rows, with the printed numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from zsad_bench import metric_keys
from zsad_bench import protocol as protocols
from zsad_bench.leaderboard.tables import grid, marks
from zsad_bench.leaderboard.tables.averaging import NOTHING, SPREAD, Categories, Measured, Pool, pools, runs_counted
from zsad_bench.leaderboard.tables.comparability import lacking, why_not
from zsad_bench.leaderboard.tables.grid import Column, Grid, GridCell
from zsad_bench.leaderboard.tables.published import Entry, Facts, Published, fidelity, targets_of
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant

METRICS = metric_keys.titles()
_MEANS = {"industrial": "Industrial mean", "medical": "Medical mean"}
_ALL = "Mean of all"
UNLISTED = "average of "  # begins a scope whose datasets its source does not list
_IMAGE, _PIXEL = ("image_auroc", "image_ap"), ("pixel_auroc", "pixel_aupro_legacy200")
_2026_METRICS = ("image_auroc", "image_f1max", "image_ap", "pixel_auroc", "pixel_f1max", "pixel_ap",
                 "pixel_aupro_legacy200")  # fmt: skip
_DIVE_METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_rcpro", "pixel_aupro")
_DIVE_INDUSTRIAL = {"rich": ("visa", "btad", "mpdd", "sdd", "dtd"), "limited": ("mvtec", "visa", "btad", "mpdd", "sdd")}
_DIVE_MEDICAL = {"image": ("headct", "brainmri", "br35h"), "pixel": ("isic", "colondb", "tn3k")}


@dataclass(frozen=True)
class PaperTable:
    """recipe: the sweep that computes it. protocol: that most of its numbers are of."""

    name: str
    title: str
    recipe: str
    prior: str
    metrics: tuple[str, ...]
    protocol: str = "faprompt"


TABLES = {
    table.name: table
    for table in (
        PaperTable("faprompt_1", "FAPrompt Table 1: image level", "faprompt_tables_1_2", "rich", _IMAGE),
        PaperTable("faprompt_2", "FAPrompt Table 2: pixel level", "faprompt_tables_1_2", "rich", _PIXEL),
        PaperTable("faprompt_3", "FAPrompt Table 3: its parts", "faprompt_table_3", "rich", _IMAGE + _PIXEL),
        PaperTable("faprompt_4", "FAPrompt Table 4: the prior", "faprompt_table_4", "rich", _IMAGE + _PIXEL),
        PaperTable("faprompt_5", "FAPrompt Table 5: ensembles", "faprompt_table_5", "rich", _IMAGE + _PIXEL),
        PaperTable("dive_rich", "DIVE: means under the rich prior", "dive_main", "rich", _DIVE_METRICS, "dive"),
        PaperTable(
            "dive_limited", "DIVE: means under the limited prior", "dive_main", "limited", _DIVE_METRICS, "dive"
        ),
        PaperTable(
            "dive_ablation", "DIVE: ablation", "dive_ablation", "limited", ("image_auroc", "pixel_aupro"), "dive"
        ),
        PaperTable("visualad", "VisualAD", "visa2026", "visa2026", _2026_METRICS, "visa2026"),
        PaperTable("bayes_pfl", "Bayes-PFL, at second hand", "visa2026", "visa2026", _2026_METRICS, "visa2026"),
        PaperTable("mrad", "MRAD, at second hand", "visa2026", "visa2026", _2026_METRICS, "visa2026"),
        PaperTable("musc", "MuSc", "visa2026", "none", _2026_METRICS, "visa2026"),
        PaperTable(
            "anomalyvfm", "AnomalyVFM", "synthetic", "synthetic", (*_2026_METRICS[:-1], "pixel_aupro"), "synthetic"
        ),
        PaperTable("tps", "TPS, at second hand", "faprompt_tables_1_2", "rich", ("image_auroc",)),
    )
}


class Track(NamedTuple):
    """What rows of one line have in common: the variant of the method, and what it ran on."""

    variant: Variant
    backbone: str
    image_size: int
    precision: str


class Number(NamedTuple):
    """One cell of a paper's table: what was measured, what is printed, and why they may not be compared ("").

    track: None where only the printed number is meant. scored: as of `Published`, "" where each image is scored alone.
    """

    entry: Entry
    track: Track | None
    metric: str
    scope: str
    targets: tuple[str, ...]
    measured: Measured
    published: float | None
    why_not: str
    rows: tuple[Row, ...]
    scored: str = ""

    @property
    def variant(self) -> Variant | None:
        """Of its track."""
        return None if self.track is None else self.track.variant

    @property
    def difference(self) -> float | None:
        """Measured minus published, where the two are comparable."""
        if self.measured.mean is None or self.published is None or self.why_not:
            return None
        return self.measured.mean - self.published


class Numbers:
    """Looks up the cells of one paper table."""

    def __init__(self, table: PaperTable, published: Sequence[Published], rows: Iterable[Row], facts: Facts) -> None:
        self.table, self.facts, self.every = table, facts, published
        self.published = [p for p in published if p.table == table.name]
        self.entries = list(dict.fromkeys(p.entry for p in self.published))
        self._printed = {(p.entry, p.metric, p.scope): p for p in self.published}
        self.rows = [row for row in rows if row.metric in table.metrics and row.prior in (table.prior, "none")]
        self._pools: dict[tuple, Pool] = pools(self.rows, lambda row: (row.method, *_track(row), row.metric))
        self.categories = Categories(self.rows, facts.categories)
        self._behind: dict[tuple, list[Row]] = {}
        for row in self.rows:
            self._behind.setdefault((row.method, *_track(row), row.metric, row.target), []).append(row)
        self._tracks = {entry: self._found(entry) for entry in self.entries}
        lines = {(entry.method, track) for entry, of in self._tracks.items() for track in of}
        ran_on = {track.backbone for _, track in lines} - {"none"}
        # What needs no mention beside a name: what all lines ran on, or else the protocol's.
        self._usual = ran_on.pop() if len(ran_on) == 1 else protocols.find(self.table.protocol).backbone
        self.numbering = marks.numbered(row.remark for row in self.rows if (row.method, _track(row)) in lines)

    def _found(self, entry: Entry) -> list[Track]:
        # What another line of the method was printed on is not this line.
        others = {of.backbone for of in self.entries if of.method == entry.method} - {""}
        found = {_track(row) for row in self.rows if row.method == entry.method}
        meant = [
            track for track in found
            if entry.meant(track.variant)
            and (track.backbone == entry.backbone if entry.backbone else track.backbone not in others)
        ]  # fmt: skip
        printed = next(p for p in self.published if p.entry == entry)
        return sorted(
            meant, key=lambda track: (self._preset(entry, track) != "official", *unlike(printed, track), track)
        )

    def tracks(self, entry: Entry) -> list[Track]:
        """The variants, backbones, image sizes and precisions of rows that are this entry, the printed ones first."""
        return self._tracks[entry]

    def name(self, entry: Entry, track: Track | None) -> str:
        """As printed, with its preset, and with what it ran on where that is not the same for all lines."""
        if track is None:
            return self.facts.name(entry)
        tag = track.backbone if track.backbone not in (self._usual, entry.backbone, "none") else ""
        others = [other for other in self._tracks[entry] if other.backbone == track.backbone]
        size = f"{track.image_size} px" if len({other.image_size for other in others}) > 1 else ""
        precision = track.precision if len({other.precision for other in others}) > 1 else ""
        return self.facts.name(entry, self._preset(entry, track), tag, size, precision)

    def label(self, entry: Entry, track: Track | None, numbers: Iterable[Number]) -> str:
        """The name with the sign of its method, and the marks of what that remarks on these numbers."""
        name = self.name(entry, track) + self.facts.sign(entry.method)
        return name + marks.raised((number.measured for number in numbers), self.numbering)

    def _preset(self, entry: Entry, track: Track) -> str:
        return fidelity(track.variant, entry.method, self.facts)

    def targets(self, metric: str, scope: str) -> tuple[str, ...]:
        """The datasets that a scope is the mean over; () where they are not known."""
        if scope in _MEANS:
            return targets_of(self.every, metric, scope)
        if scope == _ALL:
            return tuple(name for domain in _MEANS for name in targets_of(self.every, metric, domain))
        if scope == "all":
            return _DIVE_INDUSTRIAL[self.table.prior] + _DIVE_MEDICAL[metric.split("_")[0]]
        if scope.startswith(UNLISTED):
            return ()
        return (scope,)

    def at(self, entry: Entry, track: Track | None, metric: str, scope: str) -> Number:
        targets = self.targets(metric, scope)
        line = (entry.method, *(track or ()), metric)
        pool = self._pools.get(line)
        measured = NOTHING if pool is None or not targets else pool.mean(targets, self.categories.of(targets))
        behind = [r for target in targets for r in self._behind.get((*line, target), ())]
        printed = self._printed.get((entry, metric, scope))
        reason = why_not(printed, behind, targets, self.facts, measured) if printed and behind else ""
        value = printed.value if printed else self._printed_mean(entry, metric, scope, targets).mean
        if printed is None and value is not None and behind:
            # A mean over printed numbers may be compared where each of them may.
            parts = [self.at(entry, track, metric, target) for target in targets]
            reason = next(
                (part.why_not or "not measured" for part in parts if part.difference is None), lacking(measured)
            )
        scored = printed.scored if printed else ""
        return Number(entry, track, metric, scope, targets, measured, value, reason, tuple(behind), scored)

    def covers(self, number: Number | None, target: str) -> bool:
        """Whether any run of the line has a number on each category of a dataset."""
        if number is None or number.track is None:
            return False
        pool = self._pools.get((number.entry.method, *number.track, number.metric))
        return pool is not None and pool.mean([target], self.categories.of([target])).complete

    def _printed_mean(self, entry: Entry, metric: str, scope: str, targets: Sequence[str]) -> Measured:
        """The mean of printed numbers of datasets, by the code that averages rows."""
        pool = Pool()
        for target in targets:
            if (entry, metric, target) in self._printed:
                pool.put((0, 0), target, "", self._printed[entry, metric, target].value)
        mean = pool.mean(targets)
        return mean if len(mean.datasets) == len(targets) else NOTHING


def unlike(published: Published, track: Track) -> tuple[bool, bool, bool]:
    """Whether backbone, image size and precision are other ones than a number was printed on."""
    usual = published.runs_on
    size = usual.image_size or track.image_size
    return track.backbone != usual.backbone, track.image_size != size, track.precision != "float32"


def _track(row: Row) -> Track:
    return Track(row.variant, row.backbone, row.image_size, row.precision)


def numbers(
    name: str, published: Sequence[Published], rows: Iterable[Row], facts: Facts
) -> tuple[list[Grid], list[Number]]:
    """The grids of one paper table and, of the same cells, the exact numbers.

    rows: current ones of one backbone and data. Means over datasets leave MVTecAD out, as FAPrompt's own do.
    """
    lookup = Numbers(TABLES[name], published, rows, facts)
    seen: list[Number] = []

    def at(entry: Entry, track: Track | None, metric: str, scope: str) -> Number:
        number = lookup.at(entry, track, metric, scope)
        seen.append(number)
        return number

    table = lookup.table
    if name in ("faprompt_1", "faprompt_2"):
        grids = [_by_dataset(lookup, metric, at) for metric in table.metrics]
    elif name.startswith("faprompt"):
        grids = [
            _by_entry(lookup, METRICS[metric], [(_MEANS[domain], metric, domain) for domain in _MEANS], at)
            for metric in table.metrics
        ]
    elif not name.startswith("dive"):
        printed = [metric for metric in table.metrics if any(p.metric == metric for p in lookup.published)]
        grids = [_by_dataset(lookup, metric, at) for metric in printed]
    elif name == "dive_ablation":
        places = [(f"{facts.title(s)} {METRICS[m]}", m, s) for s in ("mvtec", "visa") for m in table.metrics]
        grids = [_by_entry(lookup, "", places, at)]
    else:
        grids = [_by_entry(lookup, "", [(METRICS[m], m, "all") for m in table.metrics], at)]
    notes = _notes(lookup, seen)
    titled = [replace(one, title=f"{table.title}, {one.title}" if one.title else table.title) for one in grids]
    return [*titled[:-1], replace(titled[-1], notes=notes)], seen


_At = Callable[[Entry, Track | None, str, str], Number]


def _by_dataset(lookup: Numbers, metric: str, at: _At) -> Grid:
    """Lines are datasets, and in FAPrompt's tables their means, with a group of columns per method."""
    names = dict.fromkeys(p.scope for p in lookup.published if p.metric == metric)
    means = (*_MEANS, _ALL) if lookup.table.name.startswith("faprompt") else ()
    scopes = [*names, *means]
    columns: list[Column] = []
    kinds: list[str] = []
    cells: list[list[GridCell]] = []
    printing = {p.entry for p in lookup.published if p.metric == metric}
    for entry in lookup.entries:
        if entry not in printing:
            continue
        group = lookup.facts.name(entry)
        tracks = lookup.tracks(entry)
        for track in tracks:
            numbers = [at(entry, track, metric, scope) for scope in scopes]
            columns.append(Column(lookup.label(entry, track, numbers), group))
            kinds.append("measured")
            cells.append([_measured(number) for number in numbers])
            if any(number.difference is not None for number in numbers):
                columns.append(Column("Δ", group))
                kinds.append("Δ")
                cells.append([_difference(number) for number in numbers])
        if not tracks and not means and entry.settings is not None and entry.method in lookup.facts.built:
            columns.append(Column(group, group))
            kinds.append("")
            cells.append([GridCell(grid.UNDEFINED)] * len(scopes))
        columns.append(Column(f"{group}: printed", group))
        kinds.append("printed")
        cells.append([_printed(at(entry, None, metric, scope)) for scope in scopes])
    lines = []
    for i, scope in enumerate(scopes):
        count = len(lookup.targets(metric, scope))
        label = f"{_MEANS.get(scope, scope)} ({count})" if scope in means else lookup.facts.title(scope)
        lines.append((label, _ranked_apart([column[i] for column in cells], kinds)))
    return Grid(METRICS[metric], "dataset", columns, lines, rules=frozenset({len(names)} if means else ()))


def _by_entry(lookup: Numbers, title: str, places: list[tuple[str, str, str]], at: _At) -> Grid:
    """Lines are methods or their ablations, with a group of columns a place: its title, metric and scope."""
    tracks: list[tuple[Entry, Track | None]] = []
    for entry in lookup.entries:
        tracks += [(entry, track) for track in lookup.tracks(entry)] or [(entry, None)]
    columns: list[Column] = []
    cells: list[list[GridCell]] = []
    by_place = [[at(entry, track, metric, scope) for entry, track in tracks] for _, metric, scope in places]
    for (name, _, _), numbers in zip(places, by_place, strict=True):
        if any(number.rows for number in numbers):
            columns.append(Column(f"{name}: measured", name))
            cells.append(grid.ranked([_measured(number) for number in numbers]))
        columns.append(Column(f"{name}: printed", name))
        cells.append(grid.ranked([_printed(number) for number in numbers]))
        if any(number.difference is not None for number in numbers):
            columns.append(Column("Δ", name))
            cells.append([_difference(number) for number in numbers])
    labels = [lookup.label(*track, numbers) for track, numbers in zip(tracks, zip(*by_place, strict=True), strict=True)]
    lines = [(label, [column[i] for column in cells]) for i, label in enumerate(labels)]
    return Grid(title, "method", columns, lines)


def _measured(number: Number) -> GridCell:
    if not number.rows:
        return GridCell()  # not run is not the same as undefined
    several = number.scope in (*_MEANS, _ALL, "all")
    return grid.cell(number.measured, len(number.targets) if several else None)


def _printed(number: Number) -> GridCell:
    return grid.printed(number.published, bool(number.scored))


def _difference(number: Number) -> GridCell:
    return GridCell("" if number.difference is None else grid.difference(number.difference))


def _ranked_apart(cells: list[GridCell], kinds: Sequence[str]) -> list[GridCell]:
    """Measured numbers and printed ones each have a best and a second."""
    done = list(cells)
    for kind in ("measured", "printed"):
        places = [i for i, of in enumerate(kinds) if of == kind]
        for i, one in zip(places, grid.ranked([cells[i] for i in places]), strict=True):
            done[i] = one
    return done


def _notes(lookup: Numbers, seen: Sequence[Number]) -> list[str]:
    notes = [
        f"Percent. Measured numbers are {SPREAD}; here {runs_counted(number.measured.n_runs for number in seen)}. Bold "
        "is the best, underlined the second best of those that cover the most, of the measured and of the printed "
        "numbers each.",
        "Δ is measured minus printed, only where backbone, image size, fidelity preset, auxiliary set, image counts "
        "and form of the metric agree, and nothing is partial.",
    ]
    if any(p.second_hand for p in lookup.published):
        notes.append(
            "Printed numbers at second hand: read from a summary or another paper's table, not from the authors'."
        )
    metrics = set(lookup.table.metrics)
    if lookup.table.name.startswith("faprompt"):
        notes.append("Means over datasets leave MVTecAD out, as FAPrompt's own do.")
    if "pixel_aupro_legacy200" in metrics:
        notes.append("AUPRO is the papers' form with 200 thresholds, never compared with the exact one.")
    if "pixel_aupro" in metrics and lookup.table.name.startswith("dive"):
        notes.append("AUPRO measured here is exact; which form DIVE's is, is not known.")
    if lookup.table.name.startswith("dive") and "image_ap" in metrics:
        notes.append("DIVE's AP is another one than scikit-learn's average precision, which is measured here.")
    if "pixel_rcpro" in metrics:
        notes.append("RCPRO is defined here from the paper's words only.")
    targets = {target for number in seen for target in number.targets}
    notes += dict.fromkeys(text for name, text in lookup.facts.footnotes.items() if name in targets)
    lines: dict[str, list[Measured]] = {}
    for number in seen:
        lines.setdefault(lookup.name(number.entry, number.track), []).append(number.measured)
    for number in seen:
        if number.scored:
            printed = NOTHING._replace(mean=number.published, transductive=True)
            lines.setdefault(f"{lookup.facts.name(number.entry)}: printed", []).append(printed)
    notes += marks.notes(lines, title=lookup.facts.title, numbering=lookup.numbering)
    notes += lookup.facts.unverified_notes({entry.method for entry in lookup.entries if lookup.tracks(entry)})
    for method in dict.fromkeys(entry.method for entry in lookup.entries):
        if reason := lookup.facts.why_not_built(method):
            notes.append(f"{lookup.facts.title(method)} is not built: {reason}. Its numbers are the papers'.")
    reasons = dict.fromkeys(
        f"{lookup.name(number.entry, number.track)}: {number.why_not}" for number in seen if number.why_not
    )
    if reasons:
        notes.append("Not compared: " + "; ".join(list(reasons)[:12]) + ("; …" if len(reasons) > 12 else "") + ".")
    if not lookup.rows:
        notes.insert(0, "Nothing of this table has been measured yet: all numbers are the papers'.")
    return notes
