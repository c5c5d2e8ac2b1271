"""What CoOp and CoCoOp share: a context learned by SGD in front of "normal <cls>." and "anomalous <cls>."."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.losses import mask_losses
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._scoring import (
    added,
    patch_probabilities,
    pooled_name,
    predict_from,
    scaled_sigma,
    state_logits,
    upsample,
)
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.prompts.names import ClassNames, class_name
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class ContextConfig(MethodConfig):
    """The fields that both configurations share, with the released CoOp's training settings (ViT, 16 shots).

    n_ctx: context tokens; None is as many as `ctx_init` has, or the method's own number. ctx_init: words whose
    embeddings the context starts from; empty draws it from a normal distribution with `init_std`.
    states: the words in front of the class name, normal first.
    local_features: patches of the plain last block (`original`) or of the V-V path (`vv`), which starts at
    `first_vv_block` (None is 6 of 24 scaled to the backbone, and 0 for `original`).
    temperature: None is CLIP's own learned one (0.01 with OpenAI's weights).
    local_weight: of the focal and Dice terms of the maps; 0 learns from image labels alone.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    warmup_lr: constant rate of the first epoch; a cosine from `lr` downwards follows.
    """

    n_ctx: int = filled()
    ctx_init: str = ""
    states: tuple[str, str] = ("normal", "anomalous")
    class_names: ClassNames = "prompt_name"
    local_features: Literal["original", "vv"] = filled()
    first_vv_block: int = filled()
    global_ln_post: bool = filled()
    temperature: float = filled()
    local_weight: float = filled()
    gaussian_sigma: float = filled()
    truncate_context: bool = silent(True)
    epochs: int = 50
    batch_size: int = 32
    lr: float = 2e-3
    warmup_lr: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    init_std: float = 0.02
    seed: int = 1  # of the initial parameters; a run sets it to its own


def warm_cosine(epoch: int, epochs: int, lr: float, warmup_lr: float) -> float:
    """The learning rate of an epoch, counted from 0: one of warming up, then half a cosine stepped once per epoch."""
    return warmup_lr if epoch == 0 else lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


ContextT = TypeVar("ContextT", bound=ContextConfig)


class ContextLearner(ZeroShotMethod[ContextT]):
    """Base of the two; a subclass gives its parameters, `usual_n_ctx` and `texts`."""

    needs = frozenset({"text", "logit_scale", "cls"})
    usual_n_ctx: ClassVar[int]

    @classmethod
    def resolve(cls, config: ContextT, backbone: Backbone) -> ContextT:
        config = super().resolve(config, backbone)
        words = _count_tokens(backbone, config.ctx_init) if config.ctx_init else None
        local: Literal["original", "vv"] = default(config.local_features, "original")
        resolved = replace(
            config,
            n_ctx=default(config.n_ctx, default(words, cls.usual_n_ctx)),
            local_features=local,
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6) if local == "vv" else 0),
            global_ln_post=default(config.global_ln_post, True),
            temperature=default(config.temperature, _learned_temperature(backbone)),
            local_weight=default(config.local_weight, 0.0),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr"),
            n_ctx=1,
            first_vv_block=0,
            local_weight=0,
            gaussian_sigma=0,
            warmup_lr=0,
            momentum=0,
            weight_decay=0,
            init_std=0,
        )
        if words not in (None, resolved.n_ctx):
            raise UsageError(
                f"{cls.title}: n_ctx={resolved.n_ctx}, but ctx_init '{config.ctx_init}' has {words} tokens; "
                "give one of them with --set"
            )
        if (local == "vv") != (resolved.first_vv_block > 0):
            raise UsageError(
                f"{cls.title}: local_features={local} with first_vv_block={resolved.first_vv_block}; "
                "`vv` starts at block 1 or later, `original` has 0; give one of the two with --set"
            )
        return resolved

    @classmethod
    def learns_from(cls, config: ContextT) -> Literal["masks", "labels"]:
        return "masks" if config.local_weight else "labels"

    def initial_context(self, generator: torch.Generator) -> Tensor:
        """(n_ctx,width): the embeddings of the words of `ctx_init`, or a draw."""
        c, tower = self.config, self.backbone.text_tower
        if not c.ctx_init:
            return c.init_std * torch.randn(c.n_ctx, tower.width, generator=generator)
        return tower.embed_tokens(tower.tokenize([c.ctx_init]))[0, 1 : 1 + c.n_ctx].clone()

    def token_ids(self, categories: Sequence[Category]) -> Tensor:
        """(2n,77) ids of every category's two prompts, normal first, fillers where the context goes (from row 1)."""
        filler = self.config.ctx_init or " ".join(["X"] * self.config.n_ctx)
        names = [class_name(c, self.config.class_names) for c in categories]
        texts = [f"{filler} {state} {name}." for name in names for state in self.config.states]
        return self.backbone.text_tower.tokenize(texts)

    def texts(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,2,D) normalised texts of every image."""
        raise NotImplementedError

    def stages(self) -> list[Stage]:
        c = self.config

        def sgd(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)

        def warmed(optimizer: torch.optim.Optimizer, epochs: int) -> LambdaLR:
            return LambdaLR(optimizer, lambda epoch: warm_cosine(epoch, epochs, c.lr, c.warmup_lr) / c.lr)

        return [Stage("prompts", c.epochs, c.batch_size, optimizer=sgd, scheduler=warmed)]

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self._tap()}), frozenset({pooled_name(self.config.global_ln_post)})

    def _tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, self.config.first_vv_block)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the global feature's anomalous probability alone. Map: that of the last block's patches, smoothed."""
        text, c = self.texts(features, samples), self.config
        return predict_from(features, self._tap(), pooled_name(c.global_ln_post), text, c.temperature, c.gaussian_sigma)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the image; with a `local_weight` also the focal and the two Dice terms of the map."""
        text, c = self.texts(features, batch.samples), self.config
        logits = state_logits(features.pooled(pooled_name(c.global_ln_post)), text, c.temperature)
        terms = {"image": F.cross_entropy(logits, batch.labels)}
        if c.local_weight:
            maps = upsample(patch_probabilities(features.patches(self._tap()), text, c.temperature), features)
            terms["local"] = c.local_weight * added(mask_losses(maps, batch.pixel_masks))
        return terms


def _learned_temperature(backbone: Backbone) -> float:
    if backbone.logit_scale is None:
        raise BackboneError(f"{backbone.name} has no learned logit scale; take another --backbone")
    return float(1 / backbone.logit_scale.exp())


def _count_tokens(backbone: Backbone, words: str) -> int:
    tower = backbone.text_tower
    return int(tower.end_of_text(tower.tokenize([words]))) - 1  # without start-of-text
