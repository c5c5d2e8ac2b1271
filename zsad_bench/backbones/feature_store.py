"""Features that were encoded before, kept in memory and on disk: what a frozen tower says of an image never changes.

What is kept lies under a key of everything that it depends on: the weights, the forward pass, the preprocessing, which
output it is, how it is stored, and the pixels of the image. So other weights, another size or another image never find
it. One shard is one output of one image.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zsad_bench.atomic import whole_file
from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import UsageError
from zsad_bench.types import Compile, EncoderSpec, FeatureType, ForwardSpec, Pooled, Tap, rounded_as

FEATURE_RULE = 1  # raised when the same key would mean other values, beyond rounding

Output = Tap | Pooled


class Kept(NamedTuple):
    """rows: as stored, on the CPU. seconds: what encoding took for this image; nan where it came from disk."""

    rows: Tensor
    seconds: float


@dataclass
class FeatureStore:
    """Outputs of the visual tower by image, first in memory, then on disk.

    memory: bytes that may be kept in memory; what comes when it is full is kept on disk alone, or not at all.
    folder: where shards lie, for any number of processes; None keeps nothing on disk. A shard is written beside its
    place and then moved there, and carries the hash of its values: one that is cut short or damaged is not read, and
    takes the place of nothing until it is written again. When the disk is full, nothing more is written.
    dtype: of what is kept. float32 gives back exactly what was encoded; float16 takes half the room, and rounds to
    eleven bits.
    say: gets the lines on what went wrong; a warning by itself.
    coming: by forward pass, what will be asked for of the images that are now read, by whoever reads them next. It is
    encoded along with what is asked for now, as far as there is room for it: one pass instead of two.

    n_encoded, n_read: images whose outputs had to be encoded, and images for which all of them were there.
    seconds_saved: what encoding had taken of all that was read; nan as soon as some came from disk, where nobody knows.
    """

    memory: int
    folder: Path | None = None
    dtype: FeatureType = "float32"
    say: Callable[[str], None] = warnings.warn

    def __post_init__(self) -> None:
        if self.dtype not in get_args(FeatureType):
            raise UsageError(f"features are stored as {' or '.join(get_args(FeatureType))}, found {self.dtype}")
        self.n_encoded = self.n_read = self.n_damaged = 0
        self.seconds_saved = 0.0
        self.in_memory = 0  # bytes
        self.coming: Mapping[ForwardSpec, EncoderSpec] = {}
        self._kept: dict[tuple[str, str], Kept] = {}
        self._places: dict[tuple[int, Compile, ForwardSpec, Output], str] = {}
        self._writes = self.folder is not None

    @property
    def torch_dtype(self) -> torch.dtype:
        return cast(torch.dtype, getattr(torch, self.dtype))

    def place(self, backbone: Backbone, forward: ForwardSpec, output: Output) -> str:
        """The name under which this output lies: a hash of all that it depends on but the image."""
        known = (id(backbone), backbone.compiled, forward, output)
        if known not in self._places:
            depends_on: dict[str, Any] = {
                "rule": FEATURE_RULE,
                "weights": backbone.weights_hash,
                "forward": asdict(forward) | {"precision": rounded_as(forward.precision, backbone.compiled)},
                "mean": list(backbone.mean),
                "std": list(backbone.std),
                "output": output if isinstance(output, str) else output._asdict(),
                "dtype": self.dtype,
            }
            self._places[known] = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:32]
        return self._places[known]

    def read(self, place: str, content: str) -> Kept | None:
        """What is kept of an image, (P+N,D) or (D,); None: nothing that can be trusted."""
        kept = self._kept.get((place, content))
        if kept is None and self.folder is not None:
            rows = self._from_disk(self._file(place, content))
            if rows is not None:
                kept = Kept(rows, math.nan)
                self._into_memory(place, content, kept)
        if kept is not None:
            self.seconds_saved += kept.seconds
        return kept

    def holds(self, place: str, content: str) -> bool:
        """Whether something is kept of an image, not looked at."""
        return (place, content) in self._kept or (self.folder is not None and self._file(place, content).is_file())

    def room_for(self, size: int) -> bool:
        """Whether so many bytes would be kept."""
        return self._writes or self.in_memory + size <= self.memory

    def keep(self, content: str, outputs: Mapping[str, Kept]) -> None:
        """Takes in what was encoded of an image, by place; in memory all of it, or nothing where that is too much.

        Rows are on the CPU, of the store's type, and nobody else's.
        """
        if self.in_memory + sum(_bytes(kept.rows) for kept in outputs.values()) <= self.memory:
            for place, kept in outputs.items():
                self._into_memory(place, content, kept)
        if self.folder is not None:
            for place, kept in outputs.items():
                self._to_disk(self._file(place, content), kept.rows)

    def forget(self) -> None:
        """Gives up what is in memory."""
        self._kept.clear()
        self.in_memory = 0

    def _into_memory(self, place: str, content: str, kept: Kept) -> None:
        size = _bytes(kept.rows)
        if self.in_memory + size <= self.memory and (place, content) not in self._kept:
            self._kept[place, content] = kept
            self.in_memory += size

    def _file(self, place: str, content: str) -> Path:
        assert self.folder is not None  # only then it is called
        return self.folder / place / content[:2] / f"{content}.safetensors"

    def _from_disk(self, file: Path) -> Tensor | None:
        try:
            with safe_open(file, framework="pt") as shard:
                rows: Tensor = shard.get_tensor("rows")
                hash_ = (shard.metadata() or {}).get("hash")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as error:
            self._count_damaged(file, str(error).splitlines()[0])
            return None
        if hash_ != _hash(rows):
            self._count_damaged(file, "its values are not those that were written")
            return None
        return rows

    def _count_damaged(self, file: Path, why: str) -> None:
        self.n_damaged += 1
        if self.n_damaged == 1:
            self.say(
                f"stored features are damaged and are encoded again: {file} ({why}); others will be passed over too"
            )

    def _to_disk(self, file: Path, rows: Tensor) -> None:
        if not self._writes:
            return
        try:
            with whole_file(file, durable=False) as opened:
                opened.write(save({"rows": rows.contiguous()}, {"hash": _hash(rows)}))
        except OSError as error:
            self._writes = False
            self.say(
                f"features are not stored any more, and are encoded each time: {self.folder} cannot be written "
                f"({error.strerror or error})"
            )


def size_of(backbone: Backbone, spec: EncoderSpec, dtype: FeatureType = "float32") -> int:
    """Bytes that the outputs of one image take, of images that are square."""
    tower = backbone.vision
    rows = tower.n_prefix + (spec.forward.image_size // tower.patch_size) ** 2
    per_tap = sum(rows * (tower.width if tap.raw else tower.joint_width) for tap in spec.taps)
    bytes_each: int = getattr(torch, dtype).itemsize
    return (per_tap + len(spec.pooled) * tower.joint_width) * bytes_each


def can_be_kept(spec: EncoderSpec) -> bool:
    """Whether its outputs depend on the image alone, and not on the others of its batch."""
    return not any(tap.vv == "batch_mix" and tap.first_vv_block for tap in spec.taps)


def _bytes(rows: Tensor) -> int:
    return rows.numel() * rows.element_size()


def _hash(rows: Tensor) -> str:
    values = rows.detach().contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(
        repr((rows.dtype, tuple(rows.shape))).encode() + values.tobytes(), digest_size=16
    ).hexdigest()
