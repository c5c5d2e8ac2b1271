"""open_clip's plain ViT CLIP as two towers, and its architectures and checkpoints by name.

Axes as in `backbones/base.py`; G patch rows (or columns) of the native grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache, lru_cache
from typing import Any

import torch
from open_clip import get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zsad_bench.backbones import weights
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.forward import resize_positions
from zsad_bench.backbones.text_tree import Attention
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import Activation, PosInterp, sent

QUICK = "-quickgelu"  # how open_clip names the same architecture with QuickGELU
VOCABULARY = 49408  # CLIP's byte-pair tokens with start and end of text
# What CLIP's released preprocessing subtracts and divides by (RGB in [0, 1]).
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
MARKS = ("visual.conv1.weight",)  # what every CLIP that can be used here has
# Bookkeeping that OpenAI's archives carry beside the parameters.
OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
_MASK = "attn_mask"  # the causal mask, which traced models carry along; it is rebuilt
_COMPUTED = {"gelu": F.gelu, "quickgelu": QuickGELU()}


# --- towers -----------------------------------------------------------------------------------------------------------


class ClipVision:
    """The visual tower: `SplitTower`, `TokenTower` and `VvTower` of backbones/towers.py.

    V-V attention runs beside a block's own, or in its place.
    """

    paths = frozenset({"plain", "vv", "attended", "tokens"})
    pos_interps: tuple[PosInterp, ...] = ("bilinear", "bicubic", "bicubic_antialias")
    n_prefix = 1

    def __init__(self, visual: VisionTransformer) -> None:
        self.visual, self.blocks = visual, visual.transformer.resblocks
        self.width, self.joint_width = visual.proj.shape
        self.n_blocks, self.n_heads = len(self.blocks), self.blocks[0].attn.num_heads
        self.patch_size, self.native_grid = visual.patch_size[0], tuple(visual.grid_size)
        self.activation = _own_activation(self.blocks)
        self.activations = frozenset({self.activation, *_COMPUTED})

    def embed(self, images: Tensor, pos_interp: PosInterp) -> Tensor:
        """Patches, class token, positions, `ln_pre`."""
        visual = self.visual
        patches = visual.conv1(images)
        grid = (patches.shape[2], patches.shape[3])
        class_token = visual.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)
        positions = resize_positions(visual.positional_embedding, 1, self.native_grid, grid, pos_interp)
        return visual.ln_pre(tokens + positions.to(tokens.dtype))

    def block(self, number: int, tokens: Tensor, with_vv: bool, activation: Activation) -> tuple[Tensor, Tensor | None]:
        """Both attentions share LN1, the in-projection and the out-projection (bias included), and their head split."""
        block = self.blocks[number - 1]
        q, k, v = _split(block, tokens)
        out = tokens + block.ls_1(_attend(block.attn, q, k, v))
        out = out + block.ls_2(_mlp(block, block.ln_2(out), activation))
        return out, block.ls_1(_attend(block.attn, v, v, v)) if with_vv else None

    def attend(self, number: int, tokens: Tensor) -> Tensor:
        block = self.blocks[number - 1]
        q, k, v = _split(block, tokens)
        return tokens + block.ls_1(_attend(block.attn, q, k, v))

    def value_block(self, number: int, tokens: Tensor, activation: Activation) -> Tensor:
        block = self.blocks[number - 1]
        v = _split(block, tokens)[2]
        out = tokens + block.ls_1(_attend(block.attn, v, v, v))
        return out + block.ls_2(_mlp(block, block.ln_2(out), activation))

    @property
    def final_norm(self) -> nn.LayerNorm:
        return self.visual.ln_post

    def place_tokens(self, tokens: Tensor) -> Tensor:
        position = self.visual.positional_embedding[0]
        return self.visual.ln_pre(tokens + position.to(tokens.dtype))

    def norm(self, tokens: Tensor) -> Tensor:
        return self.visual.ln_post(tokens)

    def project(self, tokens: Tensor, norm: bool = True) -> Tensor:
        return (self.norm(tokens) if norm else tokens) @ self.visual.proj


class ClipText:
    """The causal text tower (`towers.TreeTower`) with CLIP's tokenizer. name: of the backbone, for messages."""

    bidirectional = False

    def __init__(self, model: CLIP, name: str) -> None:
        self.model, self.name, self.blocks = model, name, model.transformer.resblocks
        self.width, self.n_blocks = model.text_projection.shape[0], len(self.blocks)
        self.context_length = model.context_length
        self.activation = _own_activation(self.blocks)
        self.activations = frozenset({self.activation, *_COMPUTED})

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        rows = []
        for text in texts:
            row = _token_ids(text)
            if len(row) > self.context_length:
                length = self.context_length
                raise UsageError(f"text of {len(row)} tokens, {self.name} reads {length}; shorten: {text!r}")
            rows.append(row + (0,) * (self.context_length - len(row)))
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.context_length)

    def end_of_text(self, ids: Tensor) -> Tensor:
        return ids.argmax(dim=-1)  # the last word of CLIP's vocabulary

    def embed_tokens(self, ids: Tensor) -> Tensor:
        return self.model.token_embedding(sent(ids, self.model.token_embedding.weight.device))

    def place(self, embeddings: Tensor) -> Tensor:
        return embeddings + self.model.positional_embedding[: embeddings.shape[1]].to(embeddings.dtype)

    def block(self, number: int, tokens: Tensor, eot: Tensor, activation: Activation) -> Tensor:
        block = self.blocks[number - 1]
        q, k, v = _split(block, tokens)
        out = tokens + block.ls_1(_attend(block.attn, q, k, v, is_causal=True))
        return out + block.ls_2(_mlp(block, block.ln_2(out), activation))

    def place_rows(self, embeddings: Tensor, places: Tensor) -> Tensor:
        return embeddings + self.model.positional_embedding[places].to(embeddings.dtype)

    def tree_block(self, number: int, rows: Tensor, attention: Attention, activation: Activation) -> Tensor:
        block, width = self.blocks[number - 1], self.width
        attn, normed = block.attn, block.ln_1(rows)
        weight, bias = attn.in_proj_weight, attn.in_proj_bias
        if attention.rows is None:
            q, k, v = F.linear(normed, weight, bias).split(width, -1)
        else:
            q = F.linear(attention.taken(normed), weight[:width], bias[:width])
            k, v = F.linear(normed, weight[width:], bias[width:]).split(width, -1)
        mixed = attention.mix(q, k, v, attn.num_heads)
        out = attention.taken(rows) + block.ls_1(attn.out_proj(mixed))
        return out + block.ls_2(_mlp(block, block.ln_2(out), activation))

    def read(self, tokens: Tensor, eot: Tensor, project: bool = True) -> Tensor:
        rows = tokens[torch.arange(len(tokens), device=tokens.device), eot]
        normed: Tensor = self.model.ln_final(rows)
        return normed @ self.model.text_projection if project else normed


