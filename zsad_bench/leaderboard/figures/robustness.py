"""What is left of a number on corrupted images, severity by severity, and when prompts call things by other words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zsad_bench.conditions import Condition
from zsad_bench.leaderboard.figures.style import (
    FAINT,
    METRICS,
    Drawn,
    Mark,
    fullest,
    label,
    lacking_sentence,
    legend,
    method_marks,
    partial_sentence,
    sheet,
    transductive_sentence,
)
from zsad_bench.leaderboard.tables import robustness
from zsad_bench.leaderboard.tables.averaging import Measured, runs_counted
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.leaderboard.tables.robustness import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("image_auroc",)
_ACROSS = 3  # panels side by side
_STYLES = ("-", "--", ":", "-.")


def draw(lines: Sequence[Line], facts: Facts, note: Sequence[str]) -> Drawn:
    """A panel for each corruption and one for all wordings; lines: of one metric, at least one."""
    bad, worded = robustness.corruptions(lines), robustness.wordings(lines)
    names = robustness.names(lines, facts)
    looks = _looks(lines, facts)
    lacking: dict[str, None] = {}
    shown: list[Measured] = []
    n_panels = len(bad) + bool(worded)
    across = min(_ACROSS, n_panels)
    down = math.ceil(n_panels / across)
    changes = {name: _changes(lines, names, name, lacking) for name in bad}
    of_words = {condition: _comparable(lines, names, condition, lacking) for condition in worded}
    for of in (*(each for by in changes.values() for each in by.values()), *of_words.values()):
        shown += of.values()
    wide, high = (3.0 * across + 0.6, 2.3 * down + 0.9) if across > 1 else (5.4, 3.4)
    caption = _caption(lines, names, facts, note, shown, list(lacking))
    drawn = sheet(wide, high, f"Robustness: relative change of {METRICS[lines[0].metric]}", caption)
    panels = drawn.figure.subplots(down, across, squeeze=False, sharey=True)
    handles: dict[str, Any] = {}
    flat = list(panels.flat)
    for panel, name in zip(flat, bad, strict=False):
        _corruption(panel, name, changes[name], names, looks, handles)
    if worded:
        _wordings(flat[len(bad)], of_words, names, looks, handles)
    for panel in flat[n_panels:]:
        panel.set_axis_off()
    for line in panels:
        line[0].set_ylabel("relative change, %")
    legend(drawn.figure, handles)
    return drawn


def _looks(lines: Sequence[Line], facts: Facts) -> list[tuple[Mark, str]]:
    """Of each line: colour and marker of its method, and a line style of its own among those of the method."""
    of_method = method_marks([line.method for line in lines], facts)
    seen: dict[str, int] = {}
    looks = []
    for line in lines:
        number = seen.get(line.method, 0)
        seen[line.method] = number + 1
        looks.append((of_method[line.method], _STYLES[number % len(_STYLES)]))
    return looks


def _changes(
    lines: Sequence[Line], names: Sequence[str], corruption: str, lacking: dict[str, None]
) -> dict[int, dict[int, Measured]]:
    """Severity -> place of a line -> its change."""
    return {
        severity: _comparable(lines, names, Condition("corruption", corruption, severity), lacking)
        for severity in robustness.severities(lines, corruption)
    }


def _comparable(
    lines: Sequence[Line], names: Sequence[str], condition: Condition, lacking: dict[str, None]
) -> dict[int, Measured]:
    """Place of a line -> its change, of those that cover as much as any; the others go to `lacking`."""
    found = {place: line.change([condition]) for place, line in enumerate(lines) if condition in line.runs}
    kept = fullest(found)
    lacking |= dict.fromkeys(names[place] for place in found if place not in kept)
    return kept


def _corruption(
    panel: Axes,
    name: str,
    by_severity: Mapping[int, Mapping[int, Measured]],
    names: Sequence[str],
    looks: Sequence[tuple[Mark, str]],
    handles: dict[str, Any],
) -> None:
    panel.set_title(name.replace("_", " "))
    panel.axhline(0, color=FAINT, linewidth=0.8)
    for place, title in enumerate(names):
        points = [(0, 0.0, 0.0)] + [
            (severity, of[place].percent, of[place].percent_sd or 0.0)
            for severity, of in by_severity.items()
            if place in of
        ]
        if len(points) == 1:
            continue
        look, style = looks[place]
        xs, ys, spread = zip(*points, strict=True)
        (handle,) = panel.plot(xs, ys, color=look.colour, marker=look.marker, linestyle=style, markersize=4)
        low, high = ([y + sign * sd for y, sd in zip(ys, spread, strict=True)] for sign in (-1, 1))
        panel.fill_between(xs, low, high, color=look.colour, alpha=0.15, linewidth=0)
        handles.setdefault(title, handle)
    ticks = [0, *by_severity]
    panel.set_xticks(ticks, ["clean", *map(str, by_severity)])
    panel.set_xlabel("severity")


def _wordings(
    panel: Axes,
    of_words: Mapping[Condition, Mapping[int, Measured]],
    names: Sequence[str],
    looks: Sequence[tuple[Mark, str]],
    handles: dict[str, Any],
) -> None:
    panel.set_title("other words for the category")
    panel.axhline(0, color=FAINT, linewidth=0.8)
    drawn = sorted({place for of in of_words.values() for place in of})
    for order, place in enumerate(drawn):
        aside = (order + 1) / (len(drawn) + 1) - 0.5  # side by side
        points = [(x, of[place]) for x, of in enumerate(of_words.values()) if place in of]
        look, _ = looks[place]
        handle = panel.errorbar(
            [x + 0.7 * aside for x, _ in points],
            [one.percent for _, one in points],
            yerr=[one.percent_sd or 0.0 for _, one in points],
            color=look.colour, marker=look.marker, linestyle="none", capsize=2, markersize=4,
        )  # fmt: skip
        handles.setdefault(names[place], handle)
    panel.set_xticks(range(len(of_words)), [condition.name.replace("_", " ") for condition in of_words])
    panel.set_xlim(-0.6, len(of_words) - 0.4)


def _caption(
    lines: Sequence[Line],
    names: Sequence[str],
    facts: Facts,
    note: Sequence[str],
    shown: Sequence[Measured],
    lacking: Sequence[str],
) -> list[str]:
    datasets = ", ".join(dict.fromkeys(facts.title(name) for line in lines for name in line.clean.datasets))
    marked = [(label(line.method, line.key[1], facts), line.marked) for line in lines]
    worded = robustness.wordings(lines)
    return [
        *note,
        f"Mean over {datasets}, within a run; {runs_counted(one.n_runs for one in shown)}. Relative change: (number "
        "under the condition − number without it) / number without it, over the same categories. Bands and bars: "
        "standard deviation over runs; a single run has none.",
        "Wordings: of methods whose tests read names, over the categories that have another word." * bool(worded),
        lacking_sentence(lacking),
        partial_sentence((line.marked for line in lines), facts),
        transductive_sentence(marked),
    ]
