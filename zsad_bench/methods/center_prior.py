"""Center prior: every image gets the same map, high in the middle; a floor that object datasets often reward.

Pixel metrics of a real method are only worth what they are above this row. Its image score is constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zsad_bench.methods.base import MethodConfig, ZeroShotMethod
from zsad_bench.types import Features, Prediction, SampleInfo


class CenterPrior(ZeroShotMethod[MethodConfig]):
    title = "Center prior"
    Config = MethodConfig
    is_sanity_check = True

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Map: one minus the distance to the centre over its largest value; score: 0.5."""
        rows, cols = (torch.linspace(-1, 1, n) for n in features.image_size)
        distance = torch.hypot(rows[:, None], cols[None, :])
        centred = 1 - distance / distance.max()
        maps = centred.expand(len(samples), -1, -1).to(self.backbone.device, copy=True)
        return Prediction(torch.full((len(samples),), 0.5, device=maps.device), maps)
