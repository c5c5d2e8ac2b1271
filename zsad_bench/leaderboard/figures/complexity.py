"""Complexity: how much a method trains, and how long and in how much memory it tests."""

from __future__ import annotations

from collections.abc import Sequence

from zsad_bench.leaderboard.figures.cost import Costs, log_axis, mark
from zsad_bench.leaderboard.figures.style import Drawn, method_marks, sheet
from zsad_bench.leaderboard.tables.published import Facts


def draw(costs: Costs, facts: Facts, note: Sequence[str]) -> Drawn:
    """Three panels over the methods."""
    methods = costs.methods
    lacking = [cost.name for cost in methods if cost.trained is None]
    caption = [
        *note,
        "Trained parameters: without the backbone, which is frozen.",
        f"No row says how many {', '.join(lacking)} trains (?)." if lacking else "",
        costs.caption(),
        "Memory: the peak of the process by then, with everything that it had done before: an upper bound.",
    ]
    drawn = sheet(9.0, 1.1 + 0.27 * len(methods), "Complexity", caption)
    panels = drawn.figure.subplots(1, 3, sharey=True)
    looks = method_marks([cost.method for cost in methods], facts)
    beside = {"textcoords": "offset points", "va": "center", "fontsize": 7}
    for line, cost in enumerate(methods):
        count, look = cost.trained, looks[cost.method]
        if count:
            panels[0].barh(line, count, height=0.55, color=look.colour, alpha=0.85)
            panels[0].annotate(f"{count:,}", (count, line), (3, 0), **beside)
        else:
            text = "?" if count is None else "none"
            panels[0].annotate(text, (0, line), (3, 0), xycoords=("axes fraction", "data"), **beside)
        mark(panels[1], cost, cost.seconds, line, look)
        if cost.memory is not None:
            panels[2].plot(cost.memory / 1024, line, color=look.colour, marker=look.marker, linestyle="none",
                           markerfacecolor="none")  # fmt: skip
    counts = [cost.trained for cost in methods if cost.trained] or [1]
    memory = [cost.memory for cost in methods if cost.memory is not None] or [1024]
    log_axis(panels[0], [min(counts), 4 * max(counts)])  # numbers stand right of their bars
    log_axis(panels[1], [cost.seconds for cost in methods])
    names = [cost.name for cost in methods]
    panels[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    panels[0].set_xlabel("trained parameters")
    panels[1].set_xlabel("seconds per image")
    panels[2].set(xlabel="peak memory, GB, at most", xlim=(0, 1.12 * max(memory) / 1024))
    for panel in panels:
        panel.tick_params(axis="y", length=0)
    return drawn
