"""AnomalyCLIP: object-agnostic normal and abnormal prompts, learned together with deep text tokens.

Paper: Zhou et al., ICLR 2024, arXiv 2310.18961 (v10 and later match the code). Official code: zqhang/AnomalyCLIP
(MIT), revision of May 2025, i.e. after its fix of 13 April 2025. Written from the paper and observed behaviour;
parity with that code is tested in tests/golden on random weights.

Where ours differs: the unused projections of the official prompt learner do not exist here; sequences are cut after
the end-of-text token, which is exact under the causal mask; a batch of one works.
Paper and code differ in one thing that moves numbers, `deep_token_cast`: the code rounds the deep tokens to fp16.

The two ensembles are baselines of FAPrompt (arXiv 2410.10289, Table 5) without released code. `orthogonal`: stated
are ten unshared abnormal prompts, an orthogonality term and their mean as a prototype; that the mean is taken before
normalising and the term's form and weight are FAPrompt's, by our choice. `seeds`: that maps and scores of
independently trained models are averaged is inferred from the text; the number of members is our choice, and that
they learn side by side, from the same batches.

Axes: M members, S prompts, W text width, D joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.losses import absolute_cosines, mask_losses
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._edits import DeepTokenCast, deep_text_tokens
from zsad_bench.methods._official import Key
from zsad_bench.methods._official_learner import PromptLearnerForm
from zsad_bench.methods._scoring import (
    added,
    l2_normalize,
    patch_probabilities,
    pooled_name,
    scaled_sigma,
    smooth,
    state_logits,
    upsample,
)
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class AnomalyClipConfig(MethodConfig):
    """Defaults of the released training script and the paper.

    Block numbers left at None scale to the backbone: taps 24 and first_vv_block 6 of 24 visual blocks, deep_depth 9
    of 12 text blocks (that is 8 matrices, in front of blocks 2..9). Numbers given are taken as they are.
    fidelity: `paper`, or `official` for the released behaviour (deep tokens rounded to fp16).
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    ensemble: the baselines of FAPrompt's Table 5. `seeds`: several prompt pairs with deep tokens of their own, their
    scores and maps averaged. `orthogonal`: one normal prompt and several abnormal ones that share no token, held
    apart and averaged to a prototype.
    members: of the ensemble, None is 10 (1 without one): stated for `orthogonal`, our choice for `seeds`.
    ortho_weight: of |cos| summed over the pairs of abnormal texts; None is 0.1 for `orthogonal`, the weight and the
    sum of FAPrompt's released code, since none is stated for this baseline.
    """

    fidelity: Literal["paper", "official"] = "paper"
    n_ctx: int = 12
    deep_len: int = 4
    deep_depth: int = filled()
    deep_token_cast: DeepTokenCast = filled()
    first_vv_block: int = filled()
    taps: tuple[int, ...] = filled()
    global_ln_post: bool = False  # the released prompts were trained without it (issue 14 of the official code)
    temperature: float = 0.07
    local_weight: float = 4.0
    map_reduction: Literal["sum", "mean"] = "sum"
    gaussian_sigma: float = filled()
    truncate_context: bool = silent(True)
    ensemble: Literal["none", "seeds", "orthogonal"] = "none"
    members: int = filled()
    ortho_weight: float = filled()
    epochs: int = 15
    batch_size: int = 8
    lr: float = 1e-3
    init_std: float = 0.02
    seed: int = 111  # of the initial prompts; a run sets it to its own


class AnomalyClipForm(PromptLearnerForm):
    own = (
        Key("ctx_pos", "ctx_normal", (1, 1, "n_ctx", "W"), lead=2),
        Key("ctx_neg", "ctx_abnormal", (1, 1, "n_ctx", "W"), lead=2),
    )
    infers = ("n_ctx",)
    settings: ClassVar[Mapping[str, Any]] = {"fidelity": "official"}
    needs: ClassVar[Mapping[str, Any]] = {"ensemble": "none"}

    def shown_by(self, state: Mapping[str, Tensor]) -> str | None:
        """By its single abnormal prompt; FAPrompt's files have several, and a network as well."""
        network = any(key.startswith("patch_meta_net.") for key in state)
        return "ctx_neg" if "ctx_neg" in state and state["ctx_neg"].shape[1:2] == (1,) and not network else None


