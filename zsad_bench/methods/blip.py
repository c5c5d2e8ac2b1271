"""BLIP: sentences or learned object-agnostic prompts, on the contrastive heads of BLIP's two towers.

The row "BLIP" of FAPrompt's tables (arXiv 2410.10289). Its main text says that BLIP is one of the baselines with
learnable prompts, pretrained on less data than CLIP, and nothing more; its appendix was not available. So this is our
proposal for that row, and no record of what they ran: no author code exists for it. Paper of the model: Li et al., ICML
2022, arXiv 2201.12086; official code of the model: salesforce/BLIP (BSD-3-Clause), which has no anomaly detection.
tests/golden compares both towers with transformers (Apache-2.0) on random weights, and all else with an independent
reading of the same proposal.

`prompts=learned`, for the table: AnomalyCLIP's two object-agnostic prompts (arXiv 2310.18961), its losses, optimiser
and schedule, with 12 learned tokens between BERT's [CLS] and the words, and without its deep tokens and V-V path.
`prompts=fixed`: the two sentences of the CLIP row; nothing is trained.

Everything else is chosen, too: 384 px as BLIP was trained, the plain last block or four blocks whose probability maps
are summed, temperature 0.07 because the checkpoint has none. On a CLIP this would be another method under BLIP's name,
so it asks for what only BLIP's text tower has. The matching head has no patch output and is not used.

Axes: B images, Wt text width, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.losses import mask_losses
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._scoring import (
    added,
    l2_normalize,
    patch_probabilities,
    scaled_sigma,
    smooth,
    state_logits,
    upsample,
)
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled
from zsad_bench.prompts.names import ClassNames, class_name
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap

WORDS = ("object.", "damaged object.")  # behind the learned tokens, normal first; AnomalyCLIP's
ROOM = 16  # of the text tower's rows: for [CLS], those words in pieces, and [SEP]
NATIVE_SIZE = 384  # pixels, of the released models


@dataclass(frozen=True)
class BlipConfig(MethodConfig):
    """All choices are ours; see the top of the file.

    image_size: None is the backbone's native size.
    prompts: `learned` tokens, or `fixed` sentences, which learn nothing and ignore all that is about training.
    n_ctx: learned tokens per prompt. normal_prompt, anomalous_prompt, class_names: of the fixed sentences; `{}` is the
    category's name.
    layers: `last`, or `four` at a quarter, a half, three quarters and all of the depth (3, 6, 9, 12 of ViT-B).
    taps: the blocks themselves; None is what `layers` says.
    local_weight: of the focal and Dice terms. gaussian_sigma: None is 4 px at 384 px, scaled with the image.
    """

    prompts: Literal["learned", "fixed"] = "learned"
    n_ctx: int = 12
    normal_prompt: str = "A photo of a normal {}"
    anomalous_prompt: str = "A photo of an anomalous {}"
    class_names: ClassNames = "prompt_name"
    layers: Literal["last", "four"] = "last"
    taps: tuple[int, ...] = filled()
    temperature: float = 0.07
    local_weight: float = 4.0
    gaussian_sigma: float = filled()
    epochs: int = 15
    batch_size: int = 8
    lr: float = 1e-3
    init_std: float = 0.02
    seed: int = 111  # of the initial tokens; a run sets it to its own


class Blip(ZeroShotMethod[BlipConfig]):
    """`ctx_normal` and `ctx_abnormal`, (n_ctx,Wt) each, are all that learns; with fixed prompts there is neither."""

    title = "BLIP"
    paper = "arXiv 2201.12086 (ICML 2022); as a ZSAD baseline: arXiv 2410.10289"
    needs = frozenset({"text", "bidirectional_text", "cls"})
    Config = BlipConfig

    def __init__(self, backbone: Backbone, config: BlipConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        if c.prompts == "learned":
            drawn = c.init_std * torch.randn(2, c.n_ctx, backbone.text_tower.width, generator=generator)
            self.ctx_normal, self.ctx_abnormal = map(nn.Parameter, drawn.unbind(0))

    @classmethod
    def resolve(cls, config: BlipConfig, backbone: Backbone) -> BlipConfig:
        config = super().resolve(replace(config, image_size=default(config.image_size, backbone.image_size)), backbone)
        depth = backbone.vision.n_blocks
        usual = (depth,) if config.layers == "last" else quarter_blocks(backbone)
        resolved = replace(
            config,
            taps=tuple(default(config.taps, usual)),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size, NATIVE_SIZE)),
        )
        if not resolved.taps:
            raise UsageError(f"{cls.title}: taps=[]; expected at least one block")
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr"),
            n_ctx=1,
            local_weight=0,
            gaussian_sigma=0,
            init_std=0,
        )
        most = backbone.text_tower.context_length - ROOM
        if resolved.n_ctx > most:
            raise UsageError(f"{cls.title}: n_ctx={resolved.n_ctx}; {backbone.name} has room for {most} or fewer")
        return resolved

    @classmethod
    def trains(cls, config: BlipConfig | None = None) -> bool:
        return config is None or config.prompts == "learned"

    @classmethod
    def learns_from(cls, config: BlipConfig) -> Literal["masks", "labels"]:
        return "masks" if config.local_weight else "labels"

    def stages(self) -> list[Stage]:
        c = self.config
        if not self.trains(c):
            return []

        def adam(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=c.lr, betas=(0.5, 0.999))

        return [Stage("prompts", c.epochs, c.batch_size, optimizer=adam)]

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({"cls"})

    def _taps(self) -> list[Tap]:
        return [Tap(block) for block in self.config.taps]

    # -- texts ---------------------------------------------------------------------------------------------------
    def learned_texts(self) -> Tensor:
        """(2,D) raw features of the normal and the abnormal prompt."""
        tower, c = self.backbone.text_tower, self.config
        ids = tower.tokenize(WORDS)
        eot = tower.end_of_text(ids)
        words = tower.embed_tokens(ids[:, : int(eot.max()) + 1])
        context = torch.stack([self.ctx_normal, self.ctx_abnormal])
        prompts = torch.cat([words[:, :1], context, words[:, 1:]], dim=1)
        return self.backbone.encode_text(prompts, eot + c.n_ctx, activation=c.activation)

    def sentences(self, category: Category) -> list[str]:
        """The normal and the anomalous sentence of a category."""
        c = self.config
        name = class_name(category, c.class_names)
        return [template.replace("{}", name) for template in (c.normal_prompt, c.anomalous_prompt)]

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """Learned prompts never name the object: the same pair for every category."""
        if self.config.prompts == "learned":
            return l2_normalize(self.learned_texts()).expand(len(categories), -1, -1)
        texts = [sentence for category in categories for sentence in self.sentences(category)]
        encoded = self.backbone.encode_prompts(texts, activation=self.config.activation)
        pairs: Tensor = l2_normalize(encoded).unflatten(0, (-1, 2))
        return pairs

    # -- image and texts -----------------------------------------------------------------------------------------
    def logits(self, features: Features, text: Tensor) -> Tensor:
        """(B,2): of the class token."""
        return state_logits(features.pooled("cls"), text, self.config.temperature)

    def probabilities(self, features: Features, text: Tensor) -> list[Tensor]:
        """Per tap (B,2,H,W): normal and anomalous probability of every pixel, unsmoothed."""
        patches = [features.patches(tap) for tap in self._taps()]
        return [upsample(patch_probabilities(p, text, self.config.temperature), features) for p in patches]

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the class token's anomalous probability alone. Map: the patches', summed over taps, then Gaussian."""
        text = self.text_for(samples)
        anomaly_map = added([p[:, 1] for p in self.probabilities(features, text)])
        score = self.logits(features, text).softmax(-1)[:, 1]
        return Prediction(score, smooth(anomaly_map, self.config.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the image, and `local_weight` times focal + two Dice terms summed over taps."""
        text, c = self.text_for(batch.samples), self.config
        terms = {"image": F.cross_entropy(self.logits(features, text), batch.labels)}
        if c.local_weight:
            maps = self.probabilities(features, text)
            terms["local"] = c.local_weight * added([added(mask_losses(p, batch.pixel_masks)) for p in maps])
        return terms
