"""`Backbone`: a frozen open_clip CLIP at its native size, with the dense and prompt-learning outputs methods need.

Axes: B images, T tokens (class token first, then N patches row-major), H W pixels, C vision width, n texts, L context
length, Wt text width, D joint width. Nothing that is returned is normalised.

Gradients reach visual tokens, injections, text embeddings and deep tokens; the weights themselves never train. No
`no_grad` is used inside: callers that need no gradient say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from zsad_bench.backbones.checks import check_before_blocks, check_size, check_supported, check_taps, check_text
from zsad_bench.backbones.text import DeepTokenCast, run_text
from zsad_bench.backbones.vision import Injection, embed_patches, run_block, run_tower
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec, Features, ForwardSpec, PosInterp

# What CLIP's released preprocessing subtracts and divides by (RGB in [0, 1]).
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class Backbone(nn.Module):
    """A frozen CLIP, always in eval mode.

    checkpoint_blocks: recompute the blocks in the backward pass instead of keeping their activations (less memory
    when gradients flow through the frozen towers, more time).

    Raises:
        BackboneError: not a plain ViT CLIP with class-token pooling and the causal text tower.
    """

    def __init__(
        self,
        model: CLIP,
        name: str,
        mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD,
    ) -> None:
        super().__init__()
        check_supported(model, name)
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.mean, self.std = tuple(mean), tuple(std)
        self.weights_hash = hash_weights(model.state_dict())
        self.checkpoint_blocks = False

    def train(self, mode: bool = True) -> Backbone:
        """Itself, still in eval mode: a parent's `train()` must not wake a frozen tower."""
        return super().train(False)

    @property
    def id(self) -> str:
        """Name and first twelve digits of the weights' hash: what rows and caches call this backbone."""
        return f"{self.name}@{self.weights_hash[:12]}"

    @property
    def n_blocks(self) -> int:
        return len(self.model.visual.transformer.resblocks)

    @property
    def n_text_blocks(self) -> int:
        return len(self.model.transformer.resblocks)

    @property
    def embed_dim(self) -> int:
        return self.model.visual.proj.shape[1]

    @property
    def vision_width(self) -> int:
        return self.model.visual.proj.shape[0]

    @property
    def vision_heads(self) -> int:
        return self.model.visual.transformer.resblocks[0].attn.num_heads

    @property
    def text_width(self) -> int:
        return self.model.text_projection.shape[0]

    @property
    def patch_size(self) -> int:
        return self.model.visual.patch_size[0]

    @property
    def native_grid(self) -> tuple[int, int]:
        """Patch rows and columns the positional table was trained for."""
        return tuple(self.model.visual.grid_size)

    @property
    def image_size(self) -> int:
        """Native side in pixels."""
        return self.model.visual.image_size[0]

    @property
    def context_length(self) -> int:
        return self.model.context_length

    @property
    def device(self) -> torch.device:
        return self.model.visual.proj.device

    def scale_block(self, k: int, reference: int = 24) -> int:
        """The visual block at the depth that block `k` has in a tower of `reference` blocks (ViT-L), at least 1."""
        return max(1, round(self.n_blocks * k / reference))

    def scale_text_block(self, k: int, reference: int = 12) -> int:
        """The text block (or prompt depth) that corresponds to `k` in a tower of `reference` blocks, at least 1."""
        return max(1, round(self.n_text_blocks * k / reference))

    def forward_spec(self, image_size: int, pos_interp: PosInterp = "bilinear") -> ForwardSpec:
        """What decides the forward pass of this backbone at that size.

        Raises:
            UsageError: the size is not a multiple of the patch size.
        """
        check_size(image_size, image_size, self.patch_size, self.name)
        return ForwardSpec(self.id, image_size, pos_interp)

    # ---- images ----

    def encode_image(
        self,
        images: Tensor,
        spec: EncoderSpec,
        visual_tokens: Tensor | None = None,
        deep_visual_tokens: Sequence[Tensor] = (),
        inject: Mapping[int, Injection] | None = None,
    ) -> Features:
        """The taps and global features asked for by `spec`, from one plain pass.

        images: (B,3,H,W), normalised, any size divisible by the patch size whose shorter side is `spec`'s.
        visual_tokens: (n,C) or (B,n,C), appended behind the patches after `ln_pre`, without position; they attend
        and are attended to, and are left out of every tap. `Features.extra["visual_tokens"]` holds them, (B,n,C),
        as they leave the last block run.
        deep_visual_tokens: entry i, shaped like `visual_tokens`, overwrites those rows before block i+2 (AdaCLIP).
        inject: block -> function of the (B,N,C) patch rows that enter it, giving their increment (DIVE).

        Raises:
            BackboneError: a tap or an injection outside the tower, or a spec made for other weights.
            UsageError: an image size that does not fit. ValueError: tokens of the wrong shape.
        """
        self._check_request(images, spec, len(deep_visual_tokens), inject or ())
        visual = self.model.visual
        x = embed_patches(visual, images, spec.forward.pos_interp)
        n_patches = x.shape[1] - 1
        tokens = self._as_rows(visual_tokens, len(images))
        deep = [self._as_rows(t, len(images)) for t in deep_visual_tokens]
        for i, replacement in enumerate(deep):
            if replacement.shape != tokens.shape:
                found, expected = tuple(replacement.shape), tuple(tokens.shape)
                raise ValueError(f"deep_visual_tokens[{i}] is {found}; it replaces visual tokens of {expected}")
        if tokens.shape[1]:
            x = torch.cat([x, tokens.to(x.dtype)], dim=1)
        last = self.n_blocks if spec.global_ln_post else max((t.block for t in spec.taps), default=0)
        x, kept = run_tower(visual, x, n_patches, spec.taps, last, deep, inject, self.checkpoint_blocks)
        taps = {tap: kept[tap.block, tap.first_vv_block] for tap in spec.taps}
        size = (images.shape[2], images.shape[3])
        return Features(
            taps={tap: rows if tap.raw else self.project(rows) for tap, rows in taps.items()},
            global_={ln: self.project(x[:, 0], ln) for ln in spec.global_ln_post},
            grid=(size[0] // self.patch_size, size[1] // self.patch_size),
            image_size=size,
            extra={"visual_tokens": x[:, 1 + n_patches :]} if tokens.shape[1] else {},
        )

    def embed_patches(self, images: Tensor, pos_interp: PosInterp = "bilinear") -> Tensor:
        """Tokens that enter block 1, (B,1+N,C); images (B,3,H,W). For methods that choose what to encode (WinCLIP)."""
        check_size(images.shape[2], images.shape[3], self.patch_size, self.name)
        return embed_patches(self.model.visual, images, pos_interp)

    def run_blocks(self, tokens: Tensor) -> Tensor:
        """Tokens after the last block, (B,T,C), from any tokens (B,T,C) that could enter block 1."""
        for block in self.model.visual.transformer.resblocks:
            tokens, _ = run_block(block, tokens)
        return tokens

    def project(self, tokens: Tensor, ln_post: bool = True) -> Tensor:
        """Visual tokens (...,C) in the joint space, (...,D): `ln_post` (unless told not to), then the projection."""
        return (self.model.visual.ln_post(tokens) if ln_post else tokens) @ self.model.visual.proj

    # ---- texts ----

    @cached_property
    def _tokenizer(self) -> SimpleTokenizer:
        return SimpleTokenizer(context_length=self.context_length)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (n,L), int64 on this device, zero behind end-of-text; end-of-text is each row's largest id.

        Raises:
            UsageError: a text is longer than the context (nothing is cut off in silence).
        """
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            found = [self._tokenizer.sot_token_id, *self._tokenizer.encode(text), self._tokenizer.eot_token_id]
            if len(found) > len(row):
                raise UsageError(f"text of {len(found)} tokens, {self.name} reads {len(row)}; shorten: {text!r}")
            row[: len(found)] = torch.tensor(found)
        return ids.to(self.device)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Rows of the token table, (n,L,Wt), no position added; ids (n,L) int64."""
        return self.model.token_embedding(ids)

    def encode_text(
        self,
        embeddings: Tensor,
        eot: Tensor,
        deep_tokens: Sequence[Tensor] = (),
        deep_token_cast: DeepTokenCast = "none",
        truncate_context: bool = True,
    ) -> Tensor:
        """Text features (n,D) read at end-of-text.

        embeddings: (n,T,Wt), T at most L, learnable context already in place, no position added. eot: (n,) int64.
        deep_tokens: entry i, (len,Wt) or (n,len,Wt), overwrites rows 1..len before block i+2; no position is added.
        deep_token_cast: "fp16" rounds them (and their gradients) to half precision as the released AnomalyCLIP does.
        truncate_context: leave out the rows behind the last end-of-text; exact, and several times faster.

        Raises:
            ValueError: shapes that do not fit, or deep tokens that would overwrite an end-of-text row.
            BackboneError: more deep tokens than there are blocks behind the first.
        """
        if not len(embeddings):
            return embeddings.new_zeros(0, self.embed_dim)
        if deep_token_cast not in ("none", "fp16"):
            raise UsageError(f"unknown deep_token_cast '{deep_token_cast}'; known: none, fp16")
        check_before_blocks("deep tokens", range(2, 2 + len(deep_tokens)), self.n_text_blocks, f"{self.name}'s text")
        check_text(embeddings, eot, deep_tokens, self.text_width, self.context_length)
        return run_text(
            self.model, embeddings, eot, deep_tokens, deep_token_cast, truncate_context, self.checkpoint_blocks
        )

    def encode_prompts(self, texts: Sequence[str], chunk: int = 256) -> Tensor:
        """Features (n,D) of plain sentences, `chunk` at a time: memory O(chunk), the same values for any chunk."""
        parts = []
        for start in range(0, max(len(texts), 1), chunk):
            ids = self.tokenize(texts[start : start + chunk])
            parts.append(self.encode_text(self.embed_tokens(ids), ids.argmax(dim=-1)))
        return torch.cat(parts)

    # ---- checks ----

    def _as_rows(self, tokens: Tensor | None, batch: int) -> Tensor:
        """Extra tokens as (B,n,C); none are (B,0,C)."""
        if tokens is None:
            return self.model.visual.proj.new_zeros(batch, 0, self.vision_width)
        rows = tokens.expand(batch, -1, -1) if tokens.ndim == 2 else tokens
        if rows.ndim != 3 or rows.shape[0] != batch or rows.shape[2] != self.vision_width:
            expected = f"(n,{self.vision_width}) or ({batch},n,{self.vision_width})"
            raise ValueError(f"visual tokens are {tuple(tokens.shape)}, expected {expected}")
        return rows

    def _check_request(self, images: Tensor, spec: EncoderSpec, n_deep: int, injected: Iterable[int]) -> None:
        height, width = images.shape[2:]
        check_size(height, width, self.patch_size, self.name)
        if min(height, width) != spec.forward.image_size:
            raise UsageError(f"images are {height}x{width}, the encoder spec says {spec.forward.image_size}")
        if spec.forward.backbone != self.id:
            raise BackboneError(f"encoder spec made for {spec.forward.backbone}, but the weights are {self.id}")
        check_taps(spec.taps, self.n_blocks, self.name)
        check_before_blocks("injection", list(injected), self.n_blocks, self.name)
        check_before_blocks("deep visual tokens", range(2, 2 + n_deep), self.n_blocks, self.name)
