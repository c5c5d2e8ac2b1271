"""AA-CLIP: adapters in the text tower learn what an anomaly is, then adapters in the visual tower follow those texts.

Paper: Ma et al., CVPR 2025, arXiv 2503.06661. Official code: Mwxinnn/AA-CLIP; its licence file came in May 2025 and was
not checked here, and its code was not opened. Written from observed behaviour; parity with that code is tested in
tests/golden on random weights.

Stage 1 trains residual adapters in the text tower and a new text projection, on fixed patch features whose attention is
of values with values. Stage 2 fixes the pair of texts of each class, and trains residual adapters in the visual tower
and linear maps of four of its blocks.

Where the released code differs from what it means to do, the presets of `fidelity` differ. In stage 1 it hands its
attention the axes in another order: values attend over the images of a batch instead of the patches of an image. At
test it scales maps and scores to 0..1 over all test images of a class before it adds them, which is transductive. The
descriptions of classes (prompts/aa_clip.yaml) say what the images of published datasets look like, which no other
method here is told; `class_text=prompt_name` does without.

Where ours differs: what augmentation draws follows from the seed and the image's id; without the scaling over a class,
map and score are added on the scale of a cosine; of levels whose loss the released code drops none is computed.

Axes: B images, N patches, K levels, C vision width, W text width, D joint width, H W pixels; of the two states the
normal one first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import BackboneError, CheckpointError, UsageError
from zsad_bench.losses import mask_losses
from zsad_bench.methods._augment import chance, flipped, jittered, moved, uniform
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._edits import behind_blocks
from zsad_bench.methods._official import Key, Method, OfficialForm, Part, renamed
from zsad_bench.methods._scoring import added, l2_normalize, scaled_over_set, scaled_sigma, upsample
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
    VvPath,
    sent,
)

TEXTS, IMAGES = "texts", "images"  # the stages
SCALE = 100.0  # of cosines of patches; those of images have none
GRID = 37  # patches a side in the published evaluations, which the smoothing belongs to
Attention = Literal["value_value", "value_only", "official_batch_mix"]
PATHS: dict[Attention, VvPath] = {
    "value_value": "value_value",
    "value_only": "value_only",
    "official_batch_mix": "batch_mix",
}


class Preset(TypedDict):
    """What `fidelity` sets, as in the configuration."""

    stage1_attention: Attention
    set_minmax: bool


PRESETS: dict[str, Preset] = {
    "paper": {"stage1_attention": "value_value", "set_minmax": False},
    "official": {"stage1_attention": "official_batch_mix", "set_minmax": True},
}


@dataclass(frozen=True)
class AaClipConfig(MethodConfig):
    """Defaults of the released code; None is filled by the preset or the backbone.

    fidelity: `paper`; `official`, the released behaviour, which is transductive.
    stage1_attention: what values attend over in stage 1: the rows of an image; nothing but themselves, which the
    released code comes to with one image a batch; the images of the batch, as it does with several.
    stage1_levels: `last` is what the released code learns from; `all` sums the loss over the levels.
    stage1_image_weight: of a cross-entropy of the class token in stage 1; the paper's Eq. 4 has such a term, the
    released code has none.
    set_minmax: scales maps and scores to 0..1 over all test images of a class, which makes the method transductive.
    class_text: `descriptions` where prompts/aa_clip.yaml has one, else as `prompt_name`; `prompt_name`, `raw` as in
    `prompts.names`.
    proj_relu: LeakyReLU behind the linear maps.
    augment: colours (stage 2), rotation, shift and flips of training images, as released.
    Block numbers scale to the backbone: levels 6, 12, 18, 24 and first_vv_block 6 of 24; adapters behind the first 6
    of 24 visual and 3 of 12 text blocks. Smoothing works on the grid of patches, of 37 x 37 with sigma 1 (medical 1.5),
    scaled with the grid, over gaussian_kernel (medical_kernel) patches.
    epochs, batch_size, lr, milestones, gamma: of stage 2; the rate is multiplied by gamma after so many steps.
    """

    pos_interp: PosInterp = "bicubic_antialias"  # open_clip's own, which the released code runs on
    activation: Activation = "gelu"  # what its loader builds, though the weights were trained with QuickGELU
    fidelity: Literal["paper", "official"] = "paper"
    stage1_attention: Attention = filled()
    stage1_levels: Literal["last", "all"] = "last"
    stage1_image_weight: float = 0.0
    set_minmax: bool = filled()
    class_text: Literal["descriptions", "prompt_name", "raw"] = "descriptions"
    levels: tuple[int, ...] = filled()
    first_vv_block: int = filled()
    text_adapters: int = filled()
    vision_adapters: int = filled()
    text_adapter_weight: float = 0.1
    vision_adapter_weight: float = 0.1
    ortho_weight: float = 0.1
    proj_relu: bool = False
    gaussian_sigma: float = filled()
    gaussian_kernel: int = filled()
    medical_sigma: float = filled()
    medical_kernel: int = filled()
    augment: bool = True
    truncate_context: bool = silent(True)
    checkpoint_blocks: bool = silent(False)
    text_epochs: int = 5
    text_batch_size: int = 16
    text_lr: float = 1e-5
    epochs: int = 15  # of the published log, chosen there among 20; the rate counts steps, so stopping there is equal
    batch_size: int = 2
    lr: float = 5e-4
    milestones: tuple[int, ...] = (16_000, 32_000)
    gamma: float = 0.5
    seed: int = 111  # of the initial values and of augmentation; a run sets it to its own


class ResidualAdapter(nn.Module):
    """(...,width) to (...,width): a share of LeakyReLU(W x), brought to the length of x, and of x itself the rest."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.fc = unset(nn.Linear, width, width, bias=False)
        self.share = share

    def forward(self, rows: Tensor) -> Tensor:
        made = l2_normalize(F.leaky_relu(self.fc(rows))) * rows.norm(dim=-1, keepdim=True)
        mixed: Tensor = self.share * made + (1 - self.share) * rows
        return mixed


