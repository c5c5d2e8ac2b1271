"""How much an auxiliary prior buys: quality against the number of anomaly types, or of anomalous images, learned from.

A curve is one method under one prior with one of its numbers let go: `mvtec:types=1`, `mvtec:types=5`, … Draws of the
auxiliary data are the repetitions; within a draw fewer types or shots are a subset of more. What a method loses from
everything to the fewest is the curve in one number. A method that learns nothing has the same number everywhere.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from zsad_bench.errors import UsageError
from zsad_bench.leaderboard.statistics import LEVEL, RESAMPLES, SEED
from zsad_bench.leaderboard.statistics.spearman import Correlation, spearman
from zsad_bench.leaderboard.tables import grid, marks
from zsad_bench.leaderboard.tables.averaging import (
    NOTHING,
    Measured,
    Place,
    Pool,
    Run,
    RunMean,
    deviation,
    pools,
    widest,
)
from zsad_bench.leaderboard.tables.grid import Column, Grid, GridCell
from zsad_bench.leaderboard.tables.marks import Marked, Partial, Partials, Remark, describe, signs, union
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.prior_grammar import Part, parts_of, spell
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant

Axis = Literal["types", "shots"]
AXES: tuple[Axis, ...] = ("types", "shots")
_WHAT: Mapping[Axis, str] = {"types": "anomaly types", "shots": "anomalous images"}
NOT_HELD = "The images of a type go with it: what is lost is lost to fewer types and to fewer images together."
HELD = f'{NOT_HELD.removesuffix(".")}, except where the prior has "shots=N": N anomalous images, however many types.'
_FREE: Mapping[Axis, dict[str, Any]] = {"types": {"types": None, "exclude_catch_all": False}, "shots": {"shots": None}}


class Point(NamedTuple):
    """Quality at one number of types or shots, fractions.

    by_draw: draw -> mean over datasets, categories and seeds. mean, sd (`deviation`): over draws. low, high: the middle
    `LEVEL` of the draws. n_draws_found: with any row; draws that lack categories are not averaged.
    """

    x: int
    by_draw: dict[int, float]
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n_draws_found: int


class Loss(NamedTuple):
    """What is lost with nearly everything taken away, as fractions: above zero is worse with less.

    mean, sd (`deviation`): over draws. n_draws: of these. start: the number that it is lost from, None is "all". end:
    the least number. paired: whether both ends of a draw learned under that draw; else the mean of all runs of the
    whole prior stands at the start of each draw.
    """

    mean: float
    sd: float | None
    n_draws: int
    start: int | None
    end: int
    paired: bool


class RunsOn(NamedTuple):
    """What else makes a line: curves are never of several."""

    backbone: str
    image_size: int
    precision: str


class Flat(NamedTuple):
    """A method that learns nothing, on the same datasets. tag: as of `Curve`."""

    method: str
    variant: Variant
    metric: str
    runs_on: RunsOn
    number: Measured
    tag: str = ""


@dataclass(frozen=True)
class Curve:
    """prior: what is learned from, without the number on the axis. points: by rising x.

    whole: the mean under that prior with nothing taken away, over its seeds and draws; in no correlation, for its
    number is not in its name. correlation: of x and quality over draws that all points have. loss: None where the
    ends of the curve have no draw in common.
    n_categories, places: of every point, n_expected: in any row of the metric. parts: what of the data behind it is
    not whole. remarks: of the method on its numbers. tag: what it runs on, as far as other rows of the method run on
    something else.
    """

    method: str
    variant: Variant
    prior: str
    axis: Axis
    metric: str
    runs_on: RunsOn
    points: tuple[Point, ...]
    whole: Measured
    correlation: Correlation
    loss: Loss | None
    datasets: tuple[str, ...]
    n_categories: int
    n_expected: int
    parts: tuple[Partial, ...] = ()
    transductive: bool = False
    remarks: tuple[Remark, ...] = ()
    external: bool = False
    places: frozenset[Place] = frozenset()
    tag: str = ""


class _Place(NamedTuple):
    method: str
    variant: Variant
    prior: str
    axis: Axis
    metric: str
    runs_on: RunsOn


def curves(
    rows: Iterable[Row],
    targets: Mapping[str, Sequence[str]],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = SEED,
) -> list[Curve]:
    """Every curve of two points or more, by axis, metric and method.

    rows: current and comparable ones. targets: level of the metric ("image", "pixel") -> datasets that are averaged.
    """
    pools: dict[_Place, dict[int | None, Pool]] = defaultdict(lambda: defaultdict(Pool))
    known: dict[str, list[tuple[Axis, str, int | None]]] = {}
    expected: dict[str, set[Place]] = defaultdict(set)  # metric -> categories that any row has
    rows = list(rows)
    parts = Partials(rows)
    for row in rows:
        if row.target not in targets.get(row.metric.split("_")[0], ()):
            continue
        expected[row.metric].add((row.target, row.category))
        if row.prior not in known:
            known[row.prior] = _axes(row.prior)
        for axis, prior, x in known[row.prior]:
            pools[_Place(row.method, row.variant, prior, axis, row.metric, _runs_on(row))][x].add(
                row, parts=parts.of(row)
            )
    tags = _tags(rows)
    made = []
    for place, of in sorted(pools.items(), key=lambda item: (AXES.index(item[0].axis), item[0].metric, item[0])):
        numbers = {x: pool for x, pool in of.items() if x is not None}
        if len(numbers) > 1:
            one = _curve(place, numbers, of.get(None), len(expected[place.metric]), resamples, level, seed)
            made.append(replace(one, tag=tags[place.method, place.runs_on]))
    return made


def flats(rows: Iterable[Row], curves: Sequence[Curve], sanity: Collection[str] = ()) -> list[Flat]:
    """The methods that learn nothing, on the datasets of the curves of their metric. sanity: methods to leave out."""
    covered: dict[str, tuple[dict[str, None], int]] = {}
    for curve in curves:
        datasets, most = covered.get(curve.metric, ({}, 0))
        covered[curve.metric] = (datasets | dict.fromkeys(curve.datasets), max(most, curve.n_expected))
    own = [row for row in rows if row.prior == "none" and row.method not in sanity and row.metric in covered]
    found = []
    tags = _tags(own)
    by_line = pools(own, lambda row: (row.method, row.variant, row.metric, _runs_on(row)))
    for (method, variant, metric, on), pool in sorted(by_line.items()):
        datasets, most = covered[metric]
        number = pool.mean(list(datasets))
        if number.mean is not None:
            number = number._replace(n_expected=max(most, number.n_expected))
            found.append(Flat(method, variant, metric, on, number, tags[method, on]))
    return found


def _runs_on(row: Row) -> RunsOn:
    return RunsOn(row.backbone, row.image_size, row.precision)


def _tags(rows: Iterable[Row]) -> dict[tuple[str, RunsOn], str]:
    """Method and what it runs on -> what of that is not the same for all of its rows, in words."""
    by_method: dict[str, dict[RunsOn, None]] = defaultdict(dict)
    for row in rows:
        by_method[row.method][_runs_on(row)] = None
    tags = {}
    for method, every in by_method.items():
        several = [len(set(values)) > 1 for values in zip(*every, strict=True)]
        for on in every:
            words = (on.backbone, f"{on.image_size} px", on.precision)
            tags[method, on] = ", ".join(word for word, differs in zip(words, several, strict=True) if differs)
    return tags


def named(one: Curve | Flat, name: str) -> str:
    """The name of a curve or flat line with its tag."""
    return f"{name} ({one.tag})" if one.tag else name


def _axes(prior: str) -> list[tuple[Axis, str, int | None]]:
    """The axes that a prior is a point of, with the prior that the number was taken from; None is that prior itself."""
    try:
        parts = parts_of(prior)
    except UsageError:  # a manifest's path, or the name in a row of another version
        return []
    if len(parts) != 1 or prior == "none" or prior.startswith("@"):
        return []
    return [(axis, _name(part := parts[0], axis), getattr(part, axis)) for axis in AXES]


def _name(part: Part, axis: Axis) -> str:
    """The prior without a number on this axis; what a type is stays, as it tells curves apart."""
    unit = f", types by {part.unit}" if axis == "types" and part.unit != "pair" else ""
    named = axis == "types" and part.exclude_catch_all
    return ":".join([part.dataset, *spell(replace(part, **_FREE[axis]))]) + unit + ", named types" * named


def _curve(
    place: _Place,
    numbers: Mapping[int, Pool],
    whole: Pool | None,
    n_expected: int,
    resamples: int,
    level: float,
    seed: int,
) -> Curve:
    runs = {x: pool.by_run() for x, pool in numbers.items()}
    places = widest(mean.places for of in runs.values() for mean in of.values())
    datasets: tuple[str, ...] = ()
    points = []
    for x, of in sorted(runs.items()):
        datasets = next((mean.datasets for mean in of.values() if mean.places == places), datasets)
        points.append(_point(x, _by_draw(of, places), {draw for _, draw in of}, level))
    common = sorted(set.intersection(*(set(point.by_draw) for point in points)))
    correlation = spearman(
        [[point.x for point in points] for _ in common],
        [[point.by_draw[draw] for point in points] for draw in common],
        resamples, level, seed,
    )  # fmt: skip
    full = whole.mean() if whole else NOTHING
    full = full if full.places == places else NOTHING
    by_draw_of_all = _by_draw(whole.by_run(), places) if whole else {}
    means = [*(pool.mean() for _, pool in sorted(numbers.items())), full]
    parts, transductive = union(mean.parts for mean in means), any(mean.transductive for mean in means)
    remarks = union(mean.remarks for mean in means)
    return Curve(
        *place, tuple(points), full, correlation, _loss(points, full, by_draw_of_all), datasets, len(places),
        n_expected, parts, transductive, remarks, external=any(mean.external for mean in means), places=places,
    )  # fmt: skip


def _by_draw(runs: Mapping[Run, RunMean], places: frozenset[Place]) -> dict[int, float]:
    """Draw -> mean over its seeds, of the runs that cover these categories."""
    found: dict[int, list[float]] = defaultdict(list)
    for (_, draw), mean in sorted(runs.items()):
        if mean.places == places and mean.mean is not None:
            found[draw].append(mean.mean)
    return {draw: math.fsum(values) / len(values) for draw, values in found.items()}


def _loss(points: Sequence[Point], whole: Measured, by_draw_of_all: Mapping[int, float]) -> Loss | None:
    few, many = points[0], points[-1]
    start, paired = None, few.by_draw.keys() <= by_draw_of_all.keys()
    if whole.mean is None:
        start, paired, by_draw_of_all = many.x, True, many.by_draw
    elif not paired:
        by_draw_of_all = dict.fromkeys(few.by_draw, whole.mean)
    lost = [by_draw_of_all[draw] - value for draw, value in few.by_draw.items() if draw in by_draw_of_all]
    if not lost:
        return None
    return Loss(math.fsum(lost) / len(lost), deviation(lost), len(lost), start, few.x, paired)


def _point(x: int, by_draw: dict[int, float], draws: set[int], level: float) -> Point:
    import numpy as np

    values = list(by_draw.values())
    if not values:
        return Point(x, by_draw, None, None, None, None, len(draws))
    low, high = map(float, np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    return Point(x, by_draw, math.fsum(values) / len(values), deviation(values), low, high, len(draws))


def table(curves: Sequence[Curve], facts: Facts, flat: Sequence[Flat] = ()) -> tuple[list[Grid], list[dict[str, Any]]]:
    """A grid for each axis and metric, and the exact numbers as records: one for each point of each curve.

    flat: methods that learn nothing, each a line with one number below the curves; they have a record for each metric.
    """
    together: dict[tuple[Axis, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        together[curve.axis, curve.metric].append(curve)
    grids = [
        _grid(axis, metric, of, [one for one in flat if one.metric == metric], facts)
        for (axis, metric), of in together.items()
    ]
    everything: list[Curve | Flat] = [*curves, *flat]
    return grids, [record for one in everything for record in _records(one)]


def _grid(axis: Axis, metric: str, curves: Sequence[Curve], flat: Sequence[Flat], facts: Facts) -> Grid:
    numbers = sorted({point.x for curve in curves for point in curve.points})
    columns = [Column(str(x), axis) for x in numbers] + [Column("all", axis)]
    columns += [
        Column("lost", axis),
        Column("Spearman", "rho"),
        Column(f"{curves[0].correlation.level:.0%} interval", "rho"),
        Column("draws", "rho"),
    ]
    qualities = [[_quality(curve, x) for x in (*numbers, None)] for curve in curves]
    qualities += [[*(GridCell() for _ in numbers), grid.cell(one.number)] for one in flat]
    ranked = list(zip(*map(grid.ranked, zip(*qualities, strict=True)), strict=True))
    lines = []
    numbers_of: list[Marked] = [*curves, *(one.number for one in flat)]
    numbering = marks.numbered(remark.text for one in numbers_of for remark in one.remarks)
    for curve, quality in zip(curves, ranked[: len(curves)], strict=True):
        rho = curve.correlation
        most = max(point.n_draws_found for point in curve.points)
        draws = f"{rho.n_clusters}/{most}" if rho.n_clusters < most else str(most)
        name = facts.title(curve.method) + (f" ({curve.variant})" if curve.variant else "")
        name = named(curve, name) + facts.sign(curve.method)
        lacking = f", {curve.n_categories}/{curve.n_expected} categories" * (curve.n_categories < curve.n_expected)
        words = [GridCell(text) for text in (_lost(curve.loss), _signed(rho.value), _interval(rho), draws)]
        marked_name = f"{name} · {curve.prior}{signs(curve)}{marks.raised([curve], numbering)}"
        lines.append((f"{marked_name}{lacking}", [*quality, *words]))
    marked: dict[str, list[Marked]] = {
        f"{named(curve, facts.title(curve.method))} · {curve.prior}": [curve] for curve in curves
    }
    for one, quality in zip(flat, ranked[len(curves) :], strict=True):
        name = named(one, facts.title(one.method) + (f" ({one.variant})" if one.variant else ""))
        marked[name] = [one.number]
        sign = facts.sign(one.method) + marks.raised([one.number], numbering)
        lines.append((f"{name}{sign} · learns nothing", [*quality, *(GridCell() for _ in range(4))]))
    notes = [
        *_notes(axis, curves, bool(flat), facts),
        *marks.notes(marked, len(lines), facts.title, numbering),
        *facts.unverified_notes({*(curve.method for curve in curves), *(one.method for one in flat)}),
    ]
    return Grid(f"{metric} against the number of {_WHAT[axis]}", "method · prior", columns, lines, notes)


def _notes(axis: Axis, curves: Sequence[Curve], flat: bool, facts: Facts) -> list[str]:
    datasets = dict.fromkeys(facts.title(name) for curve in curves for name in curve.datasets)
    notes = [
        f"Percent, mean ± standard deviation over draws of the auxiliary data (sample form, n - 1; seeds of a draw are "
        f"averaged first), of the mean over {', '.join(datasets)}. "
        '"all" is the prior with nothing taken away, over its own seeds and draws. (n/m) are draws that have all '
        "categories.",
        f"lost: percentage points from all to the fewest {_WHAT[axis]}, mean ± standard deviation over draws; below "
        f"zero is gained. {_starts(curves)}".rstrip(),
    ]
    if axis == "types":
        notes.append(HELD if any("shots=" in curve.prior for curve in curves) else NOT_HELD)
    if flat:
        notes.append("Methods that learn nothing have one number, whatever is taken away. It is in the column all.")
    notes.append(
        f'Spearman: rank correlation of the number of {_WHAT[axis]} and quality over draws and numbers, without "all"; '
        f"its interval is of {RESAMPLES} resamples of whole draws."
    )
    return notes


def _starts(curves: Sequence[Curve]) -> str:
    """What losses are from, as far as it is not the same draw's "all"."""
    losses = [curve.loss for curve in curves if curve.loss]
    sentences = []
    if any(not loss.paired for loss in losses):
        sentences.append('Where "all" was not run under the draws of the others, the mean of its runs stands for each.')
    if starts := sorted({loss.start for loss in losses if loss.start is not None}):
        sentences.append(f'Where "all" was not run, it is from {" or ".join(map(str, starts))}.')
    return " ".join(sentences)


