"""How a tower is run block by block, whatever its family: taps, the V-V path beside the plain one, edits, and texts.

Axes: B images, P prefix rows, N patches, T rows in all (P + N, then what edits put behind them), C vision width, n
texts, Wt text width, D joint width.

The V-V path was proposed by CLIP Surgery (arXiv 2304.05653) and is used here as AnomalyCLIP (arXiv 2310.18961) does:
a running sum of value-value attention outputs, computed from the plain path and never fed back into it. Streams, too,
leave the plain path at a block and never return to it, but each of their blocks feeds the next one (`types.VvPath`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zsad_bench.backbones.text_tree import TextTree
from zsad_bench.backbones.towers import SplitTower, TextTower, TreeTower, VisionTower, VvTower
from zsad_bench.types import Activation, PosInterp, Tap, VvPath, sent


@dataclass(frozen=True)
class Increment:
    """What an edit adds to all rows, (B,T,C), in the place of the sum: nothing is rounded on the way to V-V sums."""

    step: Tensor


# The number of a block and ALL rows that enter it -> the rows to enter instead, or what is to be added to them.
Edit = Callable[[int, Tensor], Tensor | Increment]


def edited(tokens: Tensor, edit: Tensor | Increment) -> Tensor:
    """The rows that an edit of `tokens` makes."""
    return tokens + edit.step if isinstance(edit, Increment) else edit


def run_vision(
    tower: VisionTower,
    tokens: Tensor,
    taps: Iterable[Tap],
    last_block: int,
    activation: Activation = "own",
    edit: Edit | None = None,
    use_checkpoint: bool = False,
    first_block: int = 1,
    below: Mapping[Tap, Tensor] | None = None,
) -> tuple[Tensor, dict[Tap, Tensor]]:
    """Rows after `last_block`, (B,T,C), and for each tap, as a raw one, its first P+N rows, unprojected.

    tokens: (B,P+N,C), as they enter `first_block`. below: what `rows_below` asks for, where that is not block 1; blocks
    in front of it are not run, and not edited. One plain pass serves every V-V path asked for. What an edit adds is
    added to the V-V sums that have already started, too; one that changes the number of rows may do so only where no
    sum runs, and only behind the patches. A stream that has started is edited by itself, by another call with its rows.

    Raises:
        ValueError: an edit that loses rows, changes another axis, or changes their number beside a running sum.
    """
    n_rows = tokens.shape[1]
    wanted = {tap._replace(raw=True) for tap in taps}
    paths = {(tap.first_vv_block, tap.vv) for tap in wanted if tap.first_vv_block}
    ends = {path: max(tap.block for tap in wanted if (tap.first_vv_block, tap.vv) == path) for path in paths}
    begun = {path: (below or {})[Tap(first_block - 1, path[0], True, path[1])] for path in paths
             if path[0] < first_block <= ends[path]}  # fmt: skip
    sums = {first: rows for (first, kind), rows in begun.items() if kind == "sum"}
    streams = {path: rows for path, rows in begun.items() if path[1] != "sum"}
    at_taps = {tap: (below or {})[tap] for tap in wanted if tap.block < first_block}
    for number in range(first_block, last_block + 1):
        sums = {first: total for first, total in sums.items() if number <= ends[first, "sum"]}
        streams = {path: rows for path, rows in streams.items() if number <= ends[path]}
        if edit is not None:
            made = edit(number, tokens)
            after = edited(tokens, made)
            _check_edit(number, tokens, after, n_rows, bool(sums))
            if sums and after is not tokens:
                step = made.step if isinstance(made, Increment) else after - tokens
                sums = {first: total + step for first, total in sums.items()}
            tokens = after
            streams = {path: edited(rows, edit(number, rows)) for path, rows in streams.items()}
        for path in paths:
            if path == (number, "sum"):
                sums[number] = tokens
            elif path[0] == number:
                streams[path] = tokens
        here = {tap for tap in wanted if tap.block == number}
        at_taps |= {tap: cast("SplitTower", tower).attend(number, tokens)[:, :n_rows] for tap in here if tap.attended}
        if use_checkpoint and torch.is_grad_enabled() and tokens.requires_grad:
            tokens, vv = checkpoint(tower.block, number, tokens, bool(sums), activation, use_reentrant=False)
        else:
            tokens, vv = tower.block(number, tokens, bool(sums), activation)
        if sums:
            assert vv is not None  # the tower was asked for it
            sums = {first: total + vv for first, total in sums.items()}
        streams = {
            path: _stream_block(cast("VvTower", tower), number, rows, path[1], activation, use_checkpoint)
            for path, rows in streams.items()
        }
        for tap in here:
            if not tap.attended:
                of_stream = streams.get((tap.first_vv_block, tap.vv), tokens)
                at_taps[tap] = (sums.get(tap.first_vv_block, tokens) if tap.vv == "sum" else of_stream)[:, :n_rows]
    return tokens, at_taps


def rows_below(taps: Iterable[Tap], block: int) -> frozenset[Tap]:
    """The raw taps from which a pass for these taps can go on with `block`, 2 or more, as `run_vision` takes them.

    They are the plain rows in front of it, those of each V-V path that has begun, and taps that lie in front of it.
    """
    wanted = {tap._replace(raw=True) for tap in taps}
    running = {(tap.first_vv_block, tap.vv) for tap in wanted if 0 < tap.first_vv_block < block <= tap.block}
    before = {Tap(block - 1, first, True, kind) for first, kind in running}
    return frozenset({Tap(block - 1, raw=True)} | before | {tap for tap in wanted if tap.block < block})


def _stream_block(
    tower: VvTower, number: int, rows: Tensor, kind: VvPath, activation: Activation, use_checkpoint: bool
) -> Tensor:
    """Rows (B,T,C) of a stream behind one more block. What attends to what is a matter of how rows are grouped."""
    if kind == "batch_mix":
        grouped = rows.transpose(0, 1)
    else:
        grouped = rows if kind == "value_value" else rows.flatten(0, 1)[:, None]
    if use_checkpoint and torch.is_grad_enabled() and rows.requires_grad:
        out: Tensor = checkpoint(tower.value_block, number, grouped, activation, use_reentrant=False)
    else:
        out = tower.value_block(number, grouped, activation)
    return out.transpose(0, 1) if kind == "batch_mix" else out.reshape(rows.shape)


def run_text(
    tower: TextTower,
    embeddings: Tensor,
    eot: Tensor,
    activation: Activation = "own",
    edit: Edit | None = None,
    truncate_context: bool = True,
    use_checkpoint: bool = False,
    project: bool = True,
) -> Tensor:
    """Features, (n,D), or (n,Wt) without projection, not normalised; see `Backbone.encode_text`.

    No tower looks behind end-of-text, so leaving out what is behind the last one of all texts is exact.
    """
    n_rows = int(eot.max()) + 1 if truncate_context else embeddings.shape[1]
    eot = sent(eot, embeddings.device)
    tokens = tower.place(embeddings[:, :n_rows])
    for number in range(1, tower.n_blocks + 1):
        tokens = _edited_text(number, tokens, edit)
        if use_checkpoint and torch.is_grad_enabled() and tokens.requires_grad:
            tokens = checkpoint(tower.block, number, tokens, eot, activation, use_reentrant=False)
        else:
            tokens = tower.block(number, tokens, eot, activation)
    return tower.read(tokens, eot, project)


def run_tree(
    tower: TextTower,
    rows: Tensor,
    tree: TextTree,
    blocks: tuple[int, int],
    activation: Activation = "own",
    edit: Edit | None = None,
    use_checkpoint: bool = False,
) -> Tensor:
    """Rows behind the last of `blocks`, (R,Wt), from those that enter the first of them; see `Backbone.encode_tree`.

    Behind the last block of the tower only the ends are left where rows are shared, (n,Wt).
    """

    def run(number: int, entering: Tensor) -> Tensor:
        attention = tree.last if number == tower.n_blocks else tree.within
        if attention is not None:
            return cast("TreeTower", tower).tree_block(number, entering, attention, activation)
        sentences = entering.view(*tree.paths.shape, -1)
        return tower.block(number, sentences, tree.ends, activation).flatten(0, 1)

    for number in range(blocks[0], blocks[1] + 1):
        rows = _edited_text(number, rows, edit)
        if use_checkpoint and torch.is_grad_enabled() and rows.requires_grad:
            rows = checkpoint(run, number, rows, use_reentrant=False)
        else:
            rows = run(number, rows)
    return rows


def _edited_text(number: int, rows: Tensor, edit: Edit | None) -> Tensor:
    if edit is None:
        return rows
    after = edited(rows, edit(number, rows))
    if after.shape != rows.shape:
        raise ValueError(
            f"an edit before text block {number} made {tuple(after.shape)} of {tuple(rows.shape)}; texts keep their "
            "rows"
        )
    return after


def place_rows(tower: TextTower, embeddings: Tensor, tree: TextTree) -> Tensor:
    """Rows that enter block 1, (R,Wt): the embeddings of a tree's rows (R,Wt) with their positions."""
    if tree.within is not None:
        return cast("TreeTower", tower).place_rows(embeddings, tree.places)
    return tower.place(embeddings.view(*tree.paths.shape, -1)).flatten(0, 1)


