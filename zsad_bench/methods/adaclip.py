"""AdaCLIP: static and dynamic prompts in both encoders, learned projections, and a feature of the anomalous regions.

Paper: Cao et al., ECCV 2024, arXiv 2407.15795. Official code: caoyunkang/AdaCLIP (MIT), consulted at commit 2b6e638.
Written from the paper and observed behaviour; parity with that code is tested in tests/golden on random weights.

A plain pass over the image gives its class token f. Linear maps of f are the dynamic prompts; learned static prompts
are added to them, and the sum enters the first blocks of both encoders. The prompted pass gives the patches of several
blocks; hybrid semantic fusion clusters them and makes the image's feature from clusters.

Paper and code differ in the fusion, in what Dice is taken over and in a rounding: the presets of `fidelity`. Where ours
differs from the code: any batch size works; k-means draws from one fixed seed, so that an image's clusters depend on
the image alone; a mosaic has its own label, not that of the image whose place it takes; the text prompts of block 1,
which never get a gradient, do not exist; the last epoch counts, while the code keeps the one that is best on a dataset
whose numbers it reports.

Axes: B images, L taps, N patches, K clustered patches, C vision width, D joint width, M prompts of a block, W text
width, S sentences of a class.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.encoder import Encoder
from zsad_bench.backbones.forward import Edit
from zsad_bench.backbones.text_tree import TextTree, joined, joined_rows, picked
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import BackboneError, CheckpointError, UsageError
from zsad_bench.losses import DiceOver, focal, mask_losses
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._edits import DeepTokenCast, chain, deep_tree_tokens, deep_visual_tokens, visual_tokens
from zsad_bench.methods._mosaic import mosaics
from zsad_bench.methods._official import Key, Method, OfficialForm, Part, known_sizes, numbered, renamed
from zsad_bench.methods._scoring import added, l2_normalize, scaled_sigma, smooth, state_logits, upsample
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import class_name
from zsad_bench.types import (
    Activation,
    Batch,
    Category,
    EncoderSpec,
    Features,
    Pooled,
    PosInterp,
    Prediction,
    SampleInfo,
    Tap,
)

PATCHES_PER_CLUSTER = 5  # of the released code: 100 patches for 20 clusters
SETS_AT_ONCE = 16  # of points, in k-means: bounds memory, changes no result
ITERATIONS = 100  # of k-means at most; it ends when no point changes its cluster
LOOK_EVERY = 10  # iterations, on a GPU, whether that is so: the host waits for the answer


class Preset(TypedDict):
    """What `fidelity` sets, as in the configuration."""

    fusion: Literal["best_cluster", "top_patches"]
    dice: DiceOver
    prompt_half: bool


PRESETS: dict[str, Preset] = {
    "paper": {"fusion": "best_cluster", "dice": "per_image", "prompt_half": False},
    "official": {"fusion": "top_patches", "dice": "per_row", "prompt_half": True},
}


@dataclass(frozen=True)
class AdaClipConfig(MethodConfig):
    """Defaults of the paper; where it is silent, of the released code. None is filled by the preset or backbone.

    pos_interp, activation: what the released code computes with OpenAI's weights, and so what its checkpoints need.
    prompts: which kinds of prompts there are (paper, Table 3). branches: which encoders get them (appendix, Table 2).
    length: M. depth: J, blocks with prompts; in the text encoder they enter from block 2 on. None is 4 of 12 text
    blocks scaled to the backbone, at least 2. taps: blocks whose patches are read; None is 6, 12, 18, 24 of 24 scaled.
    class_names: `folder` is the category's name as it stands, as the released code takes it; `raw` has blanks for
    underscores, `prompt_name` is what the dataset's card says. A hyphen becomes a blank in all of them.
    fusion: `best_cluster` clusters the patches of each tap, and averages the centres of the most anomalous cluster of
    each (paper, section 4.6); `top_patches` clusters the most anomalous patches, by all taps at once, and averages all
    centres (code). fusion_weight: of that feature in the image's; the rest is the projected class token. The paper does
    not mention the class token here, but the size that it prints of what is learned includes the map of it.
    n_clusters: of k-means; a small image has fewer patches, and then fewer clusters. cluster_seed: of its draws, the
    same for every image.
    dice: over an image, or over each of its rows of pixels, which is what the code's batches of one come to.
    prompt_half: static + dynamic prompts are rounded to half precision where they enter.
    mosaic_prob: share of the training images that a mosaic of four of their category replaces; None is a fifth of
    MVTec AD's and none of any other dataset's.
    gradient_clip: largest norm of the gradient; None does not clip. The authors warn of unstable training.
    text_chunk: images whose texts are encoded at once. checkpoint_blocks: recompute blocks in the backward pass.
    gaussian_sigma: None is 4 px at 518 px, scaled with the image.
    """

    pos_interp: PosInterp = "bicubic"
    activation: Activation = "gelu"
    fidelity: Literal["paper", "official"] = "paper"
    prompts: Literal["static_dynamic", "static", "dynamic"] = "static_dynamic"
    branches: Literal["vision_text", "vision", "text", "none"] = "vision_text"
    length: int = 5
    depth: int = filled()
    taps: tuple[int, ...] = filled()
    class_names: Literal["folder", "raw", "prompt_name", "object"] = "folder"
    fusion: Literal["best_cluster", "top_patches"] = filled()
    fusion_weight: float = 0.2  # as in the released code
    n_clusters: int = 20
    cluster_seed: int = 111
    temperature: float = 0.01
    dice: DiceOver = filled()
    prompt_half: bool = filled()
    gaussian_sigma: float = filled()
    mosaic_prob: float | None = None
    text_chunk: int = silent(4)
    truncate_context: bool = silent(True)
    checkpoint_blocks: bool = silent(False)
    epochs: int = 5
    batch_size: int = 1
    lr: float = 1e-2
    weight_decay: float = 1e-2
    gradient_clip: float | None = None
    init_std: float = 0.02
    seed: int = 111  # of the initial parameters; a run sets it to its own


class Prompts(nn.Module):
    """The prompts of one encoder: `static` (blocks,M,width), and M `dynamic` maps from an image's feature to a row.

    A kind that is left out is None.
    """

    def __init__(self, blocks: int, length: int, width: int, joint: int, kind: str) -> None:
        super().__init__()
        self.blocks = blocks
        self.static = nn.Parameter(torch.empty(blocks, length, width)) if kind != "dynamic" else None
        maps = (unset(nn.Linear, joint, width) for _ in range(length))
        self.dynamic = nn.ModuleList(maps) if kind != "static" else None

    def forward(self, image_BD: Tensor | None) -> list[Tensor]:
        """Of each block (B,M,width), or (M,width) where they do not depend on the image."""
        if self.dynamic is None:
            assert self.static is not None  # there is at least one kind
            return list(self.static)
        dynamic = torch.stack([of(image_BD) for of in self.dynamic], 1)
        return [dynamic] * self.blocks if self.static is None else [dynamic + static for static in self.static]


@dataclass
class Reading:
    """What a batch says. text: (B,2,D). patches: (B,L,N,D) projected, unit length. logits: (B,L,N,2).

    image: (B,D) projected class token, or None. clusters: (B,D) feature of the anomalous regions, or None.
    probs: (B,2) of the images.
    """

    text: Tensor
    patches: Tensor
    logits: Tensor
    image: Tensor | None
    clusters: Tensor | None
    probs: Tensor


class AdaClipForm(OfficialForm):
    """What the released trainer saves: the learned tensors of `clip_model`, no settings.

    Files with static prompts, alone or with dynamic ones, in either branch or both. Text prompts of block 1 are in
    them, and no pass reads those; nor the dynamic prompts of a branch that has none.
    """

    parts = (Part(("patch_token_layer.head.0.weight",), wrapper="clip_model"),)
    settings: ClassVar[Mapping[str, Any]] = {"fidelity": "official"}
    writes = True

    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> Sequence[Key]:
        depths = {of: numbered(state, rf"{of}_prompter\.static_prompts\.(\d{{1,4}})")[0] for of in ("visual", "text")}
        length, last = numbered(state, r"dynamic_(?:visual|text)_prompt_generator\.head\.(\d{1,4})\.(?:weight|bias)")
        n_taps, last_tap = numbered(state, r"patch_token_layer\.head\.(\d{1,4})\.(?:weight|bias)")
        if n_taps != 4:
            raise CheckpointError(f"{last_tap}: found {n_taps} maps of patches, expected 4, one for each quarter")
        static = state.get("visual_prompter.static_prompts.0", state.get("text_prompter.static_prompts.0"))
        if length and static is not None and length != len(static):
            raise CheckpointError(f"{last}: found {length} dynamic prompts, expected {len(static)}, as many as static")
        depth = max(1, *depths.values())
        # A file without static prompts does not say how many blocks have prompts; then the first of them is missed.
        return _released_keys(depth, length, depths["visual"] > 0 or not depths["text"], depths["text"] > 0)

    def read(self, state: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
        overrides, tensors = super().read(state, backbone)
        branches = [of for of in ("visual", "text") if f"{of}_prompter.static_prompts.0" in state]
        first = f"{branches[0]}_prompter.static_prompts"
        return {
            **overrides,
            "branches": "_".join(branches).replace("visual", "vision"),
            "prompts": "static_dynamic" if "dynamic_visual_prompt_generator.head.0.weight" in state else "static",
            "depth": numbered(state, rf"{first}\.(\d{{1,4}})")[0],
            "length": len(state[f"{first}.0"]),
            "taps": _quarters(backbone),
        }, tensors

    def write(self, method: Method) -> dict[str, Tensor]:
        """The released state dict, with zeros for what no pass reads."""
        c, tensors = method.config, method.own_state()
        for name, wrong, expected in (
            ("prompts", c.prompts == "dynamic", "static prompts among them"),
            ("branches", c.branches == "none", "at least one"),
            ("fusion_weight", c.fusion_weight == 1, "less than 1, since a file has a map of the class token"),
            ("taps", c.taps != _quarters(method.backbone), f"{list(_quarters(method.backbone))}"),
        ):
            if wrong:
                raise CheckpointError(f"{name}: found {getattr(c, name)}, expected {expected}")
        length = 0 if c.prompts == "static" else c.length
        keys = _released_keys(c.depth, length, "vision" in c.branches, "text" in c.branches)
        sizes = known_sizes(method.backbone) | {"length": c.length}
        unread = {
            key.official: torch.zeros([sizes[n] if isinstance(n, str) else n for n in key.shape])
            for key in keys
            if not key.ours
        }
        return renamed(keys, tensors) | unread

    def packed(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The names with the prefix that they have in a file; there is no dictionary inside."""
        return {f"clip_model.{name}": tensor for name, tensor in state.items()}

    def lacks(self, method: Method) -> str:
        return "" if "text" not in method.config.branches else (
            "text_prompter.static_prompts.0 is zeros: no pass of the released code reads it"
        )  # fmt: skip