def blurred(map_BHW: Tensor, sigma: float, kernel: int) -> Tensor:
    """Gaussian-filtered maps: `kernel` taps that sum to one, reflected at the border without repeating its rows."""
    if sigma == 0:
        return map_BHW
    offsets = torch.arange(kernel, device=map_BHW.device, dtype=map_BHW.dtype) - kernel // 2
    taps = (-0.5 * (offsets / sigma) ** 2).exp()
    taps = taps / taps.sum()
    padded = F.pad(map_BHW[:, None], [kernel // 2] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]


class AaClipForm(OfficialForm):
    """Two state dicts, usually in two files; the last of the text adapters is the projection.

    The numbers of adapters and levels are not read from the file: they are the released ones, scaled to the backbone.
    """

    parts = (
        Part(("0.fc.0.weight",), "text_adapter", only_wrapped=True, prefix="text_adapter."),
        Part(("det_proj.fc.weight",), "image_adapter", only_wrapped=True, prefix="image_adapter."),
    )
    settings: ClassVar[Mapping[str, Any]] = {"fidelity": "official"}
    writes = True

    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> list[Key]:
        c = AaClip.resolve(AaClipConfig(), backbone)
        last = f"text_adapter.{c.text_adapters}.fc.0.weight"
        adapters = [
            Key(f"{official}.{i}.fc.0.weight", f"{ours}.{i}.fc.weight", (width, width))
            for official, ours, width, count in (
                ("text_adapter", "text_adapters", "W", c.text_adapters),
                ("image_adapter.layer_adapters", "vision_adapters", "V", c.vision_adapters),
            )
            for i in range(count)
        ]
        maps = [
            Key(f"image_adapter.seg_proj.{i}.fc.weight", f"patch_maps.{i}.weight", ("J", "V"))
            for i in range(len(c.levels))
        ]
        image = Key("image_adapter.det_proj.fc.weight", "image_map.weight", ("J", "V"))
        return [*adapters, Key(last, "text_projection.weight", ("J", "W")), *maps, image]

    def remarks(self, method: Method) -> list[str]:
        if not method.config.set_minmax:
            return []
        return [
            "set_minmax=true: as released, scores are scaled over all test images of a class, which is transductive"
        ]

    def write(self, method: Method) -> dict[str, Tensor]:
        keys, own = self.keys({}, method.backbone), method.own_state()
        if own.keys() != {key.ours for key in keys}:
            raise CheckpointError("its numbers of adapters or levels are not the released ones, which have a form")
        return renamed(keys, own)


class AaClip(ZeroShotMethod[AaClipConfig]):
    """What `encode` gives depends on what it is for.

    While texts learn: the taps of stage 1 and the class token's feature. Otherwise, at test always, the cosines with
    the samples' texts in `Features.extra`: `patches` (B,K,N,2) and `image` (B,2), small enough to keep for a whole set.
    """

    title = "AA-CLIP"
    paper = "arXiv 2503.06661 (CVPR 2025)"
    needs = frozenset({"text", "vv", "cls"})
    Config = AaClipConfig
    official = AaClipForm()
    encoder_trains = True

    def __init__(self, backbone: Backbone, config: AaClipConfig | None = None) -> None:
        super().__init__(backbone, config)
        c, vision, text = self.config, backbone.vision, backbone.text_tower
        self.transductive = c.set_minmax

        def linear(inputs: int, outputs: int) -> nn.Module:
            made: nn.Module = unset(nn.Linear, inputs, outputs, bias=False)  # its values are drawn below
            return made

        def adapters(count: int, width: int, share: float) -> nn.ModuleList:
            return nn.ModuleList(ResidualAdapter(width, share) for _ in range(count))

        self.text_adapters = adapters(c.text_adapters, text.width, c.text_adapter_weight)
        self.text_projection = linear(text.width, vision.joint_width)
        self.vision_adapters = adapters(c.vision_adapters, vision.width, c.vision_adapter_weight)
        self.patch_maps = nn.ModuleList(linear(vision.width, vision.joint_width) for _ in c.levels)
        self.image_map = linear(vision.width, vision.joint_width)
        generator = torch.Generator().manual_seed(c.seed)
        for parameter in self.own_parameters().values():
            nn.init.xavier_uniform_(parameter, generator=generator)

    @classmethod
    def resolve(cls, config: AaClipConfig, backbone: Backbone) -> AaClipConfig:
        config = super().resolve(config, backbone)
        preset, n_blocks, n_texts = PRESETS[config.fidelity], backbone.vision.n_blocks, backbone.text_tower.n_blocks
        grid = config.image_size // backbone.vision.patch_size
        resolved = replace(
            config,
            stage1_attention=default(config.stage1_attention, preset["stage1_attention"]),
            set_minmax=default(config.set_minmax, preset["set_minmax"]),
            levels=tuple(default(config.levels, quarter_blocks(backbone))),
            first_vv_block=default(config.first_vv_block, backbone.scale_block(6)),
            text_adapters=default(config.text_adapters, min(backbone.scale_text_block(3), n_texts - 1)),
            vision_adapters=default(config.vision_adapters, min(backbone.scale_block(6), n_blocks - 1)),
            gaussian_sigma=default(config.gaussian_sigma, scaled_sigma(1.0, grid, GRID)),
            gaussian_kernel=default(config.gaussian_kernel, min(7, 2 * grid - 1)),
            medical_sigma=default(config.medical_sigma, scaled_sigma(1.5, grid, GRID)),
            medical_kernel=default(config.medical_kernel, min(9, 2 * grid - 1)),
        )
        check_bounds(
            cls.title,
            resolved,
            above_zero=("text_lr", "lr", "gamma"),
            stage1_image_weight=0,
            first_vv_block=1,
            text_adapters=0,
            vision_adapters=0,
            text_adapter_weight=0,
            vision_adapter_weight=0,
            ortho_weight=0,
            gaussian_sigma=0,
            medical_sigma=0,
        )
        _check_blocks(resolved, n_blocks, n_texts, backbone.name)
        for name in ("gaussian_kernel", "medical_kernel"):
            if not 1 <= getattr(resolved, name) <= 2 * grid - 1 or not getattr(resolved, name) % 2:
                found = (
                    f"{name}={getattr(resolved, name)}, an image of {config.image_size} px has {grid} patches a side"
                )
                raise UsageError(f"{cls.title}: {found}; take an odd number up to {2 * grid - 1}")
        return resolved

    def stages(self) -> list[Stage]:
        c = self.config

        def adam(lr: float) -> Callable[[Parameters], torch.optim.Optimizer]:
            return lambda parameters: torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.999))

        def steps(optimizer: torch.optim.Optimizer, times: int) -> MultiStepLR:
            return MultiStepLR(optimizer, list(c.milestones), c.gamma)

        texts = (*(["text_adapters"] if c.text_adapters else []), "text_projection")
        images = (*(["vision_adapters"] if c.vision_adapters else []), "patch_maps", "image_map")
        return [
            Stage(TEXTS, c.text_epochs, c.text_batch_size, texts, adam(c.text_lr)),
            Stage(IMAGES, c.epochs, c.batch_size, images, adam(c.lr), steps, schedule_each="step"),
        ]

    def augmented(self, batch: Batch) -> Batch:
        """Colours of stage 2, then rotation, shift and flips of image and mask alike, with zeros at the border."""
        if not self.config.augment:
            return batch
        stage, images, masks = self.stage.name, [], []
        for image, mask, sample in zip(batch.images, batch.pixel_masks, batch.samples, strict=True):
            generator = self.generator_for(sample, f"augmentation of epoch {self.current_epoch} of {stage}")
            if stage == IMAGES and chance(0.7, generator):
                image = jittered(image, self.backbone.mean, self.backbone.std, 0.5, generator)
            degrees = uniform(-30, 30, generator) if chance(0.5, generator) else 0.0
            shift = (0.0, 0.0)
            if chance(0.5, generator):
                shift = uniform(-0.15, 0.15, generator), uniform(-0.15, 0.15, generator)
            image, mask = moved(image, mask, degrees, shift)
            image, mask = flipped(image, mask, chance(0.5, generator), chance(0.5, generator))
            images.append(image)
            masks.append(mask)
        return replace(batch, images=torch.stack(images), masks=torch.stack(masks))

    @classmethod
    def reads_names(cls, config: AaClipConfig) -> bool:
        return config.class_text == "prompt_name"  # the descriptions know some classes by the names of their folders

    # -- texts ---------------------------------------------------------------------------------------------------
    def class_text(self, category: Category) -> str:
        """What a category is called in its sentences."""
        how = self.config.class_text
        if how != "descriptions":
            return class_name(category, how)
        of_dataset = read("aa_clip")["descriptions"].get(category.dataset, {})
        return str(of_dataset.get(category.name, class_name(category, "prompt_name")))

    def sentences(self, category: Category) -> list[list[str]]:
        """Of a category, per state (normal first), every phrase of the state in every template."""
        data, name = read("aa_clip"), self.class_text(category)
        return [
            [template.replace("{}", phrase.replace("{}", name)) for phrase in phrases for template in data["templates"]]
            for phrases in (data["states"]["normal"], data["states"]["anomalous"])
        ]

    def adapted_texts(self, texts: Sequence[str]) -> Tensor:
        """(n,D) features of sentences from the adapted tower, not normalised."""
        ids = self.backbone.text_tower.tokenize(texts)
        rows = self.backbone.encode_text(
            self.backbone.text_tower.embed_tokens(ids),
            self.backbone.text_tower.end_of_text(ids),
            behind_blocks(self.text_adapters),
            truncate_context=self.config.truncate_context,
            activation=self.config.activation,
            checkpoint_blocks=self.config.checkpoint_blocks,
            project=False,
        )
        projected: Tensor = F.leaky_relu(self.text_projection(rows))
        return projected

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """Sentences normalised, averaged per state, normalised again."""
        states = [state for category in categories for state in self.sentences(category)]
        encoded = l2_normalize(self.adapted_texts([sentence for state in states for sentence in state]))
        means = [part.mean(0) for part in encoded.split([len(state) for state in states])]
        pairs: Tensor = l2_normalize(torch.stack(means)).unflatten(0, (-1, 2))
        return pairs

    # -- images --------------------------------------------------------------------------------------------------
    def _teaches_texts(self) -> bool:
        return self.training and self.in_stage(TEXTS)

    def stage1_taps(self) -> list[Tap]:
        """The fixed patch features that stage 1 learns from, one for each level of its loss."""
        c = self.config
        levels = c.levels if c.stage1_levels == "all" else c.levels[-1:]
        return [Tap(level, c.first_vv_block, vv=PATHS[c.stage1_attention]) for level in levels]

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        if self._teaches_texts():
            return frozenset(self.stage1_taps()), frozenset({"cls"})
        return frozenset(Tap(level, raw=True) for level in self.config.levels), frozenset()

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """What the class says: of stage 1 fixed features, otherwise cosines of the adapted ones."""
        if self._teaches_texts():
            return self.encoder(images, samples)
        edit = behind_blocks(self.vision_adapters)
        features = self.encoder(images, samples, edit, checkpoint_blocks=self.config.checkpoint_blocks)
        patches, image = self.adapted(features)
        text = self.text_for(samples)
        cosines = {
            "patches": torch.einsum("bknd,bsd->bkns", patches, text),
            "image": torch.einsum("bd,bsd->bs", image, text),
        }
        return replace(features, rows={}, extra=cosines)

    def adapted(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B,K,N,D) normalised patches of each level, and (B,D), the mean of the last level's for the image."""
        rows = [self._behind(level, features.patches(Tap(level, raw=True))) for level in self.config.levels]
        normed = [self.backbone.vision.norm(level) for level in rows]
        patches = [self._mapped(linear, level) for linear, level in zip(self.patch_maps, normed, strict=True)]
        return torch.stack(patches, 1), self._mapped(self.image_map, normed[-1]).mean(1)

    def _behind(self, block: int, rows: Tensor) -> Tensor:
        """Rows of a tap behind the adapter of its block: the edit that runs it comes after the tap."""
        adapted: Tensor = self.vision_adapters[block - 1](rows) if block <= len(self.vision_adapters) else rows
        return adapted

    def _mapped(self, linear: nn.Module, rows: Tensor) -> Tensor:
        mapped: Tensor = linear(rows)
        return l2_normalize(F.leaky_relu(mapped) if self.config.proj_relu else mapped)

    # -- scores --------------------------------------------------------------------------------------------------
    def maps(self, features: Features, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,H,W): over levels the sum of (1 + 100 (anomalous - normal cosine)) / 2, smoothed as patches, upsampled."""
        c, cosines = self.config, features.extra["patches"]
        levels = (1 + SCALE * (cosines[..., 1] - cosines[..., 0])) / 2
        grid = levels.sum(1).unflatten(1, features.grid)
        medical = [sample.category.domain == "medical" for sample in samples]
        settings = {False: (c.gaussian_sigma, c.gaussian_kernel), True: (c.medical_sigma, c.medical_kernel)}
        if len(set(medical)) == 1:  # no index of images, which a graph for batches of any size could not hold
            smooth = blurred(grid, *settings[medical[0]])
        else:
            smooth = torch.empty_like(grid)
            for how, setting in settings.items():
                places = torch.tensor([i for i, each in enumerate(medical) if each == how], dtype=torch.int64)
                if len(places):
                    places = sent(places, grid.device)
                    smooth[places] = blurred(grid[places], *setting)
        return F.interpolate(smooth[:, None], size=features.image_size, mode="bilinear", align_corners=True)[:, 0]

    @staticmethod
    def detection(features: Features) -> Tensor:
        """(B,): how near the image is to the anomalous text, (1 + cosine) / 2."""
        score: Tensor = (1 + features.extra["image"][:, 1]) / 2
        return score

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: half the map's maximum and half the image's own; of medical images the maximum alone.

        Both are on one scale, that of (1 + cosine) / 2: the maximum as a mean over levels of differences of cosines.
        """
        anomaly_map = self.maps(features, samples)
        mean_difference = (2 * anomaly_map.flatten(1).amax(1) / len(self.config.levels) - 1) / SCALE
        return Prediction(_image_score((1 + mean_difference) / 2, self.detection(features), samples), anomaly_map)

    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """As `score`, with maps and the images' own scores brought to 0..1 over all images before they are added."""
        anomaly_map = scaled_over_set(self.maps(features, samples))
        highest = anomaly_map.flatten(1).amax(1)
        return Prediction(_image_score(highest, scaled_over_set(self.detection(features)), samples), anomaly_map)

    def stage1_patches(self, features: Features) -> list[Tensor]:
        """(B,N,D) of each level of stage 1: normalised patches and class token, added and not normalised again."""
        image = l2_normalize(features.pooled("cls"))[:, None]
        return [l2_normalize(features.patches(tap)) + image for tap in self.stage1_taps()]

    # -- losses --------------------------------------------------------------------------------------------------
    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Focal and two Dice terms of each level; of texts their orthogonality, of images their cross-entropy."""
        if self.in_stage(TEXTS):
            return self._text_losses(features, batch)
        cosines = features.extra["patches"].unbind(1)
        return {
            "image": F.cross_entropy(features.extra["image"], batch.labels),
            "seg": _map_loss(cosines, features, batch),
        }

    def _text_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        c, text = self.config, self.text_for(batch.samples)
        patches = self.stage1_patches(features)
        terms = {"seg": _map_loss([torch.einsum("bnd,bsd->bns", p, text) for p in patches], features, batch)}
        if c.ortho_weight:
            terms["ortho"] = c.ortho_weight * (text[:, 0] * text[:, 1]).sum(-1).mean().square()
        if c.stage1_image_weight:
            cosines = torch.einsum("bd,bsd->bs", l2_normalize(features.pooled("cls")), text)
            terms["image"] = c.stage1_image_weight * F.cross_entropy(cosines, batch.labels)
        return terms


def probabilities(cosines_BN2: Tensor, features: Features) -> Tensor:
    """(B,2,H,W): softmax of the scaled cosines of patches, brought to the size of the image before."""
    return upsample(SCALE * cosines_BN2, features, align_corners=True).softmax(1)


def _map_loss(levels: Iterable[Tensor], features: Features, batch: Batch) -> Tensor:
    terms = [added(mask_losses(probabilities(level, features), batch.pixel_masks)) for level in levels]
    return added(terms)


def _image_score(highest_B: Tensor, detection_B: Tensor, samples: Sequence[SampleInfo]) -> Tensor:
    medical = torch.tensor([sample.category.domain == "medical" for sample in samples])
    medical = sent(medical, highest_B.device)
    return torch.where(medical, highest_B, (highest_B + detection_B) / 2)


def _check_blocks(config: AaClipConfig, n_blocks: int, n_text_blocks: int, name: str) -> None:
    """Raises where adapters or levels do not fit the towers."""
    for option, blocks in (("text_adapters", n_text_blocks), ("vision_adapters", n_blocks)):
        if getattr(config, option) >= blocks:
            tower = "text tower" if option == "text_adapters" else "visual tower"
            raise BackboneError(
                f"{AaClip.title}: {option}={getattr(config, option)}, but {name}'s {tower} has {blocks} blocks, of "
                f"which the last takes none; take --set {option}={blocks - 1} or less"
            )
    levels = config.levels
    if not levels or list(levels) != sorted(set(levels)):
        raise UsageError(f"{AaClip.title}: levels={list(levels)}; expected one or more blocks in ascending order")
