"""Edits of the rows that enter a block, for `Backbone.encode_image` and `encode_text`: what methods put into a tower.

Each is a function of a block's number and all rows (B,T,width) that returns the rows to take instead, or what is to be
added to them; `chain` runs several. Axes as in `backbones/base.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.forward import Edit, Increment, edited
from zsad_bench.backbones.text_tree import TextTree, with_contexts
from zsad_bench.errors import BackboneError

DeepTokenCast = Literal["none", "fp16"]
Injection = Callable[[Tensor], Tensor]  # of the patch rows (B,N,C) that enter a block; returns their increment


def chain(*edits: Edit) -> Edit:
    """All edits, one behind the other, each on what the one before made."""

    def edit(block: int, tokens: Tensor) -> Tensor | Increment:
        changes: list[Tensor | Increment] = []
        for each in edits:
            made = each(block, tokens)
            if made is not tokens:
                changes.append(made)
                tokens = edited(tokens, made)
        return changes[0] if len(changes) == 1 else tokens  # an increment stays one where it is all that happens

    return edit


def patch_rows(backbone: Backbone, images: Tensor) -> slice:
    """Where the patches of these images stand among the rows: behind the prefix rows, in front of what edits add."""
    side = backbone.vision.patch_size
    n_patches = (images.shape[2] // side) * (images.shape[3] // side)
    return slice(backbone.vision.n_prefix, backbone.vision.n_prefix + n_patches)


def visual_tokens(tokens: Tensor) -> Edit:
    """Puts tokens (n,C) or (B,n,C) behind the patches before block 1, without position.

    Raises:
        ValueError: when it is called with rows of another width or batch.
    """

    def edit(block: int, rows: Tensor) -> Tensor:
        if block > 1 or not tokens.shape[-2]:
            return rows
        return torch.cat([rows, _as_rows(tokens, rows)], dim=1)

    return edit


def deep_visual_tokens(backbone: Backbone, tokens: Sequence[Tensor]) -> Edit:
    """Entry i, shaped as the visual tokens are, takes the place of the last rows before block i+2 (AdaCLIP).

    Raises:
        BackboneError: more entries than there are blocks behind the first.
    """
    _check_depth(len(tokens), backbone.vision.n_blocks, backbone.name)

    def edit(block: int, rows: Tensor) -> Tensor:
        if not 2 <= block < 2 + len(tokens):
            return rows
        replacement = _as_rows(tokens[block - 2], rows)
        return torch.cat([rows[:, : rows.shape[1] - replacement.shape[1]], replacement], dim=1)

    return edit


def patch_injections(increments: Mapping[int, Injection], patches: slice) -> Edit:
    """Adds `increments[block](patch rows)` to the patch rows before that block (DIVE). patches: `patch_rows`."""

    def edit(block: int, rows: Tensor) -> Tensor | Increment:
        if block not in increments:
            return rows
        step = increments[block](rows[:, patches])
        return Increment(F.pad(step, (0, 0, patches.start, rows.shape[1] - patches.stop)).to(rows.dtype))

    return edit


def behind_blocks(changes: Iterable[Callable[[Tensor], Tensor]]) -> Edit:
    """Change i of all rows follows block i+1, that is, comes before block i+2 (AA-CLIP's adapters).

    A tap at block i+1 is read before it. What follows the last block never comes.
    """
    by_block = dict(enumerate(changes, start=2))

    def edit(block: int, rows: Tensor) -> Tensor:
        return by_block[block](rows) if block in by_block else rows

    return edit


def deep_text_tokens(backbone: Backbone, tokens: Sequence[Tensor], eot: Tensor, cast: DeepTokenCast = "none") -> Edit:
    """Entry i, (len,Wt) or (n,len,Wt), takes the place of text rows 1..len before block i+2 (AnomalyCLIP).

    No position is added. eot: (n,) rows that are read, all behind the tokens. cast: "fp16" rounds the tokens (and
    their gradients) to half precision as the released AnomalyCLIP does.

    Raises:
        BackboneError: more entries than there are blocks behind the first. ValueError: tokens of another shape, or
            tokens that would overwrite an end-of-text row.
    """
    tower = backbone.text_tower
    _check_depth(len(tokens), tower.n_blocks, f"{backbone.name}'s text")
    for i, each in enumerate(tokens):
        if each.shape[-1] != tower.width or (each.ndim, *each.shape[:-2]) not in ((2,), (3, len(eot))):
            expected = f"(len,{tower.width}) or ({len(eot)},len,{tower.width})"
            raise ValueError(f"deep tokens [{i}] are {tuple(each.shape)}, expected {expected}")
    if len(eot):
        _check_ends(int(eot.min()), tokens)

    def edit(block: int, rows: Tensor) -> Tensor:
        if not 2 <= block < 2 + len(tokens):
            return rows
        deep = tokens[block - 2].expand(len(rows), -1, -1)
        if cast == "fp16":  # after the expansion, as the released code does: each text's gradient is rounded by itself
            deep = deep.half()
        return torch.cat([rows[:, :1], deep.to(rows.dtype), rows[:, 1 + deep.shape[1] :]], dim=1)

    return edit


def deep_tree_tokens(
    backbone: Backbone,
    tokens: Sequence[Tensor],
    tree: TextTree,
    owner: Tensor | None = None,
    cast: DeepTokenCast = "none",
) -> Edit:
    """`deep_text_tokens` for the rows of a tree. owner: (n,) int64, which of several tokens (m,len,Wt) a text has.

    Where sentences share rows, their gradients are added before `cast` rounds them; of separate ones each is rounded by
    itself.

    Raises:
        BackboneError, ValueError: as `deep_text_tokens`.
    """
    tower = backbone.text_tower
    _check_depth(len(tokens), tower.n_blocks, f"{backbone.name}'s text")
    for i, each in enumerate(tokens):
        if each.shape[-1] != tower.width or each.ndim != (2 if owner is None else 3):
            expected = f"(len,{tower.width})" if owner is None else f"(m,len,{tower.width})"
            raise ValueError(f"deep tokens [{i}] are {tuple(each.shape)}, expected {expected}")
    _check_ends(tree.first_end, tokens)

    def edit(block: int, rows: Tensor) -> Tensor:
        if not 2 <= block < 2 + len(tokens):
            return rows
        return with_contexts(rows, tree, tokens[block - 2], owner, half=cast == "fp16")

    return edit


def _as_rows(tokens: Tensor, rows: Tensor) -> Tensor:
    """Tokens as (B,n,C) beside these rows."""
    count = rows.shape[0]
    expanded = tokens.expand(count, -1, -1) if tokens.ndim == 2 else tokens
    if expanded.ndim != 3 or expanded.shape[0] != count or expanded.shape[2] != rows.shape[2]:
        expected = f"(n,{rows.shape[2]}) or ({count},n,{rows.shape[2]})"
        raise ValueError(f"visual tokens are {tuple(tokens.shape)}, expected {expected}")
    return expanded.to(rows.dtype)


def _check_ends(first: int, tokens: Sequence[Tensor]) -> None:
    longest = max((each.shape[-2] for each in tokens), default=0)
    if first <= longest:
        raise ValueError(f"end-of-text row {first} must lie behind row {longest}, the last of the deep tokens")


def _check_depth(n_tokens: int, n_blocks: int, name: str) -> None:
    if n_tokens > n_blocks - 1:
        raise BackboneError(f"deep tokens before block {n_blocks + 1}: {name} has blocks 1..{n_blocks}")
