"""How much an auxiliary prior buys: quality against the number of anomaly types, or of anomalous images, learned from.

A curve is one method under one prior with one of its numbers let go: `mvtec:types=1`, `mvtec:types=5`, … Draws of the
auxiliary data are the repetitions; within a draw fewer types or shots are a subset of more.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from zsad_bench.errors import UsageError
from zsad_bench.leaderboard.statistics.spearman import LEVEL, RESAMPLES, SEED, Correlation, spearman
from zsad_bench.leaderboard.tables import grid
from zsad_bench.leaderboard.tables.averaging import NOTHING, Measured, Pool
from zsad_bench.leaderboard.tables.grid import Column, Grid, Shown
from zsad_bench.leaderboard.tables.partial import MARK, Partial, Partials, note, told, union
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.prior_grammar import Part, parts_of, spell
from zsad_bench.results.row import Row
from zsad_bench.variant import Variant

Axis = Literal["types", "shots"]
AXES: tuple[Axis, ...] = ("types", "shots")
_FREE: Mapping[Axis, dict[str, Any]] = {"types": {"types": None, "exclude_catch_all": False}, "shots": {"shots": None}}


class Point(NamedTuple):
    """Quality at one number of types or shots, fractions.

    by_draw: draw -> mean over datasets, categories and seeds. mean, sd: over draws, sd None for one. low, high: the
    middle `LEVEL` of the draws. n_draws_found: with any row; draws that lack categories are not averaged.
    """

    x: int
    by_draw: dict[int, float]
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n_draws_found: int


@dataclass(frozen=True)
class Curve:
    """prior: what is learned from, without the number on the axis. points: by rising x.

    whole: the mean under that prior with nothing taken away, over its seeds and draws; in no correlation, for its
    number is not in its name. correlation: of x and quality over draws that all points have.
    n_categories: of every point, n_expected: seen in any row. parts: what of the data behind it is not whole.
    """

    method: str
    variant: Variant
    prior: str
    axis: Axis
    metric: str
    points: tuple[Point, ...]
    whole: Measured
    correlation: Correlation
    datasets: tuple[str, ...]
    n_categories: int
    n_expected: int
    parts: tuple[Partial, ...] = ()


class _Place(NamedTuple):
    method: str
    variant: Variant
    prior: str
    axis: Axis
    metric: str


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
    rows = list(rows)
    parts = Partials(rows)
    for row in rows:
        if row.target not in targets.get(row.metric.split("_")[0], ()):
            continue
        if row.prior not in known:
            known[row.prior] = _axes(row.prior)
        for axis, prior, x in known[row.prior]:
            pools[_Place(row.method, row.variant, prior, axis, row.metric)][x].add(row, parts=parts.of(row))
    found = []
    for place, of in sorted(pools.items(), key=lambda item: (AXES.index(item[0].axis), item[0].metric, item[0])):
        numbers = {x: pool for x, pool in of.items() if x is not None}
        if len(numbers) > 1:
            found.append(_curve(place, numbers, of.get(None), resamples, level, seed))
    return found


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
    place: _Place, numbers: Mapping[int, Pool], whole: Pool | None, resamples: int, level: float, seed: int
) -> Curve:
    runs = {x: {run: _alone(pool, run) for run in pool.runs} for x, pool in numbers.items()}
    most = max((mean.n_categories for of in runs.values() for mean in of.values()), default=0)
    datasets: tuple[str, ...] = ()
    points = []
    for x, of in sorted(runs.items()):
        by_draw: dict[int, list[float]] = defaultdict(list)
        for (_, draw), mean in sorted(of.items()):
            if mean.n_categories == most and mean.mean is not None:
                by_draw[draw].append(mean.mean)
                datasets = mean.datasets
        points.append(_point(x, {d: math.fsum(v) / len(v) for d, v in by_draw.items()}, {d for _, d in of}, level))
    common = sorted(set.intersection(*(set(point.by_draw) for point in points)))
    correlation = spearman(
        [[point.x for point in points] for _ in common],
        [[point.by_draw[draw] for point in points] for draw in common],
        resamples, level, seed,
    )  # fmt: skip
    seen = {
        (target, category)
        for pool in (*numbers.values(), *([whole] if whole else []))
        for run in pool.runs.values()
        for target, values in run.items()
        for category in values
    }
    full = whole.mean() if whole else NOTHING
    full = full if full.n_categories == most else NOTHING
    parts = union([*(pool.mean().parts for _, pool in sorted(numbers.items())), full.parts])
    return Curve(*place, tuple(points), full, correlation, datasets, most, len(seen), parts)


def _alone(pool: Pool, run: tuple[int, int]) -> Measured:
    """The mean of one run."""
    one = Pool()
    one.runs = {run: pool.runs[run]}
    return one.mean()


def _point(x: int, by_draw: dict[int, float], found: set[int], level: float) -> Point:
    import numpy as np

    values = list(by_draw.values())
    if not values:
        return Point(x, by_draw, None, None, None, None, len(found))
    low, high = map(float, np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Point(x, by_draw, math.fsum(values) / len(values), sd, low, high, len(found))


def table(found: Sequence[Curve], facts: Facts) -> tuple[list[Grid], list[dict[str, Any]]]:
    """A grid for each axis and metric, and the exact numbers as records: one for each point of each curve."""
    together: dict[tuple[Axis, str], list[Curve]] = defaultdict(list)
    for curve in found:
        together[curve.axis, curve.metric].append(curve)
    grids = [_grid(axis, metric, of, facts) for (axis, metric), of in together.items()]
    return grids, [record for curve in found for record in _records(curve)]


def _grid(axis: Axis, metric: str, found: Sequence[Curve], facts: Facts) -> Grid:
    numbers = sorted({point.x for curve in found for point in curve.points})
    columns = [Column(str(x), axis) for x in numbers] + [Column("all", axis)]
    columns += [
        Column("Spearman", "rho"),
        Column(f"{found[0].correlation.level:.0%} interval", "rho"),
        Column("draws", "rho"),
    ]
    lines = []
    for curve in found:
        at = {point.x: point for point in curve.points}
        cells = [_shown(at.get(x)) for x in numbers]
        cells.append("" if curve.whole is NOTHING else grid.percent(curve.whole.mean, curve.whole.sd))
        rho = curve.correlation
        most = max(point.n_draws_found for point in curve.points)
        cells += [
            _signed(rho.value),
            _interval(rho),
            f"{rho.n_clusters}/{most}" if rho.n_clusters < most else str(most),
        ]
        name = facts.title(curve.method) + (f" ({curve.variant})" if curve.variant else "")
        lacking = f", {curve.n_categories}/{curve.n_expected} categories" * (curve.n_categories < curve.n_expected)
        lines.append((f"{name} · {curve.prior}{MARK * bool(curve.parts)}{lacking}", [Shown(text) for text in cells]))
    ranked = zip(*(grid.ranks([_mean(curve, x) for curve in found]) for x in (*numbers, None)), strict=True)
    body = [
        (label, [cell._replace(rank=rank) for cell, rank in zip(cells, (*ranks, 0, 0, 0), strict=True)])
        for (label, cells), ranks in zip(lines, ranked, strict=True)
    ]
    marked = {f"{facts.title(curve.method)} · {curve.prior}": curve.parts for curve in found if curve.parts}
    datasets = dict.fromkeys(facts.title(name) for curve in found for name in curve.datasets)
    what = {"types": "anomaly types", "shots": "anomalous images"}[axis]
    notes = [
        f"Percent, mean ± standard deviation over draws of the auxiliary data, of the mean over {', '.join(datasets)}. "
        '"all" is the prior with nothing taken away, over its own seeds and draws. (n/m) are draws that have all '
        "categories.",
        f'Spearman: rank correlation of the number of {what} and quality over draws and numbers, without "all"; its '
        f"interval is of {RESAMPLES} resamples of whole draws.",
        *filter(None, [note(marked, len(lines), facts.title)]),
    ]
    return Grid(f"{metric} against the number of {what}", "method · prior", columns, body, notes)


def _mean(curve: Curve, x: int | None) -> float | None:
    """What may be ranked."""
    if curve.parts:
        return None
    if x is None:
        return curve.whole.mean
    return next((point.mean for point in curve.points if point.x == x), None)


def _shown(point: Point | None) -> str:
    if point is None:
        return ""
    lacking = f" ({len(point.by_draw)}/{point.n_draws_found})" * (len(point.by_draw) < point.n_draws_found)
    return grid.percent(point.mean, point.sd) + lacking


def _signed(value: float | None) -> str:
    return grid.UNDEFINED if value is None else f"{value:+.2f}".replace("-", "−")


def _interval(rho: Correlation) -> str:
    return grid.UNDEFINED if rho.low is None else f"{_signed(rho.low)} to {_signed(rho.high)}"


def _records(curve: Curve) -> list[dict[str, Any]]:
    place = {name: getattr(curve, name) for name in ("method", "variant", "prior", "axis", "metric")}
    covered = {
        "n_datasets": len(curve.datasets), "n_categories": curve.n_categories,
        "n_categories_expected": curve.n_expected, "partial": told(curve.parts),
    }  # fmt: skip
    rho = curve.correlation
    correlated = {
        "spearman": rho.value, "spearman_low": rho.low, "spearman_high": rho.high, "spearman_level": rho.level,
        "spearman_draws": rho.n_clusters,
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
