"""The text tower of CLIP with learnable context and deep tokens, cut off exactly behind the last end-of-text.

Axes: n texts, T token rows, W text width, D joint width.
The deep tokens are those of AnomalyCLIP (arXiv 2310.18961): they overwrite the rows behind start-of-text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from open_clip.model import CLIP

DeepTokenCast = Literal["none", "fp16"]


def run_text(
    model: CLIP,
    embeddings: Tensor,
    eot: Tensor,
    deep_tokens: Sequence[Tensor] = (),
    deep_token_cast: DeepTokenCast = "none",
    truncate_context: bool = True,
    use_checkpoint: bool = False,
) -> Tensor:
    """Projected features at row `eot`, (n,D), not normalised; see `Backbone.encode_text`.

    Attention is causal and only row `eot` is read, so the rows behind the last one read change nothing: leaving
    them out is exact.
    """
    rows = int(eot.max()) + 1 if truncate_context else embeddings.shape[1]
    x = embeddings[:, :rows] + model.positional_embedding[:rows].to(embeddings.dtype)
    for number, block in enumerate(model.transformer.resblocks, start=1):
        if 2 <= number < 2 + len(deep_tokens):
            x = _overwrite(x, deep_tokens[number - 2], deep_token_cast)
        if use_checkpoint and torch.is_grad_enabled() and x.requires_grad:
            x = checkpoint(_causal_block, block, x, use_reentrant=False)
        else:
            x = _causal_block(block, x)
    read = x[torch.arange(len(x), device=x.device), eot]
    return model.ln_final(read) @ model.text_projection


def _overwrite(x: Tensor, deep: Tensor, cast: DeepTokenCast) -> Tensor:
    deep = deep.expand(len(x), -1, -1)
    if cast == "fp16":  # after the expansion, as the released code does: each text's gradient is rounded on its own
        deep = deep.half()
    return torch.cat([x[:, :1], deep.to(x.dtype), x[:, 1 + deep.shape[1] :]], dim=1)


def _causal_block(block: nn.Module, x: Tensor) -> Tensor:
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    x = x + block.ls_1(attn.out_proj(mixed))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
