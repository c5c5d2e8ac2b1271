"""FAPrompt's learned prompts: whether its abnormal prompts say different things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zsad_bench.errors import ZsadError
from zsad_bench.leaderboard.figures.style import Drawn, marks, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

_SEED = 0  # of t-SNE
_PLANE, _MATRIX = 3.3, 2.0  # inches


class Prompts(NamedTuple):
    """Text features of one checkpoint. name: its run, as "seed 0". features: (1+K,D), of unit length, normal first."""

    name: str
    features: NDArray

    @property
    def cosines(self) -> NDArray:
        """(K,K) absolute cosines of the abnormal prompts."""
        cosines: NDArray = np.abs(self.features[1:] @ self.features[1:].T)
        return cosines


def mean_cosine(prompts: Prompts) -> float:
    """Mean absolute cosine of two different abnormal prompts, in [0, 1]; nan for a single one."""
    count = len(prompts.features) - 1
    return float((prompts.cosines.sum() - np.trace(prompts.cosines)) / (count * (count - 1))) if count > 1 else math.nan


def effective_rank(prompts: Prompts) -> float:
    """Exponential of the entropy of the abnormal prompts' normalised singular values, from 1 (all alike) to K.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    values = np.linalg.svd(prompts.features[1:].astype(float), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def place(features: NDArray) -> tuple[NDArray, float]:
    """(n,2) positions by t-SNE on cosine distances, from a fixed start, and its perplexity.

    Raises:
        ZsadError: fewer than four prompts, or scikit-learn is not installed.
    """
    if len(features) < 4:
        raise ZsadError(f"{len(features)} prompts are too few for t-SNE; it takes a checkpoint with three or more")
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise ZsadError("t-SNE needs scikit-learn; pip install 'zsad-bench[figures]'") from None
    perplexity = min(10.0, (len(features) - 1) / 3)
    distances = np.clip(1 - features.astype(float) @ features.astype(float).T, 0, None)
    np.fill_diagonal(distances, 0)
    tsne = TSNE(perplexity=perplexity, metric="precomputed", method="exact", init="random", random_state=_SEED)
    return tsne.fit_transform(distances), perplexity


def draw(checkpoints: Sequence[Prompts], note: Sequence[str]) -> Drawn:
    """Left all prompts on a plane; right the cosines within each checkpoint."""
    positions, perplexity = place(np.concatenate([one.features for one in checkpoints]))
    numbers = "; ".join(
        f"{one.name}: mean absolute cosine {mean_cosine(one):.3f}, effective rank {effective_rank(one):.2f} of "
        f"{len(one.features) - 1}"
        for one in checkpoints
    )
    caption = [
        *note,
        f"Text features of the learned prompts, before any image shifts them. Abnormal prompts: {numbers}.",
        f"t-SNE of cosine distances, perplexity {perplexity:.1f}, {len(positions)} prompts: neighbours mean something, "
        "distances and axes do not.",
    ]
    across = min(3, len(checkpoints))
    down = math.ceil(len(checkpoints) / across)
    right = across * _MATRIX + 0.9
    drawn = sheet(_PLANE + right, max(_PLANE - 0.1, down * (_MATRIX + 0.55) + 0.4), "Learned prompts", caption)
    halves = drawn.figure.add_gridspec(1, 2, width_ratios=[_PLANE, right])
    panel = drawn.figure.add_subplot(halves[0])
    panel.set_title("t-SNE; large and open: the normal prompt", fontsize=8)
    start = 0
    for one, look in zip(checkpoints, marks(one.name for one in checkpoints).values(), strict=True):
        own = positions[start : start + len(one.features)]
        start += len(one.features)
        style: dict[str, Any] = {"linestyle": "none", "color": look.colour, "marker": look.marker}
        panel.plot(*own[1:].T, **style, label=one.name)
        panel.plot(*own[:1].T, **style, markersize=12, markerfacecolor="none")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(True)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=min(4, len(checkpoints)))
    grid = halves[1].subgridspec(down, across).subplots(squeeze=False)
    shown = _matrices(list(grid.flat), checkpoints)
    drawn.figure.colorbar(shown, ax=grid, shrink=0.7, aspect=30, location="bottom", label="absolute cosine")
    return drawn


def _matrices(grid: Sequence[Axes], checkpoints: Sequence[Prompts]) -> AxesImage:
    """What a colour bar is of."""
    matrices = []
    for panel, one in zip(grid, checkpoints, strict=False):
        matrices.append(panel.imshow(one.cosines, vmin=0, vmax=1, cmap="cividis", interpolation="nearest"))
        panel.set_title(f"{one.name}: abnormal prompts", fontsize=8)
        panel.grid(visible=False)
        panel.set(xticks=[], yticks=[])
        panel.set_xlabel(f"mean |cos| {mean_cosine(one):.2f}, rank {effective_rank(one):.1f}", fontsize=7.5)
    for panel in grid[len(checkpoints) :]:
        panel.set_axis_off()
    return matrices[-1]
