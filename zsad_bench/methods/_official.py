"""Official checkpoints of AnomalyCLIP and FAPrompt: their names and shapes on one side, our parameters on the other.

Both are the prompt learner of the released code (zqhang/AnomalyCLIP, May 2025, and mala-lab/FAPrompt, July 2025, both
MIT): a state dict under the one key `prompt_learner`. What trains is carried over bit for bit, and the configuration is
read off the shapes. The rest are buffers, which follow from the prompts' words and the backbone's token table, and
projections that no forward pass uses.

Errors name a key, what was found and what was expected; whoever opened the file puts its name in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.errors import CheckpointError

Shape = tuple[int | str, ...]  # a name stands for a number that the file decides; W is the text width, L the context

DEEP = "compound_prompts_text"
PROJECTION = "compound_prompt_projections"
PROJECTION_WIDTH = 896  # what the official constructor writes down, whatever the backbone
IDS = ("tokenized_prompts_pos", "tokenized_prompts_neg")
_IGNORED = re.compile(rf"token_(prefix|suffix)_(pos|neg)|{PROJECTION}\.\d+\.(weight|bias)")
_NUMBERED = re.compile(rf"(?:{DEEP}\.|{PROJECTION}\.)(\d{{1,4}})(?:\.weight|\.bias)?")


@dataclass(frozen=True)
class Key:
    """An official tensor and the parameter of ours that it is. lead: axes of one in front that ours does without."""

    official: str
    ours: str
    shape: Shape
    lead: int = 0


@dataclass(frozen=True)
class Layout:
    """One method's file.

    infers: fields of our configuration that are sizes in `keys`. settings: further fields, of the released behaviour.
    needs: what a configuration must say to have an official form. shared: abnormal prompts begin with the normal
    context. n_abnormal: how many abnormal prompts there are.
    """

    title: str
    keys: tuple[Key, ...]
    infers: tuple[str, ...]
    settings: Mapping[str, Any]
    needs: Mapping[str, Any] = field(default_factory=dict)
    shared: bool = False
    n_abnormal: int | str = 1


LAYOUTS = {
    "anomalyclip": Layout(
        title="AnomalyCLIP",
        keys=(
            Key("ctx_pos", "ctx_normal", (1, 1, "n_ctx", "W"), lead=2),
            Key("ctx_neg", "ctx_abnormal", (1, 1, "n_ctx", "W"), lead=2),
        ),
        infers=("n_ctx",),
        settings={"fidelity": "official"},
        needs={"ensemble": "none"},
    ),
    "faprompt": Layout(
        title="FAPrompt",
        keys=(
            Key("ctx_pos", "ctx_normal", (1, 1, "n_normal", "W"), lead=2),
            Key("ctx_neg", "ctx_abnormal", (1, "n_prompts", "n_abnormal", "W"), lead=1),
            Key("patch_meta_net.linear1.weight", "prior.fc1.weight", ("hidden", "inputs")),
            Key("patch_meta_net.linear1.bias", "prior.fc1.bias", ("hidden",)),
            Key("patch_meta_net.linear2.weight", "prior.fc2.weight", ("W", "hidden")),
            Key("patch_meta_net.linear2.bias", "prior.fc2.bias", ("W",)),
        ),
        infers=("n_normal", "n_prompts", "n_abnormal", "n_patches"),
        # The released code trains its prior on the first patches of an image, whatever they show.
        settings={"fidelity": "official", "token_selection": "first_k"},
        needs={"compound": True, "prior_from": "patches"},
        shared=True,
        n_abnormal="n_prompts",
    ),
}


# --- from the official names to ours ----------------------------------------------------------------------------------


def read(method: str, state: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Overrides of the method's configuration, and its parameters as float32.

    backbone: only its widths and numbers of blocks are read.

    Raises:
        CheckpointError: of the other method, or a key is missing, unexpected, of another shape or not finite.
    """
    layout = LAYOUTS[method]
    _check_method(method, state)
    depth = _n_deep(state, backbone)
    wanted: dict[str, Shape] = {key.official: key.shape for key in layout.keys}
    wanted |= {f"{DEEP}.{i}": ("deep_len", "W") for i in range(depth)}
    wanted |= _id_shapes(layout)
    sizes = {"W": backbone.text_tower.width, "L": backbone.text_tower.context_length}
    for key, shape in wanted.items():
        if key not in state:
            raise CheckpointError(f"{key}: found nothing, expected {_shown(shape, sizes)}")
        _measure(key, state[key], shape, sizes, backbone.name)
    for key in state:
        if key not in wanted and not _IGNORED.fullmatch(key):
            raise CheckpointError(f"{key}: found {tuple(state[key].shape)}, expected no such key in {layout.title}'s")
    if "inputs" in sizes:
        sizes["n_patches"] = _n_patches(sizes, backbone)
    overrides = {
        **layout.settings,
        **{name: sizes[name] for name in layout.infers},
        "deep_len": sizes.get("deep_len", 0),
        "deep_depth": depth + 1,
    }
    tensors = {key.ours: state[key.official][(0,) * key.lead].float() for key in layout.keys}
    deep = [state[f"{DEEP}.{i}"].float() for i in range(depth)]
    tensors["deep_tokens"] = torch.stack(deep) if deep else torch.zeros(0, 0, backbone.text_tower.width)
    return overrides, tensors


def check_ids(method: str, state: Mapping[str, Tensor], ids: Tensor) -> None:
    """Nothing, when the file's prompts have the words of ours; ids (2,L), normal first.

    Raises:
        CheckpointError: names the first token that differs.
    """
    for key, ours in _ids(ids, state["ctx_neg"].shape[1]).items():
        other = (state[key].cpu() != ours).nonzero()
        if len(other):
            at = tuple(other[0].tolist())
            found, expected = int(state[key][at]), int(ours[at])
            raise CheckpointError(
                f"{key}: found token {found} at {at}, expected {expected}; it was trained with other words than "
                f"{LAYOUTS[method].title}'s"
            )


