"""CoOp adapted to anomaly detection: one learned context in front of "normal <cls>." and "anomalous <cls>.".

Paper: Zhou et al., IJCV 2022, arXiv 2109.01134. Official code of the prompt learner: KaiyangZhou/CoOp (MIT), October
2022; parity with it is tested in tests/golden on random weights. There is no official anomaly-detection code: the
prompts are those attributed to AnomalyCLIP's appendix (arXiv 2310.18961), whose exact wording we have not seen.

Our choices where nothing is published: an image is scored against the two prompts of its own category; 50 epochs
instead of 200 (of 16 shots); 518 px without augmentation; maps from the plain last block, because the published pixel
numbers lie below chance, as those of unmodified CLIP do. Exact reproduction of the published row is not expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.methods._context import ContextConfig, ContextLearner
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.types import Category, Features, SampleInfo, sent


@dataclass(frozen=True)
class CoOpConfig(ContextConfig):
    """16 context tokens, and the fields of `ContextConfig`.

    class_specific: a context of its own for either state. class_token_position: where state and class name stand;
    `middle` puts half of the context behind them.
    """

    class_specific: bool = False
    class_token_position: Literal["end", "middle", "front"] = "end"


class CoOp(ContextLearner[CoOpConfig]):
    title = "CoOp"
    paper = "arXiv 2109.01134 (IJCV 2022); as a ZSAD baseline: arXiv 2310.18961, appendix"
    Config = CoOpConfig
    usual_n_ctx = 16

    def __init__(self, backbone: Backbone, config: CoOpConfig | None = None) -> None:
        super().__init__(backbone, config)
        generator = torch.Generator().manual_seed(self.config.seed)
        states = range(2 if self.config.class_specific else 1)
        drawn = torch.stack([self.initial_context(generator) for _ in states])
        self.ctx = nn.Parameter(drawn if self.config.class_specific else drawn[0])

    def raw_texts(self, categories: Sequence[Category]) -> Tensor:
        """(n,2,D) raw text features of n categories, normal first."""
        ids = self.token_ids(categories)
        tower = self.backbone.text_tower
        eot, embedded = tower.end_of_text(ids), tower.embed_tokens(ids)
        n_ctx, width = self.config.n_ctx, tower.width
        context = self.ctx.expand(2, n_ctx, width).repeat(len(categories), 1, 1)
        prompts = torch.cat([embedded[:, :1], context, embedded[:, 1 + n_ctx :]], 1)
        position = self.config.class_token_position
        orders = torch.tensor([_order(end, n_ctx, position, ids.shape[1]) for end in eot.tolist()])
        places = torch.stack([torch.arange(len(orders))[:, None].expand_as(orders), orders])
        prompts = prompts[tuple(sent(places, prompts.device))]
        c = self.config
        texts = self.backbone.encode_text(prompts, eot, truncate_context=c.truncate_context, activation=c.activation)
        pairs: Tensor = texts.unflatten(0, (len(categories), 2))
        return pairs

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        return l2_normalize(self.raw_texts(categories))

    def texts(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        return self.text_for(samples)


def _order(eot: int, n_ctx: int, position: str, length: int) -> list[int]:
    """The rows of `start, context, name, '.', end, padding` in the order that a position of the name asks for."""
    context, name = range(1, 1 + n_ctx), range(1 + n_ctx, eot - 1)
    before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
    return [0, *context[:before], *name, *context[before:], *range(eot - 1, length)]
