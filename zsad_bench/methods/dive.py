"""DIVE: object-agnostic state prompts, text injected while the image is encoded, and state split from semantics.

Paper: "Robust Zero-shot Anomaly Detection under Limited Auxiliary Anomaly Priors", ECCV 2026, arXiv 2606.29428.
No official code is public: this is written from the sources below, and its golden numbers (tests/golden) come from an
independent reference written from the same specification. They show that the formulas agree, not that the authors'
program does. Where each part comes from:

- Paper and its figure 2: the two state prompts and the semantic prompt, learnable tokens in both groups, visual prompts
  from the semantic prompt before block 1, a dense attention to description embeddings in the last blocks, two residual
  offsets under an orthogonality penalty.
- A detailed third-party summary of the paper: P = 9 with 4 tokens per layer, h = 4, the last three blocks from Q' = 21,
  multi-head attention with 16 heads, tau = 0.07, the form of the five losses and their sum, the scores.
- Our choice, the sources at hand being silent: m = 12 and the full stop (AnomalyCLIP's), one semantic context for all
  classes, separate deep tokens for the two groups, the LayerNorms and biases of the injection, its shared projection,
  gamma = 0.1, offsets of width D/4, all initial values, all loss weights 1, sigma 4, and the whole training recipe
  (AnomalyCLIP's).

The axes of `backbones/`; K auxiliary classes, G descriptions, m context rows, h visual prompts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.forward import Edit
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.losses import mask_losses, squared_cosine
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._edits import Injection, chain, deep_text_tokens, patch_injections, patch_rows, visual_tokens
from zsad_bench.methods._scoring import (
    added,
    l2_normalize,
    patch_probabilities,
    scaled_sigma,
    smooth,
    state_logits,
    upsample,
)
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.prompts.lexicon import read_lexicon
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap, sent


@dataclass(frozen=True)
class DiveConfig(MethodConfig):
    """Sources of the defaults: the top of this file.

    deep_depth: P; None is 9 of 12 text blocks. inject_blocks: numbers of the blocks after which descriptions are
    injected; None is the last eighth of the tower, 21, 22, 23 of 24. n_visual: h. gamma: strength of the injection.
    disentangle, shallow, deep: the paper's ablations; what is switched off has no parameters. shallow=False and
    n_visual=0 are one.
    patch_attention: `vv` reads patches from the V-V path that starts at first_vv_block (None: 6 of 24).
    lexicon: a name in zsad_bench/prompts or the path of a YAML file; lexicon_hash: filled from it, and when given it
    must match. checkpoint_blocks: recompute blocks in the backward pass, less memory for more time.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image. hidden_ratio: the offsets' hidden width is D over it.
    """

    n_ctx: int = 12
    deep_len: int = 4
    deep_depth: int = filled()
    n_visual: int = 4
    inject_blocks: tuple[int, ...] = filled()
    gamma: float = 0.1
    disentangle: bool = True
    shallow: bool = True
    deep: bool = True
    patch_attention: Literal["plain", "vv"] = "plain"
    first_vv_block: int = filled()
    lexicon: str = "dive_lexicon"
    lexicon_hash: str | None = None
    hidden_ratio: int = 4
    temperature: float = 0.07
    sem_weight: float = 1.0
    dis_weight: float = 1.0
    seg_weight: float = 1.0
    reg_weight: float = 1.0
    gaussian_sigma: float = filled()
    truncate_context: bool = silent(True)
    checkpoint_blocks: bool = silent(False)
    epochs: int = 15
    batch_size: int = 8
    lr: float = 1e-3  # AnomalyCLIP's; not validated for this method
    init_std: float = 0.02
    seed: int = 111  # of the initial values; a run sets it to its own


class CrossInjection(nn.Module):
    """One multi-head cross-attention from patches to descriptions, with LayerNorms on both sides.

    The key projection has no bias: under the softmax it would have no effect, and only noise as gradient. No dropout,
    no residual and no MLP inside.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_q, self.ln_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj = unset(nn.Linear, width, width)
        self.k_proj = unset(nn.Linear, width, width, bias=False)
        self.v_proj = unset(nn.Linear, width, width)
        self.out_proj = unset(nn.Linear, width, width)

    def forward(self, patches_BNC: Tensor, bank_GC: Tensor) -> Tensor:
        """(B,N,C): what the descriptions have to say to every patch."""
        query, key = self._query_and_key(patches_BNC, bank_GC)
        value = self._split(self.v_proj(self.ln_kv(bank_GC)))
        batch = (patches_BNC.shape[0], -1, -1, -1)
        mixed = F.scaled_dot_product_attention(query, key.expand(batch), value.expand(batch))
        said: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return said

    def attention(self, patches_BNC: Tensor, bank_GC: Tensor) -> Tensor:
        """(B,h,N,G): how much each patch attends to each description; sums to one over G. O(B h N G) memory."""
        query, key = self._query_and_key(patches_BNC, bank_GC)
        weights: Tensor = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        return weights

    def _query_and_key(self, patches_BNC: Tensor, bank_GC: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(self.q_proj(self.ln_q(patches_BNC))), self._split(self.k_proj(self.ln_kv(bank_GC)))

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.transpose(-3, -2)


class Offset(nn.Module):
    """A residual branch: fc2(relu(fc1(z))), (B,D) to (B,D)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = unset(nn.Linear, width, hidden), unset(nn.Linear, hidden, width)

    def forward(self, z_BD: Tensor) -> Tensor:
        offset: Tensor = self.fc2(F.relu(self.fc1(z_BD)))
        return offset


class Dive(ZeroShotMethod[DiveConfig]):
    title = "DIVE"
    paper = "arXiv 2606.29428 (ECCV 2026)"
    needs = frozenset({"text", "cls"})
    Config = DiveConfig
    encoder_trains = True

    token_ids: Tensor
    is_abnormal: Tensor
    _bank: Tensor | None

    def __init__(self, backbone: Backbone, config: DiveConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, text = self.config, backbone.text_tower.width
        vision, joint = backbone.vision.width, backbone.vision.joint_width

        def rows(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape))

        self.ctx_normal, self.ctx_abnormal = rows(c.n_ctx, text), rows(c.n_ctx, text)
        if c.disentangle or c.shallow:
            self.ctx_semantic = rows(c.n_ctx, text)
        if c.deep_depth > 1:
            self.deep_state = rows(c.deep_depth - 1, c.deep_len, text)
        if c.disentangle:
            if c.deep_depth > 1:
                self.deep_semantic = rows(c.deep_depth - 1, c.deep_len, text)
            hidden = max(1, joint // c.hidden_ratio)
            self.g_state, self.g_semantic = Offset(joint, hidden), Offset(joint, hidden)
        if c.shallow:
            self.shallow = unset(nn.Linear, text, vision)
        if c.deep:
            lexicon = read_lexicon(c.lexicon)
            self.desc_proj = unset(nn.Linear, joint, vision, bias=False)
            self.inject = nn.ModuleList(CrossInjection(vision, backbone.vision.n_heads) for _ in c.inject_blocks)
            self.register_buffer("_bank", None, persistent=False)
            is_abnormal = torch.arange(len(lexicon.sentences)) < len(lexicon.abnormal)
            self.register_buffer("is_abnormal", is_abnormal, persistent=False)
        ids = backbone.text_tower.tokenize([f"{self._filler()} object.", f"{self._filler()} damaged object."])
        self.token_ids = ids  # on the host, so no buffer
        self.class_names: tuple[str, ...] = ()
        self._initialise()

    def _filler(self) -> str:
        return " ".join(["X"] * self.config.n_ctx)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draws every weight from the seed and its own name: an ablation starts from the values of the whole."""
        small = ("ctx_", "deep_", "shallow.", "out_proj.", "fc2.")
        for name, parameter in self.own_parameters().items():
            if ".ln_" in name:
                continue  # LayerNorms start neutral by themselves
            if name.endswith("bias"):
                parameter.zero_()
                continue
            # 32 bits are all that the generator reads of a seed
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.config.seed}/{name}".encode()))
            scale = self.config.init_std if any(part in name for part in small) else parameter.shape[1] ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))

    @classmethod
    def resolve(cls, config: DiveConfig, backbone: Backbone) -> DiveConfig:
        config = super().resolve(config, backbone)
        blocks = default(config.inject_blocks, _last_blocks(backbone)) if config.deep else ()
        n_visual = config.n_visual if config.shallow else 0
        resolved = replace(
            config,
            deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
            inject_blocks=tuple(blocks),
            deep=bool(blocks),
            n_visual=n_visual,
            shallow=n_visual != 0,
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
            lexicon_hash=_lexicon_hash(config) if blocks else None,
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr"),
            deep_len=1,
            n_ctx=max(1, config.deep_len, n_visual),  # deep tokens and visual prompts are rows of the context
            n_visual=0,
            deep_depth=1,
            first_vv_block=1,
            hidden_ratio=1,
            gamma=0,
            sem_weight=0,
            dis_weight=0,
            seg_weight=0,
            reg_weight=0,
            gaussian_sigma=0,
            init_std=0,
        )
        _check_depths(resolved, backbone)
        return resolved

    def stages(self) -> list[Stage]:
        def adam(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        return [Stage("prompts_and_injections", self.config.epochs, self.config.batch_size, optimizer=adam)]

    # -- text -----------------------------------------------------------------------------------------------------
    def _encode_text(self, ids: Tensor, contexts: Tensor, deep: str) -> Tensor:
        """(n,D) raw features of prompts whose rows 1..m are replaced by the contexts, (m,Wt) or (n,m,Wt)."""
        tower, m = self.backbone.text_tower, self.config.n_ctx
        embedded, eot = tower.embed_tokens(ids), tower.end_of_text(ids)
        prompts = torch.cat([embedded[:, :1], contexts.expand(len(ids), -1, -1), embedded[:, 1 + m :]], 1)
        return self.backbone.encode_text(
            prompts,
            eot,
            deep_text_tokens(self.backbone, list(getattr(self, deep, ())), eot),
            truncate_context=self.config.truncate_context,
            activation=self.config.activation,
        )

    def state_features(self) -> Tensor:
        """(2,D) raw features of the state prompts, normal first."""
        return self._encode_text(self.token_ids, torch.stack([self.ctx_normal, self.ctx_abnormal]), "deep_state")

    def semantic_ids(self, names: Sequence[str]) -> Tensor:
        """(K,L) token ids of the semantic prompts of classes."""
        return self.backbone.text_tower.tokenize([f"{self._filler()} {name}." for name in names])

    def semantic_features(self, names: Sequence[str]) -> Tensor:
        """(K,D) raw features of the semantic prompts of classes."""
        return self._encode_text(self.semantic_ids(names), self.ctx_semantic, "deep_semantic")

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """The same pair for every category: the state prompts never name the object."""
        return l2_normalize(self.state_features()).expand(len(categories), -1, -1)

    def set_auxiliary_classes(self, names: Sequence[str]) -> None:
        """Sets the K auxiliary classes of the semantic loss, by prompt name; names that collapse are one class."""
        self.class_names = tuple(dict.fromkeys(names))

    def begin_training(self, categories: Sequence[Category]) -> None:
        """Every step distinguishes all classes of the training data, not only those of the batch."""
        self.set_auxiliary_classes([category.prompt_name for category in categories])

    def bank(self) -> Tensor:
        """(G,D) normalised plain text features of the descriptions, without gradient; encoded when first asked for."""
        if self._bank is None:
            # The first to ask may be a test run, and the next one a training, which needs ordinary tensors.
            with torch.inference_mode(False), torch.no_grad():
                sentences = read_lexicon(self.config.lexicon).sentences
                self._bank = l2_normalize(self.backbone.encode_prompts(sentences, activation=self.config.activation))
        return self._bank

    # -- images ---------------------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self._tap()}), frozenset({"cls"})

    @property
    def first_edit(self) -> int:
        """1 with visual prompts, which enter block 1; else the block behind the first injection."""
        blocks = self.config.inject_blocks
        return 1 if self.config.shallow else min(blocks, default=self.backbone.vision.n_blocks) + 1

    def _tap(self) -> Tap:
        first_vv_block = self.config.first_vv_block if self.config.patch_attention == "vv" else 0
        return Tap(self.backbone.vision.n_blocks, first_vv_block)

    def visual_prompts(self) -> Tensor:
        """(h,C): the first rows of the semantic context, projected; the same for every image and class."""
        prompts: Tensor = self.shallow(self.ctx_semantic[: self.config.n_visual])
        return prompts

    def injections(self, attention: dict[int, Tensor] | None = None) -> dict[int, Injection]:
        """Number of the block in front -> increment of its patch rows; `attention` collects what they attend to."""
        if not self.config.deep:
            return {}
        bank = self.desc_proj(self.bank())

        def injection(block: int, module: CrossInjection) -> Injection:
            def increment(patches: Tensor) -> Tensor:
                if attention is not None:
                    attention[block] = module.attention(patches, bank)
                said: Tensor = module(patches, bank)
                return self.config.gamma * said

            return increment

        modules = [module for module in self.inject if isinstance(module, CrossInjection)]
        numbered = zip(self.config.inject_blocks, modules, strict=True)
        return {block + 1: injection(block, module) for block, module in numbered}

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """Features under both injections; gradients reach them when gradients are on."""
        edit = self.edit(images, self.injections())
        return self.encoder(images, samples, edit, checkpoint_blocks=self.config.checkpoint_blocks)

    def edit(self, images: Tensor, injections: dict[int, Injection]) -> Edit:
        """What both injections do to the rows that enter each block."""
        inject = patch_injections(injections, patch_rows(self.backbone, images))
        return chain(visual_tokens(self.visual_prompts()), inject) if self.config.shallow else inject

    @torch.no_grad()
    def attention_maps(self, images: Tensor) -> dict[int, Tensor]:
        """Injected block -> (B,heads,N,G): how much each patch attends to each description; sums to one over G.

        Raises:
            UsageError: the deep injection is switched off.
        """
        if not self.config.deep:
            raise UsageError(f"{self.title}: attention maps belong to the deep injection; build it with deep=True")
        found: dict[int, Tensor] = {}
        self.backbone.encode_image(images, self.encoder_spec, self.edit(images, self.injections(found)))
        return found

    def abnormal_share(self, attention_BhNG: Tensor) -> Tensor:
        """(B,N) in [0, 1]: attention on abnormal descriptions, heads averaged first.

        Its neutral level is the share of abnormal sentences (100 of 135: 0.741), not a half.
        """
        return attention_BhNG.mean(1)[..., self.is_abnormal].sum(-1)

    # -- what comes out -------------------------------------------------------------------------------------------
    def logits(self, features: Features, text_B2D: Tensor) -> Tensor:
        """(B,2) state logits; only the state branch takes part."""
        z = features.pooled("cls")
        return state_logits(z + self.g_state(z) if self.config.disentangle else z, text_B2D, self.config.temperature)

    def semantic_logits(self, features: Features, names: Sequence[str]) -> Tensor:
        """(B,K) logits of the semantic branch over classes."""
        z, text = features.pooled("cls"), l2_normalize(self.semantic_features(names))
        return l2_normalize(z + self.g_semantic(z)) @ text.mT / self.config.temperature

    def probabilities(self, features: Features, text_B2D: Tensor) -> Tensor:
        """(B,2,H,W): normal and anomalous probability of every pixel, unsmoothed."""
        patches = patch_probabilities(features.patches(self._tap()), text_B2D, self.config.temperature)
        return upsample(patches, features)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the state embedding's anomalous probability. Map: the patches', up-sampled, then Gaussian."""
        text = self.text_for(samples)
        image = self.logits(features, text).softmax(-1)[:, 1]
        return Prediction(image, smooth(self.probabilities(features, text)[:, 1], self.config.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """State and semantic cross-entropy, orthogonality of the offsets, focal + two Dice, size of the visual prompts.

        The semantic classes are those of `set_auxiliary_classes`, or without it those of the batch.

        Raises:
            ValueError: an image of a class that is not among them.
        """
        c, text, z = self.config, self.text_for(batch.samples), features.pooled("cls")
        terms = {"state": F.cross_entropy(self.logits(features, text), batch.labels)}
        if c.disentangle:
            own = [sample.category.prompt_name for sample in batch.samples]
            names = self.class_names or tuple(dict.fromkeys(own))
            if not set(own) <= set(names):
                raise ValueError(f"DIVE: class '{min(set(own) - set(names))}' is none of the auxiliary classes {names}")
            target = sent(torch.tensor([names.index(name) for name in own]), z.device)
            terms["sem"] = c.sem_weight * F.cross_entropy(self.semantic_logits(features, names), target)
            terms["dis"] = c.dis_weight * squared_cosine(self.g_state(z), self.g_semantic(z))
        terms["seg"] = c.seg_weight * added(mask_losses(self.probabilities(features, text), batch.pixel_masks))
        if c.shallow:
            terms["reg"] = c.reg_weight * self.visual_prompts().square().mean()
        return terms


def _last_blocks(backbone: Backbone) -> tuple[int, ...]:
    first = min(backbone.scale_block(21), backbone.vision.n_blocks - 1)
    return tuple(range(first, backbone.vision.n_blocks))


def _lexicon_hash(config: DiveConfig) -> str:
    found = read_lexicon(config.lexicon).hash
    if config.lexicon_hash not in (None, found):
        raise UsageError(
            f"{Dive.title}: lexicon '{config.lexicon}' has hash {found}, expected {config.lexicon_hash}; "
            "give the file that the other run used, or leave lexicon_hash out"
        )
    return found


def _check_depths(config: DiveConfig, backbone: Backbone) -> None:
    name, last, n_text_blocks = backbone.name, backbone.vision.n_blocks - 1, backbone.text_tower.n_blocks
    outside = [block for block in config.inject_blocks if not 1 <= block <= last]
    if outside:
        allowed = f"inject_blocks within 1..{last}, or deep=False" if last else "deep=False"
        raise BackboneError(
            f"{Dive.title}: injection after block {outside[0]}, but {name} has {last + 1} blocks; take {allowed}"
        )
    if len(set(config.inject_blocks)) < len(config.inject_blocks):
        raise UsageError(f"{Dive.title}: inject_blocks={list(config.inject_blocks)}; expected each block once")
    if config.deep_depth > n_text_blocks:
        raise BackboneError(
            f"{Dive.title}: deep_depth={config.deep_depth}, but {name}'s text has {n_text_blocks} blocks; "
            f"take --set deep_depth={n_text_blocks} or less"
        )
