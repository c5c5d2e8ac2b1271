"""Random: scores and maps drawn at random; what every metric says of knowing nothing.

The draw of an image depends on its id and the seed alone, so that batches and their order change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zsad_bench.methods.base import MethodConfig, ZeroShotMethod
from zsad_bench.types import Features, Prediction, SampleInfo


@dataclass(frozen=True)
class RandomConfig(MethodConfig):
    """seed: a run sets it to its own."""

    seed: int = 0


class Random(ZeroShotMethod[RandomConfig]):
    title = "Random"
    Config = RandomConfig
    stochastic_at_test = True
    is_sanity_check = True

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Uniform scores in [0, 1) and uniform independent pixels in [0, 1)."""
        drawn = [torch.rand((1, *features.image_size), generator=self.generator_for(s)) for s in samples]
        scores = [torch.rand((), generator=self.generator_for(s, "score")) for s in samples]
        device = self.backbone.device
        return Prediction(torch.stack(scores).to(device), torch.cat(drawn).to(device))
