"""DIVE: object-agnostic state prompts, text injected while the image is encoded, and state split from semantics.

Paper: "Robust Zero-shot Anomaly Detection under Limited Auxiliary Anomaly Priors", ECCV 2026, arXiv 2606.29428.
No official code is public: this is written from the sources below, and its golden numbers (tests/golden) come from an
independent reference written from the same specification. They show that the formulas agree, not that the authors'
program does. Where each part comes from:

- Paper and its figure 2: the two state prompts and the semantic prompt, learnable tokens in both groups, visual prompts
  from the semantic prompt before block 1, a dense attention to description embeddings in the last blocks, two residual
  offsets under an orthogonality penalty.
- A detailed third-party summary of the paper: P = 9 with 4 tokens a layer, h = 4, the last three blocks from Q' = 21,
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

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.injection import CrossInjection, Offset, description_bank
from zsad_bench.backbones.maps import patch_probabilities, smooth, state_logits, unit, upsample
from zsad_bench.backbones.vision import Injection
from zsad_bench.errors import UsageError
from zsad_bench.losses import local_terms, squared_cosine
from zsad_bench.methods._dive_config import DiveConfig, resolve
from zsad_bench.methods.base import Stage, ZeroShotMethod
from zsad_bench.prompts.lexicon import read_lexicon
from zsad_bench.types import Batch, Category, Features, Prediction, SampleInfo, Tap


class Dive(ZeroShotMethod):
    title = "DIVE"
    paper = "arXiv 2606.29428 (ECCV 2026)"
    Config = DiveConfig
    encoder_trains = True

    def __init__(self, backbone: Backbone, config: DiveConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, text, vision, joint = self.config, backbone.text_width, backbone.vision_width, backbone.embed_dim

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
            self.shallow = skip_init(nn.Linear, text, vision)
        if c.deep:
            lexicon = read_lexicon(c.lexicon)
            self.desc_proj = skip_init(nn.Linear, joint, vision, bias=False)
            self.inject = nn.ModuleList(CrossInjection(vision, backbone.vision_heads) for _ in c.inject_blocks)
            self.register_buffer("bank", description_bank(backbone, lexicon.sentences), persistent=False)
            is_abnormal = torch.arange(len(lexicon.sentences)) < len(lexicon.abnormal)
            self.register_buffer("is_abnormal", is_abnormal, persistent=False)
        ids = backbone.tokenize([f"{self._filler()} object.", f"{self._filler()} damaged object."])
        self.register_buffer("token_ids", ids, persistent=False)
        self.class_names: tuple[str, ...] = ()
        self._initialise()

    def _filler(self) -> str:
        return " ".join(["X"] * self.config.n_ctx)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draws every weight from the seed and its own name: an ablation starts from the values of the whole."""
        small = ("ctx_", "deep_", "shallow.", "out_proj.", "fc2.")
        for name, parameter in self.named_parameters():
            if name.startswith("backbone.") or ".ln_" in name:
                continue  # frozen; LayerNorms start neutral by themselves
            if name.endswith("bias"):
                parameter.zero_()
                continue
            # 32 bits are all that the generator reads of a seed
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.config.seed}/{name}".encode()))
            scale = self.config.init_std if any(part in name for part in small) else parameter.shape[1] ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))

    @classmethod
    def resolve(cls, config: DiveConfig, backbone: Backbone) -> DiveConfig:
        return resolve(config, backbone)

    def stages(self) -> list[Stage]:
        def adam(parameters):
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        names = tuple(name for name, _ in self.named_parameters() if not name.startswith("backbone."))
        return [Stage("prompts_and_injections", self.config.epochs, self.config.batch_size, names, adam)]

    # -- text -----------------------------------------------------------------------------------------------------
    def _encode_text(self, ids: Tensor, contexts: Tensor, deep: str) -> Tensor:
        """(n,D) raw features of prompts whose rows 1..m are replaced by the contexts, (m,Wt) or (n,m,Wt)."""
        embedded, m = self.backbone.embed_tokens(ids), self.config.n_ctx
        prompts = torch.cat([embedded[:, :1], contexts.expand(len(ids), -1, -1), embedded[:, 1 + m :]], 1)
        return self.backbone.encode_text(
            prompts,
            ids.argmax(-1),
            deep_tokens=list(getattr(self, deep, ())),
            truncate_context=self.config.truncate_context,
        )

    def state_features(self) -> Tensor:
        """(2,D) raw features of the state prompts, normal first."""
        return self._encode_text(self.token_ids, torch.stack([self.ctx_normal, self.ctx_abnormal]), "deep_state")

    def semantic_ids(self, names: Sequence[str]) -> Tensor:
        """(K,L) token ids of the semantic prompts of classes."""
        return self.backbone.tokenize([f"{self._filler()} {name}." for name in names])

    def semantic_features(self, names: Sequence[str]) -> Tensor:
        """(K,D) raw features of the semantic prompts of classes."""
        return self._encode_text(self.semantic_ids(names), self.ctx_semantic, "deep_semantic")

    def pair(self, categories: Sequence[Category]) -> Tensor:
        """The same pair for every category: the state prompts never name the object."""
        return unit(self.state_features()).expand(len(categories), -1, -1)

    def know_classes(self, names: Sequence[str]) -> None:
        """Sets the K auxiliary classes of the semantic loss, by prompt name; names that collapse are one class."""
        self.class_names = tuple(dict.fromkeys(names))

    def on_train_start(self) -> None:
        """Every class of the training data is told apart at every step, whatever is in the batch."""
        table = self.trainer.train_dataloader.dataset  # zsad_bench.data's ImageTable, or several end to end
        self.know_classes([category.prompt_name for category in table.present()])

    # -- images ---------------------------------------------------------------------------------------------------
    def requests(self) -> tuple[frozenset[Tap], frozenset[bool]]:
        return frozenset({self._tap()}), frozenset({True})

    def _tap(self) -> Tap:
        return Tap(self.backbone.n_blocks, self.config.first_vv_block if self.config.patch_attention == "vv" else 0)

    def visual_prompts(self) -> Tensor:
        """(h,C): the first rows of the semantic context, projected; the same for every image and class."""
        return self.shallow(self.ctx_semantic[: self.config.n_visual])

    def injections(self, attention: dict[int, Tensor] | None = None) -> dict[int, Injection]:
        """Number of the block in front -> increment of its patch rows; `attention` collects what they attend to."""
        if not self.config.deep:
            return {}
        bank = self.desc_proj(self.bank)

        def injection(block: int, module: CrossInjection) -> Injection:
            def increment(patches: Tensor) -> Tensor:
                if attention is not None:
                    attention[block] = module.attention(patches, bank)
                return self.config.gamma * module(patches, bank)

            return increment

        modules = zip(self.config.inject_blocks, self.inject, strict=True)
        return {block + 1: injection(block, module) for block, module in modules}

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """Features under both injections; gradients reach them when gradients are on."""
        return self._encode_image(images, self.injections())

    def _encode_image(self, images: Tensor, inject: dict[int, Injection]) -> Features:
        before, self.backbone.checkpoint_blocks = self.backbone.checkpoint_blocks, self.config.checkpoint_blocks
        try:
            tokens = self.visual_prompts() if self.config.shallow else None
            return self.backbone.encode_image(images, self.encoder, visual_tokens=tokens, inject=inject)
        finally:
            self.backbone.checkpoint_blocks = before

    @torch.no_grad()
    def attention_maps(self, images: Tensor) -> dict[int, Tensor]:
        """Injected block -> (B,heads,N,G): how much each patch attends to each description; sums to one over G.

        Raises:
            UsageError: the deep injection is switched off.
        """
        if not self.config.deep:
            raise UsageError(f"{self.title}: attention maps belong to the deep injection; build it with deep=True")
        found: dict[int, Tensor] = {}
        self._encode_image(images, self.injections(found))
        return found

    def abnormal_share(self, attention_BhNG: Tensor) -> Tensor:
        """(B,N) in [0, 1]: attention on abnormal descriptions, heads averaged first.

        Its neutral level is the share of abnormal sentences (100 of 135: 0.741), not a half.
        """
        return attention_BhNG.mean(1)[..., self.is_abnormal].sum(-1)

    # -- what comes out -------------------------------------------------------------------------------------------
    def logits(self, features: Features, text_B2D: Tensor) -> Tensor:
        """(B,2) state logits; only the state branch takes part."""
        z = features.global_[True]
        return state_logits(z + self.g_state(z) if self.config.disentangle else z, text_B2D, self.config.temperature)

    def semantic_logits(self, features: Features, names: Sequence[str]) -> Tensor:
        """(B,K) logits of the semantic branch over classes."""
        z, text = features.global_[True], unit(self.semantic_features(names))
        return unit(z + self.g_semantic(z)) @ text.mT / self.config.temperature

    def probabilities(self, features: Features, text_B2D: Tensor) -> Tensor:
        """(B,2,H,W): normal and anomalous probability of every pixel, unsmoothed."""
        patches = patch_probabilities(features.taps[self._tap()], text_B2D, self.config.temperature)
        return upsample(patches, features)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the state embedding's anomalous probability. Map: the patches', up-sampled, then Gaussian."""
        text = self.text_of(samples)
        image = self.logits(features, text).softmax(-1)[:, 1]
        return Prediction(image, smooth(self.probabilities(features, text)[:, 1], self.config.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """State and semantic cross-entropy, orthogonality of the offsets, focal + two Dice, size of the visual prompts.

        The semantic classes are those of `know_classes`, or when it was never told those of the batch.

        Raises:
            ValueError: an image of a class that is none of them.
        """
        c, text, z = self.config, self.text_of(batch.samples), features.global_[True]
        terms = {"state": F.cross_entropy(self.logits(features, text), batch.labels)}
        if c.disentangle:
            own = [sample.category.prompt_name for sample in batch.samples]
            names = self.class_names or tuple(dict.fromkeys(own))
            if not set(own) <= set(names):
                raise ValueError(f"DIVE: class '{min(set(own) - set(names))}' is none of the auxiliary classes {names}")
            target = torch.tensor([names.index(name) for name in own], device=z.device)
            terms["sem"] = c.sem_weight * F.cross_entropy(self.semantic_logits(features, names), target)
            terms["dis"] = c.dis_weight * squared_cosine(self.g_state(z), self.g_semantic(z))
        terms["seg"] = c.seg_weight * sum(local_terms(self.probabilities(features, text), batch.masks))
        if c.shallow:
            terms["reg"] = c.reg_weight * self.visual_prompts().square().mean()
        return terms
