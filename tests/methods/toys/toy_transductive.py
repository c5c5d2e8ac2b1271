"""A toy that needs a whole category: how far each patch lies from the mean of all images of its category."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from zsad_bench.methods.base import MethodConfig, ZeroShotMethod
from zsad_bench.types import Features, Pooled, Prediction, SampleInfo, Tap

DIARY: list[tuple[str, ...]] = []  # the ids of each call


class Transductive(ZeroShotMethod[MethodConfig]):
    title = "Toy: transductive"
    Config = MethodConfig
    transductive = True

    def tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, raw=True)

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self.tap()}), frozenset()

    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        assert len({sample.category for sample in samples}) == 1, "categories are mixed"
        assert set(features.rows) == {self.tap()}, "what others asked for is kept in memory"
        DIARY.append(tuple(sample.id for sample in samples))
        patches = F.normalize(features.patches(self.tap()), dim=-1)
        distance = 1 - patches @ F.normalize(patches.mean((0, 1)), dim=-1)
        maps = F.interpolate(distance.unflatten(1, features.grid)[:, None], features.image_size)[:, 0]
        return Prediction(distance.amax(1), maps)
