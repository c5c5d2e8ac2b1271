"""APRIL-GAN: linear maps bring patches of four depths into CLIP's joint space, where an ensemble of sentences is met.

Paper: Chen, Han, Zhang, arXiv 2305.17382 (winner of the zero-shot track of the VAND challenge, CVPR 2023; "VAND" in
some tables). Official code: ByChelsea/VAND-APRIL-GAN (MIT), 467faa7 of June 2023. Written from the paper and observed
behaviour; parity with that code is tested in tests/golden on random weights.

The image score is plain CLIP's, from its class token and the sentences: what is learned changes maps alone.

The released code loads OpenAI's weights, which were trained with QuickGELU, into a network with exact GELU, in training
and in testing. Its checkpoints and published numbers need the same (`activation`, by default).

Where ours differs: float32 instead of half precision under autocast; a batch of one works (the released code drops its
axis). The few-shot part is not here.

Axes: B images, N patches, D joint width, H W pixels; state 0 normal, 1 anomalous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.weights import unset
from zsad_bench.errors import CheckpointError, UsageError
from zsad_bench.losses import dice, focal
from zsad_bench.methods._config import check_bounds, default, quarter_blocks
from zsad_bench.methods._mosaic import mosaics
from zsad_bench.methods._official import Key, Method, OfficialForm, Part, numbered, renamed
from zsad_bench.methods._scoring import added, l2_normalize, smooth, state_logits, upsample
from zsad_bench.methods.base import MethodConfig, Parameters, Stage, ZeroShotMethod, filled
from zsad_bench.prompts.load import read
from zsad_bench.prompts.names import class_name
from zsad_bench.types import Activation, Batch, Category, Features, Pooled, PosInterp, Prediction, SampleInfo, Tap

EPOCHS = {"mvtec": 3}  # of the released training, by auxiliary dataset; of VisA, and here of any other, OTHER_EPOCHS
OTHER_EPOCHS = 15


@dataclass(frozen=True)
class AprilGanConfig(MethodConfig):
    """Defaults of the released training script.

    activation: `gelu` is the released behaviour, in both towers, whatever the weights were trained with; `own` or
    `quickgelu` is what OpenAI's weights were trained with. pos_interp: as the released code resizes positions.
    taps: blocks whose outputs are mapped, raw; None is 6, 12, 18 and 24 of 24, at the same depths of other backbones.
    class_names: `folder` is the category's name as it stands; `raw` with blanks for underscores; `prompt_name` what
    its dataset's card says; or `object`.
    map_reduction: over the taps; the sum's range is 0 to their number.
    mosaic_prob: share of the training images that a mosaic of four of their category replaces; None is a fifth of
    MVTec AD's and none of any other dataset's.
    epochs: None is 3 where MVTec AD is among the auxiliary data, else 15 (VisA's).
    """

    pos_interp: PosInterp = "bicubic_antialias"
    activation: Activation = "gelu"
    taps: tuple[int, ...] = filled()
    class_names: Literal["folder", "raw", "prompt_name", "object"] = "folder"
    temperature: float = 0.01
    map_reduction: Literal["sum", "mean"] = "sum"
    gaussian_sigma: float = 0.0
    mosaic_prob: float | None = None
    epochs: int | None = None
    batch_size: int = 8
    lr: float = 1e-3
    seed: int = 111  # of the initial maps; a run sets it to its own


class AprilGanForm(OfficialForm):
    """`{"trainable_linearlayer": {"fc.0.weight": …}}`, one linear map a tap."""

    parts = (Part(("fc.0.weight",), wrapper="trainable_linearlayer", only_wrapped=True),)
    writes = True

    def keys(self, state: Mapping[str, Tensor], backbone: Backbone) -> Sequence[Key]:
        return _keys(numbered(state, r"fc\.(\d{1,4})\.(?:weight|bias)")[0])

    def check(self, state: Mapping[str, Tensor], method: Method) -> None:
        """Which blocks its maps belong to is not in a file; only their number can be compared."""
        maps, taps = len(state) // 2, method.config.taps
        if maps != len(taps):
            raise CheckpointError(
                f"fc.{maps - 1}.weight: found {maps} linear maps, expected {len(taps)}, one for each of the blocks "
                f"{list(taps)}; name the blocks of the file with --set taps=[…]"
            )

    def write(self, method: Method) -> dict[str, Tensor]:
        return renamed(_keys(len(method.config.taps)), method.own_state())


def _keys(n: int) -> list[Key]:
    shapes: dict[str, tuple[str, ...]] = {"weight": ("J", "V"), "bias": ("J",)}
    return [Key(f"fc.{i}.{kind}", f"maps.{i}.{kind}", shape) for i in range(n) for kind, shape in shapes.items()]


class AprilGan(ZeroShotMethod[AprilGanConfig]):
    """`maps`, one linear map from the visual width to D for each tap, is all that learns."""

    title = "APRIL-GAN"
    paper = "arXiv 2305.17382 (VAND challenge, CVPR 2023)"
    needs = frozenset({"text", "cls"})
    Config = AprilGanConfig
    official = AprilGanForm()

    def __init__(self, backbone: Backbone, config: AprilGanConfig | None = None) -> None:
        super().__init__(backbone, config)
        generator = torch.Generator().manual_seed(self.config.seed)
        width, joint = backbone.vision.width, backbone.vision.joint_width
        self.maps = nn.ModuleList(unset(nn.Linear, width, joint) for _ in self.config.taps)
        for parameter in self.maps.parameters():  # PyTorch's own default, from our generator
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5, generator=generator)
        self._learns_from: frozenset[str] = frozenset()

    @classmethod
    def resolve(cls, config: AprilGanConfig, backbone: Backbone) -> AprilGanConfig:
        config = super().resolve(config, backbone)
        resolved = replace(config, taps=tuple(default(config.taps, quarter_blocks(backbone))))
        if not resolved.taps:
            raise UsageError(f"{cls.title}: taps=[]; expected at least one block")
        check_bounds(cls.title, resolved, above_zero=("temperature", "lr"), gaussian_sigma=0)
        mosaics(cls.title, resolved.mosaic_prob)
        return resolved

    def begin_training(self, categories: Sequence[Category]) -> None:
        self._learns_from = frozenset(category.dataset for category in categories)

    def stages(self) -> list[Stage]:
        c = self.config

        def adam(parameters: Parameters) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=c.lr, betas=(0.5, 0.999))

        usual = min((EPOCHS.get(name, OTHER_EPOCHS) for name in self._learns_from), default=OTHER_EPOCHS)
        epochs = default(c.epochs, usual)
        return [Stage("maps", epochs, c.batch_size, optimizer=adam, mosaic=mosaics(self.title, c.mosaic_prob))]

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        return frozenset(self._taps()), frozenset({"cls"})

    def _taps(self) -> list[Tap]:
        return [Tap(block, raw=True) for block in self.config.taps]

    # -- text ----------------------------------------------------------------------------------------------------
    def sentences(self, category: Category) -> tuple[list[str], list[str]]:
        """The normal and the anomalous sentences of a category: every state in every template."""
        how = self.config.class_names
        name = category.name if how == "folder" else class_name(category, how)
        data = read("april_gan")
        templates: list[str] = data["templates"]

        def of(states: list[str]) -> list[str]:
            return [template.replace("{}", state.replace("{}", name)) for state in states for template in templates]

        return of(data["states"]["normal"]), of(data["states"]["anomalous"])

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """Sentences normalised, averaged per state, normalised again."""
        encode, activation = self.backbone.encode_prompts, self.config.activation
        means = [
            l2_normalize(encode(sentences, activation=activation)).mean(0)
            for category in categories
            for sentences in self.sentences(category)
        ]
        return l2_normalize(torch.stack(means).unflatten(0, (-1, 2)))

    # -- image and texts -----------------------------------------------------------------------------------------
    def logits(self, features: Features, text_B2D: Tensor) -> list[Tensor]:
        """Per tap (B,N,2): cosines of mapped patches with the text pair, over the temperature."""
        mapped = [
            l2_normalize(linear(features.patches(tap))) for linear, tap in zip(self.maps, self._taps(), strict=True)
        ]
        return [torch.einsum("bnd,bsd->bns", patches, text_B2D) / self.config.temperature for patches in mapped]

    def probabilities(self, features: Features, text_B2D: Tensor) -> list[Tensor]:
        """Per tap (B,2,H,W): softmax over the states of up-sampled logits."""
        return [upsample(logits, features, align_corners=True).softmax(1) for logits in self.logits(features, text_B2D)]

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """Score: the class token's anomalous probability, untouched by training. Map: sum over taps."""
        text, c = self.text_for(samples), self.config
        score = state_logits(features.pooled("cls"), text, c.temperature).softmax(-1)[:, 1]
        total = added([probs[:, 1] for probs in self.probabilities(features, text)])
        if c.map_reduction == "mean":
            total = total / len(c.taps)
        return Prediction(score, smooth(total, c.gaussian_sigma))

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Focal, and Dice of the anomalous channel, each summed over taps."""
        masks = batch.pixel_masks
        probs = self.probabilities(features, self.text_for(batch.samples))
        return {
            "focal": added([focal(p, masks) for p in probs]),
            "dice": added([dice(p[:, 1], masks) for p in probs]),
        }
