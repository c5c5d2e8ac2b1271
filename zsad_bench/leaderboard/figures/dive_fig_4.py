"""DIVE's figure 4: which descriptions the patches of an image attend to."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zsad_bench.leaderboard.figures.map_grid import tile
from zsad_bench.leaderboard.figures.style import Drawn, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

TOP = 4  # descriptions of each kind
_START = "a photo of an object with "  # of most sentences: what follows tells them apart
_TILE, _LETTERS = 1.65, 24  # inches, and letters of a title's line


@dataclass(frozen=True)
class Attention:
    """What the patches of one image attend to, in one block, averaged over heads.

    image: (H,W,3) uint8. mask: (H,W) bool or None. weights: (h,w,G) in [0, 1], summing to one over G descriptions.
    abnormal: (G,) bool. licence: the note on an image that may not be passed on, or "".
    """

    id: str
    image: NDArray
    mask: NDArray | None
    weights: NDArray
    descriptions: Sequence[str]
    abnormal: NDArray
    block: int
    licence: str = ""

    def highest(self) -> list[int]:
        """The descriptions with the highest weight on any patch; equals in their own order."""
        return _top(self.weights.max((0, 1)))

    def varied(self) -> list[int]:
        """The descriptions whose weight varies most over the patches: standard deviation over mean."""
        return _top(self.weights.std((0, 1)) / self.weights.mean((0, 1)))

    def share(self) -> NDArray:
        """(h,w): the weight of all abnormal descriptions together."""
        share: NDArray = self.weights[..., self.abnormal].sum(-1)
        return share


def draw(attention: Attention, note: Sequence[str]) -> Drawn:
    """The image and its attention on abnormal descriptions together; then on those that stand out."""
    count = len(attention.abnormal)
    caption = [
        *note,
        f"{attention.id}, attention of patches after block {attention.block}, heads averaged. Abnormal share: the sum "
        f"over the {attention.abnormal.sum()} abnormal of {count} descriptions; spread evenly it would be "
        f"{100 * attention.abnormal.mean():.1f}%, and each description {100 / count:.2f}%. The colours of a map run "
        "from its lowest to its highest value, which stand below it.",
        attention.licence,
    ]
    drawn = sheet((1 + TOP) * _TILE + 0.8, 2 * (_TILE + 0.62) + 0.2, "Attention of patches to descriptions", caption)
    grid = drawn.figure.subplots(2, 1 + TOP)
    tile(grid[0][0], attention.image, attention.mask)
    grid[0][0].set_title("image, mask" if attention.mask is not None else "image")
    _map(grid[1][0], attention, attention.share(), "abnormal share")
    kinds: tuple[tuple[str, Callable[[], list[int]]], ...] = (
        ("highest weight\non any patch", attention.highest),
        ("varies most\nover patches", attention.varied),
    )
    for line, (name, best) in zip(grid, kinds, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
        for panel in line[1:]:
            panel.set_axis_off()
        for panel, at in zip(line[1:], best(), strict=False):
            panel.set_axis_on()
            kind = "abnormal" if attention.abnormal[at] else "normal"
            title = f"{attention.descriptions[at].removeprefix(_START)} ({kind})"
            _map(panel, attention, attention.weights[..., at], title)
    return drawn


def _map(panel: Axes, attention: Attention, weights: NDArray, title: str) -> None:
    tile(panel, weights, attention.mask, smooth=False)
    panel.set_title("\n".join(textwrap.wrap(title, _LETTERS)), fontsize=7.5)
    panel.set_xlabel(f"{100 * weights.min():.2f} to {100 * weights.max():.2f}%")


def _top(values: NDArray) -> list[int]:
    return sorted(range(len(values)), key=lambda at: (-values[at], at))[:TOP]
