"""The visual tower of CLIP block by block: plain attention, and the V-V ("surgery") path beside it.

Axes: B images, T tokens (class token, then the patches row-major, then extra tokens), N patches, C vision width,
G patch rows (or columns) of the native grid.

The V-V path was proposed by CLIP Surgery (arXiv 2304.05653) and is used here as AnomalyCLIP (arXiv 2310.18961) does:
a running sum of value-value attention outputs, computed from the plain path and never fed back into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zsad_bench.types import PosInterp, Tap

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer

Injection = Callable[[Tensor], Tensor]


def resize_positions(table_TC: Tensor, native: tuple[int, int], grid: tuple[int, int], interp: PosInterp) -> Tensor:
    """Positional table for `grid`, (1+rows*cols, C), always resampled from the native one; the class row is kept.

    bilinear: align_corners False, no antialias (AnomalyCLIP). bicubic_antialias: what open_clip itself does.
    """
    if grid == native:
        return table_TC
    patches = table_TC[1:].reshape(1, *native, -1).permute(0, 3, 1, 2).float()
    mode, _, antialias = interp.partition("_")
    patches = F.interpolate(patches, size=grid, mode=mode, align_corners=False, antialias=bool(antialias))
    patches = patches.permute(0, 2, 3, 1).flatten(0, 2).to(table_TC.dtype)
    return torch.cat([table_TC[:1], patches])


def embed_patches(visual: VisionTransformer, images: Tensor, interp: PosInterp) -> Tensor:
    """Tokens that enter block 1, (B,1+N,C): patches, class token, positions, `ln_pre`. images: (B,3,H,W)."""
    patches = visual.conv1(images)
    grid = (patches.shape[2], patches.shape[3])
    class_token = visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
    tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)
    positions = resize_positions(visual.positional_embedding, tuple(visual.grid_size), grid, interp)
    return visual.ln_pre(tokens + positions.to(tokens.dtype))


def run_block(block: nn.Module, x: Tensor, with_vv: bool = False) -> tuple[Tensor, Tensor | None]:
    """Output of one block, and with `with_vv` also its V-V attention output (both (B,T,C)).

    Both attentions share LN1, the in-projection and the out-projection (bias included), and their head split.
    """
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    out = x + block.ls_1(_attend(attn, q, k, v))
    out = out + block.ls_2(block.mlp(block.ln_2(out)))
    return out, block.ls_1(_attend(attn, v, v, v)) if with_vv else None


def _attend(attn: nn.MultiheadAttention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mixed = F.scaled_dot_product_attention(q, k, v)  # scale: head width ** -0.5
    return attn.out_proj(mixed.transpose(1, 2).flatten(2))


def run_tower(
    visual: VisionTransformer,
    x: Tensor,
    n_patches: int,
    taps: frozenset[Tap],
    last_block: int,
    replacements: Sequence[Tensor] = (),
    inject: Mapping[int, Injection] | None = None,
    use_checkpoint: bool = False,
) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
    """Tokens after `last_block`, and the unprojected token rows at (block, first_vv_block) of every tap.

    One plain pass serves every V-V path asked for. replacements[i] overwrites the extra tokens before block i+2;
    inject[k] gives the increment of the patch rows before block k, added to the plain path and to the V-V sums
    that have already started.
    """
    inject = inject or {}
    first_taken = 1 + n_patches  # index of the first extra token
    ends = {f: max(t.block for t in taps if t.first_vv_block == f) for f in {t.first_vv_block for t in taps} if f}
    sums: dict[int, Tensor] = {}
    kept: dict[tuple[int, int], Tensor] = {}
    wanted = {(t.block, t.first_vv_block) for t in taps}
    for number, block in enumerate(visual.transformer.resblocks[:last_block], start=1):
        if 2 <= number < 2 + len(replacements):
            x = torch.cat([x[:, :first_taken], replacements[number - 2].to(x.dtype)], dim=1)
        if number in inject:
            step = F.pad(inject[number](x[:, 1:first_taken]), (0, 0, 1, x.shape[1] - first_taken)).to(x.dtype)
            x = x + step
            sums = {first: y + step for first, y in sums.items()}
        sums |= {first: x for first, end in ends.items() if first == number <= end}
        running = [first for first in sums if number <= ends[first]]
        if use_checkpoint and torch.is_grad_enabled() and x.requires_grad:
            x, vv = checkpoint(run_block, block, x, bool(running), use_reentrant=False)
        else:
            x, vv = run_block(block, x, bool(running))
        sums |= {first: sums[first] + vv for first in running}
        kept |= {(b, f): sums.get(f, x)[:, :first_taken] for b, f in wanted if b == number}
    return x, kept
