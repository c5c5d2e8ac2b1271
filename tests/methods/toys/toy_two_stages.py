"""A toy of two stages: a shift of the texts under a schedule, then an adapter in two parameter groups, texts frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap

DIARY: list[tuple] = []  # ("step", stage, rates of the groups, norm of the gradient) and ("text", stage, name)


@dataclass(frozen=True)
class TwoStagesConfig(MethodConfig):
    """No field is called `epochs`."""

    text_epochs: int = 2
    image_epochs: int = 1
    batch_size: int = 4
    lr: float = 0.1
    slow_lr: float = 0.001
    largest_gradient: float = 1e-3
    seed: int = 0


class TwoStages(ZeroShotMethod[TwoStagesConfig]):
    title = "Toy: two stages"
    Config = TwoStagesConfig
    needs = frozenset({"text"})

    def __init__(self, backbone: Backbone, config: TwoStagesConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.stage_name = ""
        c, width = self.config, backbone.vision.joint_width
        generator = torch.Generator().manual_seed(c.seed)
        self.shift = nn.Parameter(0.1 * torch.randn(2, width, generator=generator))
        down, up = nn.Linear(width, 4, bias=False), nn.Linear(4, width, bias=False)
        self.adapter = nn.ModuleDict({"down": down, "up": up})
        for layer in (down, up):
            nn.init.normal_(layer.weight, std=0.1, generator=generator)

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({Tap(self.backbone.vision.n_blocks)}), frozenset({"cls"})

    def stages(self) -> list[Stage]:
        c = self.config

        def sgd(parameters: Parameters) -> SGD:
            return SGD(parameters, lr=c.lr)

        def halved(optimizer: Optimizer, times: int) -> LambdaLR:  # down to nothing: `times` has to be right
            return LambdaLR(optimizer, lambda step: 1 - step / times)

        return [
            Stage("texts", c.text_epochs, c.batch_size, ("shift",), sgd, halved, clip=c.largest_gradient),
            Stage("images", c.image_epochs, c.batch_size, ("adapter",), sgd, halved, schedule_each="step",
                  groups={"adapter": {}, "adapter.up": {"lr": c.slow_lr}}),
        ]  # fmt: skip

    def begin_stage(self, stage: Stage) -> None:
        super().begin_stage(stage)
        self.stage_name = stage.name

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        DIARY.extend(("text", self.stage_name, c.name) for c in categories)
        texts = [f"a photo of a {state} {c.prompt_name}" for c in categories for state in ("good", "broken")]
        encoded = F.normalize(self.backbone.encode_prompts(texts), dim=-1).unflatten(0, (-1, 2))
        return F.normalize(encoded + self.shift, dim=-1)

    def logits(self, rows_BND: Tensor, text_B2D: Tensor) -> Tensor:
        adapted = rows_BND + self.adapter["up"](self.adapter["down"](rows_BND))
        return 10 * F.normalize(adapted, dim=-1) @ text_B2D.mT

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        text = self.text_for(samples)
        image = self.logits(features.pooled("cls")[:, None], text).softmax(-1)[:, 0, 1]
        patches = self.logits(features.patches(Tap(self.backbone.vision.n_blocks)), text).softmax(-1)[..., 1]
        return Prediction(image, F.interpolate(patches.unflatten(1, features.grid)[:, None], features.image_size)[:, 0])

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        text = self.text_for(batch.samples)
        terms = {"image": F.cross_entropy(self.logits(features.pooled("cls")[:, None], text)[:, 0], batch.labels)}
        if self.stage.name == "images":
            assert not text.requires_grad, "the texts are frozen in this stage"
        return terms

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        rates = tuple(group["lr"] for group in optimizer.param_groups)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        gradients = [p.grad.norm() for group in optimizer.param_groups for p in group["params"]]
        DIARY.append(("step", self.stage.name, rates, float(torch.stack(gradients).norm())))

    @classmethod
    def learns_from(cls, config: TwoStagesConfig) -> Literal["labels"]:
        return "labels"
