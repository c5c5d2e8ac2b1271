"""What of a board the wandb mirror shows beside numbers: which targets its means are over, and pictures."""

from __future__ import annotations

import numpy as np

from zsad_bench.planning.suite import Suite
from zsad_bench.results.pictures import Picture, heat, outlined
from zsad_bench.tracking.mirror import CaptionedImage


def averaged(suite: Suite) -> tuple[str, ...]:
    """The targets that a mean is over: a suite's own, and of generated and real ones the generated."""
    return suite.generated or suite.targets


def shown(picture: Picture) -> CaptionedImage:
    """The image with its mask's outline, and its map on the right; what it is below."""
    image, mask, map_ = picture.image(), picture.mask(), picture.map()
    left = image if mask is None else outlined(image, mask)
    parts = [left] if map_ is None else [left, heat(map_)]
    said = f"{picture.category} · {picture.kind.replace('_', ' ')} · score {picture.score:.4g} · {picture.id}"
    return CaptionedImage(np.concatenate(parts, axis=1), said)
