"""CoCoOp adapted to anomaly detection: CoOp's context, shifted for every image by a small network of its feature.

Paper: Zhou et al., CVPR 2022, arXiv 2203.05557. Official code of the prompt learner: KaiyangZhou/CoOp (MIT), October
2022, trainer CoCoOp; parity with it is tested in tests/golden on random weights. There is no official
anomaly-detection code. Two presets, because the published row of FAPrompt's tables cannot come from the first:

plain: the literal adaptation, comparable with `coop`: image labels, plain patches, CLIP's temperature.
zsad: on AnomalyCLIP's base: V-V patches, mask losses, temperature 0.07, no `ln_post` on the global feature. That this
made the published row is inferred from its pixel numbers; whether it had deep text tokens is unknown (`deep_tokens`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.text_tree import TextTree, joined, with_contexts
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._context import ContextConfig, ContextLearner
from zsad_bench.methods._edits import deep_tree_tokens
from zsad_bench.methods._scoring import l2_normalize, pooled_name
from zsad_bench.methods.base import filled
from zsad_bench.types import Category, Features, SampleInfo

_ZSAD_LOCAL_WEIGHT = 4.0  # of AnomalyCLIP


@dataclass(frozen=True)
class CoCoOpConfig(ContextConfig):
    """Context from the words of `ctx_init`; `preset` fills what is None, the other fields as in `ContextConfig`.

    batch_size: the original has 1 for lack of memory; with two short prompts per image, 8 cost little.
    deep_tokens: AnomalyCLIP's, in front of text blocks 2..deep_depth (None is 9 of 12 scaled to the backbone).
    """

    preset: Literal["plain", "zsad"] = "plain"
    ctx_init: str = "a photo of a"
    epochs: int = 10
    batch_size: int = 8
    deep_tokens: bool = False
    deep_len: int = 4
    deep_depth: int = filled()


class CoCoOp(ContextLearner[CoCoOpConfig]):
    title = "CoCoOp"
    paper = "arXiv 2203.05557 (CVPR 2022); as a ZSAD baseline: FAPrompt (ICCV 2025), Tables 1 and 2"
    Config = CoCoOpConfig
    usual_n_ctx = 4
    texts_follow_images = True

    def __init__(self, backbone: Backbone, config: CoCoOpConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, width, joint = self.config, backbone.text_tower.width, backbone.vision.joint_width
        generator = torch.Generator().manual_seed(c.seed)
        self.ctx = nn.Parameter(self.initial_context(generator))
        hidden = max(1, joint // 16)
        fc1, fc2 = nn.Linear(joint, hidden), nn.Linear(hidden, width)
        self.meta = nn.Sequential(OrderedDict[str, nn.Module](fc1=fc1, relu=nn.ReLU(), fc2=fc2))
        for layer in (fc1, fc2):  # PyTorch's own start, from our generator
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)
        deep = c.init_std * torch.randn(c.deep_depth - 1, c.deep_len, width, generator=generator)
        self.deep_tokens = nn.Parameter(deep) if c.deep_tokens else None

    @classmethod
    def resolve(cls, config: CoCoOpConfig, backbone: Backbone) -> CoCoOpConfig:
        resolved = replace(config, deep_depth=default(config.deep_depth, backbone.scale_text_block(9)))
        if config.preset == "zsad":
            resolved = replace(
                resolved,
                local_features=default(config.local_features, "vv"),
                global_ln_post=default(config.global_ln_post, False),
                temperature=default(config.temperature, 0.07),
                local_weight=default(config.local_weight, _ZSAD_LOCAL_WEIGHT),
            )
        check_bounds(cls.title, resolved, deep_len=0, deep_depth=1)
        return super().resolve(resolved, backbone)

    @classmethod
    def learns_from(cls, config: CoCoOpConfig) -> Literal["masks", "labels"]:
        weight = default(config.local_weight, _ZSAD_LOCAL_WEIGHT if config.preset == "zsad" else 0.0)
        return super().learns_from(replace(config, local_weight=weight))

    def shift(self, features: Features) -> Tensor:
        """(B,width): what an image adds to each of its context tokens."""
        image = l2_normalize(features.pooled(pooled_name(self.config.global_ln_post)))
        shift: Tensor = self.meta(image)
        return shift

    def tree(self, category: Category) -> TextTree:
        """The two sentences of a category."""
        cut = self.config.truncate_context
        return self.kept_tree(
            category, lambda: self.backbone.text_tree(self.token_ids([category]), truncate_context=cut)
        )

    def raw_texts(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,2,D) raw text features, normal first: a pair for every image, in training and at test."""
        tree = joined([self.tree(sample.category) for sample in samples])
        owner = torch.arange(len(samples), device=tree.ids.device).repeat_interleave(2)
        context, deep = self.ctx + self.shift(features)[:, None], self.deep_tokens
        raw = self.backbone.encode_tree(
            with_contexts(self.backbone.text_tower.embed_tokens(tree.ids), tree, context, owner),
            tree,
            deep_tree_tokens(self.backbone, () if deep is None else list(deep), tree),
            activation=self.config.activation,
        )
        pairs: Tensor = raw.unflatten(0, (len(samples), 2))
        return pairs

    def texts(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        return l2_normalize(self.raw_texts(features, samples))