# --- and back ---------------------------------------------------------------------------------------------------------


def write(
    method: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], ids: Tensor, embedded: Tensor | None
) -> dict[str, Tensor]:
    """The official state dict, with zeros for its unused projections.

    config: resolved. ids: (2,L) token ids, normal first. embedded: their rows of the token table, (2,L,W), which the
    official loader wants a copy of; None leaves those four keys out, and then it has to load with `strict=False`.

    Raises:
        CheckpointError: the configuration has no form in the official code.
    """
    layout = LAYOUTS[method]
    for name, value in layout.needs.items():
        if config[name] != value:
            raise CheckpointError(f"{name}: found {config[name]}, expected {value}; the official code has no other")
    state = {key.official: tensors[key.ours][(None,) * key.lead].clone() for key in layout.keys}
    state |= {f"{DEEP}.{i}": one.clone() for i, one in enumerate(tensors["deep_tokens"])}
    width, (_, n_abnormal, own, _) = state["ctx_pos"].shape[-1], state["ctx_neg"].shape
    for i in range(len(tensors["deep_tokens"])):
        state[f"{PROJECTION}.{i}.weight"] = torch.zeros(PROJECTION_WIDTH, width)
        state[f"{PROJECTION}.{i}.bias"] = torch.zeros(PROJECTION_WIDTH)
    state |= _ids(ids, n_abnormal)
    if embedded is not None:
        normal = state["ctx_pos"].shape[2]
        abnormal = own + normal if layout.shared else own
        for end, rows, context, count in (("pos", embedded[0], normal, 1), ("neg", embedded[1], abnormal, n_abnormal)):
            state[f"token_prefix_{end}"] = rows[:1].repeat(1, count, 1, 1)
            state[f"token_suffix_{end}"] = rows[1 + context :].repeat(1, count, 1, 1)
    return state


# --- what both need ---------------------------------------------------------------------------------------------------


def _ids(ids: Tensor, n_abnormal: int) -> dict[str, Tensor]:
    counts = (1, n_abnormal)
    return {key: row.to("cpu", torch.int32).repeat(1, n, 1) for key, row, n in zip(IDS, ids, counts, strict=True)}


def _id_shapes(layout: Layout) -> dict[str, Shape]:
    return {IDS[0]: (1, 1, "L"), IDS[1]: (1, layout.n_abnormal, "L")}


def _check_method(method: str, state: Mapping[str, Tensor]) -> None:
    """Tells the two apart by FAPrompt's network and its several abnormal prompts; all else they have in common."""
    network = next((key for key in state if key.startswith("patch_meta_net.")), None)
    if method == "anomalyclip" and network:
        raise CheckpointError(f"{network}: found, expected no such key; it is of FAPrompt, use --method faprompt")
    if method == "faprompt" and not network and "ctx_neg" in state and state["ctx_neg"].shape[1:2] == (1,):
        key = "patch_meta_net.linear1.weight"
        raise CheckpointError(
            f"{key}: found nothing, expected FAPrompt's network; it is of AnomalyCLIP, use --method anomalyclip"
        )


def _n_deep(state: Mapping[str, Tensor], backbone: Backbone) -> int:
    """How many deep matrices there should be: one for every projection, too, so that a lost last one is missed."""
    numbered = [(int(match[1]), key) for key in state if (match := _NUMBERED.fullmatch(key))]
    last, key = max(numbered, default=(-1, ""))
    if last + 1 >= backbone.text_tower.n_blocks:
        raise CheckpointError(
            f"{key}: found {last + 1} deep matrices, expected {backbone.text_tower.n_blocks - 1} or fewer: "
            f"{backbone.name} has {backbone.text_tower.n_blocks} text blocks"
        )
    return last + 1


def _measure(key: str, tensor: Tensor, shape: Shape, sizes: dict[str, int], backbone: str) -> None:
    """Puts the sizes that this tensor decides into `sizes`; refuses one that contradicts them."""
    expected = _shown(shape, sizes)
    fits = tensor.ndim == len(shape)
    for name, found in zip(shape, tensor.shape, strict=False):
        fits = fits and found == (sizes.setdefault(name, found) if isinstance(name, str) else name)
    if not fits:
        raise CheckpointError(f"{key}: found {_shown(tuple(tensor.shape), {})}, expected {expected} on {backbone}")
    if tensor.is_floating_point() == (key in IDS):
        wanted = "integers" if key in IDS else "floating point"
        raise CheckpointError(f"{key}: found {tensor.dtype}, expected {wanted}")
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{key}: found values that are not finite, expected finite ones; the file is damaged")


def _n_patches(sizes: Mapping[str, int], backbone: Backbone) -> int:
    """How many patches feed FAPrompt's prior; its hidden layer has a sixteenth of its inputs."""
    inputs, hidden, joint = sizes["inputs"], sizes["hidden"], backbone.vision.joint_width
    if not inputs or inputs % joint or hidden != max(1, inputs // 16):
        raise CheckpointError(
            f"patch_meta_net.linear1.weight: found ({hidden}, {inputs}), expected (n_patches * {joint} // 16, "
            f"n_patches * {joint}) on {backbone.name}"
        )
    return inputs // joint


def _shown(shape: Shape, sizes: Mapping[str, int]) -> str:
    parts = [str(sizes.get(part, part)) if isinstance(part, str) else str(part) for part in shape]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
