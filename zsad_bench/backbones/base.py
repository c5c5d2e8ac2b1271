"""What a frozen encoder is to all code outside `families/`: a thin `Backbone` around two towers (`towers.py`).

Axes: B images, P prefix rows (class token first, then registers), N patches row-major, H W pixels, C vision width, n
texts, L context length, Wt text width, D joint width. Nothing that is returned is normalised.

Gradients reach edits and text embeddings; the weights themselves never train. No `no_grad` is used inside: callers
that need no gradient say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from zsad_bench.backbones.checks import check_activation, check_images, check_request, check_size, check_text
from zsad_bench.backbones.compiled import CompiledBlocks
from zsad_bench.backbones.forward import Edit, place_rows, read_ends, run_text, run_tree, run_vision
from zsad_bench.backbones.precision import InPrecision, tf32
from zsad_bench.backbones.releases import WeightSource
from zsad_bench.backbones.text_tree import TextTree, grown, separate
from zsad_bench.backbones.towers import TextTower, TokenTower, VisionTower
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import Activation, Compile, EncoderSpec, Features, ForwardSpec, Pooled, PosInterp, Precision, Tap

TowerT = TypeVar("TowerT", VisionTower, TextTower)


class Backbone(nn.Module):
    """Frozen towers, always in eval mode.

    model: holds the weights, under the names of their family. weights_hash: of its values; "" where it has none
    (`BackboneFamily.architecture`). mean, std: of the preprocessing, for RGB in [0, 1]. text: None without a text
    tower.
    logit_scale: logarithm of the learned factor on cosines, as in CLIP; None for a model without one.
    licence: of the weights, where a release says it; "" where it is not known, as of a file of one's own.
    precision: what the blocks of both towers compute with. compiled: whether and how the visual tower's blocks are
    compiled. Both are set before a method is built on the backbone.
    """

    logit_scale: Tensor | None
    licence: str = ""
    precision: Precision = "float32"
    compiled: Compile = "no"

    def __init__(
        self,
        model: nn.Module,
        name: str,
        vision: VisionTower,
        text: TextTower | None = None,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        logit_scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.name, self.vision, self.text = name, vision, text
        self.mean, self.std = tuple(mean), tuple(std)
        self.register_buffer("logit_scale", None if logit_scale is None else logit_scale.detach(), persistent=False)
        self._compiled: CompiledBlocks | None = None
        has_values = not any(parameter.is_meta for parameter in model.parameters())
        self.weights_hash = hash_weights(model.state_dict()) if has_values else ""

    def train(self, mode: bool = True) -> Backbone:
        """Itself, still in eval mode: a parent's `train()` must not wake a frozen tower."""
        return super().train(False)

    @property
    def id(self) -> str:
        """Name and first twelve digits of the weights' hash, as rows and caches call it; without values the name."""
        return f"{self.name}@{self.weights_hash[:12]}" if self.weights_hash else self.name

    @property
    def offers(self) -> frozenset[str]:
        """What a method may need of a backbone, as far as there.

        They are "text", "bidirectional_text", "vv", "logit_scale", "cls" and "tokens".
        """
        there = {
            "text": self.text is not None,
            "bidirectional_text": self.text is not None and self.text.bidirectional,
            "vv": "vv" in self.vision.paths,
            "logit_scale": self.logit_scale is not None,
            "cls": self.vision.n_prefix > 0,
            "tokens": "tokens" in self.vision.paths,
        }
        return frozenset(what for what, yes in there.items() if yes)

    @property
    def text_tower(self) -> TextTower:
        """`text`. BackboneError: the backbone has no text tower."""
        if self.text is None:
            raise BackboneError(f"{self.name} has no text tower; take a method that needs none, or another --backbone")
        return self.text

    @property
    def token_tower(self) -> TokenTower:
        """`vision`. BackboneError: it has no place for learned tokens."""
        if "tokens" not in self.offers:
            raise BackboneError(f"{self.name} has no place for tokens beside its class token; take another --backbone")
        return cast("TokenTower", self.vision)

    @property
    def image_size(self) -> int:
        """Native side in pixels."""
        return self.vision.native_grid[0] * self.vision.patch_size

    @property
    def device(self) -> torch.device:
        """Where the weights lie; of an architecture without values the CPU."""
        device = next(self.model.parameters()).device
        return torch.device("cpu") if device.type == "meta" else device

    def nearest_size(self, pixels: int) -> int:
        """The multiple of the patch size nearest to a number of pixels, at least one patch."""
        return max(1, round(pixels / self.vision.patch_size)) * self.vision.patch_size

    def scale_block(self, k: int, reference: int = 24) -> int:
        """The visual block at the depth that block `k` has in a tower of `reference` blocks (ViT-L), at least 1."""
        return max(1, round(self.vision.n_blocks * k / reference))

    def scale_text_block(self, k: int, reference: int = 12) -> int:
        """The text block (or prompt depth) that corresponds to `k` in a tower of `reference` blocks, at least 1."""
        return max(1, round(self.text_tower.n_blocks * k / reference))

    def forward_spec(
        self,
        image_size: int,
        pos_interp: PosInterp = "bilinear",
        activation: Activation = "own",
    ) -> ForwardSpec:
        """What decides a forward pass of this backbone; two ways to ask for one pass give equal specs.

        Its precision is the backbone's.

        Raises:
            UsageError: a size that is not a multiple of the patch, or what this backbone cannot compute.
        """
        check_size(image_size, image_size, self.vision.patch_size, self.name)
        if pos_interp not in self.vision.pos_interps:
            known = ", ".join(self.vision.pos_interps)
            raise UsageError(f"pos_interp={pos_interp}: {self.name} has {known}; take one with --set pos_interp=…")
        known_activation = self._activation(self.vision, activation)
        return ForwardSpec(self.id, image_size, pos_interp, known_activation, self.precision)

    def check_spec(self, spec: EncoderSpec) -> None:
        """Raises BackboneError for a spec of other weights, or a tap or pooled feature that the tower does not have."""
        if spec.forward.backbone != self.id:
            raise BackboneError(f"encoder spec made for {spec.forward.backbone}, but the weights are {self.id}")
        if spec.forward.precision != self.precision:
            raise BackboneError(
                f"encoder spec made for {spec.forward.precision}, but {self.id} runs in {self.precision}"
            )
        check_request(spec, self.vision, self.name)

    # ---- images ----

    def encode_image(
        self,
        images: Tensor,
        spec: EncoderSpec,
        edit: Edit | None = None,
        checkpoint_blocks: bool = False,
        first_block: int = 1,
        below: Mapping[Tap, Tensor] | None = None,
    ) -> Features:
        """The taps and pooled features asked for by `spec`, from one plain pass.

        images: (B,3,H,W), normalised, any size divisible by the patch size whose shorter side is `spec`'s.
        edit: called before each block that runs with its number and all rows that enter it, returns those to take
        instead, or an `Increment`; see `run_vision`. Rows that it puts behind the patches attend and are attended to,
        are left out of every tap, and come back in `Features.extra_rows` as they leave the last block run.
        checkpoint_blocks: recompute blocks in the backward pass instead of keeping their activations (less memory
        when gradients flow through the frozen tower, more time).
        first_block, below: go on with this block, from the rows in front of it (`forward.rows_below`), as an earlier
        pass over the same images gave them.

        Raises:
            BackboneError: a tap or pooled feature that the tower does not have, or a spec made for other weights.
            UsageError: an image size that does not fit. ValueError: an edit that changes rows it may not.
        """
        self.check_spec(spec)
        check_images(images)
        tower, forward = self.vision, spec.forward
        size = (images.shape[2], images.shape[3])
        check_size(*size, tower.patch_size, self.name)
        if min(size) != forward.image_size:
            raise UsageError(f"images are {size[0]}x{size[1]}, the encoder spec says {forward.image_size}")
        with tf32(False, images.device):
            x = tower.embed(images, forward.pos_interp) if below is None else below[Tap(first_block - 1, raw=True)]
            n_rows = x.shape[1]
            last = tower.n_blocks if spec.pooled else max((tap.block for tap in spec.taps), default=0)
            blocks = self._blocks(tower, images.device)
            x, at_taps = run_vision(
                blocks, x, spec.taps, last, forward.activation, edit, checkpoint_blocks, first_block, below
            )
            rows = {tap: at_taps[tap._replace(raw=True)] for tap in spec.taps}
            return Features(
                rows={tap: found if tap.raw else tower.project(found) for tap, found in rows.items()},
                vectors={name: self._pool(name, x[:, :n_rows]) for name in spec.pooled},
                grid=(size[0] // tower.patch_size, size[1] // tower.patch_size),
                image_size=size,
                n_prefix=tower.n_prefix,
                extra_rows=x[:, n_rows:] if x.shape[1] > n_rows else None,
            )

    def embed_patches(self, images: Tensor, pos_interp: PosInterp = "bilinear") -> Tensor:
        """Rows that enter block 1, (B,P+N,C); images (B,3,H,W). For methods that choose what to encode (WinCLIP)."""
        check_images(images)
        check_size(images.shape[2], images.shape[3], self.vision.patch_size, self.name)
        with tf32(False, images.device):
            return self.vision.embed(images, pos_interp)

    def run_blocks(self, tokens: Tensor, activation: Activation = "own") -> Tensor:
        """Rows after the last block, (B,T,C), from any rows (B,T,C) that could enter block 1."""
        known = self._activation(self.vision, activation)
        with tf32(False, tokens.device):
            return run_vision(self._blocks(self.vision, tokens.device), tokens, (), self.vision.n_blocks, known)[0]

    def _pool(self, name: Pooled, rows: Tensor) -> Tensor:
        if name == "mean":
            return self.vision.project(rows[:, self.vision.n_prefix :]).mean(1)
        return self.vision.project(rows[:, 0], norm=name == "cls")

    # ---- texts ----

    def encode_text(
        self,
        embeddings: Tensor,
        eot: Tensor,
        edit: Edit | None = None,
        truncate_context: bool = True,
        activation: Activation = "own",
        checkpoint_blocks: bool = False,
        project: bool = True,
    ) -> Tensor:
        """Text features (n,D).

        embeddings: (n,T,Wt), T at most L, learnable context already in place, no position added. eot: (n,) int64, the
        row of each text's end (`TextTower.end_of_text` of its ids, moved by what was put in front of it). It is read
        here: where it is on the host, as the ids of `TextTower.tokenize` are, nothing waits for the device.
        edit: called before each block with its number and all rows (n,T,Wt), returns as many.
        truncate_context: leave out the rows behind the last end-of-text; exact, and several times faster.
        checkpoint_blocks: as for images. project: False leaves out the projection behind the final norm, (n,Wt).

        Raises:
            ValueError: shapes that do not fit. BackboneError: the backbone has no text tower.
        """
        tower = self.text_tower
        if not len(embeddings):
            return embeddings.new_zeros(0, self.vision.joint_width if project else tower.width)
        check_text(embeddings, eot, tower.width, tower.context_length)
        known = self._activation(tower, activation)
        with tf32(False, embeddings.device):
            blocks = self._blocks(tower, embeddings.device)
            return run_text(blocks, embeddings, eot, known, edit, truncate_context, checkpoint_blocks, project)

    def text_tree(
        self, ids: Tensor, labels: Tensor | None = None, share: bool = True, truncate_context: bool = True
    ) -> TextTree:
        """Sentences of ids (n,L) as rows for `encode_tree`, n at least 1. Worth keeping: made in Python, step by step.

        What sentences begin with alike is one set of rows, where the tower is causal and can run them. labels: (n,L)
        int64, what has to be equal from the start on for that; None is the ids. They keep rows apart that learned
        values will be put into. share: False keeps every sentence by itself. truncate_context: False, too, and with
        all rows of the context: the plain way, to compare with.

        Of ids on the host, as `TextTower.tokenize` gives them, nothing is read back; the tree is where the weights are.
        """
        tower = self.text_tower
        ids, ends = ids.cpu(), tower.end_of_text(ids).cpu()
        if share and truncate_context and not tower.bidirectional and hasattr(tower, "tree_block"):
            return grown(ids, ends, None if labels is None else labels.cpu()).to(self.device)
        return separate(ids[:, : int(ends.max()) + 1] if truncate_context else ids, ends).to(self.device)

    def encode_tree(
        self,
        embeddings: Tensor,
        tree: TextTree,
        edit: Edit | None = None,
        activation: Activation = "own",
        checkpoint_blocks: bool = False,
        project: bool = True,
    ) -> Tensor:
        """Text features (n,D) of the sentences of a tree, as `encode_text` gives them of sentences by themselves.

        embeddings: (R,Wt) of the tree's rows, learnable context already in place, no position added. edit: called
        before each block with its number and all rows (R,Wt), returns as many; a row's must depend on no other
        sentence than those that have it. The rest as for `encode_text`.
        """
        with tf32(False, embeddings.device):
            rows = place_rows(self.text_tower, embeddings, tree)
        return self.finish_tree(rows, tree, 1, edit, activation, checkpoint_blocks, project)

    def begin_tree(self, embeddings: Tensor, tree: TextTree, n_blocks: int, activation: Activation = "own") -> Tensor:
        """Rows of a tree behind its first `n_blocks` blocks, (R,Wt), fewer than the tower has; from embeddings."""
        tower = self.text_tower
        known = self._activation(tower, activation)
        with tf32(False, embeddings.device):
            rows, blocks = place_rows(tower, embeddings, tree), self._blocks(tower, embeddings.device)
            return run_tree(blocks, rows, tree, (1, n_blocks), known)

    def finish_tree(
        self,
        rows: Tensor,
        tree: TextTree,
        first_block: int,
        edit: Edit | None = None,
        activation: Activation = "own",
        checkpoint_blocks: bool = False,
        project: bool = True,
    ) -> Tensor:
        """Text features (n,D) from the rows (R,Wt) that enter a block, for texts whose first blocks were run before.

        The rest as for `encode_tree`.
        """
        tower = self.text_tower
        known, numbers = self._activation(tower, activation), (first_block, tower.n_blocks)
        with tf32(False, rows.device):
            blocks = self._blocks(tower, rows.device)
            rows = run_tree(blocks, rows, tree, numbers, known, edit, checkpoint_blocks)
            return read_ends(tower, rows, tree, project)

    def encode_prompts(self, texts: Sequence[str], chunk: int = 256, activation: Activation = "own") -> Tensor:
        """Features (n,D) of plain sentences, `chunk` at a time: memory O(chunk), the same values for any chunk."""
        parts = []
        for start in range(0, max(len(texts), 1), chunk):
            ids = self.text_tower.tokenize(texts[start : start + chunk])
            eot = self.text_tower.end_of_text(ids)
            longest = int(eot.max()) + 1 if len(eot) else 0  # a context may be several times as long as its texts
            embedded = self.text_tower.embed_tokens(ids[:, :longest])
            parts.append(self.encode_text(embedded, eot, activation=activation))
        return torch.cat(parts)

    def _blocks(self, tower: TowerT, device: torch.device) -> TowerT:
        """The tower with its blocks in the backbone's precision, float32 in and out, and compiled if asked for."""
        blocks: Any = tower
        if self.compiled != "no" and tower is self.vision:
            if self._compiled is None:
                self._compiled = CompiledBlocks(tower, self.compiled)
            blocks = self._compiled
        return cast("TowerT", blocks if self.precision == "float32" else InPrecision(blocks, self.precision, device))

    def _activation(self, tower: VisionTower | TextTower, asked: Activation) -> Activation:
        """One spelling for one function: "own" also where the weights' own is asked for by its name."""
        check_activation(asked, tower.activations, self.name)
        return "own" if asked == tower.activation else asked


class BackboneFamily:
    """One way to find, check and run weights: one file in `families/`, or an entry point `zsad_bench.backbones`.

    title: as printed. marks: names of parameters by which its weight files are recognised.
    example: a name of it, for messages. vocabulary_with_weights: its vocabulary comes with them, not with its code.
    """

    name: ClassVar[str]  # the registry name
    title: ClassVar[str]
    marks: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str]
    vocabulary_with_weights: ClassVar[bool] = False

    @classmethod
    def names(cls) -> list[str]:
        """Every name that can be loaded, quickly."""
        raise NotImplementedError

    @classmethod
    def knows(cls, name: str) -> bool:
        """Whether `load` is to be asked for this name."""
        return name in cls.names()

    @classmethod
    def listing(cls) -> dict[str, str]:
        """Name, or how a name is made -> what `zsad-bench ls backbones` says of it; only what can be used."""
        return dict.fromkeys(cls.names(), cls.title)

    @classmethod
    def load(cls, name: str, weights: str | Path | None) -> Backbone:
        """The backbone with values, float32 on the CPU. weights: a tag, file or folder; None is the family's choice.

        Raises:
            BackboneError: weights that are missing, damaged, of another architecture, or out of reach.
        """
        raise NotImplementedError

    @classmethod
    def at_hand(cls, name: str, weights: str | Path | None) -> bool:
        """Whether `load` would find a weight file on this machine, without reading it or asking the network."""
        raise NotImplementedError

    @classmethod
    def sources(cls, name: str) -> list[WeightSource]:
        """Where weights of a name come from, the family's choice first; [] where they are always given by the user."""
        return []

    @classmethod
    def fitting(cls, state: Mapping[str, Tensor]) -> list[str]:
        """The names whose parameters these are, name by name and shape by shape; [] where the family does not say."""
        return []

    @classmethod
    def brings_weights(cls, name: str) -> bool:
        """Whether the name itself says which weights are meant, and they lie on this machine."""
        return False

    @classmethod
    def architecture(cls, name: str) -> Backbone:
        """The backbone without values (meta device): widths and blocks are known, its `id` is the name.

        So are token ids, but with `vocabulary_with_weights`, where `tokenize` raises BackboneError.
        """
        raise NotImplementedError