class AdaClip(ZeroShotMethod[AdaClipConfig]):
    title = "AdaCLIP"
    paper = "arXiv 2407.15795 (ECCV 2024)"
    needs = frozenset({"text", "cls"})
    Config = AdaClipConfig
    official = AdaClipForm()
    encoder_trains = True

    def __init__(self, backbone: Backbone, config: AdaClipConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, vision, text = self.config, backbone.vision, backbone.text_tower
        joint, kind = vision.joint_width, c.prompts
        prompts_vision, prompts_text = (branch in c.branches for branch in ("vision", "text"))
        self.visual_prompts = Prompts(c.depth, c.length, vision.width, joint, kind) if prompts_vision else None
        # Block 1 reads the words as they are: of J blocks J-1 have text prompts.
        prompts_text = prompts_text and c.depth > 1
        self.text_prompts = Prompts(c.depth - 1, c.length, text.width, joint, kind) if prompts_text else None
        self.texts_follow_images = prompts_text and kind != "static"
        self.patch_maps = nn.ModuleList(unset(nn.Linear, vision.width, joint) for _ in c.taps)
        self.class_map = unset(nn.Linear, joint, joint) if c.fusion_weight < 1 else None
        self._ids: dict[str, Tensor] = {}
        self._begun: dict[tuple[Category, bool], tuple[TextTree, Tensor]] = {}
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draws every parameter from the seed and its own name: an ablation starts from the values of the whole."""
        for name, parameter in self.own_parameters().items():
            # 32 bits are all that the generator reads of a seed
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.config.seed}/{name}".encode()))
            if name.endswith("static"):
                parameter.normal_(0, self.config.init_std, generator=generator)
            else:  # PyTorch's own start of a linear map
                module = self.get_submodule(name.rpartition(".")[0])
                assert isinstance(module, nn.Linear)
                parameter.uniform_(-(module.in_features**-0.5), module.in_features**-0.5, generator=generator)

    @classmethod
    def resolve(cls, config: AdaClipConfig, backbone: Backbone) -> AdaClipConfig:
        config = super().resolve(config, backbone)
        preset = PRESETS[config.fidelity]
        resolved = replace(
            config,
            depth=default(config.depth, max(2, backbone.scale_text_block(4))),
            taps=tuple(default(config.taps, quarter_blocks(backbone))),
            fusion=default(config.fusion, preset["fusion"]),
            dice=default(config.dice, preset["dice"]),
            prompt_half=default(config.prompt_half, preset["prompt_half"]),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(4.0, config.image_size)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr"),
            length=1,
            depth=1,
            fusion_weight=0,
            n_clusters=1,
            gaussian_sigma=0,
            text_chunk=1,
            weight_decay=0,
            init_std=0,
        )
        if not resolved.taps or len(set(resolved.taps)) < len(resolved.taps):
            raise UsageError(f"{cls.title}: taps={list(resolved.taps)}; expected one block or more, each once")
        if resolved.fusion_weight > 1:
            raise UsageError(f"{cls.title}: fusion_weight={resolved.fusion_weight}; expected a share from 0 to 1")
        mosaics(cls.title, resolved.mosaic_prob)
        if resolved.gradient_clip is not None:
            check_bounds(cls.title, resolved, above_zero=("gradient_clip",))
        _check_prompts(cls.title, resolved, backbone)
        return resolved

    def stages(self) -> list[Stage]:
        c = self.config

        def adamw(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=c.lr, betas=(0.5, 0.999), weight_decay=c.weight_decay)

        mosaic = mosaics(self.title, c.mosaic_prob)
        return [Stage("prompts", c.epochs, c.batch_size, optimizer=adamw, clip=c.gradient_clip, mosaic=mosaic)]

    @property
    def not_exportable(self) -> str:
        clusters = "it clusters the patches of each image, which fusion_weight=0 leaves out"
        return super().not_exportable or (clusters if self.config.fusion_weight else "")

    # -- images --------------------------------------------------------------------------------------------------
    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({"cls"})

    def _taps(self) -> list[Tap]:
        return [Tap(block, raw=True) for block in self.config.taps]

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """Features of the prompted pass; `extra["frozen"]` (B,D) is the class token of the plain one, if it is needed.

        Gradients reach the visual prompts when gradients are on, and never the plain pass.
        """
        dynamic, plain = self._is_dynamic(), self.visual_prompts is None
        frozen = self.frozen_feature(images, samples) if dynamic and not plain else None
        edit = None if plain else self.edit(frozen, images.shape[0])
        features = self.encoder(images, samples, edit, checkpoint_blocks=self.config.checkpoint_blocks)
        if dynamic and plain:  # the one pass is the plain one
            frozen = features.pooled("cls")
        return features if frozen is None else replace(features, extra={"frozen": frozen})

    @torch.no_grad()
    def frozen_feature(self, images: Tensor, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,D): the class token of a plain pass, from which the dynamic prompts are made."""
        spec = EncoderSpec(self.encoder_spec.forward, pooled=frozenset({"cls"}))
        return Encoder(self.backbone, spec, store=self.store, timed=False)(images, samples).pooled("cls")

    def edit(self, frozen_BD: Tensor | None, batch: int) -> Edit:
        """What the visual prompts do: M rows behind the patches before block 1, replaced before blocks 2..J."""
        assert self.visual_prompts is not None
        tokens = [self._rounded(prompts, batch) for prompts in self.visual_prompts(frozen_BD)]
        return chain(visual_tokens(tokens[0]), deep_visual_tokens(self.backbone, tokens[1:]))

    def _rounded(self, prompts: Tensor, batch: int) -> Tensor:
        """Prompts as they enter: with `prompt_half` as half precision holds them, and so their gradients by image."""
        return prompts.expand(batch, -1, -1).half().to(prompts.dtype) if self.config.prompt_half else prompts

    def _is_dynamic(self) -> bool:
        """Whether an encoder gets prompts that depend on the image."""
        prompted = self.visual_prompts is not None or self.text_prompts is not None
        return prompted and self.config.prompts != "static"

    # -- texts ---------------------------------------------------------------------------------------------------
    def sentences(self, category: Category) -> tuple[list[str], list[str]]:
        """The normal and the anomalous sentences of a category: every state in every template."""
        how = self.config.class_names
        name = (category.name if how == "folder" else class_name(category, how)).replace("-", " ")
        data = read("adaclip")
        templates: list[str] = data["templates"]

        def of(states: list[str]) -> list[str]:
            return [template.replace("{}", state.replace("{}", name)) for state in states for template in templates]

        return of(data["states"]["normal"]), of(data["states"]["anomalous"])

    def token_ids(self, category: Category) -> Tensor:
        """(S,L) token ids of a category's sentences, normal first."""
        normal, anomalous = self.sentences(category)
        key = normal[0]  # names the class; other categories may be called the same
        if key not in self._ids:
            self._ids[key] = self.backbone.text_tower.tokenize([*normal, *anomalous])
        return self._ids[key]

    def clear_text_cache(self) -> None:
        super().clear_text_cache()
        self._ids.clear()
        self._begun.clear()

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """The pairs of categories, where no text depends on the image.

        Raises:
            NotImplementedError: text prompts are dynamic; there is a pair for every image then.
        """
        if self.texts_follow_images:
            return super().text_pair(categories)
        return self._encode_texts(categories, [] if self.text_prompts is None else self.text_prompts(None))

    def texts(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,2,D) normalised normal and anomalous text of every image."""
        if self.text_prompts is None or not self.texts_follow_images:
            return self.text_for(samples)
        return self._encode_texts([s.category for s in samples], self.text_prompts(features.extra["frozen"]))

    def _encode_texts(self, categories: Sequence[Category], prompts: Sequence[Tensor]) -> Tensor:
        """(n,2,D): per state the sentences normalised, averaged, normalised; prompts (M,W) or (n,M,W) of each block.

        `text_chunk` categories at a time: memory without gradients is O(text_chunk * S).
        """
        c, pairs = self.config, []
        cast: DeepTokenCast = "fp16" if c.prompt_half else "none"
        n_normal = len(read("adaclip")["states"]["normal"]) * len(read("adaclip")["templates"])
        each_its_own = any(each.ndim == 3 for each in prompts)
        for numbers in torch.arange(len(categories)).split(c.text_chunk):
            trees, rows = zip(*(self.begun(categories[number]) for number in numbers.tolist()), strict=True)
            tree = joined(trees)
            owner = numbers.to(tree.ids.device).repeat_interleave(len(trees[0])) if each_its_own else None
            raw = self.backbone.finish_tree(
                joined_rows(trees, rows),
                tree,
                1 if self.text_prompts is None else 2,
                deep_tree_tokens(self.backbone, prompts, tree, owner, cast),
                c.activation,
                c.checkpoint_blocks,
            )
            sentences = l2_normalize(raw).unflatten(0, (len(numbers), -1))
            states = (sentences[:, :n_normal].mean(1), sentences[:, n_normal:].mean(1))
            pairs.append(l2_normalize(torch.stack(states, 1)))
        return torch.cat(pairs)

    def begun(self, category: Category) -> tuple[TextTree, Tensor]:
        """The sentences of a category, and the rows (R,W) that enter the first block with prompts: no image is in them.

        From there on prompts take the place of rows 1..M, so what sentences share is the start and the prompts, and
        then the words of those that began alike. Where gradients are rounded, each sentence's is by itself, as in the
        released code, and nothing is shared.
        """
        c, ids = self.config, self.token_ids(category)
        share = not (c.prompt_half and torch.is_grad_enabled())
        prompted = 0 if self.text_prompts is None else c.length
        if (category, share) not in self._begun:
            with torch.inference_mode(False), torch.no_grad():  # the next one to ask may be a backward pass
                words = self.backbone.text_tree(ids, truncate_context=c.truncate_context)
                embedded = self.backbone.text_tower.embed_tokens(words.ids)
                rows = self.backbone.begin_tree(embedded, words, 1 if prompted else 0, c.activation)
                labels = ids.clone()
                if prompted:
                    before = ids[:, 1 : 2 + prompted].unique(dim=0, return_inverse=True)[1]
                    labels[:, 1 : 1 + prompted], labels[:, 1 + prompted] = -1, before
                tree = self.backbone.text_tree(ids, labels, share, c.truncate_context)
                self._begun[category, share] = tree, picked(rows, tree.counterparts(words))
        return self._begun[category, share]

    # -- where they meet -----------------------------------------------------------------------------------------
    def read(self, features: Features, samples: Sequence[SampleInfo]) -> Reading:
        """Texts, projected patches, their logits and the image's probabilities."""
        c, text = self.config, self.texts(features, samples)
        projected = [of(features.patches(tap)) for of, tap in zip(self.patch_maps, self._taps(), strict=True)]
        patches = l2_normalize(torch.stack(projected, 1))
        logits = torch.einsum("blnd,bsd->blns", patches, text) / c.temperature
        image = None if self.class_map is None else l2_normalize(self.class_map(features.pooled("cls")))
        clusters = self.fused(patches, logits.mean(1).softmax(-1)[..., 1]) if c.fusion_weight else None
        shares = ((c.fusion_weight, clusters), (1 - c.fusion_weight, image))
        feature = added([share * part for share, part in shares if part is not None])
        return Reading(text, patches, logits, image, clusters, state_logits(feature, text, c.temperature).softmax(-1))

    def strongest(self, abnormal_BN: Tensor) -> Tensor:
        """(B,K) numbers of the patches with the highest probability, highest first: five times the clusters, or all."""
        k = min(abnormal_BN.shape[1], PATCHES_PER_CLUSTER * self.config.n_clusters)
        return abnormal_BN.topk(k, dim=1).indices

    def fused(self, patches_BLND: Tensor, abnormal_BN: Tensor) -> Tensor:
        """(B,D) unit feature of the anomalous regions. Gradients flow through the means, not through the clusters.

        abnormal: probability of each patch, all taps together.
        """
        n, n_taps = self.config.n_clusters, patches_BLND.shape[1]
        if self.config.fusion == "best_cluster":  # each tap is clustered by itself
            points = patches_BLND.flatten(0, 1)
            weights = memberships(self.assign(points), n, points.dtype)
            scores = torch.einsum("bcn,bn->bc", weights, abnormal_BN.repeat_interleave(n_taps, 0))
            scores = scores.masked_fill(weights.sum(-1) == 0, -1)  # an empty cluster is below every probability
            best = weights[torch.arange(len(points), device=points.device), scores.argmax(1)]
            centres = torch.einsum("bn,bnd->bd", best, points).unflatten(0, (-1, n_taps))
        else:
            # In the order of the image: which patch is the stronger of two near equals must not decide the draws.
            index = self.strongest(abnormal_BN).sort(1).values[:, None, :, None]
            points = patches_BLND.gather(2, index.expand(-1, n_taps, -1, patches_BLND.shape[3]))
            weights = memberships(self.assign(points.transpose(1, 2).flatten(2)), n, points.dtype)
            centres = weights @ points.mean(1)
        return l2_normalize(centres.sum(1))  # an empty cluster's is zero; a sum has the direction of the mean

    def assign(self, points_SKE: Tensor) -> Tensor:
        """(S,K) int64 cluster of each point: k-means for each of S sets by itself, all with the same draws."""
        c, sets = self.config, points_SKE.detach().split(SETS_AT_ONCE)
        return torch.cat([k_means(points, c.n_clusters, c.cluster_seed) for points in sets])

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the image feature's anomalous probability. Map: of the mean logits of all taps, then Gaussian."""
        reading = self.read(features, samples)
        maps = upsample(reading.logits.mean(1), features, align_corners=True).softmax(1)
        return Prediction(reading.probs[:, 1], smooth(maps[:, 1], self.config.gaussian_sigma))

    def probabilities(self, reading: Reading, features: Features) -> list[Tensor]:
        """Per tap (B,2,H,W): normal and anomalous probability of every pixel, as the losses see them."""
        return [upsample(logits, features, align_corners=True).softmax(1) for logits in reading.logits.unbind(1)]

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Focal loss of the image, as of one pixel; focal and two Dice terms of each tap's map."""
        reading = self.read(features, batch.samples)
        local = [
            added(mask_losses(probs, batch.pixel_masks, self.config.dice))
            for probs in self.probabilities(reading, features)
        ]
        return {"image": focal(reading.probs[:, :, None, None], batch.labels[:, None, None]), "local": added(local)}


def k_means(points_SKE: Tensor, n_clusters: int, seed: int) -> Tensor:
    """(S,K) int64 clusters of S sets of points, from 0: Lloyd's iterations from one k-means++ start for each set.

    All sets have the same draws, of the seed alone. A set with fewer different points than clusters leaves clusters
    empty; so may an iteration. Computed in float64: O(S * K * (E + n_clusters)) memory.
    """
    points = points_SKE.double()
    n_sets, n_points, _ = points.shape
    n_clusters = min(n_clusters, n_points)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(n_clusters, generator=generator, dtype=torch.float64).to(points.device)
    sets, squares = torch.arange(n_sets, device=points.device), points.square().sum(-1)
    at = (draws[0] * n_points).long().expand(n_sets)
    nearest = torch.full_like(squares, torch.inf)
    centres, spare = [points[sets, at]], [torch.zeros_like(squares[:, 0])]
    for draw in draws[1:]:
        sums = squares + squares[sets, at][:, None]
        distances = sums - 2 * (points @ centres[-1][:, :, None])[..., 0]
        nearest = torch.minimum(nearest, distances.where(distances > 1e-12 * sums, 0.0))  # no rounding of equal points
        chances = nearest.cumsum(1)
        at = torch.searchsorted(chances, draw * chances[:, -1:], right=True)[:, 0].clamp_max(n_points - 1)
        centres.append(points[sets, at])
        # Where every point is a centre already, this one is not used.
        spare.append(torch.zeros_like(chances[:, -1]).masked_fill(chances[:, -1] == 0, torch.inf))
    centres_SCE, spare_S1C = torch.stack(centres, 1), torch.stack(spare, 1)[:, None]
    labels = torch.full_like(squares, -1, dtype=torch.long)
    look_every = 1 if points.device.type == "cpu" else LOOK_EVERY
    for number in range(ITERATIONS):
        offsets = centres_SCE.square().sum(-1)[:, None] + spare_S1C
        before, labels = labels, (offsets - points @ (2 * centres_SCE).mT).argmin(-1)
        if number % look_every == look_every - 1 and torch.equal(labels, before):
            break
        shares = memberships(labels, n_clusters, points.dtype)
        centres_SCE = torch.where(shares.sum(-1, keepdim=True) > 0, shares @ points, centres_SCE)  # an empty one stays
    return labels


def memberships(labels_BK: Tensor, n_clusters: int, dtype: torch.dtype) -> Tensor:
    """(B,n_clusters,K): the share of each point in the mean of its cluster; rows sum to one, or to zero when empty."""
    members = F.one_hot(labels_BK, n_clusters).transpose(1, 2).to(dtype)
    return members / members.sum(-1, keepdim=True).clamp_min(1)


def _quarters(backbone: Backbone) -> tuple[int, ...]:
    """The blocks that the released code reads: the ends of four quarters."""
    return tuple(backbone.vision.n_blocks // 4 * quarter for quarter in (1, 2, 3, 4))


def _released_keys(depth: int, length: int, vision: bool, text: bool) -> list[Key]:
    """The tensors of a file with prompts in these branches; length: of the dynamic prompts, 0 without them."""
    keys = [
        Key("cls_token_layer.head.0.weight", "class_map.weight", ("J", "J")),
        Key("cls_token_layer.head.0.bias", "class_map.bias", ("J",)),
    ]
    for tap in range(4):
        keys.append(Key(f"patch_token_layer.head.{tap}.weight", f"patch_maps.{tap}.weight", ("J", "V")))
        keys.append(Key(f"patch_token_layer.head.{tap}.bias", f"patch_maps.{tap}.bias", ("J",)))
    for of, width, first, prompted in (("visual", "V", 0, vision), ("text", "W", 1, text)):
        used = prompted and depth > first
        for block in range(depth if prompted else 0):
            ours, row = (f"{of}_prompts.static", block - first) if block >= first else ("", None)
            keys.append(Key(f"{of}_prompter.static_prompts.{block}", ours, ("length", width), row=row))
        for i in range(length):
            for part, shape in (("weight", (width, "J")), ("bias", (width,))):
                ours = f"{of}_prompts.dynamic.{i}.{part}" if used else ""
                keys.append(Key(f"dynamic_{of}_prompt_generator.head.{i}.{part}", ours, shape))
    return keys


def _check_prompts(title: str, config: AdaClipConfig, backbone: Backbone) -> None:
    """Refuses prompts before blocks that do not exist, and text prompts that would overwrite end-of-text."""
    blocks = {"vision": backbone.vision.n_blocks, "text": backbone.text_tower.n_blocks}
    for branch, n_blocks in blocks.items():
        if branch in config.branches and config.depth > n_blocks:
            raise BackboneError(
                f"{title}: depth={config.depth}, but {backbone.name}'s {branch} has {n_blocks} blocks; "
                f"take --set depth={n_blocks} or less"
            )
    if "text" in config.branches:
        shortest = [template.replace("{}", "x") for template in read("adaclip")["templates"]]
        tower = backbone.text_tower
        longest = int(tower.end_of_text(tower.tokenize(shortest)).min()) - 1
        if config.length > longest:
            raise UsageError(
                f"{title}: length={config.length}, but its shortest sentence has {longest} tokens that text prompts "
                f"can replace; take --set length={longest} or less, or --set branches=vision"
            )
