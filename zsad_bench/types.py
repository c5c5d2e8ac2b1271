"""The nouns of the benchmark: plain, frozen where they are keys, and free of torch at import.

Axes: B images, P prefix rows (class token first, then registers), N patches row-major, D joint width, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zsad_bench.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Kind = Literal["object", "texture", "organ"]
Domain = Literal["industrial", "medical"]
Level = Literal["image", "pixel", "both"]
UNKNOWN = -1  # the label of an image of a test set whose labels are not public


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
    """What a method may know of an image: never its label or mask.

    content: a hash of the pixels that are encoded, by which their features can be kept; "" where they are not known or
    change from pass to pass (augmentation).
    """

    id: str
    category: Category
    content: str = field(default="", compare=False)


@dataclass(frozen=True)
class Sample:
    """One line of a dataset's table. Paths are POSIX and relative to the dataset's root.

    masks: united; empty for images without a mask (normal images, image-level datasets).
    label: 0 normal, 1 anomalous, `UNKNOWN` where nobody says; then all samples of the split have it.
    anomaly_type: "good" for normal images; several types are separated by commas.
    crop: left, top, right, bottom in pixels of the file, of image and masks alike; None is the whole file.
    group: which physical object of its category the image shows, where objects are photographed several times (views);
    "" where each image is an object of its own. A dataset's samples have it all or none has.
    generated: a defect of its type is painted on the image as it is read, mask and all (data/synthetic.py).
    """

    image: str
    masks: tuple[str, ...]
    label: int
    category: str
    anomaly_type: str
    split: Literal["train", "test"]
    crop: tuple[int, int, int, int] | None = None
    group: str = ""
    generated: bool = False

    @property
    def id(self) -> str:
        """The path, and the crop or the kind of the generated defect where there is one: unique within a dataset."""
        whole = self.image if self.crop is None else f"{self.image}#{','.join(map(str, self.crop))}"
        return f"{whole}#{self.anomaly_type}" if self.generated else whole

    @property
    def types(self) -> tuple[str, ...]:
        """The anomaly types one by one, stripped; of VisA's images some carry several."""
        return tuple(part.strip() for part in self.anomaly_type.split(","))


class Normalisation(NamedTuple):
    """What a backbone's preprocessing subtracts and divides by, of RGB in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass
class Batch:
    """Images with their ground truth.

    images: (B,3,H,W); uint8 as a loader gives them, float32 behind `normalised`, which is what a backbone reads.
    labels: (B,) int64. samples: B of them.
    masks: (B,H,W) bool at the size of the images, or None for an image-level dataset.
    normalisation: of the images while they are uint8; None of a batch that was never so.
    pixels: (B,3,H,W) uint8, the images before `normalised`, for people to look at; None where they are unknown.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    samples: list[SampleInfo]
    normalisation: Normalisation | None = None
    pixels: Tensor | None = None

    @property
    def pixel_masks(self) -> Tensor:
        """`masks`. ValueError: the batch has no masks."""
        if self.masks is None:
            raise ValueError("these images have labels and no masks; a loss that reads masks cannot learn from them")
        return self.masks

    def normalised(self) -> Batch:
        """The batch as a backbone reads it, where its tensors lie; itself if its images are floating point already.

        A Trainer with one of our data modules calls it behind the transfer to the device, and so do methods: only who
        reads a loader without either does it: `batch.to(device).normalised()`.

        Raises:
            UsageError: uint8 images whose mean and standard deviation the batch does not know.
        """
        if self.images.is_floating_point():
            return self
        return replace(self, images=normalised(self.images, self.normalisation), pixels=self.images)

    def to(self, device: Any, **kwargs: Any) -> Batch:
        """The batch on a device; what is pinned is copied while the host goes on."""
        moved = partial(_moved, device=device, options=kwargs)
        return replace(
            self, images=moved(self.images), labels=moved(self.labels), masks=moved(self.masks),
            pixels=moved(self.pixels),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.samples)


@dataclass
class ImageBatch:
    """Images of which nothing is known: to be predicted.

    images, normalisation: as of a `Batch`. samples: B of them. sizes: height and width of each before the resize.
    """

    images: Tensor
    samples: list[SampleInfo]
    sizes: list[tuple[int, int]]
    normalisation: Normalisation | None = None

    def normalised(self) -> ImageBatch:
        """As of a `Batch`."""
        if self.images.is_floating_point():
            return self
        return replace(self, images=normalised(self.images, self.normalisation))

    def to(self, device: Any, **kwargs: Any) -> ImageBatch:
        """As of a `Batch`."""
        return replace(self, images=_moved(self.images, device, kwargs))

    def pin_memory(self) -> ImageBatch:
        """The batch in memory that a GPU can read by itself; a DataLoader calls it."""
        return replace(self, images=self.images.pin_memory())

    def __len__(self) -> int:
        return len(self.samples)


