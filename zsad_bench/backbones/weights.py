"""Weight files: read safely, named precisely when they cannot be used, and fitted to an architecture."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor

from zsad_bench.backbones.wrappers import Ambiguous, NotFound, find_state
from zsad_bench.errors import BackboneError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
# Bookkeeping that OpenAI's archives carry beside the parameters.
OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
_MARK = "visual.conv1.weight"  # what every CLIP that can be used here has
MASK = "attn_mask"  # the causal mask, which traced models carry along; it is rebuilt


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """sha256 (hex) over names, shapes and float32 bytes in name order: the same on every machine and device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Parameter names to tensors as stored (any float dtype), wrappers and prefixes taken off.

    Nothing in the file is executed: safetensors, or a pickle opened with `weights_only=True`.

    Raises:
        BackboneError: missing, truncated, corrupt, a TorchScript archive, or not a state dict.
    """
    if not path.is_file():
        raise BackboneError(f"weights not found: {path}")
    if path.suffix not in SUFFIXES:
        raise BackboneError(f"{path.name}: weights must be one of {', '.join(SUFFIXES)}")
    if path.suffix != ".safetensors" and _is_torchscript(path):
        raise BackboneError(
            f"{path.name} is a TorchScript archive, which runs code when opened. If you trust it, convert it once: "
            f"python -c \"import torch, safetensors.torch as s; m = torch.jit.load('{path.name}', 'cpu'); "
            f"s.save_file({{k: v.contiguous() for k, v in m.state_dict().items()}}, '{path.stem}.safetensors')\" "
            f"and give the new file"
        )
    try:
        loaded = _open(path)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).split("\n")[0][:120] or type(error).__name__
        raise BackboneError(
            f"{path.name} cannot be read ({path.stat().st_size} bytes): truncated, corrupt, or more than a plain "
            f"state dict ({reason}); copy or download it again"
        ) from error
    return _unwrap(loaded, path)


def fit(model: CLIP, state: dict[str, Tensor], what: str, source: str) -> None:
    """Put float32 copies of `state` into `model` (built on the meta device or not), every key exactly.

    Nothing is rounded, resized or left out.

    Raises:
        BackboneError: a key is missing, unknown, of another shape, or not finite; the first one is named.
    """
    expected = model.state_dict()
    state = {k: v for k, v in state.items() if k not in (*OPENAI_EXTRAS, MASK)}
    if "logit_scale" in state and state["logit_scale"].numel() == expected["logit_scale"].numel():
        state["logit_scale"] = state["logit_scale"].reshape(expected["logit_scale"].shape)
    problem = _first_mismatch(expected, state)
    if problem:
        raise BackboneError(f"{source} does not fit {what}: {problem}")
    state = {k: v.to("cpu", torch.float32) for k, v in state.items()}
    broken = next((k for k, v in state.items() if not torch.isfinite(v).all()), None)
    if broken:
        raise BackboneError(f"{source} is damaged: {broken} has values that are not finite; download it again")
    model.load_state_dict(state, strict=True, assign=True)
    if model.attn_mask is not None and model.attn_mask.is_meta:  # not part of the state
        n = model.context_length
        model.attn_mask = torch.full((n, n), float("-inf")).triu_(1)


def _open(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path, device="cpu")
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    try:
        state = find_state(loaded, (_MARK,)).state
    except Ambiguous as error:
        raise BackboneError(f"{path.name}: {error}") from None
    except NotFound:  # of another architecture, which `fit` names
        state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise BackboneError(f"{path.name} holds no state dict: expected parameter names and tensors")
    return {name.removeprefix("text."): tensor for name, tensor in state.items()}  # models with a text tower apart


def _first_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    if any(k.startswith("vision_model.") for k in found):
        return "its keys are those of the transformers library; use the open_clip or OpenAI form of these weights"
    for key, tensor in expected.items():
        if key not in found:
            return f"{key} {tuple(tensor.shape)} is missing"
        if found[key].shape != tensor.shape:
            return f"{key} is {tuple(found[key].shape)}, expected {tuple(tensor.shape)}"
    unknown = next((k for k in found if k not in expected), None)
    return f"{unknown} {tuple(found[unknown].shape)} is not part of it" if unknown else None
