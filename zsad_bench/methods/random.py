"""Random: scores and maps drawn at random; what every metric says of knowing nothing.

The draw of an image depends on its id and the seed alone, so that batches and their order change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.types import Activation, Features, PosInterp, Prediction, SampleInfo


@dataclass(frozen=True)
class RandomConfig:
    """seed: a run sets it to its own."""

    image_size: int = 518
    pos_interp: PosInterp = "bilinear"
    activation: Activation = "own"
    seed: int = 0


class Random(ZeroShotMethod):
    title = "Random"
    Config = RandomConfig
    draws_at_test = True
    sanity = True

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Uniform scores in [0, 1) and uniform independent pixels in [0, 1)."""
        drawn = [torch.rand((1, *features.image_size), generator=self._generator(s)) for s in samples]
        scores = [torch.rand((), generator=self._generator(s, "score")) for s in samples]
        return Prediction(torch.stack(scores), torch.cat(drawn))

    def _generator(self, sample: SampleInfo, purpose: str = "map") -> torch.Generator:
        digest = hashlib.sha256(f"{self.config.seed}|{purpose}|{sample.id}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