def normalised(pixels_B3HW: Tensor, by: Normalisation | None) -> Tensor:
    """(B,3,H,W) float32 of uint8 pixels: (pixel / 255 - mean) / std, where the pixels lie.

    The same bits on every device: divisors are tensors there, since a division by a number of the host may be done as
    a multiplication by its reciprocal.

    Raises:
        UsageError: pixels that are not uint8, or no mean and standard deviation.
    """
    import torch

    if pixels_B3HW.dtype != torch.uint8 or by is None:
        found = str(pixels_B3HW.dtype).removeprefix("torch.")
        lacks = "" if by is not None else ", without mean and standard deviation"
        raise UsageError(
            f"images of {found}{lacks}; expected uint8 as a loader of a data module gives them, or float32 that is "
            "normalised already"
        )
    numbers = torch.tensor([[255.0] * len(by.mean), by.mean, by.std], dtype=torch.float32)
    largest, mean, std = sent(numbers, pixels_B3HW.device)[..., None, None]
    return pixels_B3HW.to(torch.float32).div_(largest).sub_(mean).div_(std)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor that the host knows, on a device; the host does not wait for a copy to a GPU.

    To other devices it does: theirs may read what is overwritten by then.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def _moved(tensor: Any, device: Any, options: dict[str, Any]) -> Any:
    """A tensor, or None, on a device. Lightning asks for asynchronous copies of plain tensors alone."""
    if tensor is None:
        return None
    # From a GPU a copy that is not waited for may be read before it is there.
    to_gpu = str(device).startswith("cuda") and tensor.device.type == "cpu"
    return tensor.to(device, **{"non_blocking": to_gpu, **options})


# What a V-V path is. `sum`: the sum of V-V attention outputs that the plain path gives, never fed back (CLIP Surgery,
# AnomalyCLIP). The others are streams: each block has V-V attention in the place of its own, and feeds the next one.
# `value_value`: over the rows of an image. `value_only`: every row keeps its own value (MaskCLIP). `batch_mix`: over
# the images of the batch, row by row, so that an image depends on its batch (the released AA-CLIP).
VvPath = Literal["sum", "value_value", "value_only", "batch_mix"]


class Tap(NamedTuple):
    """One dense output that the visual tower has to give.

    block: 1..L, counted from the input side. first_vv_block: 0 reads the plain path; otherwise the V-V path
    that starts at that block (blocks before it return the plain path). vv: what kind of path that is.
    raw: the block's output (width) instead of the final norm and projection (D).
    attended: the plain path inside the block, after its attention was added and before its MLP.
    """

    block: int
    first_vv_block: int = 0
    raw: bool = False
    vv: VvPath = "sum"
    attended: bool = False


# How the table of positions is brought to another grid; a backbone says which of these it can do.
PosInterp = Literal["bilinear", "bicubic", "bicubic_antialias", "timm", "official"]
Activation = Literal["own", "gelu", "quickgelu"]
FeatureType = Literal["float32", "float16"]  # of what is stored of an image
# What the blocks of the frozen towers compute with (`backbones/precision.py`); what leaves them is always float32.
Precision = Literal["float32", "tf32", "bf16"]
# Whether and how the blocks of the visual tower are compiled (`backbones/compiled.py`).
Compile = Literal["no", "default", "cuda-graphs"]
# One vector per image: class token normed and projected, projected without the norm, mean of the patches.
Pooled = Literal["cls", "cls_raw", "mean"]


def rounded_as(precision: Precision, compiled: Compile) -> str:
    """The precision, with "-compiled" where that changes its numbers: in bf16 a compiler leaves out roundings."""
    return f"{precision}-compiled" if precision == "bf16" and compiled != "no" else precision


@dataclass(frozen=True)
class ForwardSpec:
    """What decides the forward pass; specs that share it are served by one pass. `Backbone.forward_spec` makes them.

    backbone: identity of the loaded weights (`Backbone.id`: name and weights hash). image_size: the shorter side.
    activation: "own" wherever it is the one that the weights were trained with, however it was asked for.
    """

    backbone: str
    image_size: int
    pos_interp: PosInterp = "bilinear"
    activation: Activation = "own"
    precision: Precision = "float32"


