"""Bayes-PFL: a few learned prompts, shifted by vectors from learned distributions; many draws are averaged at test.

Paper: Qu et al., CVPR 2025, arXiv 2503.10080. Official code: xiaozhen228/Bayes-PFL (MIT, stated in its README), commit
8f155a0 of June 2025. Written from a description of both; the paper's tables and training settings were not at hand.
Parity with that code is tested in tests/golden on random weights.

A sentence is learned context rows, learned state rows and the name of the class. What is drawn for an image is added
to its context rows; what is drawn for the normal and the abnormal state is added to the state rows. Each draw is a
Gaussian's, behind a planar flow. Maps compare patches of four blocks with texts that attended over them (residual
cross-model attention, RCA). Stage 1 learns all of this. Stage 2 learns an image feature that has the patches in it.

Selection on target data is not done. After each epoch the released code measures five classes of the set that it is
tested on, keeps the best epoch, and so decides when stage 2 begins and ends. Ours has fixed numbers of epochs.

Where ours differs: what is drawn for an image follows from the seed and its id, so that order, batches and processes
change nothing. Vectors are drawn in the text tower's width, which the released code takes to be the joint one. Pairs
are compared by the difference of their logits. What both sentences of a pair begin with is run once. Parameters without
any effect (decoders, a bias within a softmax) do not exist. Strengths of augmentation are our choice, and mosaics are
of any images of a class, there of anomalous ones. Paper and code differ in what `fidelity` sets.

Axes: B images, N patches, C vision width, D joint width, W text width, R draws, M pairs of sentences (draw-major: R
times the prompts), H W pixels; of the two states the normal one first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.text_tree import TextTree, joined, with_contexts
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import UsageError
from zsad_bench.losses import batch_dice, class_mean_focal, squared_cosines
from zsad_bench.methods._augment import varied
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._mosaic import mosaics
from zsad_bench.methods._prompt_flow import Drawn, Gaussian, ImageFlow, StateFlow, divergence, draw
from zsad_bench.methods._scoring import added, l2_normalize, scaled_over_set, scaled_sigma, smooth, upsample
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import class_name
from zsad_bench.types import (
    Activation,
    Batch,
    Category,
    Features,
    Pooled,
    PosInterp,
    Prediction,
    SampleInfo,
    Tap,
    sent,
)

PROMPTS, FUSION = "prompts", "fusion"  # the stages
MOSAICS = {"mvtec": 0.4}  # share of the released training
RELEASED_EPOCHS = 30  # that its learning rate is laid out for, though it stops when the target's classes stop gaining
FAST = ("prompt_context", "prompt_normal", "prompt_abnormal", "context_flow", "normal_flow", "abnormal_flow")
LOG_SCALES = ("log_scale_pixel", "log_scale_image")


class Preset(TypedDict):
    """What `fidelity` sets, as in the configuration."""

    state_logdet: Literal["own", "batch"]
    state_draws: Literal["image", "run"]
    image_score: Literal["plain", "official"]


PRESETS: dict[str, Preset] = {
    "paper": {"state_logdet": "own", "state_draws": "image", "image_score": "plain"},
    "official": {"state_logdet": "batch", "state_draws": "run", "image_score": "official"},
}


@dataclass(frozen=True)
class BayesPflConfig(MethodConfig):
    """Defaults of the released code; None is filled by the preset or the backbone.

    fidelity: `paper` reads each step as it is described; `official`, the released behaviour, which is transductive.
    state_logdet: rows that the log-determinants of the state flows are divided by: their `own` one; those of the
    `batch`, as the released code has it, which counts them by as much less.
    state_draws: those of the states are each `image`'s; `run` draws them once for all images.
    image_score: `plain` is the mean of the image's own probability and of the largest values of its map; `official`
    brings both to 0..1 over all test images of a class before, which makes the method transductive.
    n_prompts, n_ctx, n_state: of the bank; context and state rows of each prompt. n_flows: steps of a flow.
    draws: at test; one is drawn in a training step.
    layers: None is blocks 6, 12, 18, 24 of 24, scaled to the backbone. hidden: of all small networks; None is half the
    tower's width, 512 of ViT-L. n_heads: of the attention of texts over patches.
    top_k, few_top_k: how many of a map's values count in the image score; None is 2000 and 20 at 518 px, scaled with
    the area. The second one is for a few test classes, under `image_score=official` alone.
    class_names: `folder` is the released code's, the name in lower case; it and `raw` (with blanks for underscores)
    replace some names of MVTec AD and VisA. Others as in `prompts.names`.
    gaussian_sigma: None is 8 px at 518 px, scaled with the image; the score is of maps before it.
    augment: rotation, quarter turns, colours, noise and blur of training images.
    mosaic_prob: share of the training images that a mosaic of four of their category replaces; None is 0.4 of MVTec
    AD's and none of any other dataset's.
    epochs, fuse_epochs: of the stages, our choice; without the second stage the image feature is the class token's.
    schedule_epochs: that the rate of stage 1 is laid out for; None is 30, or `epochs` where they are more. warmup: the
    share of them in which it rises, before half a cosine to 0.
    lr: of prompts, flows and state rows. scale_lr: of both logit scales. slow_lr: of all else in stage 1. fuse_lr: of
    stage 2.
    sentence_chunk: sentences encoded at once at test, and with them the maps of their images, at least one image's.
    """

    pos_interp: PosInterp = "bicubic_antialias"
    activation: Activation = "gelu"  # what its loader builds, though the weights were trained with QuickGELU
    fidelity: Literal["paper", "official"] = "paper"
    state_logdet: Literal["own", "batch"] = filled()
    state_draws: Literal["image", "run"] = filled()
    image_score: Literal["plain", "official"] = filled()
    n_prompts: int = 3
    n_ctx: int = 5
    n_state: int = 5
    n_flows: int = 10
    draws: int = 10
    layers: tuple[int, ...] = filled()
    hidden: int = filled()
    n_heads: int = 4
    top_k: int = filled()
    few_top_k: int = filled()
    class_names: Literal["folder", "raw", "prompt_name", "object"] = "folder"
    gaussian_sigma: float = filled()
    kl_weight: float = 0.01
    ortho_weight: float = 1.0
    augment: bool = True
    mosaic_prob: float | None = None
    epochs: int = 8
    fuse_epochs: int = 2
    schedule_epochs: int = filled()
    warmup: float = 0.1
    batch_size: int = 32
    lr: float = 1e-3
    scale_lr: float = 1e-2
    slow_lr: float = 1e-4
    fuse_lr: float = 1e-4
    init_std: float = 0.02
    sentence_chunk: int = silent(256)
    seed: int = 333  # of the initial values and of all draws; a run sets it to its own


class Latents(NamedTuple):
    """What is drawn: for the contexts of images (B,R,W), for normal and abnormal states (B or 1,R,W)."""

    context: Drawn
    normal: Drawn
    abnormal: Drawn


class Noise(NamedTuple):
    """Standard normal noise in the shapes of `Latents`."""

    context: Tensor
    normal: Tensor
    abnormal: Tensor


class Fusion(nn.Module):
    """One vector (B,D) of the concatenated patches of all levels (B,N,levels*C): a weighted sum of reduced patches."""

    def __init__(self, inputs: int, hidden: int, joint: int) -> None:
        super().__init__()
        self.reduce = unset(nn.Linear, inputs, hidden)
        self.weigh = unset(nn.Linear, hidden, 1, bias=False)  # the softmax over patches cancels a bias
        self.out = unset(nn.Linear, hidden, joint)

    def forward(self, patches_BNC: Tensor) -> Tensor:
        reduced = self.reduce(patches_BNC)
        fused: Tensor = self.out((self.weigh(reduced).softmax(1) * reduced).sum(1))
        return fused


class BayesPfl(ZeroShotMethod[BayesPflConfig]):
    """What learns: the bank (`prompt_*`), encoders and flows, `query` and `patch_maps` of RCA, `class_map`, scales.

    In stage 2 `class_map`, `image_map` and `fuse`; the last two are missing where there is no stage 2.
    """

    title = "Bayes-PFL"
    paper = "arXiv 2503.10080 (CVPR 2025)"
    needs = frozenset({"text", "cls"})
    Config = BayesPflConfig
    stochastic_at_test = True
    texts_follow_images = True

    def __init__(self, backbone: Backbone, config: BayesPflConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, text = self.config, backbone.text_tower.width
        vision, joint = backbone.vision.width, backbone.vision.joint_width
        self.transductive = c.image_score == "official"
        generator = torch.Generator().manual_seed(c.seed)

        def rows(count: int, middle: float) -> nn.Parameter:
            drawn = torch.empty(c.n_prompts, count, text)
            return nn.Parameter(nn.init.trunc_normal_(drawn, middle, c.init_std, generator=generator))

        self.prompt_context = rows(c.n_ctx, 0.0)
        self.prompt_normal, self.prompt_abnormal = rows(c.n_state, 0.5), rows(c.n_state, -0.5)
        self.context_encoder, self.state_encoder = Gaussian(joint, c.hidden, text), Gaussian(text, c.hidden, text)
        self.context_flow = ImageFlow(joint, c.n_flows, text)
        self.normal_flow, self.abnormal_flow = (StateFlow(c.n_flows, text, generator) for _ in range(2))
        self.query = unset(nn.Linear, joint, joint)
        self.patch_maps = nn.ModuleList(unset(nn.Linear, vision, joint, bias=False) for _ in c.layers)
        self.log_scale_pixel, self.log_scale_image = (nn.Parameter(torch.tensor(math.log(1 / 0.07))) for _ in range(2))
        self.class_map = unset(nn.Linear, joint, joint)
        if c.fuse_epochs:
            self.image_map, self.fuse = unset(nn.Linear, joint, joint), Fusion(len(c.layers) * vision, c.hidden, joint)
        for name, module in self.named_modules():
            if self.is_own(name) and isinstance(module, nn.Linear):
                if module is self.query:  # PyTorch's own start, from our generator
                    for parameter in module.parameters():
                        nn.init.uniform_(parameter, -(joint**-0.5), joint**-0.5, generator=generator)
                    continue
                nn.init.normal_(module.weight, 0.0, c.init_std, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def resolve(cls, config: BayesPflConfig, backbone: Backbone) -> BayesPflConfig:
        config = super().resolve(config, backbone)
        preset, area = PRESETS[config.fidelity], config.image_size**2
        resolved = replace(
            config,
            state_logdet=default(config.state_logdet, preset["state_logdet"]),
            state_draws=default(config.state_draws, preset["state_draws"]),
            image_score=default(config.image_score, preset["image_score"]),
            layers=tuple(default(config.layers, quarter_blocks(backbone))),
            hidden=default(config.hidden, max(1, backbone.vision.width // 2)),
            top_k=default(config.top_k, max(1, round(2000 * area / 518**2))),
            few_top_k=default(config.few_top_k, max(1, round(20 * area / 518**2))),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(8.0, config.image_size)),
            schedule_epochs=default(config.schedule_epochs, max(RELEASED_EPOCHS, config.epochs)),
        )
        counts = ("n_prompts", "n_ctx", "n_state", "n_flows", "draws", "hidden", "n_heads", "top_k", "few_top_k")
        least = {**dict.fromkeys(counts, 1), "sentence_chunk": 1, "schedule_epochs": resolved.epochs}
        zero = dict.fromkeys(("gaussian_sigma", "kl_weight", "ortho_weight", "fuse_epochs", "warmup"), 0)
        above = ("lr", "scale_lr", "slow_lr", "fuse_lr", "init_std")
        check_bounds(cls.title, resolved, above_zero=above, **least, **zero)
        mosaics(cls.title, resolved.mosaic_prob)
        _check(cls.title, resolved, backbone)
        return resolved

    def stages(self) -> list[Stage]:
        c = self.config

        def adam(lr: float, betas: tuple[float, float]) -> Callable[[Parameters], torch.optim.Optimizer]:
            return lambda parameters: torch.optim.Adam(parameters, lr=lr, betas=betas)

        def warmed(optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
            total = steps * c.schedule_epochs / max(1, c.epochs)
            return LambdaLR(optimizer, lambda step: warm_cosine(step, total, c.warmup))

        second = ("image_map", "fuse")
        first = dict.fromkeys(name.partition(".")[0] for name in self.own_parameters())
        rates = {name: {"lr": c.lr} for name in FAST} | {name: {"lr": c.scale_lr} for name in LOG_SCALES}
        mosaic = mosaics(self.title, c.mosaic_prob, MOSAICS)
        stages = [
            Stage(
                PROMPTS, c.epochs, c.batch_size, tuple(name for name in first if name not in second),
                adam(c.slow_lr, (0.5, 0.999)), warmed, schedule_each="step", groups=rates, mosaic=mosaic,
            )
        ]  # fmt: skip
        if c.fuse_epochs:
            stages.append(
                Stage(
                    FUSION, c.fuse_epochs, c.batch_size, ("class_map", *second), adam(c.fuse_lr, (0.9, 0.999)),
                    learns_from="labels", mosaic=mosaic,
                )
            )  # fmt: skip
        return stages

    def augmented(self, batch: Batch) -> Batch:
        """Images, and masks where there are any, as training sees them; zeros come in where an image is turned."""
        if not self.config.augment:
            return batch
        masks = torch.zeros_like(batch.images[:, 0], dtype=torch.bool) if batch.masks is None else batch.masks
        mean, std, purpose = self.backbone.mean, self.backbone.std, f"augmentation {self._when()}"
        made = [
            varied(image, mask, mean, std, self.generator_for(sample, purpose))
            for image, mask, sample in zip(batch.images, masks, batch.samples, strict=True)
        ]
        images, turned = (torch.stack(parts) for parts in zip(*made, strict=True))
        return replace(batch, images=images, masks=None if batch.masks is None else turned)

    def _when(self) -> str:
        return f"of epoch {self.current_epoch} of {self.stage.name}"

    # -- draws ---------------------------------------------------------------------------------------------------
    def noise(self, samples: Sequence[SampleInfo]) -> Noise:
        """Of images at test: from the seed and their ids; that of the states from the seed alone if drawn once."""
        shape = (self.config.draws, self.backbone.text_tower.width)

        def of_images(purpose: str) -> Tensor:
            return torch.stack([torch.randn(shape, generator=self.generator_for(s, purpose)) for s in samples])

        if self.config.state_draws == "image":
            return self._there(*map(of_images, ("context", "normal", "abnormal")))
        states = (torch.randn(1, *shape, generator=self.generator_for_all(state)) for state in ("normal", "abnormal"))
        return self._there(of_images("context"), *states)

    def noise_of_step(self, samples: Sequence[SampleInfo]) -> tuple[Noise, int]:
        """Of a step of training: one draw for each image, one for each state, and which prompt of the bank learns."""
        width = self.backbone.text_tower.width
        drawn = [torch.randn(1, width, generator=self.generator_for(s, f"context {self._when()}")) for s in samples]
        generator = self.generator_for_all(f"step {self.global_step} of {self.stage.name}")
        states = [torch.randn(1, 1, width, generator=generator) for _ in range(2)]
        noise = self._there(torch.stack(drawn), *states)
        return noise, int(torch.randint(self.config.n_prompts, (), generator=generator))

    def _there(self, *parts: Tensor) -> Noise:
        context, normal, abnormal = (sent(part, self.prompt_context.device) for part in parts)
        return Noise(context, normal, abnormal)

    def latents(self, features: Features, noise: Noise) -> Latents:
        """What the noise becomes, of images with these features."""
        image = features.pooled("cls")
        states = [
            draw(self.state_encoder(flow.state), flow(), part)
            for flow, part in ((self.normal_flow, noise.normal), (self.abnormal_flow, noise.abnormal))
        ]
        return Latents(draw(self.context_encoder(image), self.context_flow(image), noise.context), *states)

    # -- texts ---------------------------------------------------------------------------------------------------
    def called(self, category: Category) -> str:
        """What a category is called in its sentences."""
        how = self.config.class_names
        name = category.name.lower() if how == "folder" else class_name(category, how)
        return str(read("bayes_pfl")["names"].get(category.name.lower(), name)) if how in ("folder", "raw") else name

    def token_ids(self, category: Category) -> Tensor:
        """(1,L) ids of a category's sentence, with fillers where the learned rows go (from row 1)."""
        filler = " ".join(["X"] * (self.config.n_ctx + self.config.n_state))
        return self.backbone.text_tower.tokenize([f"{filler} {self.called(category)}"])

    def tree(self, category: Category, n_pairs: int) -> TextTree:
        """The sentences of a category, n_pairs normal ones before the abnormal ones; a pair shares its context."""

        def grow() -> TextTree:
            ids = self.token_ids(category).expand(2 * n_pairs, -1)
            labels, own = ids.cpu().clone(), -1 - torch.arange(2 * n_pairs)[:, None]  # no token has such an id
            context = self.config.n_ctx
            labels[:, 1 : 1 + context] = own[:n_pairs].repeat(2, 1)
            labels[:, 1 + context : 1 + context + self.config.n_state] = own
            return self.backbone.text_tree(ids, labels)

        return self.kept_tree((category, n_pairs), grow)

    def texts(self, categories: Sequence[Category], latents: Latents, prompts: slice = slice(None)) -> Tensor:
        """(B,2,M,D) normalised texts of images, of some prompts of the bank or all."""
        context = self.prompt_context[prompts] + latents.context.end[:, :, None, None]  # (B,R,prompts,n_ctx,W)
        states = torch.stack(
            [
                (bank[prompts] + drawn.end[:, :, None, None]).expand(len(categories), -1, -1, -1, -1)
                for bank, drawn in ((self.prompt_normal, latents.normal), (self.prompt_abnormal, latents.abnormal))
            ],
            1,
        )
        rows = torch.cat([context[:, None].expand(-1, 2, -1, -1, -1, -1), states], -2)
        n_pairs = rows.shape[2] * rows.shape[3]
        tree = joined([self.tree(category, n_pairs) for category in categories])
        owner = torch.arange(len(tree), device=tree.ids.device)
        raw = self.backbone.encode_tree(
            with_contexts(self.backbone.text_tower.embed_tokens(tree.ids), tree, rows.flatten(0, 3), owner),
            tree,
            activation=self.config.activation,
        )
        texts: Tensor = l2_normalize(raw).unflatten(0, (len(categories), 2, n_pairs))
        return texts

    # -- where they meet -----------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({"cls"})

    def _taps(self) -> list[Tap]:
        return [Tap(layer, raw=True) for layer in self.config.layers]

    def image_logits(self, features: Features, texts_B2MD: Tensor, fused: bool) -> Tensor:
        """(B,2,M) scaled cosines with the image feature: the class token's, or the one that stage 2 learns."""
        image = features.pooled("cls")
        if fused:
            image = self.image_map(image + self.fuse(torch.cat([features.patches(tap) for tap in self._taps()], -1)))
        cosines = torch.einsum("bsmd,bd->bsm", l2_normalize(self.class_map(texts_B2MD)), l2_normalize(image))
        return self.log_scale_image.exp() * cosines

    def aligned(self, features: Features, texts_B2MD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each level the normalised patches (B,N,D), and the texts (B,2,M,D) that attended over them."""
        flat, levels = texts_B2MD.flatten(1, 2), []
        queries = self.query(flat)
        for tap, linear in zip(self._taps(), self.patch_maps, strict=True):
            patches = l2_normalize(linear(features.patches(tap)))
            mixed = l2_normalize(attended(queries, patches, self.config.n_heads) + flat)
            levels.append((patches, mixed.view_as(texts_B2MD)))
        return levels

    def level_maps(self, features: Features, texts_B2MD: Tensor) -> Iterator[Tensor]:
        """(B,M,H,W) of one level after the other: logit of the abnormal state within each pair, in the image's size."""
        scale = self.log_scale_pixel.exp()
        for patches, texts in self.aligned(features, texts_B2MD):
            yield upsample(scale * patches @ (texts[:, 1] - texts[:, 0]).mT, features, align_corners=True)

    def readings(self, features: Features, samples: Sequence[SampleInfo]) -> tuple[Tensor, Tensor]:
        """(B,) and (B,H,W): abnormal probability of images and pixels, the mean over draws, prompts and levels."""
        step = max(1, self.config.sentence_chunk // (2 * self.config.draws * self.config.n_prompts))
        images, maps = [], []
        for start in range(0, len(samples), step):
            some, of = features.select(slice(start, start + step)), samples[start : start + step]
            texts = self.texts([sample.category for sample in of], self.latents(some, self.noise(of)))
            logits = self.image_logits(some, texts, fused=self.config.fuse_epochs > 0)
            images.append((logits[:, 1] - logits[:, 0]).sigmoid().mean(1))
            levels = [level.sigmoid().mean(1) for level in self.level_maps(some, texts)]
            maps.append(added(levels) / len(levels))
        return torch.cat(images), torch.cat(maps)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: half the image's probability, half the mean of its map's largest values. Map: smoothed after that."""
        image, maps = self.readings(features, samples)
        return Prediction((image + largest(maps, self.config.top_k)) / 2, smooth(maps, self.config.gaussian_sigma))

    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """As `score`, with both halves brought to 0..1 over all images; of datasets without masks the image's alone."""
        c, data, category = self.config, read("bayes_pfl"), samples[0].category
        image, maps = self.readings(features, samples)
        score = image
        if category.dataset not in data["image_alone"]:
            k = c.few_top_k if category.name.lower() in data["few_pixels"] else c.top_k
            score = (scaled_over_set(image) + scaled_over_set(largest(maps, k))) / 2
        return Prediction(score, smooth(maps, c.gaussian_sigma))

    # -- losses --------------------------------------------------------------------------------------------------
    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Stage 1: cross-entropy, focal and Dice of one pair, divergences, orthogonality. Stage 2: cross-entropy."""
        c, categories = self.config, [sample.category for sample in batch.samples]
        noise, number = self.noise_of_step(batch.samples)
        one = slice(number, number + 1)
        if self.stage.name == FUSION:
            with torch.no_grad():
                pair = self.texts(categories, self.latents(features, noise), one)
            return {"image": F.cross_entropy(self.image_logits(features, pair, fused=True)[..., 0], batch.labels)}
        latents = self.latents(features, noise)
        texts = self.texts(categories, latents)
        pair = texts[:, :, one]
        logits = [level[:, 0] for level in self.level_maps(features, pair)]
        rows = len(batch) if c.state_logdet == "batch" else 1
        divergences = [divergence(latents.context, len(batch)), divergence(latents.normal, rows),
                       divergence(latents.abnormal, rows)]  # fmt: skip
        return {
            "image": F.cross_entropy(self.image_logits(features, pair, fused=False)[..., 0], batch.labels),
            "focal": added([class_mean_focal(level, batch.pixel_masks) for level in logits]),
            "dice": added([batch_dice(level.sigmoid(), batch.pixel_masks) for level in logits]),
            "kl": c.kl_weight * added(divergences),
            "ortho": c.ortho_weight * added([squared_cosines(texts[:, state]) for state in (0, 1)]),
        }


def attended(queries_BMD: Tensor, patches_BND: Tensor, heads: int) -> Tensor:
    """(B,M,D): attention of texts over patches, which are keys and values; scaled by the root of the full width."""
    query, patches = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (queries_BMD, patches_BND))
    mixed = F.scaled_dot_product_attention(query, patches, patches, scale=queries_BMD.shape[-1] ** -0.5)
    return mixed.transpose(1, 2).flatten(2)


def largest(maps_BHW: Tensor, count: int) -> Tensor:
    """(B,): the mean of the `count` largest values of each map."""
    return maps_BHW.flatten(1).topk(count).values.mean(1)


def warm_cosine(step: int, steps: float, warmup: float) -> float:
    """Share of the learning rate in a step, counted from 0: a line up to 1 in `warmup` of all, then half a cosine."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1.0, steps - rising)))) / 2


def _check(title: str, config: BayesPflConfig, backbone: Backbone) -> None:
    layers, last, joint = config.layers, backbone.vision.n_blocks, backbone.vision.joint_width
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 1 or layers[-1] > last:
        raise UsageError(
            f"{title}: layers={list(layers)}; expected different numbers of 1..{last} in ascending order, as "
            f"{backbone.name} has {last} blocks"
        )
    if joint % config.n_heads:
        raise UsageError(f"{title}: n_heads={config.n_heads}; expected a divisor of {joint}, the width of the texts")
    for name in ("top_k", "few_top_k"):
        if getattr(config, name) > config.image_size**2:
            found = f"{name}={getattr(config, name)}, an image of {config.image_size} px has {config.image_size**2}"
            raise UsageError(f"{title}: {found}; take fewer")
    if config.warmup > 1:
        raise UsageError(f"{title}: warmup={config.warmup}; expected 0 to 1")
