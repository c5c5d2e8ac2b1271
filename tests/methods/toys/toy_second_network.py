"""A toy with a second network, frozen: its edges, weighed against CLIP's map by one learned number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods.base import MethodConfig, Stage, ZeroShotMethod
from zsad_bench.types import Batch, Features, Pooled, Prediction, SampleInfo, Tap

WEIGHTS = 100  # number of those that the second network comes with: in a file somewhere, in no configuration


@dataclass(frozen=True)
class SecondNetworkConfig(MethodConfig):
    epochs: int = 1
    batch_size: int = 4
    seed: int = 0


class SecondNetwork(ZeroShotMethod[SecondNetworkConfig]):
    title = "Toy: second network"
    Config = SecondNetworkConfig

    edges: nn.Module

    def __init__(self, backbone: Backbone, config: SecondNetworkConfig | None = None) -> None:
        super().__init__(backbone, config)
        convolution = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        generator = torch.Generator().manual_seed(WEIGHTS)
        nn.init.normal_(convolution.weight, generator=generator)
        self.add_frozen("edges", nn.Sequential(convolution, nn.BatchNorm2d(2), nn.Dropout(0.5)))
        own = torch.Generator().manual_seed(self.config.seed)
        self.share = nn.Parameter(torch.rand((), generator=own))

    def tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, raw=True)

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self.tap()}), frozenset()

    def stages(self) -> list[Stage]:
        c = self.config
        return [Stage("share", c.epochs, c.batch_size, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))]

    @torch.no_grad()
    def extra_features(self, images: Tensor, samples: Sequence[SampleInfo]) -> dict[str, Tensor]:
        assert not self.edges.training, "a frozen network drops half of what it sees, and learns the mean of the rest"
        edges: Tensor = self.edges(images)
        return {"edges": edges.abs().mean(1)}

    def extra_key(self) -> int:
        return WEIGHTS

    def maps(self, features: Features) -> Tensor:
        patches = F.normalize(features.patches(self.tap()), dim=-1)
        unlike = 1 - (patches @ F.normalize(patches.mean(1), dim=-1)[..., None])[..., 0]
        maps = F.interpolate(unlike.unflatten(1, features.grid)[:, None], features.image_size)[:, 0]
        weighed: Tensor = maps + self.share * features.extra["edges"]
        return weighed

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        maps = self.maps(features)
        return Prediction(maps.flatten(1).amax(1), maps)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        maps = self.maps(features).flatten(1).amax(1)
        return {"image": F.binary_cross_entropy_with_logits(maps, batch.labels.float())}

    @classmethod
    def learns_from(cls, config: SecondNetworkConfig) -> Literal["labels"]:
        return "labels"