def _quality(curve: Curve, x: int | None) -> GridCell:
    """At one number of types or shots, or with nothing taken away (None). Signs stand behind the curve's name."""
    mean = curve.whole if x is None else next((point for point in curve.points if point.x == x), NOTHING)
    if mean is NOTHING:
        return GridCell()
    draws = (len(mean.by_draw), mean.n_draws_found) if isinstance(mean, Point) else (0, 0)
    lacking = f" ({draws[0]}/{draws[1]})" if draws[0] < draws[1] else ""
    number = NOTHING._replace(
        mean=mean.mean, sd=mean.sd, n_categories=curve.n_categories, parts=curve.parts,
        transductive=curve.transductive, external=curve.external, places=curve.places,
    )  # fmt: skip
    return GridCell(grid.percent(mean.mean, number.error) + lacking, number=number)


def _lost(loss: Loss | None) -> str:
    if loss is None:
        return grid.UNDEFINED
    varies = loss.sd is not None and loss.sd > 1e-12  # as `Measured.error`
    return grid.difference(loss.mean).removeprefix("+") + (f" ± {100 * loss.sd:.1f}" if varies and loss.sd else "")


def _signed(value: float | None) -> str:
    return grid.UNDEFINED if value is None else grid.signed(f"{value:+.2f}")