def read_ends(tower: TextTower, rows: Tensor, tree: TextTree, project: bool = True) -> Tensor:
    """Features (n,D), or (n,Wt) without projection, of what `run_tree` left behind the tower's last block."""
    if tree.within is not None:
        return tower.read(rows[:, None], torch.zeros_like(tree.ends), project)
    return tower.read(rows.view(*tree.paths.shape, -1), tree.ends, project)


def resize_positions(
    table_TC: Tensor, n_prefix: int, native: tuple[int, int], grid: tuple[int, int], interp: PosInterp
) -> Tensor:
    """Positional table for `grid`, (n_prefix+rows*cols, C), always resampled from the native one.

    n_prefix: rows in front that belong to no patch; they are kept. bilinear: align_corners False, no antialias
    (AnomalyCLIP). bicubic_antialias: what open_clip and timm do by themselves (`timm` is another name for it).
    """
    if grid == native:
        return table_TC
    patches = table_TC[n_prefix:].reshape(1, *native, -1).permute(0, 3, 1, 2).float()
    mode, _, antialias = ("bicubic_antialias" if interp == "timm" else interp).partition("_")
    patches = F.interpolate(patches, size=grid, mode=mode, align_corners=False, antialias=bool(antialias))
    patches = patches.permute(0, 2, 3, 1).flatten(0, 2).to(table_TC.dtype)
    return torch.cat([table_TC[:n_prefix], patches])


def _check_edit(number: int, before: Tensor, after: Tensor, n_rows: int, sums_run: bool) -> None:
    if before.shape == after.shape:
        return
    what = f"an edit before block {number} made {tuple(after.shape)} of {tuple(before.shape)}"
    if after.ndim != 3 or after.shape[::2] != before.shape[::2] or after.shape[1] < n_rows:
        raise ValueError(f"{what}; rows may be put behind the first {n_rows}, all else keeps its size")
    if sums_run:
        raise ValueError(f"{what}; the number of rows cannot change beside a V-V sum that runs already")
