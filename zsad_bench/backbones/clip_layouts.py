"""CLIP's parameters as other programs name them, in the names and shapes of open_clip's plain ViT.

OpenAI's archives and open_clip's own files have these names already. The transformers library keeps queries, keys and
values apart, and its projections the other way round. Values are copied as they are, float32 apart: nothing is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zsad_bench.backbones.wrappers import Ambiguous, NotFound, find_state
from zsad_bench.errors import BackboneError

Layout = Literal["open_clip", "transformers"]
MARKS: dict[Layout, str] = {
    "open_clip": "visual.conv1.weight",
    "transformers": "vision_model.embeddings.patch_embedding.weight",
}
# Beside the parameters: sizes in OpenAI's archives, a causal mask in traced models, numbers of positions.
_BESIDE = re.compile(
    r"input_resolution|context_length|vocab_size|attn_mask|(vision_model|text_model)\.embeddings\.position_ids"
)
_WHOLE = {  # transformers' name -> ours
    "logit_scale": "logit_scale",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    **{
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in (
            ("vision_model.pre_layrnorm", "visual.ln_pre"),  # the library's own spelling
            ("vision_model.post_layernorm", "visual.ln_post"),
            ("text_model.final_layer_norm", "ln_final"),
        )
        for kind in ("weight", "bias")
    },
}
_TURNED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_TOWERS = {"vision_model": "visual.transformer", "text_model": "transformer"}
_IN_BLOCK = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_BLOCK = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_JOINED = ("q", "k", "v")


class Converted(NamedTuple):
    """state: float32, in open_clip's names. layout: of the file. prefix: in front of its names.

    widened: how many tensors had fewer bits. left_out: names that open_clip's model does not have.
    """

    state: dict[str, Tensor]
    layout: Layout
    prefix: str
    widened: int
    left_out: tuple[str, ...]


def to_open_clip(loaded: Mapping[str, Tensor], source: str) -> Converted:
    """The parameters of a CLIP, from tensors by name under any prefixes.

    source: the file's name, for messages.

    Raises:
        BackboneError: no CLIP in a layout that is known, two that differ, an unknown name, or a part that is missing.
    """
    layout, state, prefix = _found(loaded, source)
    if layout == "open_clip":
        state = {name.removeprefix("text."): tensor for name, tensor in state.items()}  # a text tower apart
    left_out = tuple(name for name in state if _BESIDE.fullmatch(name))
    kept = {name: tensor for name, tensor in state.items() if name not in left_out}
    widened = sum(tensor.is_floating_point() and tensor.element_size() < 4 for tensor in kept.values())
    kept = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in kept.items()}
    named = kept if layout == "open_clip" else _renamed(kept, source)
    named["logit_scale"] = _scale(named, source)
    return Converted(named, layout, prefix, widened, left_out)


def _found(loaded: Mapping[str, Tensor], source: str) -> tuple[Layout, dict[str, Tensor], str]:
    for layout, mark in MARKS.items():
        try:
            state, prefix = find_state(loaded, [mark])
        except Ambiguous as error:
            raise BackboneError(f"{source}: {error}") from None
        except NotFound:
            continue
        return layout, state, prefix
    shown = ", ".join(list(loaded)[:3]) or "no tensors"
    raise BackboneError(
        f"{source} is not a CLIP with a vision transformer: expected {' or '.join(MARKS.values())} under any prefix, "
        f"found {shown}, …"
    )


def _scale(state: Mapping[str, Tensor], source: str) -> Tensor:
    if "logit_scale" not in state or state["logit_scale"].numel() != 1:
        found = tuple(state["logit_scale"].shape) if "logit_scale" in state else "nothing"
        raise BackboneError(f"{source}: logit_scale: found {found}, expected one number")
    return state["logit_scale"].reshape(())


def _renamed(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """transformers' names and shapes as open_clip's."""
    named: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}  # of the in-projections
    for name, tensor in state.items():
        if name in _WHOLE:
            named[_WHOLE[name]] = tensor
        elif name in _TURNED:
            named[_TURNED[name]] = tensor.t().contiguous()
        elif block := _BLOCK.fullmatch(name):
            tower, number, inner, kind = block.groups()
            ours = f"{_TOWERS[tower]}.resblocks.{number}"
            if inner in _IN_BLOCK:
                named[f"{ours}.{_IN_BLOCK[inner]}.{kind}"] = tensor
            elif (part := inner.removeprefix("self_attn.").removesuffix("_proj")) in _JOINED:
                parts.setdefault(f"{ours}.attn.in_proj_{kind}", {})[part] = tensor
            else:
                raise BackboneError(f"{source}: {name} is not a parameter of transformers' CLIP")
        else:
            raise BackboneError(f"{source}: {name} is not a parameter of transformers' CLIP")
    for name, three in parts.items():
        if missing := [part for part in _JOINED if part not in three]:
            raise BackboneError(f"{source}: {name} lacks {missing[0]}_proj; copy the file again")
        named[name] = torch.cat([three[part] for part in _JOINED])
    return named
