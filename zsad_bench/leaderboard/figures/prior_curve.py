"""Who loses how much when kinds of anomaly, or anomalous images, are taken away: curves, and what each method loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zsad_bench.errors import UnknownNameError
from zsad_bench.leaderboard.figures.style import (
    FAINT,
    METRICS,
    Drawn,
    Mark,
    label,
    lacking_sentence,
    method_marks,
    partial_sentence,
    sheet,
    transductive_sentence,
)
from zsad_bench.leaderboard.tables.averaging import widest
from zsad_bench.leaderboard.tables.marks import Marked, signs
from zsad_bench.leaderboard.tables.prior_curve import HELD, NOT_HELD, Axis, Curve, Flat, Loss, named
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.registry import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("image_auroc", "pixel_aupro")
_AXES: Mapping[Axis, str] = {"types": "anomaly types learned from", "shots": "anomalous images learned from"}
_FEWEST: Mapping[Axis, str] = {"types": "type", "shots": "image"}
_BANDS = 3  # curves whose bands can still be told from each other
_LETTER = 0.125  # inches between two names, one above the other
_FILLS = ("full", "none", "left", "top")  # of the marks of several priors


class _Named(NamedTuple):
    """A name beside the panel, at the height where its line ends."""

    y: float
    text: str
    colour: str


def draw(
    curves: Sequence[Curve], facts: Facts, note: Sequence[str], flat: Sequence[Flat] = (), prior: str | None = None
) -> Drawn:
    """A line of panels for each axis and metric: quality, and points lost, sorted. curves: at least one.

    flat: methods that learn nothing, dashed. prior: whose curves are drawn; None is, of each axis, the one that most
    methods learn from. Losses are of all priors.

    Raises:
        UnknownNameError: no curve is of this prior.
    """
    known = sorted({curve.prior for curve in curves})
    if prior is not None and prior not in known:
        raise UnknownNameError(f"--prior: {did_you_mean('prior with a curve', prior, known)}")
    panels = [
        (axis, metric, own)
        for axis in _AXES
        for metric in METRICS
        if (own := _ordered([c for c in curves if (c.axis, c.metric) == (axis, metric)], prior))
    ]
    looks = method_marks([*(curve.method for curve in curves), *(one.method for one in flat)], facts)
    names = max(len({(c.method, c.variant, c.runs_on) for c in own}) for _, _, own in panels)
    names += len({(one.method, one.variant, one.runs_on) for one in flat})
    high = max(2.7, 0.75 + _LETTER * 1.15 * names)
    shown, lacking = _comparable(flat, curves)
    caption = _caption(curves, facts, note, shown, [_called(one, facts) for one in lacking], panels)
    drawn = sheet(9.6, 0.4 + high * len(panels), "Who loses how much when the prior shrinks", caption)
    grid = drawn.figure.subplots(len(panels), 2, squeeze=False, width_ratios=(1.25, 1))
    for (left, right), (axis, metric, own) in zip(grid, panels, strict=True):
        main = [curve for curve in own if curve.prior == own[0].prior]
        of_metric = [one for one in shown if one.metric == metric]
        _quality(left, main, of_metric, looks, facts, high - 0.75)
        left.set_ylabel(f"{METRICS[metric]}, %")
        left.set_xlabel(f"{_AXES[axis]}, of {main[0].prior}")
        _losses(right, own, looks, facts)
    return drawn


def _ordered(curves: Sequence[Curve], prior: str | None) -> list[Curve]:
    """Curves of one axis and metric, those that are drawn as lines first."""
    priors = dict.fromkeys(sorted((curve.prior for curve in curves), key=lambda name: (len(name), name)))
    count = {name: len([1 for curve in curves if curve.prior == name]) for name in priors}
    order = sorted(priors, key=lambda name: (name != prior, -count[name]))
    return sorted(curves, key=lambda curve: order.index(curve.prior))


def _comparable(flat: Sequence[Flat], curves: Sequence[Curve]) -> tuple[list[Flat], list[Flat]]:
    """Those that cover what the curves of their metric cover, and the others."""
    most = {metric: widest(c.places for c in curves if c.metric == metric) for metric in {c.metric for c in curves}}
    of = [one for one in flat if one.metric in most]
    shown = [one for one in of if one.number.places == most[one.metric]]
    return shown, [one for one in of if one not in shown]


def _called(one: Curve | Flat, facts: Facts) -> str:
    """The name with its signs."""
    number = one.number if isinstance(one, Flat) else one
    return named(one, label(one.method, one.variant, facts)) + facts.sign(one.method) + signs(number)


def _quality(
    panel: Axes, curves: Sequence[Curve], flat: Sequence[Flat], looks: Mapping[str, Mark], facts: Facts, high: float
) -> None:
    """Lines with their names at their ends. high: of the panel, in inches, at least."""
    numbers = sorted({point.x for curve in curves for point in curve.points})
    at_all = 2.0 * numbers[-1]
    whole = any(curve.whole.mean is not None for curve in curves)
    named = []
    for curve in curves:
        look = looks[curve.method]
        points = [(point.x, point.low, point.mean, point.high) for point in curve.points if point.by_draw]
        if not points:
            continue
        xs, low, mean, top = np.array(points, float).reshape(-1, 4).T
        if len(curves) <= _BANDS:
            panel.fill_between(xs, 100 * low, 100 * top, color=look.colour, alpha=0.15, linewidth=0)
        panel.plot(xs, 100 * mean, color=look.colour, marker=look.marker, markersize=4.5)
        end = float(100 * mean[-1])
        if curve.whole.mean is not None:
            panel.plot([xs[-1], at_all], [end, curve.whole.percent], color=look.colour, marker=look.marker,
                       markersize=4.5, linestyle=":", linewidth=1)  # fmt: skip
            end = curve.whole.percent
        named.append(_Named(end, _called(curve, facts), look.colour))
    for one in flat:
        panel.axhline(one.number.percent, color=FAINT, linestyle="--", linewidth=0.8, zorder=1)
        named.append(_Named(one.number.percent, _called(one, facts), FAINT))
    panel.set_xscale("log", base=2)
    panel.set_xticks([*numbers, *([at_all] if whole else [])], [*map(str, numbers), *(["all"] if whole else [])])
    panel.minorticks_off()
    _names(panel, named, high)


def _names(panel: Axes, named: Sequence[_Named], high: float) -> None:
    """Names right of the panel, as near to the ends of their lines as they can stand without touching."""
    panel.set_ylim(*panel.get_ylim())
    bottom, top = panel.get_ylim()
    gap = (top - bottom) * _LETTER / high
    order = sorted(named, key=lambda one: one.y)
    heights = _apart([one.y for one in order], gap, bottom + gap / 2, top - gap / 2)
    for one, y in zip(order, heights, strict=True):
        across = panel.get_yaxis_transform()  # along the axis a share of the panel, upwards its numbers
        panel.plot([1.0, 1.05], [one.y, y], transform=across, color=one.colour, linewidth=0.5, clip_on=False)
        panel.text(1.06, y, one.text, transform=across, va="center", fontsize=7, color=one.colour)


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights at least `gap` apart and near to those that are wanted, which rise; between low and high if they fit."""
    groups: list[list[float]] = []  # [sum of wanted heights less their place in the group, how many]
    for y in wanted:
        groups.append([y, 1])
        while len(groups) > 1 and _start(groups[-2], gap) + groups[-2][1] * gap > _start(groups[-1], gap):
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    found: list[float] = []
    for group in groups:
        start = _start(group, gap)
        found += [start + place * gap for place in range(int(group[1]))]
    for place in range(len(found)):  # what leaves at the top pushes down, and not beyond the bottom
        found[-1 - place] = min(found[-1 - place], high - place * gap)
    return [max(y, low + place * gap) for place, y in enumerate(found)]


