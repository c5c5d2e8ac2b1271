"""Quality against one setting of a method at a time: DIVE's figure 5 and FAPrompt's figure 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.figures.style import (
    METRICS,
    Drawn,
    Mark,
    fullest,
    lacking_sentence,
    legend,
    marks,
    partial_sentence,
    sheet,
)
from zsad_bench.leaderboard.tables.averaging import Measured, Pool, runs_counted
from zsad_bench.leaderboard.tables.marks import Partials
from zsad_bench.leaderboard.tables.published import Facts, Published
from zsad_bench.results.row import Row
from zsad_bench.variant import PLAIN, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = ("-", "--", ":", "-.")
Groups = Mapping[str, Mapping[str, tuple[str, ...]]]  # level of the metric -> name of a line -> its datasets


class Setting(NamedTuple):
    """A field of the method's configuration. symbol: the paper's. default: what it is where nobody names it."""

    field: str
    symbol: str
    what: str
    default: float | None


@dataclass(frozen=True)
class Study:
    """One such figure. recipe: the sweep that computes its rows. prior, metrics: unless others are asked for."""

    title: str
    method: str
    settings: tuple[Setting, ...]
    recipe: str
    prior: str
    metrics: tuple[str, ...]


class Line(NamedTuple):
    """One line of one panel. points: value of the setting -> mean. printed: the paper's number of the method as it is.

    lacking: points that have rows, of fewer categories than the others.
    """

    setting: Setting
    metric: str
    name: str
    points: Mapping[float, Measured]
    printed: Published | None
    lacking: tuple[str, ...]


def lines(
    study: Study,
    rows: Iterable[Row],
    prior: str,
    metrics: Sequence[str],
    groups: Groups,
    published: Sequence[Published] = (),
    scopes: Mapping[str, str] | None = None,
) -> list[Line]:
    """Every line with two points or more.

    A row that names settings only at their defaults is the method as it is, and a point of every setting: a sweep
    computes such a configuration once, under one of its names. scopes: name of a line -> its name in published numbers.

    Raises:
        RowError: no rows, or none of a setting at two values.
    """
    rows = list(rows)
    parts = Partials(rows)
    defaults = {setting.field: setting.default for setting in study.settings}
    selected = [row for row in rows if (row.method, row.prior) == (study.method, prior) and row.metric in metrics]
    places = {variant: _values(variant, defaults) for variant in {row.variant for row in selected}}
    made = []
    for setting in study.settings:
        for metric in metrics:
            for name, targets in groups[metric.split("_")[0]].items():
                pools: dict[float, Pool] = {}
                for row in selected:
                    if row.metric == metric and row.target in targets and setting.field in places[row.variant]:
                        pools.setdefault(places[row.variant][setting.field], Pool()).add(row, parts=parts.of(row))
                means = {x: pool.mean() for x, pool in sorted(pools.items())}
                points = fullest(means)
                if len(points) > 1:
                    lacking = tuple(f"{setting.symbol} = {x} of {name}" for x in means if x not in points)
                    star = _printed(published, study.method, metric, (scopes or {}).get(name, name), prior)
                    made.append(Line(setting, metric, name, points, star, lacking))
    if not made:
        names = ", ".join(defaults)
        raise RowError(
            f"no rows of {study.method} under prior {prior} with two values of any of {names}; "
            f"run `zsad-bench sweep {study.recipe}`"
        )
    return made


def draw(study: Study, lines: Sequence[Line], prior: str, note: Sequence[str]) -> Drawn:
    """A column per setting, a line per metric. note: first sentences of the caption."""
    settings = [setting for setting in study.settings if any(line.setting == setting for line in lines)]
    metrics = list(dict.fromkeys(line.metric for line in lines))
    size = (0.6 + 2.7 * len(settings), 0.75 + 2.0 * len(metrics))
    drawn = sheet(*size, study.title, _caption(study, lines, prior, note))
    grid = drawn.figure.subplots(len(metrics), len(settings), sharex="col", sharey="row", squeeze=False)
    looks = marks(line.name for line in lines)
    styles = {name: _STYLES[i % len(_STYLES)] for i, name in enumerate(looks)}
    handles: dict[str, Any] = {}
    for panels, metric in zip(grid, metrics, strict=True):
        panels[0].set_ylabel(f"{METRICS[metric]}, %")
        for panel, setting in zip(panels, settings, strict=True):
            here = [line for line in lines if (line.setting, line.metric) == (setting, metric)]
            for line in here:
                handles[line.name] = _curve(panel, line, looks[line.name], styles[line.name])
            if setting.default is not None:
                panel.axvline(setting.default, color="#999999", linestyle=":", linewidth=1)
            panel.set_xticks(sorted({x for line in here for x in line.points}))
    for panel, setting in zip(grid[-1], settings, strict=True):
        panel.set_xlabel(f"{setting.symbol}, {setting.what}")
    legend(drawn.figure, handles)
    return drawn


def _caption(study: Study, lines: Sequence[Line], prior: str, note: Sequence[str]) -> list[str]:
    runs = runs_counted(mean.n_runs for line in lines for mean in line.points.values())
    missing = [s.symbol for s in study.settings if all(line.setting != s for line in lines)]
    stars = [line.printed for line in lines if line.printed is not None and line.setting.default is not None]
    notes = "; ".join(dict.fromkeys(f"{METRICS[star.metric]}: {star.note}" for star in stars if star.note))
    in_brackets = f" ({notes})" if notes else ""
    return [
        *note,
        f"Prior {prior}; mean over categories, then datasets, then runs ({runs}); bars are the standard deviation over "
        "runs. Dotted lines are the defaults here.",
        f"Stars are the paper's printed numbers{in_brackets}, drawn at the defaults here." if stars else "",
        f"Not run: {', '.join(missing)}." if missing else "",
        lacking_sentence(list(dict.fromkeys(name for line in lines for name in line.lacking))),
        partial_sentence((mean for line in lines for mean in line.points.values()), Facts()),
    ]


def _curve(panel: Axes, line: Line, look: Mark, style: str) -> Any:
    """What stands for the line in a legend."""
    means = [mean.percent for mean in line.points.values()]
    errors = [mean.percent_sd or 0 for mean in line.points.values()]
    if line.printed is not None and line.setting.default is not None:
        panel.plot(line.setting.default, 100 * line.printed.value, linestyle="none", marker="*", markersize=11,
                   color=look.colour, markerfacecolor="white", zorder=3)  # fmt: skip
    return panel.errorbar(list(line.points), means, yerr=errors, color=look.colour, marker=look.marker, linestyle=style,
                          capsize=2, elinewidth=1)  # fmt: skip


def _values(variant: Variant, defaults: Mapping[str, float | None]) -> dict[str, float]:
    """Setting -> its value, of every setting that this variant is a point of: none for another ablation."""
    if variant.keys() - {"fidelity", *defaults}:
        return {}
    named = {field: value for field, value in variant.items() if field in defaults}
    moved = {field: value for field, value in named.items() if value != defaults[field]}
    if moved:
        return moved if len(moved) == 1 else {}  # off its default in two settings, it is a point of neither
    return {field: value for field, value in {**defaults, **named}.items() if value is not None}


def _printed(published: Iterable[Published], method: str, metric: str, scope: str, prior: str) -> Published | None:
    """The paper's number of the method as it is, for that dataset or domain."""
    wanted = (method, metric, scope, prior, PLAIN)
    fields = ((one.entry.method, one.metric, one.scope, one.prior, one.entry.settings, one) for one in published)
    return next((one for *place, one in fields if tuple(place) == wanted), None)
