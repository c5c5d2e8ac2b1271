"""DIVE's figure 1: what the prior changes, method by method, and what it comes to on one image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zsad_bench.errors import RowError
from zsad_bench.leaderboard.figures.map_grid import VALUES, ImageMaps, licences, tile
from zsad_bench.leaderboard.figures.style import (
    FAINT,
    METRICS,
    Drawn,
    fullest,
    is_plain,
    label,
    lacking_sentence,
    legend,
    partial_sentence,
    sheet,
    transductive_sentence,
)
from zsad_bench.leaderboard.tables.averaging import Measured, pools, runs_counted
from zsad_bench.leaderboard.tables.published import Facts
from zsad_bench.results.row import Row

if TYPE_CHECKING:
    from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

# The first prior is a filled dot, the second an open diamond, no prior a bar: distinct without colour.
_LOOKS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "color": "#0072B2", "markersize": 5.5},
    {"marker": "D", "color": "#D55E00", "markerfacecolor": "white", "markersize": 5, "markeredgewidth": 1.3},
    {"marker": "|", "color": "#000000", "markersize": 10, "markeredgewidth": 2},
)
_STEP = 0.16  # of a line, that a prior stands off its middle


@dataclass(frozen=True)
class PriorMeans:
    """The left half. by_place: (dataset, method as printed, prior, or "none" for what learns nothing) -> mean.

    priors: two of them. lacking: what has rows, of fewer categories than others.
    """

    metric: str
    priors: tuple[str, str]
    by_place: dict[tuple[str, str, str], Measured]
    lacking: list[str]

    def datasets(self, facts: Facts) -> list[str]:
        return sorted({place[0] for place in self.by_place}, key=lambda name: facts.title(name).casefold())

    def methods(self) -> list[str]:
        """Those that learn nothing first."""
        learned = {method for _, method, prior in self.by_place if prior != "none"}
        return sorted({place[1] for place in self.by_place}, key=lambda name: (name in learned, name.casefold()))


def means(rows: Iterable[Row], priors: tuple[str, str], metric: str, facts: Facts) -> PriorMeans:
    """A mean for each dataset, method and prior; ablations and sanity methods are left out.

    Raises:
        RowError: no rows under either prior.
    """
    selected = [
        row for row in rows
        if row.metric == metric and row.prior in (*priors, "none") and is_plain(row.variant) and row.backbone != "none"
    ]  # fmt: skip
    by_place = pools(selected, lambda row: (row.target, label(row.method, row.variant, facts), row.prior))
    every = {place: pool.mean() for place, pool in by_place.items()}
    whole: dict[tuple[str, str, str], Measured] = {}
    for dataset in dict.fromkeys(place[0] for place in every):
        whole |= fullest({place: mean for place, mean in every.items() if place[0] == dataset})
    if not any(prior in priors for _, _, prior in whole):
        raise RowError(f"no rows with {metric} under the priors {' and '.join(priors)}; run `zsad-bench bench`")
    lacking = [f"{method}, {prior}, on {facts.title(name)}" for name, method, prior in every.keys() - whole.keys()]
    return PriorMeans(metric, priors, whole, sorted(lacking))


def draw(compared: PriorMeans, image: ImageMaps | None, facts: Facts, note: Sequence[str]) -> Drawn:
    """Left a panel per dataset; right an image and its maps, if any. note: first sentences of the caption."""
    datasets, methods = compared.datasets(facts), compared.methods()
    across = min(len(datasets), 2 if len(datasets) <= 4 else 3)
    down = math.ceil(len(datasets) / across)
    left, right = 2.4 * across + 1.1, 5.2 if image else 0.0
    tall = max(down * (0.75 + 0.2 * len(methods)), 4.6 if image else 2.2)
    caption = _caption(compared, image, facts, note)
    drawn = sheet(left + right, tall + 0.9, f"Two priors: {METRICS[compared.metric]}", caption)
    halves = drawn.figure.add_gridspec(1, 2 if image else 1, width_ratios=[left, right] if image else None)
    handles = _panels(halves[0].subgridspec(down, across), compared, facts)
    legend(drawn.figure, handles)
    if image is not None:
        _maps(halves[1], image)
    return drawn


def _panels(place: GridSpecFromSubplotSpec, compared: PriorMeans, facts: Facts) -> dict[str, Any]:
    """What a legend has to name."""
    grid = place.subplots(sharey=True, squeeze=False)
    datasets, methods, kinds = compared.datasets(facts), compared.methods(), (*compared.priors, "none")
    handles: dict[str, Any] = {}
    for panel, dataset in zip(grid.flat, datasets, strict=False):
        panel.set_title(facts.title(dataset), loc="left")
        panel.set(ylim=(len(methods) - 0.4, -0.6), yticks=range(len(methods)), yticklabels=methods)
        panel.tick_params(axis="y", length=0)
        for line, method in enumerate(methods):
            places = (line - _STEP, line + _STEP, line)
            here = [compared.by_place.get((dataset, method, prior)) for prior in kinds]
            if here[0] and here[1]:
                ends = [here[0].percent, here[1].percent]
                panel.plot(ends, places[:2], color=FAINT, linewidth=0.8, zorder=1.5)
            for prior, mean, y, look in zip(kinds, here, places, _LOOKS, strict=True):
                if mean:
                    name = "learns nothing" if prior == "none" else f"prior {prior}"
                    handles[name] = panel.errorbar(mean.percent, y, xerr=mean.percent_sd, linestyle="none", capsize=2,
                                                   elinewidth=1, **look)  # fmt: skip
        panel.margins(x=0.12)
    for panel in list(grid.flat)[len(datasets) :]:
        panel.set_axis_off()
    for panel in list(grid.flat)[max(0, len(datasets) - grid.shape[1]) : len(datasets)]:
        panel.set_xlabel(f"{METRICS[compared.metric]}, %")
    return handles


def _maps(place: SubplotSpec, image: ImageMaps) -> None:
    across = min(3, len(image.pictures) + 1)
    down = math.ceil((len(image.pictures) + 1) / across)
    grid = list(place.subgridspec(down, across).subplots(squeeze=False).flat)
    mask = image.any.mask()
    tile(grid[0], image.any.image(), mask)
    grid[0].set_title("image, mask")
    grid[0].set_xlabel("  ".join(_values_shown(image)), fontsize=7)
    for panel, (name, picture) in zip(grid[1:], image.pictures.items(), strict=False):
        map_ = picture.map()
        if map_ is not None:
            tile(panel, map_, mask)
        panel.set_title(name)
        values = [value for key in VALUES if (value := picture.values.get(key)) is not None]
        panel.set_xlabel("  ".join(f"{100 * value:.1f}" for value in values) or f"score {picture.score:.2f}")
    for panel in grid[len(image.pictures) + 1 :]:
        panel.set_axis_off()


def _values_shown(image: ImageMaps) -> list[str]:
    """The names of the numbers that stand below the maps."""
    values = next((picture.values for picture in image.pictures.values() if picture.values), {})
    return [title for key, title in VALUES.items() if values.get(key) is not None]


def _caption(compared: PriorMeans, image: ImageMaps | None, facts: Facts, note: Sequence[str]) -> list[str]:
    runs = runs_counted(mean.n_runs for (_, _, prior), mean in compared.by_place.items() if prior != "none")
    caption = [  # both halves may say the same of a method
        *note,
        f"Left: mean over a dataset's categories, then over runs ({runs}); bars are the standard deviation over runs. "
        "Sanity methods are left out.",
        lacking_sentence(compared.lacking),
        partial_sentence(compared.by_place.values(), facts),
        transductive_sentence((place[1], mean) for place, mean in compared.by_place.items()),
    ]
    if image is None:
        return [*dict.fromkeys(caption), "No pictures were kept beside the rows, so there are no maps."]
    names = ", ".join(_values_shown(image))
    below = f"below each map its own {names} in percent. " if names else ""
    return [
        *dict.fromkeys(caption),
        f"Right: {image.id}; {below}The colours of a map run from its lowest to its highest value; the line is the "
        "outline of the mask.",
        licences([image]),
    ]
