"""What a family gives: a visual tower and, where it has one, a text tower, block by block.

Axes as in `base.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from zsad_bench.backbones.text_tree import Attention
from zsad_bench.types import Activation, PosInterp


class VisionTower(Protocol):
    """The visual side of a family's model, block by block.

    width: C. joint_width: D, of what `project` gives. native_grid: patch rows and columns that the table of positions
    was trained for. n_prefix: P; where there are any, row 0 is the class token. paths: "plain"; "vv" where blocks have
    a V-V output; "attended" where it is a `SplitTower`, "tokens" where it is a `TokenTower`. pos_interps: ways to
    resize positions. activation: what the weights were trained with; activations: all that `block` can compute, this
    one included.
    """

    width: int
    joint_width: int
    n_blocks: int
    n_heads: int
    patch_size: int
    native_grid: tuple[int, int]
    n_prefix: int
    paths: frozenset[str]
    pos_interps: tuple[PosInterp, ...]
    activation: str
    activations: frozenset[str]

    def embed(self, images: Tensor, pos_interp: PosInterp) -> Tensor:
        """Rows that enter block 1, (B,P+N,C), of images (B,3,H,W) whose sides are multiples of the patch."""
        ...

    def block(self, number: int, tokens: Tensor, with_vv: bool, activation: Activation) -> tuple[Tensor, Tensor | None]:
        """Output of block 1..n_blocks, (B,T,C), and its V-V attention output where asked; of any rows T."""
        ...

    def norm(self, tokens: Tensor) -> Tensor:
        """The norm behind the last block, (...,C) to (...,C)."""
        ...

    def project(self, tokens: Tensor, norm: bool = True) -> Tensor:
        """(...,C) in the joint space, (...,D): `norm` unless that is False, then the projection where there is one."""
        ...


class SplitTower(VisionTower, Protocol):
    """A visual tower whose blocks can be read between attention and MLP; its `paths` hold "attended"."""

    def attend(self, number: int, tokens: Tensor) -> Tensor:
        """The rows (B,T,C) that enter block 1..n_blocks plus their attention, (B,T,C): what its MLP is added to."""
        ...


class TokenTower(VisionTower, Protocol):
    """A visual tower that takes learned tokens beside its class token; its `paths` hold "tokens"."""

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The module that `norm` runs, for a method that trains a copy of it."""
        ...

    def place_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (...,C) as they enter block 1 from the class token's place.

        Its position is added, where the class token has one, and what all rows pass in front of block 1 follows.
        """
        ...


class VvTower(VisionTower, Protocol):
    """A visual tower whose `paths` have "vv"."""

    def value_block(self, number: int, tokens: Tensor, activation: Activation) -> Tensor:
        """Output of a block whose attention is of values with values, (B,T,C); all else as in `block`."""
        ...


class TextTower(Protocol):
    """The text side of a family's model, block by block. width: Wt. activation: as for images.

    A causal tower is read at end-of-text, and no row sees one behind it. In a bidirectional tower every row up to
    end-of-text sees every other one, and the tower says itself where it is read. In both, rows behind end-of-text are
    padding and change nothing.
    """

    width: int
    n_blocks: int
    context_length: int
    bidirectional: bool
    activation: str
    activations: frozenset[str]

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (n,L) int64 on the host, zero behind end-of-text. Row 0 is the start of the text.

        On the host, whatever device the tower is on, so that the lengths of texts are never read back from one.

        Raises:
            UsageError: a text is longer than the context (nothing is cut off in silence).
        """
        ...

    def end_of_text(self, ids: Tensor) -> Tensor:
        """The row of end-of-text, (n,) int64, of ids (n,T) that `tokenize` made."""
        ...

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Rows of the token table, (n,L,Wt), no position added, on the tower's device. ids: there or on the host."""
        ...

    def place(self, embeddings: Tensor) -> Tensor:
        """Rows that enter block 1, (n,T,Wt): embeddings with their positions; T at most L."""
        ...

    def block(self, number: int, tokens: Tensor, eot: Tensor, activation: Activation) -> Tensor:
        """Output of block 1..n_blocks, (n,T,Wt). eot: (n,) rows of end-of-text; those behind it are not looked at."""
        ...

    def read(self, tokens: Tensor, eot: Tensor, project: bool = True) -> Tensor:
        """What the last block left, (n,T,Wt), as features (n,D); not projected they are normed rows, (n,Wt)."""
        ...


class TreeTower(TextTower, Protocol):
    """A causal text tower that runs the rows of a `TextTree`: what sentences begin with alike is run once.

    A tower without `tree_block` reads each sentence by itself.
    """

    def place_rows(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """Rows that enter block 1, (R,Wt): embeddings (R,Wt) with the positions of their places (R,) in a text."""
        ...

    def tree_block(self, number: int, rows: Tensor, attention: Attention, activation: Activation) -> Tensor:
        """Output of block 1..n_blocks for the rows that attend, (R',Wt), of all rows that enter it, (R,Wt)."""
        ...