def _start(group: Sequence[float], gap: float) -> float:
    """The height of the lowest name of a group, whose middle is the mean of what its names want."""
    total, count = group
    return total / count - gap * (count - 1) / 2


def _losses(panel: Axes, curves: Sequence[Curve], looks: Mapping[str, Mark], facts: Facts) -> None:
    """Points lost by method, the largest loss above; a mark for each prior."""
    losses: dict[str, dict[str, Loss]] = {}
    look_of: dict[str, Mark] = {}
    for curve in curves:
        if curve.loss is not None:
            losses.setdefault(_called(curve, facts), {})[curve.prior] = curve.loss
            look_of[_called(curve, facts)] = looks[curve.method]
    shown = list(dict.fromkeys(curve.prior for curve in curves if curve.loss is not None))
    # What lacks a loss under a prior comes last there.
    order = sorted(losses, key=lambda name: [losses[name][p].mean if p in losses[name] else -np.inf for p in shown])
    panel.axvline(0, color=FAINT, linewidth=0.8)
    for y, name in enumerate(order):
        for prior, loss in losses[name].items():
            place = shown.index(prior)
            aside = 0.5 * ((place + 1) / (len(shown) + 1) - 0.5)
            panel.errorbar(
                100 * loss.mean, y - aside, xerr=None if loss.sd is None else 100 * loss.sd,
                color=look_of[name].colour, marker=look_of[name].marker, fillstyle=_FILLS[place % len(_FILLS)],
                markersize=5, capsize=2, linestyle="none",
            )  # fmt: skip
    panel.set_yticks(range(len(order)), order)
    for tick, name in zip(panel.get_yticklabels(), order, strict=True):
        tick.set_color(look_of[name].colour)
    panel.set_ylim(-0.6, len(order) - 0.4)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel(_lost(curves))
    if len(shown) > 1:
        for place, prior in enumerate(shown):
            panel.plot([], [], color=FAINT, marker="o", fillstyle=_FILLS[place % len(_FILLS)], linestyle="none",
                       markersize=5, label=prior)  # fmt: skip
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7, borderaxespad=0.2)


