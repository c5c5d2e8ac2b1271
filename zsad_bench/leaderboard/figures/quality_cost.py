"""Quality against cost: what a method reaches, and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.figures.cost import Costs, log_axis, mark
from zsad_bench.leaderboard.figures.style import (
    METRICS,
    Drawn,
    fullest,
    is_plain,
    label,
    lacking_sentence,
    legend,
    method_marks,
    partial_sentence,
    sheet,
    transductive_sentence,
)
from zsad_bench.leaderboard.tables.averaging import Measured, pools, runs_counted
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.row import Row

SHOWN = ("image_auroc", "pixel_aupro")
_LINEAR = 300  # parameters up to which the axis is linear, so that what learns nothing has a place


@dataclass(frozen=True)
class Quality:
    """means: (method as printed, metric) -> its mean under the prior, or under none. lacking: what lacks categories."""

    prior: str
    means: Mapping[tuple[str, str], Measured]
    lacking: list[str]


def quality(
    rows: Iterable[Row], prior: str, metrics: Sequence[str], targets: Mapping[str, Sequence[str]], facts: Facts
) -> Quality:
    """The mean over datasets of each method as it is. targets: level of a metric -> datasets that are averaged.

    Raises:
        RowError: no rows under this prior.
    """
    selected = [
        row for row in rows
        if row.metric in metrics and row.prior in (prior, "none") and row.backbone != "none" and is_plain(row.variant)
        and row.target in targets[row.metric.split("_")[0]]
    ]  # fmt: skip
    if not any(row.prior == prior for row in selected):
        names = " or ".join(metrics)
        raise RowError(f"no rows with {names} under prior {prior}; run `zsad-bench bench --prior {prior}`")
    by_place = pools(selected, lambda row: (label(row.method, row.variant, facts), row.metric))
    every = {place: pool.mean() for place, pool in by_place.items()}
    whole: dict[tuple[str, str], Measured] = {}
    for metric in metrics:
        whole |= fullest({place: mean for place, mean in every.items() if place[1] == metric})
    lacking = [f"{METRICS[metric]} of {name}" for name, metric in every.keys() - whole.keys()]
    return Quality(prior, whole, sorted(lacking))


def draw(reached: Quality, costs: Costs, facts: Facts, note: Sequence[str]) -> Drawn:
    """A line per metric; against seconds per image, and against trained parameters where any are known."""
    metrics = [metric for metric in METRICS if any(place[1] == metric for place in reached.means)]
    shown = [cost for cost in costs.methods if any((cost.name, metric) in reached.means for metric in metrics)]
    counted = any(cost.trained for cost in shown)
    caption = _caption(reached, costs, counted, facts, note)
    drawn = sheet(8.6 if counted else 5.6, 0.6 + 2.3 * len(metrics), "Quality against cost", caption)
    grid = drawn.figure.subplots(len(metrics), 1 + counted, sharex="col", sharey="row", squeeze=False)
    looks = method_marks([cost.method for cost in shown], facts)
    handles: dict[str, Any] = {}
    for panels, metric in zip(grid, metrics, strict=True):
        panels[0].set_ylabel(f"{METRICS[metric]}, %")
        for cost in shown:
            mean, look = reached.means.get((cost.name, metric)), looks[cost.method]
            if mean is None:
                continue
            error = {"yerr": mean.percent_sd, "color": look.colour, "elinewidth": 1,
                     "capsize": 2, "linestyle": "none"}  # fmt: skip
            panels[0].errorbar(cost.seconds, mean.percent, **error)
            mark(panels[0], cost, cost.seconds, mean.percent, look)
            if counted and cost.trained is not None:
                panels[1].errorbar(cost.trained, mean.percent, marker=look.marker, markerfacecolor="none", **error)
            (handles[cost.name],) = panels[0].plot([], [], linestyle="none", marker=look.marker, color=look.colour,
                                                   markerfacecolor="none")  # fmt: skip
    log_axis(grid[-1][0], [cost.seconds for cost in shown])
    grid[-1][0].set_xlabel("seconds per image")
    if counted:
        most = max(cost.trained or 0 for cost in shown)
        grid[-1][1].set_xscale("symlog", linthresh=_LINEAR)
        grid[-1][1].set(xlabel="trained parameters", xlim=(-_LINEAR / 2, 2.5 * most))
    legend(drawn.figure, handles, beside=True)
    return drawn


def _caption(reached: Quality, costs: Costs, counted: bool, facts: Facts, note: Sequence[str]) -> list[str]:
    most = max((mean.datasets for mean in reached.means.values()), key=len)
    training = "Trained parameters are without the backbone; 0 learns nothing."
    return [
        *note,
        f"Prior {reached.prior}, or none; mean over {', '.join(map(facts.title, most))}, then over runs "
        f"({runs_counted(mean.n_runs for mean in reached.means.values())}); bars are the standard deviation over runs.",
        costs.caption(),
        training if counted else "No row says how many parameters are trained.",
        lacking_sentence(reached.lacking),
        partial_sentence(reached.means.values(), facts),
        transductive_sentence((place[0], mean) for place, mean in reached.means.items()),
    ]