class AnomalyClip(ZeroShotMethod[AnomalyClipConfig]):
    """`ctx_normal` (n_ctx,W), `ctx_abnormal` (n_ctx,W) and `deep_tokens` (deep_depth-1,deep_len,W) are all that learns.

    A seed ensemble puts an axis of M in front of all three, an orthogonal one in front of `ctx_abnormal`.
    """

    title = "AnomalyCLIP"
    paper = "arXiv 2310.18961 (ICLR 2024)"
    needs = frozenset({"text", "vv", "cls"})
    Config = AnomalyClipConfig
    official = AnomalyClipForm()

    token_ids: Tensor

    def __init__(self, backbone: Backbone, config: AnomalyClipConfig | None = None) -> None:
        super().__init__(backbone, config)
        c = self.config
        drawn = self._drawn(c.seed)
        if c.ensemble == "seeds":  # member i is the plain method of this seed; two runs never share one
            members = [self._drawn(c.seed * c.members + i) for i in range(c.members)]
            drawn = [torch.stack(parts) for parts in zip(*members, strict=True)]
        self.ctx_normal, self.ctx_abnormal, self.deep_tokens = map(nn.Parameter, drawn)
        filler = " ".join(["X"] * c.n_ctx)
        ids = backbone.text_tower.tokenize([f"{filler} object.", f"{filler} damaged object."])
        self.token_ids = ids  # on the host, so no buffer

    def _drawn(self, seed: int) -> list[Tensor]:
        """Normal context, abnormal context(s) and deep tokens from one seed."""
        c, width = self.config, self.backbone.text_tower.width
        generator = torch.Generator().manual_seed(seed)
        abnormal = (c.members,) if c.ensemble == "orthogonal" else ()
        shapes = [(c.n_ctx, width), (*abnormal, c.n_ctx, width), (c.deep_depth - 1, c.deep_len, width)]
        return [c.init_std * torch.randn(*shape, generator=generator) for shape in shapes]

    @classmethod
    def resolve(cls, config: AnomalyClipConfig, backbone: Backbone) -> AnomalyClipConfig:
        config = super().resolve(config, backbone)
        kind = config.ensemble
        resolved = replace(
            config,
            deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
            deep_token_cast=default(config.deep_token_cast, "fp16" if config.fidelity == "official" else "none"),
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
            taps=tuple(default(config.taps, (backbone.vision.n_blocks,))),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
            members=default(config.members, 1 if kind == "none" else 10),
            ortho_weight=default(config.ortho_weight, 0.1 if kind == "orthogonal" else 0.0),
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
            members=1,
            ortho_weight=0,
            init_std=0,
        )
        if kind == "none" and resolved.members > 1:
            raise UsageError(
                f"{cls.title}: members={resolved.members}, ensemble=none; "
                "take --set ensemble=seeds or ensemble=orthogonal"
            )
        if kind != "orthogonal" and resolved.ortho_weight > 0:
            found = f"ortho_weight={resolved.ortho_weight}, ensemble={kind}"
            raise UsageError(f"{cls.title}: {found}; take --set ensemble=orthogonal, or leave ortho_weight out")
        return resolved

    def stages(self) -> list[Stage]:
        # It treats every number by itself: members of a seed ensemble learn as if alone.
        def adam(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        return [Stage("prompts", self.config.epochs, self.config.batch_size, optimizer=adam)]

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({pooled_name(self.config.global_ln_post)})

    def _taps(self) -> list[Tap]:
        return [Tap(block, self.config.first_vv_block) for block in self.config.taps]

    # -- texts ---------------------------------------------------------------------------------------------------
    def _contexts(self) -> list[Tensor]:
        """All normal and all abnormal contexts, (prompts,n_ctx,W) each; one and one without an ensemble."""
        return [context.reshape(-1, *context.shape[-2:]) for context in (self.ctx_normal, self.ctx_abnormal)]

    def prompts(self) -> Tensor:
        """(S,77,W) embeddings of the normal, then the abnormal prompts, learned context in place of the X rows."""
        blocks = []
        for embedded, own in zip(self.backbone.text_tower.embed_tokens(self.token_ids), self._contexts(), strict=True):
            words = embedded.expand(len(own), -1, -1)
            blocks.append(torch.cat([words[:, :1], own, words[:, 1 + self.config.n_ctx :]], 1))
        return torch.cat(blocks)

    def raw_texts(self) -> Tensor:
        """(S,D) raw text features of `prompts`, from one text call."""
        deep: Tensor = self.deep_tokens
        if self.config.ensemble == "seeds":  # every sequence reads its own member's
            deep = deep.transpose(0, 1).repeat(1, 2, 1, 1)
        ends = zip(self.backbone.text_tower.end_of_text(self.token_ids), self._contexts(), strict=True)
        eot = torch.stack([end for end, own in ends for _ in own])
        return self.backbone.encode_text(
            self.prompts(),
            eot,
            deep_text_tokens(self.backbone, list(deep), eot, self.config.deep_token_cast),
            truncate_context=self.config.truncate_context,
            activation=self.config.activation,
        )

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """The same pair for every category: these prompts never name the object. Of a seed ensemble (n,M,2,D)."""
        pair = self._normalised(self.raw_texts())
        return pair.expand(len(categories), *pair.shape)

    def _normalised(self, texts: Tensor) -> Tensor:
        """(2,D), of a seed ensemble (M,2,D): the pair that scores are taken with, from (S,D) raw text features."""
        if self.config.ensemble == "orthogonal":  # the mean first, normalised after, as FAPrompt's prototype
            texts = torch.stack([texts[0], texts[1:].mean(0)])
        if self.config.ensemble == "seeds":
            texts = texts.unflatten(0, (2, -1)).transpose(0, 1)
        return l2_normalize(texts)

    def _members(self, samples: Sequence[SampleInfo]) -> Sequence[Tensor]:
        """(B,2,D) text pairs, one of every member of a seed ensemble, else the only one."""
        text = self.text_for(samples)
        return text.unbind(1) if self.config.ensemble == "seeds" else [text]

    # -- image and texts -----------------------------------------------------------------------------------------
    def logits(self, features: Features, text: Tensor) -> Tensor:
        """(B,2) of the global feature."""
        return state_logits(features.pooled(pooled_name(self.config.global_ln_post)), text, self.config.temperature)

    def probabilities(self, features: Features, text: Tensor) -> list[Tensor]:
        """Per tap (B,2,H,W): normal and anomalous probability of every pixel, unsmoothed."""
        patches = [features.patches(tap) for tap in self._taps()]
        return [upsample(patch_probabilities(p, text, self.config.temperature), features) for p in patches]

    def _map(self, features: Features, text: Tensor) -> Tensor:
        maps = torch.stack([(p[:, 1] + 1 - p[:, 0]) / 2 for p in self.probabilities(features, text)])
        return maps.sum(0) if self.config.map_reduction == "sum" else maps.mean(0)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the global feature's anomalous probability alone. Map: sum over taps, then Gaussian.

        Both are means over the members of a seed ensemble.
        """
        members = self._members(samples)
        scores = [self.logits(features, text).softmax(-1)[:, 1] for text in members]
        maps = [self._map(features, text) for text in members]
        return Prediction(added(scores) / len(members), smooth(added(maps) / len(members), self.config.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the image, `local_weight` times focal + two Dice terms summed over taps, orthogonality.

        The first two are sums over the members of a seed ensemble, so that each gets the gradient it would get alone.
        """
        c = self.config
        # Of an orthogonal ensemble the prompts are needed as well as their mean: one text call for both.
        texts = self.raw_texts() if c.ensemble == "orthogonal" else None
        if texts is None:
            members = self._members(batch.samples)
        else:
            members = [self._normalised(texts).expand(len(batch), -1, -1)]
        image = [F.cross_entropy(self.logits(features, text), batch.labels) for text in members]
        local = [
            added(mask_losses(p, batch.pixel_masks)) for text in members for p in self.probabilities(features, text)
        ]
        terms = {"image": added(image), "local": c.local_weight * added(local)}
        if texts is not None and c.ortho_weight and c.members > 1:
            terms["ortho"] = c.ortho_weight * absolute_cosines(texts[1:]).sum()
        return terms