def _lost(curves: Sequence[Curve]) -> str:
    """The title of an axis of losses."""
    losses = [curve.loss for curve in curves if curve.loss is not None]
    starts = sorted({"all" if loss.start is None else str(loss.start) for loss in losses})
    ends = sorted({loss.end for loss in losses})
    what = _FEWEST[curves[0].axis] + "s" * (ends != [1])
    return f"points lost, from {' or '.join(starts)} to {' or '.join(map(str, ends))} {what}"


def _caption(
    curves: Sequence[Curve],
    facts: Facts,
    note: Sequence[str],
    flat: Sequence[Flat],
    lacking: Sequence[str],
    panels: Sequence[tuple[Axis, str, list[Curve]]],
) -> list[str]:
    level = curves[0].correlation.level
    draws = sorted({len(point.by_draw) for curve in curves for point in curve.points})
    counted = f"{draws[0]} to {draws[-1]}" if len(draws) > 1 else str(draws[0])
    datasets = ", ".join(dict.fromkeys(facts.title(name) for curve in curves for name in curve.datasets))
    few = any(
        len({(c.method, c.variant, c.runs_on) for c in own if c.prior == own[0].prior}) <= _BANDS
        for _, _, own in panels
    )
    unpaired = any(curve.loss is not None and not curve.loss.paired for curve in curves)
    held = any("shots=" in curve.prior for curve in curves if curve.axis == "types")
    marked: list[tuple[str, Marked]] = [(named(one, label(one.method, one.variant, facts)), one) for one in curves]
    marked += [(named(one, label(one.method, one.variant, facts)), one.number) for one in flat]
    return [
        *note,
        f"Left: mean over {datasets}, then over {counted} draws of what is learned from"
        + (f"; the band is the middle {level:.0%} of the draws." if few else "."),
        "Right: what is lost, mean ± standard deviation over the draws; left of zero is gained.",
        'The runs of "all" have draws or seeds of their own; their mean stands at the start of every draw.' * unpaired,
        (HELD if held else NOT_HELD) * any(axis == "types" for axis, _, _ in panels),
        "Dashed: methods that learn nothing, and have nothing to lose." * bool(flat),
        f"± says how far one of the {counted} draws lies from the mean, not how well the mean is known.",
        lacking_sentence(list(dict.fromkeys(lacking))),
        partial_sentence([*curves, *(one.number for one in flat)], facts),
        transductive_sentence(marked),
        *facts.unverified_notes({*(curve.method for curve in curves), *(one.method for one in flat)}),
    ]
