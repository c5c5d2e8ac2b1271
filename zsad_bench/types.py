"""The nouns of the benchmark: plain, frozen where they are keys, and free of torch at import.

Axes: B images, T tokens (class token first, then the patches row-major), D joint width, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["object", "texture", "organ"]
Domain = Literal["industrial", "medical"]
Level = Literal["image", "pixel", "both"]


@dataclass(frozen=True)
class Category:
    """One class of things of one dataset, as prompts need it. Hashable: text features are cached by it."""

    dataset: str
    name: str
    prompt_name: str
    kind: Kind
    domain: Domain


@dataclass(frozen=True)
class SampleInfo:
    """What a method may know of an image: never its label or mask."""

    id: str
    category: Category


@dataclass(frozen=True)
class Sample:
    """One line of a dataset's table. Paths are POSIX and relative to the dataset's root.

    masks: united; empty when there is none (normal images, image-level datasets).
    label: 0 normal, 1 anomalous. anomaly_type: "good" for normal images; several types are separated by commas.
    crop: left, top, right, bottom in pixels of the file, of image and masks alike; None is the whole file.
    """

    image: str
    masks: tuple[str, ...]
    label: int
    category: str
    anomaly_type: str
    split: Literal["train", "test"]
    crop: tuple[int, int, int, int] | None = None

    @property
    def id(self) -> str:
        """The path, and the crop where there is one: unique within a dataset."""
        return self.image if self.crop is None else f"{self.image}#{','.join(map(str, self.crop))}"

    @property
    def types(self) -> tuple[str, ...]:
        """The anomaly types one by one, stripped; of VisA's images some carry several."""
        return tuple(part.strip() for part in self.anomaly_type.split(","))


@dataclass
class Batch:
    """Images ready for the backbone, with their ground truth.

    images: (B,3,H,W) float32, normalised. labels: (B,) int64. samples: B of them.
    masks: (B,H,W) bool at the size of the images, or None for an image-level dataset.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    samples: list[SampleInfo]

    def to(self, device: Any, **kwargs: Any) -> Batch:
        masks = None if self.masks is None else self.masks.to(device, **kwargs)
        return replace(
            self, images=self.images.to(device, **kwargs), labels=self.labels.to(device, **kwargs), masks=masks
        )

    def __len__(self) -> int:
        return len(self.samples)


class Tap(NamedTuple):
    """One dense output asked of the visual tower.

    block: 1..L, counted from the input side. first_vv_block: 0 reads the plain path; otherwise the V-V path
    that starts at that block (blocks before it return the plain path).
    raw: the block's output (B,T,width) instead of `ln_post` and projection (B,T,D).
    """

    block: int
    first_vv_block: int = 0
    raw: bool = False


PosInterp = Literal["bilinear", "bicubic", "bicubic_antialias"]


@dataclass(frozen=True)
class ForwardSpec:
    """What decides the forward pass; specs that share it are served by one pass.

    backbone: identity of the loaded weights (`Backbone.id`: name and weights hash).
    """

    backbone: str
    image_size: int
    pos_interp: PosInterp = "bilinear"


@dataclass(frozen=True)
class EncoderSpec:
    """What is asked of the frozen visual tower. Hashable and mergeable.

    taps: dense outputs. global_ln_post: which global features, with (True) or without (False) `ln_post`.
    """

    forward: ForwardSpec
    taps: frozenset[Tap] = frozenset()
    global_ln_post: frozenset[bool] = frozenset()

    def merge(self, other: EncoderSpec) -> EncoderSpec:
        """The union of two requests; ValueError when their forward passes differ."""
        if self.forward != other.forward:
            raise ValueError(f"encoder specs differ in the forward pass: {self.forward} and {other.forward}")
        return EncoderSpec(self.forward, self.taps | other.taps, self.global_ln_post | other.global_ln_post)


@dataclass
class Features:
    """What the visual tower returned for a batch, nothing normalised.

    taps: Tap -> (B,T,D), or (B,T,width) for raw ones; token 0 is the class token.
    global_: with `ln_post`? -> (B,D). grid: patch rows and columns. image_size: (H,W) of the input.
    """

    taps: dict[Tap, Tensor]
    global_: dict[bool, Tensor]
    grid: tuple[int, int]
    image_size: tuple[int, int]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Prediction:
    """score: (B,) float32, one number an image. map: (B,H,W) float32, final (upsampled and smoothed), or None."""

    score: Tensor
    map: Tensor | None = None