@cache
def _tokenizer() -> SimpleTokenizer:
    """One for all towers: it reads a vocabulary of 49,408 tokens, which takes a while."""
    return SimpleTokenizer()


@lru_cache(maxsize=1 << 14)
def _token_ids(text: str) -> tuple[int, ...]:
    """Start, byte pairs, end. The same few thousand sentences are asked for by several methods, and in every step."""
    tokenizer = _tokenizer()
    return (tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id)


def _split(block: ResidualAttentionBlock, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, (B,heads,T,width of a head) each."""
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    return qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _attend(attn: nn.MultiheadAttention, q: Tensor, k: Tensor, v: Tensor, is_causal: bool = False) -> Tensor:
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)  # scale: head width ** -0.5
    return attn.out_proj(mixed.transpose(1, 2).flatten(2))


def _mlp(block: ResidualAttentionBlock, x: Tensor, activation: Activation) -> Tensor:
    if activation == "own":
        return block.mlp(x)
    return block.mlp.c_proj(_COMPUTED[activation](block.mlp.c_fc(x)))


def _own_activation(blocks: Sequence[ResidualAttentionBlock]) -> str:
    gelu = blocks[0].mlp.gelu
    return "quickgelu" if isinstance(gelu, QuickGELU) else "gelu" if gelu.approximate == "none" else "gelu_tanh"


def from_model(
    model: CLIP, name: str, mean: Sequence[float] = OPENAI_MEAN, std: Sequence[float] = OPENAI_STD
) -> Backbone:
    """The backbone around an open_clip model; the model is frozen and taken over, not copied.

    Raises:
        BackboneError: not a plain ViT CLIP with class-token pooling and the causal text tower.
    """
    check_supported(model, name)
    vision, text = ClipVision(model.visual), ClipText(model, name)
    return Backbone(model, name, vision, text, mean=mean, std=std, logit_scale=model.logit_scale)


# --- models without values, and values into them ----------------------------------------------------------------------


def named_config(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture (a copy)."""
    return get_model_config(name)


def checkpoints(name: str) -> dict[str, dict[str, Any]]:
    """Tags to open_clip's records (hub, mean, std, quick_gelu) of the checkpoints of an architecture."""
    return {tag: get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)}