@dataclass(frozen=True)
class EncoderSpec:
    """The outputs that the frozen visual tower has to give, dense and pooled. Hashable and mergeable."""

    forward: ForwardSpec
    taps: frozenset[Tap] = frozenset()
    pooled: frozenset[Pooled] = frozenset()

    def merge(self, other: EncoderSpec) -> EncoderSpec:
        """The union of two requests; ValueError when their forward passes differ."""
        if self.forward != other.forward:
            raise ValueError(f"encoder specs differ in the forward pass: {self.forward} and {other.forward}")
        return EncoderSpec(self.forward, self.taps | other.taps, self.pooled | other.pooled)


@dataclass
class Features:
    """What the visual tower returned for a batch, nothing normalised; read it with `patches`, `prefix` and `pooled`.

    rows: Tap -> (B,P+N,D), or (B,P+N,width) for raw ones: P prefix rows (class token first, then registers), then N
    patches row-major. vectors: name -> (B,D). grid: patch rows and columns. image_size: (H,W) of the input.
    n_prefix: P. extra_rows: (B,n,width), the rows that an edit put behind the patches, as they leave the last block
    run. extra: what a method that encodes by itself adds: tensors (B,...), or mappings of such.
    """

    rows: dict[Tap, Tensor]
    vectors: dict[Pooled, Tensor]
    grid: tuple[int, int]
    image_size: tuple[int, int]
    n_prefix: int = 1
    extra_rows: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def patches(self, tap: Tap) -> Tensor:
        """(B,N,D), or (B,N,width) of a raw tap. KeyError: it was not asked for."""
        return self._at(tap)[:, self.n_prefix :]

    def prefix(self, tap: Tap) -> Tensor:
        """(B,P,D): class token and registers. KeyError: the tap was not asked for."""
        return self._at(tap)[:, : self.n_prefix]

    def pooled(self, name: Pooled) -> Tensor:
        """(B,D). KeyError: it was not asked for."""
        if name not in self.vectors:
            raise KeyError(f"pooled feature '{name}' was not asked for; there are: {', '.join(self.vectors) or 'none'}")
        return self.vectors[name]

    def select(self, images: slice | Sequence[int]) -> Features:
        """The features of some images of the batch, by their places; a slice shares memory."""
        return replace(
            self,
            rows={tap: rows[images] for tap, rows in self.rows.items()},
            vectors={name: vector[images] for name, vector in self.vectors.items()},
            extra_rows=None if self.extra_rows is None else self.extra_rows[images],
            extra=_select(self.extra, images),
        )

    @classmethod
    def joined(cls, parts: Sequence[Features]) -> Features:
        """The features of several batches, which were asked for alike, as those of one; at least one part."""
        import torch

        first = parts[0]
        extra_rows = [part.extra_rows for part in parts if part.extra_rows is not None]
        return replace(
            first,
            rows={tap: torch.cat([part.rows[tap] for part in parts]) for tap in first.rows},
            vectors={name: torch.cat([part.vectors[name] for part in parts]) for name in first.vectors},
            extra_rows=torch.cat(extra_rows) if extra_rows else None,
            extra=_joined([part.extra for part in parts]),
        )

    def on_host(self, dtype: FeatureType) -> Features:
        """The features on the CPU, dense ones in that type; what is there already is shared."""
        import torch

        rounded = getattr(torch, dtype)
        return replace(
            self,
            rows={tap: rows.to("cpu", rounded) for tap, rows in self.rows.items()},
            vectors={name: vector.cpu() for name, vector in self.vectors.items()},
            extra_rows=None if self.extra_rows is None else self.extra_rows.to("cpu", rounded),
            extra=_on_host(self.extra),
        )

    def with_extra(self, extra: Mapping[str, Any]) -> Features:
        """The same features, with more in `extra`."""
        return replace(self, extra={**self.extra, **extra}) if extra else self

    def _at(self, tap: Tap) -> Tensor:
        if tap not in self.rows:
            raise KeyError(f"{tap} was not asked for; there are: {', '.join(map(str, self.rows)) or 'none'}")
        return self.rows[tap]


def _joined(values: Sequence[Any]) -> Any:
    import torch

    if isinstance(values[0], Mapping):
        return {key: _joined([value[key] for value in values]) for key in values[0]}
    return torch.cat(list(values))


def _on_host(value: Any) -> Any:
    return {key: _on_host(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value.cpu()


def _select(value: Any, images: slice | Sequence[int]) -> Any:
    if isinstance(value, Mapping):
        return {key: _select(inner, images) for key, inner in value.items()}
    return value[images]


@dataclass
class Prediction:
    """score: (B,) float32, one number per image. map: (B,H,W) float32, final (upsampled and smoothed), or None."""

    score: Tensor
    map: Tensor | None = None
