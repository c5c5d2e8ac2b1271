"""What is refused before a forward pass, one clear line each. Axes as in `base.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from torch import Tensor

from zsad_bench.backbones.towers import VisionTower
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import Activation, EncoderSpec, Pooled, VvPath


def check_size(height: int, width: int, patch: int, name: str) -> None:
    """Raises UsageError unless both sides are positive multiples of the patch."""
    if height <= 0 or width <= 0 or height % patch or width % patch:
        near = max(patch, round(min(height, width) / patch) * patch)
        raise UsageError(
            f"image size {height}x{width}: {name} needs multiples of {patch}, such as --set image_size={near}"
        )


def check_images(images: Tensor) -> None:
    """Raises UsageError for pixels that were not normalised."""
    if not images.is_floating_point():
        raise UsageError(
            f"images of {str(images.dtype).removeprefix('torch.')}, as a loader gives them; a backbone reads those of "
            "batch.normalised()"
        )


def check_activation(asked: Activation, computed: Collection[str], name: str) -> None:
    """Raises UsageError for an activation that a tower cannot compute."""
    if asked not in ("own", *computed):
        raise UsageError(
            f"activation={asked}: {name} computes {', '.join(sorted(computed))}; take one of them, or own, with "
            "--set activation=…"
        )


def check_request(spec: EncoderSpec, tower: VisionTower, name: str) -> None:
    """Raises BackboneError for a tap or pooled feature that the tower does not have."""
    for tap in sorted(spec.taps):
        if not 1 <= tap.block <= tower.n_blocks:
            raise BackboneError(f"tap at block {tap.block}: {name} has blocks 1..{tower.n_blocks}")
        if not 0 <= tap.first_vv_block <= tower.n_blocks:
            raise BackboneError(
                f"first_vv_block {tap.first_vv_block}: {name} has blocks 1..{tower.n_blocks} (0 is the plain path)"
            )
        if tap.first_vv_block and "vv" not in tower.paths:
            raise BackboneError(f"first_vv_block {tap.first_vv_block}: {name} has no V-V path; take 0, the plain one")
        if tap.attended and ("attended" not in tower.paths or tap.first_vv_block):
            path = "the V-V path" if tap.first_vv_block else name
            raise BackboneError(f"tap inside block {tap.block}: {path} cannot be read between attention and MLP")
        if tap.vv not in get_args(VvPath):
            raise BackboneError(f"unknown V-V path '{tap.vv}'; known: {', '.join(get_args(VvPath))}")
        if tap.vv != "sum" and not tap.first_vv_block:
            raise BackboneError(
                f"V-V path '{tap.vv}' with first_vv_block 0, the plain path; give the block it starts at"
            )
    for pooled in sorted(spec.pooled):
        if pooled not in get_args(Pooled):
            raise BackboneError(f"unknown pooled feature '{pooled}'; known: {', '.join(get_args(Pooled))}")
        if pooled != "mean" and not tower.n_prefix:
            raise BackboneError(f"pooled feature '{pooled}': {name} has no class token; take 'mean'")


def check_text(embeddings: Tensor, eot: Tensor, width: int, context: int) -> None:
    """Raises ValueError for embeddings (n,T,Wt) or end-of-text rows (n,) that do not fit."""
    n, rows, found_width = embeddings.shape
    if found_width != width or rows > context or eot.shape != (n,):
        raise ValueError(
            f"embeddings are {tuple(embeddings.shape)} and eot {tuple(eot.shape)}, "
            f"expected (n,T,{width}) with T at most {context}, and (n,)"
        )
    first, last = (int(v) for v in eot.aminmax())
    if last >= rows or first < 0:
        raise ValueError(f"end-of-text rows {first}..{last} must lie before row {rows}")
