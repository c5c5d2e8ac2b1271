"""AnomalyCLIP: object-agnostic normal and abnormal prompts, learned together with deep text tokens.

Paper: Zhou et al., ICLR 2024, arXiv 2310.18961 (v10 and later match the code). Official code: zqhang/AnomalyCLIP
(MIT), revision of May 2025, i.e. after its fix of 13 April 2025. Written from the paper and observed behaviour;
parity with that code is tested in tests/golden on random weights.

Where ours differs: the unused projections of the official prompt learner do not exist here; sequences are cut after
the end-of-text token, which is exact under the causal mask; a batch of one works.
Paper and code differ in one thing that moves numbers, `deep_token_cast`: the code rounds the deep tokens to fp16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.maps import patch_probabilities, scaled_sigma, smooth, state_logits, unit, upsample
from zsad_bench.errors import UsageError
from zsad_bench.losses import local_terms
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods.base import Stage, ZeroShotMethod
from zsad_bench.types import Batch, Category, Features, PosInterp, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class AnomalyClipConfig:
    """Defaults of the released training script and the paper.

    Block numbers left at None scale to the backbone: taps 24 and first_vv_block 6 of 24 visual blocks, deep_depth 9
    of 12 text blocks (that is 8 matrices, in front of blocks 2..9). Numbers given are taken as they are.
    fidelity: `paper`, or `official` for the released behaviour (deep tokens rounded to fp16).
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    """

    image_size: int = 518
    pos_interp: PosInterp = "bilinear"
    fidelity: Literal["paper", "official"] = "paper"
    n_ctx: int = 12
    deep_len: int = 4
    deep_depth: int | None = None
    deep_token_cast: Literal["none", "fp16"] | None = None
    first_vv_block: int | None = None
    taps: tuple[int, ...] | None = None
    global_ln_post: bool = False  # the released prompts were trained without it (issue 14 of the official code)
    temperature: float = 0.07
    local_weight: float = 4.0
    map_reduction: Literal["sum", "mean"] = "sum"
    gaussian_sigma: float | None = None
    truncate_context: bool = True
    epochs: int = 15
    batch_size: int = 8
    lr: float = 1e-3
    init_std: float = 0.02
    seed: int = 111  # of the initial prompts; a run sets it to its own


class AnomalyClip(ZeroShotMethod):
    title = "AnomalyCLIP"
    paper = "arXiv 2310.18961 (ICLR 2024)"
    Config = AnomalyClipConfig

    def __init__(self, backbone: Backbone, config: AnomalyClipConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, width = self.config, backbone.text_width
        generator = torch.Generator().manual_seed(c.seed)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(c.init_std * torch.randn(*shape, generator=generator))

        self.ctx_normal = drawn(c.n_ctx, width)
        self.ctx_abnormal = drawn(c.n_ctx, width)
        self.deep_tokens = drawn(c.deep_depth - 1, c.deep_len, width)
        filler = " ".join(["X"] * c.n_ctx)
        ids = backbone.tokenize([f"{filler} object.", f"{filler} damaged object."])
        self.register_buffer("token_ids", ids, persistent=False)

    @classmethod
    def resolve(cls, config: AnomalyClipConfig, backbone: Backbone) -> AnomalyClipConfig:
        resolved = replace(
            config,
            deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
            deep_token_cast=default(config.deep_token_cast, "fp16" if config.fidelity == "official" else "none"),
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
            taps=tuple(default(config.taps, (backbone.n_blocks,))),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        if not resolved.taps:
            raise UsageError(f"{cls.title}: taps=[]; expected at least one block")
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr"),
            n_ctx=max(1, config.deep_len - 2),  # deep tokens overwrite rows 1..deep_len, all before end-of-text
            deep_len=0,
            deep_depth=1,
            local_weight=0,
            gaussian_sigma=0,
            init_std=0,
        )
        return resolved

    def stages(self) -> list[Stage]:
        def adam(parameters):
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        names = ("ctx_normal", "ctx_abnormal", "deep_tokens")
        return [Stage("prompts", self.config.epochs, self.config.batch_size, names, adam)]

    def requests(self) -> tuple[frozenset[Tap], frozenset[bool]]:
        return frozenset(self._taps()), frozenset({self.config.global_ln_post})

    def _taps(self) -> list[Tap]:
        return [Tap(block, self.config.first_vv_block) for block in self.config.taps]

    def prompts(self) -> Tensor:
        """(2,77,width) embeddings of the normal and the abnormal prompt, learned context in place of the X rows."""
        embedded = self.backbone.embed_tokens(self.token_ids)
        context = torch.stack([self.ctx_normal, self.ctx_abnormal])
        return torch.cat([embedded[:, :1], context, embedded[:, 1 + self.config.n_ctx :]], 1)

    def text_features(self) -> Tensor:
        """(2,D) raw text features, normal first."""
        return self.backbone.encode_text(
            self.prompts(),
            self.token_ids.argmax(-1),
            deep_tokens=list(self.deep_tokens),
            deep_token_cast=self.config.deep_token_cast,
            truncate_context=self.config.truncate_context,
        )

    def pair(self, categories: Sequence[Category]) -> Tensor:
        """The same pair for every category: these prompts never name the object."""
        return unit(self.text_features()).expand(len(categories), -1, -1)

    def probabilities(self, features: Features, text: Tensor) -> list[Tensor]:
        """Per tap (B,2,H,W): normal and anomalous probability of every pixel, unsmoothed."""
        taps = [features.taps[tap] for tap in self._taps()]
        return [upsample(patch_probabilities(t, text, self.config.temperature), features) for t in taps]

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the global feature's anomalous probability alone. Map: sum over taps, then Gaussian."""
        c, text = self.config, self.text_of(samples)
        image = state_logits(features.global_[c.global_ln_post], text, c.temperature).softmax(-1)[:, 1]
        maps = torch.stack([(p[:, 1] + 1 - p[:, 0]) / 2 for p in self.probabilities(features, text)])
        reduced = maps.sum(0) if c.map_reduction == "sum" else maps.mean(0)
        return Prediction(image, smooth(reduced, c.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the image, and `local_weight` times focal + two Dice terms summed over taps."""
        c, text = self.config, self.text_of(batch.samples)
        logits = state_logits(features.global_[c.global_ln_post], text, c.temperature)
        local = [sum(local_terms(p, batch.masks)) for p in self.probabilities(features, text)]
        return {"image": F.cross_entropy(logits, batch.labels), "local": c.local_weight * sum(local)}
