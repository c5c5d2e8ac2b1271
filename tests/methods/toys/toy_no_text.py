"""A toy without words: how unlike the rest of its image each patch is. Any visual tower will do."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from zsad_bench.methods.base import MethodConfig, ZeroShotMethod
from zsad_bench.types import Features, Pooled, Prediction, SampleInfo, Tap


class NoText(ZeroShotMethod[MethodConfig]):
    title = "Toy: no text"
    Config = MethodConfig

    def tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, raw=True)

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self.tap()}), frozenset({"cls"})

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        patches = F.normalize(features.patches(self.tap()), dim=-1)
        rows, columns = features.grid
        assert patches.shape[1] == rows * columns, "rows that are no patches count as patches"
        unlike = 1 - (patches @ F.normalize(patches.mean(1), dim=-1)[..., None])[..., 0]
        maps = F.interpolate(unlike.unflatten(1, features.grid)[:, None], features.image_size)[:, 0]
        return Prediction(unlike.amax(1) + 0.01 * features.pooled("cls").std(-1), maps)
