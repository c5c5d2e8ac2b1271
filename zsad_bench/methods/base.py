"""What a method is: text on one side, a frozen visual tower on the other, and a score where they meet.

A method never sees labels at test time, computes no metric and knows no dataset's path. One file a method; the file
name is its registry name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.checks import check_spec
from zsad_bench.backbones.encoder import Encoder
from zsad_bench.errors import TrainingError, UsageError
from zsad_bench.types import Batch, Category, EncoderSpec, Features, Pooled, Prediction, SampleInfo, Tap


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    trainables: names of the parameters that learn in it; all others are frozen.
    optimizer: from those parameters to an optimiser.
    """

    name: str
    epochs: int
    batch_size: int
    trainables: tuple[str, ...]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class ZeroShotMethod(LightningModule):
    """Base of every method. Subclasses give `title`, `paper`, a frozen dataclass `Config`, and the hooks below.

    Config fields left at None are filled by `resolve` from the backbone (block numbers, smoothing) or the fidelity
    preset; the resolved configuration is what rows and checkpoints carry.
    """

    name: ClassVar[str]  # the registry name: that of the file, or of the entry point that names it
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    Config: ClassVar[type]
    encoder_trains: ClassVar[bool] = False
    needs_grad_at_test: ClassVar[bool] = False
    draws_at_test: ClassVar[bool] = False  # True: scores depend on the seed even without training
    sanity: ClassVar[bool] = False  # True: a floor to compare with, no contender

    def __init__(self, backbone: Backbone, config: Any = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = self.resolve(config if config is not None else self.Config(), backbone)
        self._texts: dict[Category, Tensor] = {}
        self._encoder: Encoder | None = None
        self._stage: Stage | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__module__.rpartition(".")[2]

    @classmethod
    def registry_name(cls) -> str:
        return cls.name

    # -- what a subclass says -----------------------------------------------------------------------------------
    @classmethod
    def resolve(cls, config: Any, backbone: Backbone) -> Any:
        """The configuration with every None filled in."""
        return config

    def stages(self) -> list[Stage]:
        """Training, stage by stage; empty for a training-free method."""
        return []

    def visual_requests(self) -> tuple[frozenset[Tap], frozenset[Pooled]]:
        """What is asked of the visual tower: dense taps, and pooled features by name."""
        return frozenset(), frozenset()

    def text_pair(self, categories: Sequence[Category]) -> Tensor:
        """(n,2,D) normalised normal and anomalous text features of n categories."""
        raise NotImplementedError(f"{type(self).__name__} has no text side")

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
        """The image scores and final maps of a batch."""
        raise NotImplementedError

    def losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms of a batch, on unsmoothed maps; their sum is minimised."""
        raise NotImplementedError(f"{type(self).__name__} is training-free")

    @classmethod
    def learns_from(cls, config: Any) -> Literal["masks", "labels"]:
        """What of the auxiliary data its losses ask for, beside the images; a configuration may change it.

        `labels`: those of whole images are enough, and masks change nothing.
        """
        return "masks"

    # -- what the base does --------------------------------------------------------------------------------------
    @property
    def encoder_spec(self) -> EncoderSpec:
        """The frozen request to the visual tower.

        Raises:
            BackboneError: a tap or pooled feature that the tower does not have.
            UsageError: an image size that is no multiple of the patch, or another thing that it cannot compute.
        """
        c = self.config
        forward = self.backbone.forward_spec(c.image_size, c.pos_interp, getattr(c, "activation", "own"))
        spec = EncoderSpec(forward, *self.visual_requests())
        check_spec(spec, self.backbone)
        return spec

    @property
    def encoder(self) -> Encoder:
        """The backbone under `encoder_spec`: one object as long as the spec stays the same."""
        spec = self.encoder_spec
        if self._encoder is None or self._encoder.spec != spec:
            self._encoder = Encoder(self.backbone, spec, trains=self.encoder_trains)
        return self._encoder

    def encode(self, images: Tensor, samples: Sequence[SampleInfo]) -> Features:
        """Features of a batch under `encoder_spec`. Overridden by methods that change what is encoded."""
        return self.encoder(images, samples)

    def text_features(self, categories: Sequence[Category]) -> Tensor:
        """(n,2,D) text features; cached per category wherever gradients are off."""
        if torch.is_grad_enabled():
            return self.text_pair(categories)
        missing = [c for c in dict.fromkeys(categories) if c not in self._texts]
        if missing:
            self._texts.update(zip(missing, self.text_pair(missing), strict=True))
        return torch.stack([self._texts[c] for c in categories])

    def text_for(self, samples: Sequence[SampleInfo]) -> Tensor:
        """(B,2,D): the text pair of every sample's category; each category is encoded once."""
        unique = list(dict.fromkeys(s.category for s in samples))
        place = {category: at for at, category in enumerate(unique)}
        return self.text_features(unique)[[place[s.category] for s in samples]]

    def forget_texts(self) -> None:
        """Drops cached text features; called whenever parameters may have changed."""
        self._texts.clear()

    def enter(self, stage: Stage) -> None:
        """Prepares a stage: exactly its trainables learn."""
        wanted = set(stage.trainables)
        unknown = wanted - {name for name, _ in self.named_parameters()}
        if unknown:
            raise ValueError(f"{self.title}: stage '{stage.name}' names unknown parameters: {sorted(unknown)}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in wanted)
        self._stage = stage

    def learned(self) -> dict[str, Tensor]:
        """Every parameter and buffer that is not the backbone's: what a checkpoint holds."""
        return {k: v.detach().cpu() for k, v in self.state_dict().items() if not k.startswith("backbone.")}

    def resolved_config(self) -> dict[str, Any]:
        """The resolved configuration as plain types."""
        return asdict(self.config)

    def train(self, mode: bool = True) -> ZeroShotMethod:
        self.forget_texts()
        return super().train(mode)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        chosen = [p for name, p in self.named_parameters() if name in self._stage.trainables]
        return self._stage.optimizer(chosen)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if batch.masks is None and self.learns_from(self.config) == "masks":
            raise UsageError(f"{self.title} learns from masks, and this auxiliary data has none; take another prior")
        terms = self.losses(self.encode(batch.images, batch.samples), batch)
        total = torch.stack(list(terms.values())).sum()
        if not total.isfinite():
            found = ", ".join(f"{name} {value.item():g}" for name, value in terms.items())
            raise TrainingError(
                f"{self.title}: the loss is not finite in step {self.global_step} of stage '{self._stage.name}' "
                f"({found}); lower the learning rate with --set lr=…, or look at this auxiliary data"
            )
        self.log("loss", total, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(batch))
        for name, value in terms.items():
            self.log(f"loss_{name}", value, on_step=False, on_epoch=True, batch_size=len(batch))
        return total

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("backbone.")}
