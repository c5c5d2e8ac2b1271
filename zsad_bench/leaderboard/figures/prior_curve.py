"""Quality against the prior: how much is gained by more anomaly types, and by more anomalous images, to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zsad_bench.leaderboard.figures.style import (
    METRICS,
    Drawn,
    Mark,
    label,
    method_marks,
    partial_sentence,
    sheet,
    transductive_sentence,
)
from zsad_bench.leaderboard.tables.prior_curve import Curve
from zsad_bench.leaderboard.tables.published import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("image_auroc", "pixel_aupro")
_AXES = {"types": "anomaly types learned from", "shots": "anomalous images learned from"}
_LINES = ("-", "--", ":", "-.")


def draw(curves: Sequence[Curve], facts: Facts, note: Sequence[str]) -> Drawn:
    """A column per axis, a line per metric; a band is the middle of the draws. curves: at least one."""
    axes = [axis for axis in _AXES if any(curve.axis == axis for curve in curves)]
    metrics = [metric for metric in METRICS if any(curve.metric == metric for curve in curves)]
    looks = method_marks([curve.method for curve in curves], facts)
    priors = list(dict.fromkeys(curve.prior for curve in curves))
    size = (0.6 + 4.3 * len(axes), 0.6 + 3.1 * len(metrics))
    drawn = sheet(*size, "Quality against the prior", _caption(curves, facts, note))
    grid = drawn.figure.subplots(len(metrics), len(axes), squeeze=False)
    for line, metric in zip(grid, metrics, strict=True):
        for panel, axis in zip(line, axes, strict=True):
            own = [curve for curve in curves if (curve.axis, curve.metric) == (axis, metric)]
            numbers = sorted({point.x for curve in own for point in curve.points})
            for place, curve in enumerate(own):
                share = (place + 1) / (len(own) + 1) - 0.5  # of the room for "all", side by side
                style = _LINES[priors.index(curve.prior) % len(_LINES)]
                _curve(panel, curve, looks[curve.method], style, numbers[-1] * 2 ** (1 + 0.5 * share), facts)
            panel.set_xscale("log", base=2)
            whole = [2.0 * numbers[-1]] if any(curve.whole.mean is not None for curve in own) else []
            panel.set_xticks([*numbers, *whole], [*map(str, numbers), *(["all"] if whole else [])])
            panel.minorticks_off()
            panel.set_ylabel(f"{METRICS[metric]}, %")
            panel.set_xlabel(_AXES[axis])
            if own:
                panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
    return drawn


def _caption(curves: Sequence[Curve], facts: Facts, note: Sequence[str]) -> list[str]:
    level = curves[0].correlation.level
    draws = sorted({len(point.by_draw) for curve in curves for point in curve.points})
    counted = f"{draws[0]} to {draws[-1]}" if len(draws) > 1 else str(draws[0])
    datasets = ", ".join(dict.fromkeys(facts.title(name) for curve in curves for name in curve.datasets))
    whole = (
        "Points marked all are the prior with nothing taken away, with the standard deviation over its runs."
        if any(curve.whole.mean is not None for curve in curves)
        else ""
    )
    return [
        *note,
        f"Mean over {datasets}, then over {counted} draws of what is learned from; the band is the middle {level:.0%} "
        f"of the draws. In the legends: Spearman's rank correlation over draws, with its {level:.0%} interval.",
        whole,
        partial_sentence(curves, facts),
        transductive_sentence((label(curve.method, curve.variant, facts), curve) for curve in curves),
    ]


def _curve(panel: Axes, curve: Curve, look: Mark, style: str, at_all: float, facts: Facts) -> None:
    xs = [point.x for point in curve.points if point.by_draw]
    drawn = [(point.low, point.mean, point.high) for point in curve.points if point.by_draw]
    low, mean, high = 100 * np.array(drawn, float).reshape(-1, 3).T
    panel.fill_between(xs, low, high, color=look.colour, alpha=0.15, linewidth=0)
    rho = curve.correlation
    correlation = "" if rho.value is None else f", ρ {rho.value:+.2f}"
    correlation += "" if rho.low is None else f" ({rho.low:+.2f} to {rho.high:+.2f})"
    name = label(curve.method, curve.variant, facts)
    panel.plot(xs, mean, color=look.colour, marker=look.marker, linestyle=style,
               label=f"{name}, {curve.prior}{correlation.replace('-', '−')}")  # fmt: skip
    if curve.whole.mean is not None:
        panel.errorbar(at_all, curve.whole.percent, yerr=curve.whole.percent_sd, color=look.colour,
                       marker=look.marker, linestyle="none", capsize=2)  # fmt: skip
