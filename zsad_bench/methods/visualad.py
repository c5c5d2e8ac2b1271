"""VisualAD: two learned tokens run through the frozen tower, and patches are compared with them; no text is read.

Paper: arXiv 2603.07952 (CVPR 2026). Official code: MIT by a badge in its README, without a licence file; consulted at
commit 8479132. Written from observed behaviour; parity with that code is tested in tests/golden on random weights.

An anomaly token and a normal token stand at the class token's place and attend with all rows through all blocks. At
each tap they read from the patches (SCA, spatial-aware cross-attention), and the patches go through an MLP of their own
(SAF, self-alignment function). A patch's score is its cosine with the anomaly token minus that with the normal one.

Paper and code differ in the norm that patches and tokens pass at test: `test_ln_post`, set by `fidelity`. A third-party
note says that the paper's SCA has no projections and no norms, and that its `ln_post` is not trained. This was not
checked, and has no option. Where ours differs from the code: batches of any size at test; the bias of SCA's key norm,
which moves all logits of a softmax alike, does not exist.

Of a tower that is no CLIP the authors print numbers (DINOv2) but released no code: all settings are our choice there,
and rows say so.

Axes: B images, N patches, C vision width, A anchors, H W pixels; token 0 anomaly, 1 normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.losses import dice, focal
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._edits import visual_tokens
from zsad_bench.methods._official import Key, OfficialForm, Part, numbered
from zsad_bench.methods._scoring import added, l2_normalize, scaled_sigma, smooth, upsample
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap

EPOCHS = {"mvtec": 2}  # of the released training, by auxiliary dataset; of VisA, and here of any other, OTHER_EPOCHS
OTHER_EPOCHS = 1
LARGEST_GRADIENT = 1.0  # norm, of each token by itself, as in the released code

LnPost = Literal["pretrained", "trained"]
PRESETS: dict[str, LnPost] = {"paper": "trained", "official": "pretrained"}  # the value of `test_ln_post`


@dataclass(frozen=True)
class VisualAdConfig(MethodConfig):
    """Defaults of the released scripts. None is filled by the preset or the backbone.

    fidelity: `paper`, or `official` for the released test script.
    test_ln_post: the final norm that patches and tokens pass at test. `trained` is the one that training moved;
    `pretrained` is the backbone's, which the released test script takes, since it never loads the trained one.
    taps: blocks whose patches are read; None is 6, 12, 18 and 24 of 24, scaled to the backbone.
    sca, saf: whether tokens read from the patches, and whether patches go through their MLP (ablations).
    n_anchors: learned queries of SCA. n_positions: learned positions of its patches, row-major, and so the largest
    number of patches.
    top_share: of the pixels of a map, whose mean is the image's score.
    margin: the cosine of both tokens behind the last SCA is pushed below minus this.
    dropout: in SCA and SAF, in training.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    epochs: None is 2 where MVTec AD is among the auxiliary data, else 1 (VisA's).
    token_lr: of the two tokens; lr: of everything else. lr_floor: where the cosine schedule of both would end.
    checkpoint_blocks: recompute blocks in the backward pass; else activations of the whole tower are kept.
    """

    fidelity: Literal["paper", "official"] = "paper"
    test_ln_post: LnPost = filled()
    taps: tuple[int, ...] = filled()
    sca: bool = True
    saf: bool = True
    n_anchors: int = 4
    n_positions: int = 1536
    top_share: float = 0.01
    margin: float = 0.5
    dropout: float = 0.1
    gaussian_sigma: float = filled()
    checkpoint_blocks: bool = silent(False)
    epochs: int | None = None
    batch_size: int = 8
    lr: float = 1e-4
    token_lr: float = 1e-3
    lr_floor: float = 1e-4
    weight_decay: float = 1e-2
    seed: int = 111  # of the initial parameters; a run sets it to its own


class CrossAttention(nn.Module):
    """SCA of one tap: what tokens read from the patches through a few anchors, each with a gate of its own.

    Anchors, not tokens, ask the patches, so both tokens have the same attention. The key norm has no bias: under the
    softmax it would have no effect, and only noise as gradient.
    """

    def __init__(self, width: int, n_anchors: int, n_positions: int, dropout: float) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.empty(n_anchors, width))
        self.positions = nn.Parameter(torch.empty(n_positions, width))
        self.q_proj, self.k_proj, self.v_proj = (unset(nn.Linear, width, width, bias=False) for _ in range(3))
        self.q_norm, self.k_norm = nn.LayerNorm(width), nn.LayerNorm(width, bias=False)
        self.gate = unset(nn.Linear, width, n_anchors)
        self.out_proj = unset(nn.Linear, width, width)
        self.scale = nn.Parameter(torch.full((1,), 0.01))
        self.dropout = dropout

    def attention(self, patches_BNC: Tensor) -> Tensor:
        """(B,A,N): how much each anchor attends to each patch; sums to one over N."""
        keys = self.k_norm(self.k_proj(patches_BNC + self.positions[: patches_BNC.shape[1]]))
        queries = self.q_norm(self.q_proj(self.anchors))
        weights: Tensor = (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1)
        return weights

    def forward(self, tokens_B2C: Tensor, patches_BNC: Tensor) -> Tensor:
        """(B,2,C): the tokens, and what they read. Values are of patches without positions."""
        weights, n_tokens = self.attention(patches_BNC), tokens_B2C.shape[1]
        # Each token's dropout is its own, as where SCA is called once for each of them.
        dropped = torch.cat([self._drop(weights) for _ in range(n_tokens)], 1)
        read = self.v_proj(dropped @ patches_BNC).unflatten(1, (n_tokens, -1))  # (B,2,A,C)
        gates = self.gate(tokens_B2C).sigmoid()
        mixed = self.out_proj((gates[..., None] * read).sum(2))
        return tokens_B2C + self.scale * self._drop(mixed)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


@dataclass
class Reading:
    """What a batch says, tap by tap. tokens: (B,2,C) behind SCA. scores: (B,N) of the patches, from -2 to 2."""

    tokens: list[Tensor]
    scores: list[Tensor]


class VisualAdForm(OfficialForm):
    """What the released trainer saves of a CLIP: tokens, norm, one MLP and one cross-attention for each block.

    Its blocks, anchors and positions are read off names and shapes. Lists and numbers that are in it, too, are not
    read; the image size is one of them.
    """

    parts = (Part(("anomaly_token",)),)
    settings: ClassVar[Mapping[str, Any]] = {"fidelity": "official"}
    infers = ("n_anchors", "n_positions")

    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> Sequence[Key]:
        keys = [Key(f"ln_post_{kind}", f"ln_post.{kind}", ("V",)) for kind in ("weight", "bias")]
        for name in ("anomaly_token", "normal_token"):  # with axes of one in front or without: that is not known
            lead = max(state[name].ndim - 1, 0) if name in state else 0
            keys.append(Key(name, name, (*(1,) * lead, "V"), lead=lead))
        for number, block in enumerate(_blocks(state, backbone)):
            mlp, sca = f"layer_transforms.layer_{block}.mlp", f"cross_attn.layer_attentions.layer_{block}"
            for layer in (0, 3):
                keys += _linear(f"{mlp}.{layer}", f"saf.{number}.{layer}")
            keys += [Key(f"{sca}.anchor_queries", f"sca.{number}.anchors", ("n_anchors", "V")),
                     Key(f"{sca}.pos_encoding", f"sca.{number}.positions", (1, "n_positions", "V"), lead=1),
                     Key(f"{sca}.res_scale", f"sca.{number}.scale", (1,))]  # fmt: skip
            for name in ("q_proj", "k_proj", "v_proj"):
                keys += _linear(f"{sca}.{name}", f"sca.{number}.{name}", bias=False)
            keys += _linear(f"{sca}.out_proj", f"sca.{number}.out_proj")
            keys += _linear(f"{sca}.gate.0", f"sca.{number}.gate", rows="n_anchors")
            for name in ("q_norm", "k_norm"):
                keys.append(Key(f"{sca}.{name}.weight", f"sca.{number}.{name}.weight", ("V",)))
            keys.append(Key(f"{sca}.q_norm.bias", f"sca.{number}.q_norm.bias", ("V",)))
            keys.append(Key(f"{sca}.k_norm.bias", "", ("V",)))  # without effect
        return keys

    def read(self, state: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
        overrides, tensors = super().read(state, backbone)
        return {**overrides, "taps": _blocks(state, backbone)}, tensors


class VisualAd(ZeroShotMethod[VisualAdConfig]):
    """What learns: both tokens, the final norm `ln_post`, and for each tap an MLP `saf` and a cross-attention `sca`."""

    title = "VisualAD"
    paper = "arXiv 2603.07952 (CVPR 2026)"
    needs = frozenset({"cls", "tokens"})
    Config = VisualAdConfig
    official = VisualAdForm()
    encoder_trains = True

    def __init__(self, backbone: Backbone, config: VisualAdConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, width, norm = self.config, backbone.vision.width, backbone.token_tower.final_norm
        self.anomaly_token, self.normal_token = (nn.Parameter(torch.empty(width)) for _ in range(2))
        self.ln_post = nn.LayerNorm(width, eps=norm.eps)
        n = len(c.taps)
        self.saf = nn.ModuleList(_mlp(width, c.dropout) for _ in range(n if c.saf else 0))
        self.sca = nn.ModuleList(
            CrossAttention(width, c.n_anchors, c.n_positions, c.dropout) for _ in range(n if c.sca else 0)
        )
        self._initialise(norm)
        self._learns_from: frozenset[str] = frozenset()

    @torch.no_grad()
    def _initialise(self, norm: nn.LayerNorm) -> None:
        generator, width = torch.Generator().manual_seed(self.config.seed), self.ln_post.normalized_shape[0]
        for token in (self.anomaly_token, self.normal_token):
            token.normal_(0, 0.1 * width**-0.5, generator=generator)
        if not norm.weight.is_meta:  # an architecture has no values to start from
            self.ln_post.load_state_dict(norm.state_dict())
        for name, parameter in (*self.saf.named_parameters(), *self.sca.named_parameters()):
            if ".gate." in name:  # PyTorch's own default, from our generator
                parameter.uniform_(-(width**-0.5), width**-0.5, generator=generator)
            elif name.endswith(("anchors", "positions")):
                parameter.normal_(0, 0.02, generator=generator)
            elif parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()

    @classmethod
    def resolve(cls, config: VisualAdConfig, backbone: Backbone) -> VisualAdConfig:
        config = super().resolve(config, backbone)
        resolved = replace(
            config,
            test_ln_post=default(config.test_ln_post, PRESETS[config.fidelity]),
            taps=tuple(default(config.taps, quarter_blocks(backbone))),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("lr", "token_lr", "top_share"),
            n_anchors=1,
            n_positions=1,
            dropout=0,
            gaussian_sigma=0,
            lr_floor=0,
            weight_decay=0,
        )
        if not resolved.taps or len(set(resolved.taps)) < len(resolved.taps):
            raise UsageError(f"{cls.title}: taps={list(resolved.taps)}; expected one block or more, each once")
        if resolved.top_share > 1:
            raise UsageError(f"{cls.title}: top_share={resolved.top_share}; expected a share up to 1")
        if resolved.dropout >= 1:
            raise UsageError(f"{cls.title}: dropout={resolved.dropout}; expected a share below 1")
        _check_rates(cls.title, resolved)
        _check_positions(cls.title, resolved, backbone)
        return resolved

    def begin_training(self, categories: Sequence[Category]) -> None:
        self._learns_from = frozenset(category.dataset for category in categories)

    def stages(self) -> list[Stage]:
        c = self.config

        def adamw(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=c.lr, betas=(0.9, 0.999), weight_decay=c.weight_decay)

        def cosine(optimizer: torch.optim.Optimizer, epochs: int) -> torch.optim.lr_scheduler.LRScheduler:
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs), eta_min=c.lr_floor)

        usual = max((EPOCHS.get(name, OTHER_EPOCHS) for name in self._learns_from), default=OTHER_EPOCHS)
        groups = {name: {"lr": c.token_lr} for name in ("anomaly_token", "normal_token")}
        epochs = default(c.epochs, usual)
        return [Stage("tokens", epochs, c.batch_size, optimizer=adamw, scheduler=cosine, groups=groups)]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Each token's gradient by itself, before whatever a Trainer was told."""
        for token in (self.anomaly_token, self.normal_token):
            nn.utils.clip_grad_norm_([token], LARGEST_GRADIENT)
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def remark(self, category: Category) -> str:
        return "" if "logit_scale" in self.backbone.offers else "settings of our choice outside CLIP"

    # -- images ---------------------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        """The taps, and the last block: that is where the tokens are read."""
        return frozenset({*self._taps(), Tap(self.backbone.vision.n_blocks, raw=True)}), frozenset()

    def _taps(self) -> list[Tap]:
        return [Tap(block, raw=True) for block in self.config.taps]

    @property
    def first_edit(self) -> int:
        """Block 1: tokens change all patches from there on, and no feature of a training image can be stored."""
        return 1

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """Features of the pass with both tokens, which are its `extra_rows`; gradients reach them when they are on."""
        tokens = self.backbone.token_tower.place_tokens(torch.stack([self.anomaly_token, self.normal_token]))
        return self.encoder(images, samples, visual_tokens(tokens), self.config.checkpoint_blocks)

    # -- where they meet ------------------------------------------------------------------------------------------
    def norm(self, rows: Tensor, which: LnPost) -> Tensor:
        """The final norm, (...,C) to (...,C)."""
        normed: Tensor = self.ln_post(rows) if which == "trained" else self.backbone.vision.norm(rows)
        return normed

    def read(self, features: Features, which: LnPost) -> Reading:
        """Tokens and scores of each tap. which: the norm that patches and tokens pass."""
        assert features.extra_rows is not None  # the edit of `encode` put them there
        tokens, reading = self.norm(features.extra_rows, which), Reading([], [])
        for number, tap in enumerate(self._taps()):
            patches = self.norm(features.patches(tap), which)
            reading.tokens.append(self.sca[number](tokens, patches) if self.config.sca else tokens)
            aligned = self.saf[number](patches) if self.config.saf else patches
            cosines = l2_normalize(aligned) @ l2_normalize(reading.tokens[-1]).mT
            reading.scores.append(cosines[..., 0] - cosines[..., 1])
        return reading

    def maps(self, reading: Reading, features: Features) -> list[Tensor]:
        """Per tap (B,H,W): scores of the patches, brought to the size of the image."""
        return [upsample(scores[..., None], features)[:, 0] for scores in reading.scores]

    def top_mean(self, maps_BHW: Tensor) -> Tensor:
        """(B,): the mean of the largest pixels of each map, `top_share` of them, rounded up."""
        count = math.ceil(self.config.top_share * maps_BHW.shape[1] * maps_BHW.shape[2])
        return maps_BHW.flatten(1).topk(count, dim=1).values.mean(1)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Map: the sum over taps, smoothed. Score: the mean of its largest pixels."""
        maps = self.maps(self.read(features, self.config.test_ln_post), features)
        smoothed = smooth(added(maps), self.config.gaussian_sigma)
        return Prediction(self.top_mean(smoothed), smoothed)

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the image, focal and Dice of each tap's map, and tokens whose angle is too small."""
        reading = self.read(features, "trained")
        maps, masks = self.maps(reading, features), batch.pixel_masks
        logit = self.top_mean(added(maps))
        anomalous = [each.sigmoid() for each in maps]
        cosine = F.cosine_similarity(reading.tokens[-1][:, 0], reading.tokens[-1][:, 1], dim=-1)
        return {
            "image": F.binary_cross_entropy_with_logits(logit, batch.labels.to(logit.dtype)),
            "focal": added([focal(torch.stack([1 - p, p], 1), masks) for p in anomalous]),
            "dice": added([dice(p, masks) for p in anomalous]),
            "tokens": (cosine + self.config.margin).clamp(min=0).mean(),
        }


def _mlp(width: int, dropout: float) -> nn.Sequential:
    """SAF of one tap: exact GELU between two maps, without a residual path."""
    first, second = (unset(nn.Linear, width, width) for _ in range(2))
    return nn.Sequential(first, nn.GELU(), nn.Dropout(dropout), second, nn.Dropout(dropout))


def _blocks(state: Mapping[str, Tensor], backbone: Backbone) -> list[int]:
    """The blocks that a released file has an MLP for; where there is none, those of the released code."""
    pattern = r"layer_transforms\.layer_(\d{1,4})\..*"
    count, last = numbered(state, pattern)
    if count > backbone.vision.n_blocks + 1:
        raise CheckpointError(
            f"{last}: found block {count - 1}, expected {backbone.vision.n_blocks} or less, the blocks of "
            f"{backbone.name}"
        )
    found = [block for block in range(count) if any(n.startswith(f"layer_transforms.layer_{block}.") for n in state)]
    return found or list(quarter_blocks(backbone))


def _linear(official: str, ours: str, bias: bool = True, rows: str = "V") -> list[Key]:
    keys = [Key(f"{official}.weight", f"{ours}.weight", (rows, "V"))]
    return [*keys, Key(f"{official}.bias", f"{ours}.bias", (rows,))] if bias else keys


def _check_rates(title: str, config: VisualAdConfig) -> None:
    if (lowest := min(config.lr, config.token_lr)) < config.lr_floor:
        raise UsageError(
            f"{title}: lr_floor={config.lr_floor}, but the lowest learning rate is {lowest}, which the schedule would "
            f"raise; take --set lr_floor={lowest} or less"
        )


def _check_positions(title: str, config: VisualAdConfig, backbone: Backbone) -> None:
    side = config.image_size // backbone.vision.patch_size
    if config.sca and side * side > config.n_positions:
        largest = math.isqrt(config.n_positions) * backbone.vision.patch_size
        raise UsageError(
            f"{title}: image_size={config.image_size} makes {side * side} patches, and n_positions={config.n_positions}"
            f" of them have a position; take --set image_size={largest} or less, or more positions"
        )
