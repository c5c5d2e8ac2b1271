"""A toy that learns without gradients: it remembers the patches of normal images, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods.base import MethodConfig, Stage, ZeroShotMethod
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap

DIARY: list[tuple] = []  # ("classes", names) and ("stage", rows stored)


@dataclass(frozen=True)
class MemoryConfig(MethodConfig):
    """every: one patch out of so many is stored. seed: which one comes first."""

    every: int = 3
    seed: int = 0


class Memory(ZeroShotMethod[MemoryConfig]):
    title = "Toy: memory"
    Config = MemoryConfig

    memory: Tensor

    def __init__(self, backbone: Backbone, config: MemoryConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.register_buffer("memory", torch.empty(0, backbone.vision.width))
        self.parts: list[Tensor] = []
        self.classes: list[str] = []

    def tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks - 1, raw=True)

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self.tap()}), frozenset()

    def stages(self) -> list[Stage]:
        return [Stage("fill", 1, 8, observes=True)]

    def begin_training(self, categories: Sequence[Category]) -> None:
        self.classes = [category.name for category in categories]
        DIARY.append(("classes", tuple(self.classes)))

    def observe(self, features: Features, batch: Batch) -> None:
        assert not torch.is_grad_enabled(), "gradients are kept for nothing"
        assert {s.category.name for s in batch.samples} <= set(self.classes), "told of other categories, or of none"
        first = self.config.seed % self.config.every
        patches = F.normalize(features.patches(self.tap()), dim=-1)[batch.labels == 0, first :: self.config.every]
        self.parts.append(patches.flatten(0, 1))

    def end_stage(self) -> None:
        self.memory = torch.cat(self.parts)
        self.parts = []
        DIARY.append(("stage", len(self.memory)))

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        assert len(self.memory), "no patch was stored"
        patches = F.normalize(features.patches(self.tap()), dim=-1)
        distance = 1 - (patches @ self.memory.mT).amax(-1)
        maps = F.interpolate(distance.unflatten(1, features.grid)[:, None], features.image_size)[:, 0]
        return Prediction(distance.amax(1), maps)

    @classmethod
    def learns_from(cls, config: MemoryConfig) -> Literal["labels"]:
        return "labels"
