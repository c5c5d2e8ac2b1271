"""What is refused before a forward pass, one clear line each. Axes as in `clip.py`."""

from __future__ import annotations

from collections.abc import Sequence

from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import Tap

VOCABULARY = 49408  # CLIP's byte-pair tokens with start and end of text


def check_supported(model: nn.Module, name: str) -> None:
    """Raises BackboneError unless this is a plain ViT CLIP: class token, end-of-text, causal text, stock blocks."""
    reason = _unsupported(model)
    if reason:
        raise BackboneError(f"{name} cannot be used as a backbone: {reason}")


def _unsupported(model: nn.Module) -> str | None:
    visual = getattr(model, "visual", None)
    if type(model) is not CLIP or not isinstance(visual, VisionTransformer):
        return "not a CLIP with a vision transformer and CLIP's own text tower"
    if visual.pool_type != "tok" or visual.attn_pool is not None:
        return "its image feature is not the class token"
    if len(set(visual.image_size)) > 1 or len(set(visual.patch_size)) > 1:
        return "its native image or patch is not square"
    if model.text_pool_type != "argmax" or model.attn_mask is None:
        return "its text tower is not causal with end-of-text pooling"
    if model.vocab_size != VOCABULARY:
        return f"its vocabulary has {model.vocab_size} tokens, CLIP's has {VOCABULARY}"
    if not isinstance(model.text_projection, Tensor):
        return "its text projection is not a matrix"
    blocks = [*visual.transformer.resblocks, *model.transformer.resblocks]
    if any(type(block) is not ResidualAttentionBlock for block in blocks):
        return "its attention blocks are not CLIP's"
    return None


def check_size(height: int, width: int, patch: int, name: str) -> None:
    """Raises UsageError unless both sides are positive multiples of the patch."""
    if height <= 0 or width <= 0 or height % patch or width % patch:
        near = max(patch, round(min(height, width) / patch) * patch)
        raise UsageError(
            f"image size {height}x{width}: {name} needs multiples of {patch}, such as --set image_size={near}"
        )


def check_taps(taps: frozenset[Tap], n_blocks: int, name: str) -> None:
    """Raises BackboneError for a block outside 1..n_blocks, or a V-V start outside 0..n_blocks."""
    for tap in sorted(taps):
        if not 1 <= tap.block <= n_blocks:
            raise BackboneError(f"tap at block {tap.block}: {name} has blocks 1..{n_blocks}")
        if not 0 <= tap.first_vv_block <= n_blocks:
            raise BackboneError(
                f"first_vv_block {tap.first_vv_block}: {name} has blocks 1..{n_blocks} (0 is the plain path)"
            )


def check_before_blocks(what: str, blocks: Sequence[int], n_blocks: int, name: str) -> None:
    """Raises BackboneError when something is to happen before a block that does not exist."""
    outside = [k for k in blocks if not 1 <= k <= n_blocks]
    if outside:
        raise BackboneError(f"{what} before block {outside[0]}: {name} has blocks 1..{n_blocks}")


def check_text(embeddings: Tensor, eot: Tensor, deep_tokens: Sequence[Tensor], width: int, context: int) -> None:
    """Raises ValueError for shapes that do not fit, or deep tokens that reach an end-of-text row."""
    n, rows, found_width = embeddings.shape
    if found_width != width or rows > context or eot.shape != (n,):
        raise ValueError(
            f"embeddings are {tuple(embeddings.shape)} and eot {tuple(eot.shape)}, "
            f"expected (n,T,{width}) with T at most {context}, and (n,)"
        )
    for i, tokens in enumerate(deep_tokens):
        if tokens.shape[-1] != width or (tokens.ndim, *tokens.shape[:-2]) not in ((2,), (3, n)):
            raise ValueError(f"deep_tokens[{i}] is {tuple(tokens.shape)}, expected (len,{width}) or ({n},len,{width})")
    first, last = (int(v) for v in eot.aminmax())
    overwritten = max((t.shape[-2] for t in deep_tokens), default=0)
    if last >= rows or first <= overwritten:
        raise ValueError(
            f"end-of-text rows {first}..{last} must lie behind row {overwritten} (deep tokens) and before row {rows}"
        )
