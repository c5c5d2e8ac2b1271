"""A toy that adapts to each image: three steps of gradient descent on a shift of its texts, by entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods.base import MethodConfig, ZeroShotMethod
from zsad_bench.types import Category, Features, Pooled, Prediction, SampleInfo, Tap

DIARY: list[str] = []  # id of each image that was adapted to


@dataclass(frozen=True)
class AdaptsConfig(MethodConfig):
    steps: int = 3
    lr: float = 0.05


class Adapts(ZeroShotMethod[AdaptsConfig]):
    title = "Toy: adapts"
    Config = AdaptsConfig
    needs = frozenset({"text"})
    adapts_at_test = True

    seen: Tensor

    def __init__(self, backbone: Backbone, config: AdaptsConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.shift = nn.Parameter(torch.zeros(2, backbone.vision.joint_width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({Tap(self.backbone.vision.n_blocks)}), frozenset({"cls"})

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        texts = [f"a photo of a {state} {c.prompt_name}" for c in categories for state in ("good", "broken")]
        encoded = F.normalize(self.backbone.encode_prompts(texts), dim=-1).unflatten(0, (-1, 2))
        return F.normalize(encoded + self.shift, dim=-1)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        assert len(samples) == 1, f"{len(samples)} images at once: one would adapt to the others"
        assert torch.is_grad_enabled(), "gradients are off"
        assert not torch.is_inference_mode_enabled(), "no gradient reaches what was made in inference mode"
        assert not self.seen, "a buffer still knows the image before"
        assert not self.shift.any(), "a parameter still knows the image before"
        DIARY.append(samples[0].id)
        self.seen += 1
        optimizer = torch.optim.SGD([self.shift], lr=self.config.lr, momentum=0.9)
        for _ in range(self.config.steps):
            probabilities = self.probabilities(features, samples)
            optimizer.zero_grad()
            (-probabilities * probabilities.clamp_min(1e-9).log()).sum(-1).mean().backward()
            optimizer.step()
        assert self.shift.any(), "no step was taken"
        with torch.no_grad():
            anomalous = self.probabilities(features, samples)[..., 1]
            maps = anomalous[:, 1:].unflatten(1, features.grid)[:, None]
            return Prediction(anomalous[:, 0], F.interpolate(maps, features.image_size)[:, 0])

    def probabilities(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,1+N,2) of the whole image, then of each patch."""
        rows = [features.pooled("cls")[:, None], features.patches(Tap(self.backbone.vision.n_blocks))]
        return (10 * F.normalize(torch.cat(rows, 1), dim=-1) @ self.text_for(samples).mT).softmax(-1)