def build_model(model_config: dict[str, Any], name: str) -> CLIP:
    """A CLIP of this architecture without values (meta device), to be filled by `fit`.

    Raises:
        BackboneError: the configuration is not that of a plain ViT CLIP with CLIP's own tokenizer.
    """
    config = deepcopy(model_config)
    text, vision = config.get("text_cfg", {}), config.get("vision_cfg", {})
    foreign = [key for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)]
    foreign += [key for key in ("timm_model_name",) if vision.get(key)]
    foreign += [key for key in ("multimodal_cfg", "custom_text") if config.pop(key, None)]
    if isinstance(vision.get("layers"), list):
        foreign.append("a ResNet")
    if foreign:
        raise BackboneError(f"{name} cannot be used as a backbone ({', '.join(foreign)}): it is not a plain ViT CLIP")
    try:
        with weights.without_values():
            model = CLIP(**config)
    except (TypeError, ValueError, AttributeError) as error:
        raise BackboneError(f"{name}: open_clip does not accept its configuration: {error}") from error
    check_supported(model, name)
    return model


def fit(model: CLIP, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Put float32 copies of a CLIP's state dict into `model`, as `weights.fit` does; what it need not hold is left out.

    Raises:
        BackboneError: as `weights.fit`.
    """
    state = {k.removeprefix("text."): v for k, v in state.items()}  # models with a text tower apart
    state = {k: v for k, v in state.items() if k not in (*OPENAI_EXTRAS, _MASK)}
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(model.logit_scale.shape)
    weights.fit(model, state, what, source)
    if model.attn_mask is not None and model.attn_mask.is_meta:  # not part of the state
        n = model.context_length
        model.attn_mask = torch.full((n, n), float("-inf")).triu_(1)


def check_activation(name: str, config: dict[str, Any], quick_gelu: bool, what: str) -> None:
    """Raises BackboneError when weights trained with one GELU meet an architecture with the other one.

    Such a pair loads without complaint and gives wrong numbers.
    """
    has = bool(config.get("quick_gelu"))
    if has == quick_gelu:
        return
    other = name.removesuffix(QUICK) if has else name + QUICK
    advice = (
        f"use {other}"
        if other in list_models()
        else f'write "quick_gelu": {str(quick_gelu).lower()} into its configuration'
    )
    needed, found = ("QuickGELU", "plain GELU") if quick_gelu else ("plain GELU", "QuickGELU")
    raise BackboneError(f"{what}: trained with {needed}, but {name} computes {found}; {advice}")


def check_supported(model: nn.Module, name: str) -> None:
    """Raises BackboneError unless this is a plain ViT CLIP: class token, end-of-text, causal text, stock blocks."""
    reason = _unsupported(model)
    if reason:
        raise BackboneError(f"{name} cannot be used as a backbone: {reason}")


def _unsupported(model: CLIP) -> str | None:
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


def usable_names() -> dict[str, list[str]]:
    """open_clip's architectures that a backbone can be made of, with their pretrained tags; builds none with values."""
    usable = {}
    for name in list_models():
        try:
            build_model(named_config(name), name)
        except BackboneError:
            continue
        usable[name] = sorted(checkpoints(name))
    return usable


def fitting_names(state: Mapping[str, Tensor]) -> list[str]:
    """open_clip's architectures that a CLIP's parameters fit exactly, name by name and shape by shape.

    One that computes GELU and one that computes QuickGELU have the same parameters, so there are often two.
    """
    found = []
    for name in list_models():
        config = named_config(name)
        if not _sizes_fit(config, state):
            continue
        try:
            model = build_model(config, name)
        except BackboneError:
            continue
        expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
        if expected == {key: tensor.shape for key, tensor in state.items()}:
            found.append(name)
    return found


def _sizes_fit(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """Whether the widths of a configuration are those of the parameters: most are not, and need not be built."""
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    sizes = {
        "visual.proj": (vision.get("width", 768), config.get("embed_dim")),
        "text_projection": (text.get("width", 512), config.get("embed_dim")),
    }
    return all(name in state and tuple(state[name].shape) == size for name, size in sizes.items())
