"""FAPrompt: fine-grained abnormal prompts on top of one normal prompt, shifted per image by a learned prior.

Paper: Zhu et al., ICCV 2025, arXiv 2410.10289. Official code: mala-lab/FAPrompt (MIT), revision of July 2025.
Written from the paper and observed behaviour; parity with that code is tested in tests/golden on random weights.

Compound abnormality prompting (CAP): K abnormal prompts share the normal tokens and add a few of their own; their
mean is the abnormal prototype. Data-dependent abnormality prior (DAP): the most abnormal patches of an image go
through a small network whose output is added to the abnormal tokens, and the image is read a second time.

Where ours differs: all adapted prompts of a batch are one text call; the static texts are encoded once per checkpoint;
sequences are cut after end-of-text, which is exact; the unused projections do not exist; a batch of one works.
Paper and code differ in what the presets of `fidelity` set. Not built: the "weighted prompts" of the paper's Table 5,
whose form is not stated.

Axes: B images, N patches, K abnormal prompts, M selected patches, D joint width, W text width, L context length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.text_tree import TextTree
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.losses import absolute_cosines, binary_focal, mask_losses
from zsad_bench.methods._config import check_bounds, default
from zsad_bench.methods._edits import DeepTokenCast, deep_tree_tokens
from zsad_bench.methods._official import Key, Method
from zsad_bench.methods._official_learner import PromptLearnerForm
from zsad_bench.methods._scoring import (
    added,
    l2_normalize,
    pooled_name,
    scaled_sigma,
    smooth,
    upsample,
)
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled, silent
from zsad_bench.types import Batch, Category, Features, Pooled, Prediction, SampleInfo, Tap


class Preset(TypedDict):
    """What `fidelity` sets, as in the configuration."""

    token_selection: Literal["topk", "first_k"]
    max_mix: tuple[float, float]
    adapted_local_weight: float
    image_ce_weight: float
    image_focal_input: Literal["probability", "logits"]
    deep_token_cast: DeepTokenCast


# What paper and released code do differently; `official_fixed` is the code with the patches that the paper selects.
PAPER: Preset = {
    "token_selection": "topk",
    "max_mix": (1 / 2, 1 / 2),
    "adapted_local_weight": 1.0,
    "image_ce_weight": 0.0,
    "image_focal_input": "probability",
    "deep_token_cast": "none",
}
OFFICIAL: Preset = {
    "token_selection": "first_k",
    "max_mix": (2 / 3, 1 / 3),
    "adapted_local_weight": 0.5,
    "image_ce_weight": 1.0,
    "image_focal_input": "logits",
    "deep_token_cast": "fp16",
}
PRESETS: dict[str, Preset] = {
    "paper": PAPER,
    "official": OFFICIAL,
    "official_fixed": {**OFFICIAL, "token_selection": "topk"},
}


@dataclass(frozen=True)
class FaPromptConfig(MethodConfig):
    """Defaults of the paper; where it is silent, of the released scripts. None is filled by the preset or backbone.

    fidelity: `paper`; `official`, the released behaviour; `official_fixed`, the same with the top patches.
    token_selection: patches that feed the prior: the most abnormal (paper, Eq. 3), or the first of the image (code).
    max_mix: shares of the static and the adapted map's maximum in the score (paper, Eq. 9: halves; code: 2 to 1).
    image_focal_input: the score as a probability, or taken for a logit as the code does.
    ortho_weight: 0.1 is the code's; the paper's is not known. The term is on the static texts alone.
    prior_reduction: over the entries of a normal image's prior (code: mean), then summed over those images.
    prior_from: `patches`; `image`, the global feature (Table 4); `none`, the static pass alone (Table 3, "+CAP").
    compound: False gives abnormal prompts that share no token with the normal one ("+DAP" of Table 3, inferred).
    match: abnormal similarity to the prototype, or the largest over the prompts (Table 5, "best-matched").
    Block numbers scale to the backbone: first_vv_block 6 of 24, deep_depth 9 of 12 text blocks (8 matrices, in front
    of blocks 2..9). gaussian_sigma: None is 10 px at 518 px, scaled with the image.
    """

    fidelity: Literal["paper", "official", "official_fixed"] = "paper"
    n_normal: int = 5
    n_abnormal: int = 2
    n_prompts: int = 10
    n_patches: int = 10
    compound: bool = True
    match: Literal["prototype", "best"] = "prototype"
    prior_from: Literal["patches", "image", "none"] = "patches"
    token_selection: Literal["topk", "first_k"] = filled()
    max_mix: tuple[float, float] = filled()
    adapted_local_weight: float = filled()
    image_ce_weight: float = filled()
    image_focal_input: Literal["probability", "logits"] = filled()
    ortho_weight: float = 0.1
    ortho_reduction: Literal["sum", "mean"] = "sum"
    prior_weight: float = 1.0
    prior_reduction: Literal["mean", "sum"] = "mean"
    deep_len: int = 4
    deep_depth: int = filled()
    deep_token_cast: DeepTokenCast = filled()
    first_vv_block: int = filled()
    global_ln_post: bool = False  # as in AnomalyCLIP, whose tower the released code takes over
    temperature: float = 0.07
    gaussian_sigma: float = filled()  # the default of the released evaluation script
    truncate_context: bool = silent(True)
    epochs: int = 7  # the epoch that the released evaluation loads; the rate is constant, so stopping there is equal
    batch_size: int = 8
    lr: float = 1e-3
    init_std: float = 0.02
    seed: int = 111  # of the initial parameters; a run sets it to its own


class Prior(nn.Module):
    """From selected features, (B,inputs), to what is added to every abnormal token, (B,W)."""

    def __init__(self, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.fc1 = unset(nn.Linear, inputs, max(1, inputs // 16))
        self.fc2 = unset(nn.Linear, max(1, inputs // 16), width)
        for layer in (self.fc1, self.fc2):  # PyTorch's own default, from our generator
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        shift: Tensor = self.fc2(F.relu(self.fc1(x)))
        return shift


@dataclass
class Reading:
    """What the texts say of a batch. Lists hold the static pass and, where there is a prior, the adapted one.

    texts: static (1+K,D), raw, normal first. shift: (B,W) or None. probs: (B,N,2) each. logits: (B,2), of the last
    pass. score: (B,).
    """

    texts: Tensor
    shift: Tensor | None
    probs: list[Tensor]
    logits: Tensor
    score: Tensor


class FaPromptForm(PromptLearnerForm):
    own = (
        Key("ctx_pos", "ctx_normal", (1, 1, "n_normal", "W"), lead=2),
        Key("ctx_neg", "ctx_abnormal", (1, "n_prompts", "n_abnormal", "W"), lead=1),
        Key("patch_meta_net.linear1.weight", "prior.fc1.weight", ("hidden", "inputs")),
        Key("patch_meta_net.linear1.bias", "prior.fc1.bias", ("hidden",)),
        Key("patch_meta_net.linear2.weight", "prior.fc2.weight", ("W", "hidden")),
        Key("patch_meta_net.linear2.bias", "prior.fc2.bias", ("W",)),
    )
    infers = ("n_normal", "n_prompts", "n_abnormal")
    # The released code trains its prior on the first patches of an image, whatever they show.
    settings: ClassVar[Mapping[str, Any]] = {"fidelity": "official", "token_selection": "first_k"}
    needs: ClassVar[Mapping[str, Any]] = {"compound": True, "prior_from": "patches"}
    shared = True
    n_abnormal = "n_prompts"

    def shown_by(self, state: Mapping[str, Tensor]) -> str | None:
        """By its network or its several abnormal prompts; all else it has in common with AnomalyCLIP's files."""
        several = "ctx_neg" in state and state["ctx_neg"].shape[1:2] != (1,)
        return next((key for key in state if key.startswith("patch_meta_net.")), "ctx_neg" if several else None)

    def overrides(self, sizes: Mapping[str, int], backbone: Backbone) -> dict[str, Any]:
        """How many patches feed the prior, too; its hidden layer has a sixteenth of its inputs."""
        inputs, hidden, joint = sizes["inputs"], sizes["hidden"], sizes["J"]
        if not inputs or inputs % joint or hidden != max(1, inputs // 16):
            raise CheckpointError(
                f"patch_meta_net.linear1.weight: found ({hidden}, {inputs}), expected (n_patches * {joint} // 16, "
                f"n_patches * {joint}) on {backbone.name}"
            )
        return {**super().overrides(sizes, backbone), "n_patches": inputs // joint}

    def remarks(self, method: Method) -> list[str]:
        if method.config.token_selection != "first_k":
            return []
        return ["token_selection=first_k: as it was trained, the first patches of an image feed the prior"]


class FaPrompt(ZeroShotMethod[FaPromptConfig]):
    title = "FAPrompt"
    paper = "arXiv 2410.10289 (ICCV 2025)"
    needs = frozenset({"text", "vv", "cls"})
    Config = FaPromptConfig
    official = FaPromptForm()

    token_ids: Tensor

    def __init__(self, backbone: Backbone, config: FaPromptConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, width = self.config, backbone.text_tower.width
        generator = torch.Generator().manual_seed(c.seed)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(c.init_std * torch.randn(*shape, generator=generator))

        self.ctx_normal = drawn(c.n_normal, width)
        self.ctx_abnormal = drawn(c.n_prompts, c.n_abnormal, width)
        self.deep_tokens = drawn(c.deep_depth - 1, c.deep_len, width)
        self.texts_follow_images = c.prior_from != "none"
        if self.texts_follow_images:
            used = c.n_patches if c.prior_from == "patches" else 1
            self.prior = Prior(used * backbone.vision.joint_width, width, generator)
        normal, abnormal = ["N"] * c.n_normal, ["A"] * c.n_abnormal
        shared = normal if c.compound else []
        prompts = [" ".join([*normal, "object."]), " ".join([*shared, *abnormal, "damaged object."])]
        self.token_ids = backbone.text_tower.tokenize(prompts)  # on the host, so no buffer
        ends = backbone.text_tower.end_of_text(self.token_ids)
        self._length = int(ends.max()) + 1 if c.truncate_context else self.token_ids.shape[1]
        self._static: Tensor | None = None

    @classmethod
    def resolve(cls, config: FaPromptConfig, backbone: Backbone) -> FaPromptConfig:
        config = super().resolve(config, backbone)
        preset = PRESETS[config.fidelity]
        resolved = replace(
            config,
            token_selection=default(config.token_selection, preset["token_selection"]),
            max_mix=default(config.max_mix, preset["max_mix"]),
            adapted_local_weight=default(config.adapted_local_weight, preset["adapted_local_weight"]),
            image_ce_weight=default(config.image_ce_weight, preset["image_ce_weight"]),
            image_focal_input=default(config.image_focal_input, preset["image_focal_input"]),
            deep_token_cast=default(config.deep_token_cast, preset["deep_token_cast"]),
            deep_depth=default(config.deep_depth, backbone.scale_text_block(9)),
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(10.0, config.image_size)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("temperature", "lr"),
            n_normal=max(1, config.deep_len - 2),  # deep tokens overwrite rows 1..deep_len, all before end-of-text
            n_abnormal=1 if config.compound else max(1, config.deep_len - 3),
            n_prompts=1,
            n_patches=1,
            adapted_local_weight=0,
            image_ce_weight=0,
            ortho_weight=0,
            prior_weight=0,
            deep_len=0,
            deep_depth=1,
            gaussian_sigma=0,
            init_std=0,
        )
        mix, patches = resolved.max_mix, (config.image_size // backbone.vision.patch_size) ** 2
        if len(mix) != 2 or min(mix) < 0 or abs(sum(mix) - 1) > 1e-6:
            raise UsageError(f"{cls.title}: max_mix={list(mix)}; expected two shares of 0 or more that sum to one")
        if config.prior_from == "patches" and config.n_patches > patches:
            found = f"n_patches={config.n_patches}, an image of {config.image_size} px has {patches}"
            raise UsageError(f"{cls.title}: {found}; take --set n_patches={patches} or fewer")
        return resolved

    def stages(self) -> list[Stage]:
        def adam(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        return [Stage("prompts", self.config.epochs, self.config.batch_size, optimizer=adam)]

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset({self._tap()}), frozenset({pooled_name(self.config.global_ln_post)})

    def _tap(self) -> Tap:
        return Tap(self.backbone.vision.n_blocks, self.config.first_vv_block)

    # -- texts ---------------------------------------------------------------------------------------------------
    def normal_prompt(self) -> Tensor:
        """(1,L,W) embeddings of the normal prompt, learned context in place of the N rows."""
        embedded = self._words(0)
        return torch.cat([embedded[:, :1], self.ctx_normal[None], embedded[:, 1 + self.config.n_normal :]], 1)

    def abnormal_prompts(self, shift: Tensor | None = None) -> Tensor:
        """(K,L,W) embeddings of the abnormal prompts; with a shift (B,W) of their own tokens, (B*K,L,W)."""
        own = self.ctx_abnormal if shift is None else (self.ctx_abnormal + shift[:, None, None]).flatten(0, 1)
        shared = self.ctx_normal[: len(self.ctx_normal) if self.config.compound else 0]
        context = torch.cat([shared.expand(len(own), -1, -1), own], 1)
        embedded = self._words(1).expand(len(own), -1, -1)
        return torch.cat([embedded[:, :1], context, embedded[:, 1 + context.shape[1] :]], 1)

    def _words(self, which: int) -> Tensor:
        """(1,L,W) embeddings of the normal (0) or an abnormal prompt (1), as far as any prompt is read."""
        return self.backbone.text_tower.embed_tokens(self.token_ids[which : which + 1, : self._length])

    def tree(self, n_normal: int, n_abnormal: int) -> TextTree:
        """Prompts as they are encoded together, normal ones first: the start and the normal tokens are run once.

        Where gradients are rounded, each prompt's is by itself, as in the released code, and nothing is shared.
        """
        c = self.config
        share = c.deep_token_cast == "none" or not torch.is_grad_enabled()

        def grow() -> TextTree:
            ids = self.token_ids.repeat_interleave(
                torch.tensor([n_normal, n_abnormal], device=self.token_ids.device), 0
            )
            labels, first = ids.clone(), 1 + (c.n_normal if c.compound else 0)
            own = -1 - torch.arange(n_abnormal, device=ids.device)  # no token has such a number
            labels[n_normal:, first : first + c.n_abnormal] = own[:, None]
            return self.backbone.text_tree(ids, labels, share, c.truncate_context)

        return self.kept_tree((n_normal, n_abnormal, share), grow)

    def _encode(self, prompts: Tensor, n_normal: int) -> Tensor:
        """(n,D) raw features of prompts (n,L,W), the normal ones first."""
        c, tree = self.config, self.tree(n_normal, len(prompts) - n_normal)
        deep = deep_tree_tokens(self.backbone, list(self.deep_tokens), tree, cast=c.deep_token_cast)
        return self.backbone.encode_tree(tree.rows_of(prompts), tree, deep, c.activation)

    def static_texts(self) -> Tensor:
        """(1+K,D) raw text features that no image has touched, normal first; kept wherever gradients are off."""
        if torch.is_grad_enabled() or self._static is None:
            texts = self._encode(torch.cat([self.normal_prompt(), self.abnormal_prompts()]), n_normal=1)
            if torch.is_grad_enabled():
                return texts
            self._static = texts
        return self._static

    def adapted_texts(self, shift: Tensor) -> Tensor:
        """(B,K,D) raw features of the abnormal prompts of each image, from one text call; shift (B,W)."""
        texts = self._encode(self.abnormal_prompts(shift), n_normal=0)
        per_image: Tensor = texts.unflatten(0, (len(shift), -1))
        return per_image

    def clear_text_cache(self) -> None:
        super().clear_text_cache()
        self._static = None

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """The static pair, the same for every category: these prompts never name the object."""
        texts = self.static_texts()
        return l2_normalize(torch.stack([texts[0], texts[1:].mean(0)])).expand(len(categories), -1, -1)

    # -- image and texts -----------------------------------------------------------------------------------------
    def select(self, abnormal_BN: Tensor) -> Tensor:
        """(B,M) numbers of the patches that feed the prior, most abnormal first; from their static probability."""
        if self.config.token_selection == "first_k":
            return torch.arange(self.config.n_patches, device=abnormal_BN.device).expand(len(abnormal_BN), -1)
        return abnormal_BN.detach().topk(self.config.n_patches, dim=1).indices

    def _logits(self, x_BND: Tensor, normal_D: Tensor, abnormal_BKD: Tensor) -> Tensor:
        """(B,N,2): how near unit features are to the normal and the abnormal texts, over the temperature."""
        if self.config.match == "prototype":  # the mean first, normalised after
            abnormal_BKD = abnormal_BKD.mean(1, keepdim=True)
        normal = x_BND @ l2_normalize(normal_D)
        abnormal = (x_BND @ l2_normalize(abnormal_BKD).transpose(1, 2)).amax(-1)
        return torch.stack([normal, abnormal], -1) / self.config.temperature

    def read(self, features: Features) -> Reading:
        """Both passes over a batch: by the static texts, and by those shifted by the image's own prior."""
        c, texts = self.config, self.static_texts()
        patches = l2_normalize(features.patches(self._tap()))
        image = l2_normalize(features.pooled(pooled_name(c.global_ln_post)))[:, None]
        abnormal = texts[1:].expand(patches.shape[0], -1, -1)
        probs, shift = [self._logits(patches, texts[0], abnormal).softmax(-1)], None
        if c.prior_from != "none":
            used = image
            if c.prior_from == "patches":
                index = self.select(probs[0][..., 1])
                used = patches.gather(1, index[..., None].expand(-1, -1, patches.shape[-1]))
            shift = self.prior(used.flatten(1))
            abnormal = self.adapted_texts(shift)
            probs.append(self._logits(patches, texts[0], abnormal).softmax(-1))
        logits = self._logits(image, texts[0], abnormal)[:, 0]
        highest = [p[..., 1].amax(1) for p in probs]
        shares = c.max_mix if shift is not None else (1.0,)
        local = added([share * high for share, high in zip(shares, highest, strict=True)])
        return Reading(texts, shift, probs, logits, (logits.softmax(-1)[:, 1] + local) / 2)

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: half the image's probability, half the mixed maxima. Map: mean of both passes, then Gaussian."""
        reading = self.read(features)
        maps = [upsample(p, features) for p in reading.probs]
        anomaly_map = torch.stack([(m[:, 1] + 1 - m[:, 0]) / 2 for m in maps]).mean(0)
        return Prediction(reading.score, smooth(anomaly_map, self.config.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Focal and Dice of each map, focal (and cross-entropy) of the image, orthogonal texts, silent priors."""
        c, reading = self.config, self.read(features)
        static, *adapted = [added(mask_losses(upsample(p, features), batch.pixel_masks)) for p in reading.probs]
        from_logits = c.image_focal_input == "logits"
        terms = {"static": static, "focal": binary_focal(reading.score, batch.labels, from_logits=from_logits)}
        if c.image_ce_weight:
            terms["image"] = c.image_ce_weight * F.cross_entropy(reading.logits, batch.labels)
        if c.ortho_weight and c.n_prompts > 1:
            overlap = absolute_cosines(reading.texts[1:])
            terms["ortho"] = c.ortho_weight * getattr(overlap, c.ortho_reduction)()
        if adapted and c.adapted_local_weight:
            terms["adapted"] = c.adapted_local_weight * adapted[0]
        if reading.shift is not None and c.prior_weight:
            squares = getattr(reading.shift.square(), c.prior_reduction)(-1)
            terms["prior"] = c.prior_weight * (squares * (batch.labels == 0)).sum()
        return terms