def _interval(rho: Correlation) -> str:
    return grid.UNDEFINED if rho.low is None else f"{_signed(rho.low)} to {_signed(rho.high)}"


def _records(curve: Curve | Flat) -> list[dict[str, Any]]:
    if isinstance(curve, Flat):
        of = {"method": curve.method, "variant": curve.variant, "prior": "none", "axis": "", "metric": curve.metric,
              **curve.runs_on._asdict(), "number": "all"}  # fmt: skip
        number = curve.number.record()
        return [of | {"n_draws": number.pop("n_runs"), "n_draws_found": number.pop("n_runs_found")} | number]
    place = {name: getattr(curve, name) for name in ("method", "variant", "prior", "axis", "metric")}
    place |= curve.runs_on._asdict()
    covered = {
        "n_datasets": len(curve.datasets), "n_categories": curve.n_categories,
        "n_categories_expected": curve.n_expected, "partial": describe(curve.parts),
        "transductive": curve.transductive, "external": curve.external, "remark": marks.texts([curve]),
    }  # fmt: skip
    rho = curve.correlation
    correlated: dict[str, Any] = {
        "spearman": rho.value, "spearman_low": rho.low, "spearman_high": rho.high, "spearman_level": rho.level,
        "spearman_draws": rho.n_clusters,
    }  # fmt: skip
    loss = curve.loss
    correlated |= {
        "lost": loss and loss.mean, "lost_sd": loss and loss.sd, "lost_draws": loss and loss.n_draws,
        "lost_from": loss and ("all" if loss.start is None else loss.start), "lost_paired": loss and loss.paired,
    }  # fmt: skip
    records = [
        {**place, "number": p.x, "mean": p.mean, "sd": p.sd, "low": p.low, "high": p.high, "n_draws": len(p.by_draw),
         "n_draws_found": p.n_draws_found, **covered, **correlated}
        for p in curve.points
    ]  # fmt: skip
    if curve.whole is not NOTHING:
        w = curve.whole
        whole = {"number": "all", "mean": w.mean, "sd": w.sd, "low": None, "high": None, "n_draws": w.n_runs}
        records.append({**place, **whole, "n_draws_found": w.n_runs_found, **covered, **correlated})
    return records
