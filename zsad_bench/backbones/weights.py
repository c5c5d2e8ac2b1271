"""Weight files: read safely, named precisely when they cannot be used, and fitted to an architecture."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zsad_bench.backbones.file_kind import file_kind
from zsad_bench.backbones.wrappers import Ambiguous, NotFound, find_state, tensor_names
from zsad_bench.errors import BackboneError, UnknownNameError

P = ParamSpec("P")
ModuleT = TypeVar("ModuleT", bound=nn.Module)

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
LOCAL_DIR = "local-dir:"  # in front of a folder


class OtherWeights(BackboneError):
    """A state dict of another family than the one that reads it. names: of its tensors, under any prefixes."""

    def __init__(self, message: str, path: Path, names: Sequence[str]) -> None:
        super().__init__(message)
        self.path, self.names = path, names

    def has(self, mark: str) -> bool:
        """Whether there is a parameter of this name, under any prefix."""
        return any(f".{name}".endswith(f".{mark}") for name in self.names)


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """sha256 (hex) over names, shapes and float32 bytes in name order: the same on every machine and device."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def read_state(path: Path, marks: Sequence[str]) -> dict[str, Tensor]:
    """Parameter names to tensors as stored (any float dtype), wrappers and prefixes taken off.

    marks: names that the weights asked for have. Nothing in the file is executed: safetensors, or a pickle opened with
    `weights_only=True`.

    Raises:
        BackboneError: missing, truncated, corrupt, a TorchScript archive, or not a state dict. OtherWeights: one
            without any of the marks.
    """
    if not path.is_file():
        raise BackboneError(f"weights not found: {path}")
    if path.suffix not in SUFFIXES:
        raise BackboneError(f"{path.name}: weights must be one of {', '.join(SUFFIXES)}")
    if path.suffix != ".safetensors" and file_kind(path) == "torchscript":
        raise BackboneError(
            f"{path.name} is a TorchScript archive, which runs code when opened. If you trust it, convert it once: "
            f"zsad-bench weights convert {path.name} --out {path.stem}.safetensors, and give the new file"
        )
    try:
        loaded = _open(path)
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, pickle.UnpicklingError) and file_kind(path) in ("torch", "pickle"):
            raise BackboneError(
                f"{path.name} holds more than tensors, and may run code when it is opened. If you trust it, convert it "
                f"once: zsad-bench weights convert {path.name} --trust --out {path.stem}.safetensors"
            ) from None
        reason = str(error).split("\n")[0][:120] or type(error).__name__
        raise BackboneError(
            f"{path.name} cannot be read ({path.stat().st_size} bytes): truncated, corrupt, or more than a plain "
            f"state dict ({reason}); copy or download it again"
        ) from error
    return _unwrap(loaded, path, marks)


@contextmanager
def without_values() -> Iterator[None]:
    """What is built in here has shapes and no values (meta device), to be filled by `fit`.

    What only sets or scales values does nothing. PyTorch knows how to do it without values as well, but imports its
    compiler for that, which takes more than a second.
    """
    with torch.device("meta"), _NoValues():
        yield


_SET_VALUES = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "fill_", "zero_", "triu_", "mul_"}
_SCALE = {"mul", "__mul__", "__rmul__"}


class _NoValues(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        first = args[0] if args else kwargs.get("tensor")
        if name in _SET_VALUES and isinstance(first, Tensor) and first.is_meta:
            return first
        if name in _SCALE and len(args) == 2:
            tensors = [one for one in args if isinstance(one, Tensor)]
            if len(tensors) == 1 and tensors[0].is_meta and tensors[0].is_floating_point():
                return tensors[0]
        if func is torch.randn:
            func = torch.empty
            kwargs.pop("generator", None)
        return func(*args, **kwargs)


def unset(layer: Callable[P, ModuleT], *args: P.args, **kwargs: P.kwargs) -> ModuleT:
    """A layer on the CPU with whatever values its memory has, for whoever sets them next: nothing is drawn."""
    with without_values():
        made = layer(*args, **kwargs)
    for name, parameter in list(made.named_parameters(recurse=False)):
        setattr(made, name, nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype)))
    return made


def fit(model: nn.Module, state: Mapping[str, Tensor], what: str, source: str) -> None:
    """Put float32 copies of `state` into `model` (built on the meta device or not), every key exactly.

    Nothing is rounded, resized or left out.

    Raises:
        BackboneError: a key is missing, unknown, of another shape, or not finite; the first one is named.
    """
    problem = _first_mismatch(model.state_dict(), state)
    if problem:
        raise BackboneError(f"{source} does not fit {what}: {problem}")
    state = {k: v.to("cpu", torch.float32) for k, v in state.items()}
    broken = next((k for k, v in state.items() if not torch.isfinite(v).all()), None)
    if broken:
        raise BackboneError(f"{source} is damaged: {broken} has values that are not finite; download it again")
    model.load_state_dict(state, strict=True, assign=True)


def asked_weights(asked: str | Path, tags: Iterable[str], name: str) -> str | Path:
    """A known tag, or a path, from what was typed as weights of `name`.

    Raises:
        UnknownNameError: it is not a tag and does not look like a path.
    """
    text, known = str(asked).removeprefix(LOCAL_DIR), list(tags)
    path = Path(text)
    if text in known:
        return text
    if not path.exists() and path.suffix not in SUFFIXES and len(path.parts) == 1:
        raise UnknownNameError(
            f"unknown weights '{text}' of {name}; give a PATH or a tag; tags: {', '.join(known) or 'none'}"
        )
    return path


def file_in(folder: Path, preferred: Sequence[str] = ()) -> Path:
    """The weight file in a folder; of several, the first preferred one.

    Raises:
        BackboneError: none, or several of which none is preferred.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    first = [folder / name for name in preferred if folder / name in found]
    if not first and len(found) != 1:
        what = ", ".join(path.name for path in found) or "none"
        raise BackboneError(f"{folder.name}: expected one weight file ({', '.join(SUFFIXES)}), found {what}")
    return (first or found)[0]


def _open(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols: where one matters, the error says it
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(loaded: Any, path: Path, marks: Sequence[str]) -> dict[str, Tensor]:
    try:
        return find_state(loaded, marks).state
    except Ambiguous as error:
        raise BackboneError(f"{path.name}: {error}") from None
    except NotFound:
        names = tensor_names(loaded)
        if not names:
            raise BackboneError(f"{path.name} holds no state dict: expected parameter names and tensors") from None
        problem = f"{path.name} has no {marks[0]}, but {', '.join(names[:3])}, …"
        if any(".vision_model." in f".{name}" for name in names):
            problem = (
                f"{path.name}: its keys are those of a model of the transformers library; a CLIP's can be converted: "
                f"zsad-bench weights convert {path.name} --out {path.stem}-open_clip.safetensors"
            )
        raise OtherWeights(problem, path, names) from None


def _first_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    for key, tensor in expected.items():
        if key not in found:
            return f"{key} {tuple(tensor.shape)} is missing"
        if found[key].shape != tensor.shape:
            return f"{key} is {tuple(found[key].shape)}, expected {tuple(tensor.shape)}"
    unknown = next((k for k in found if k not in expected), None)
    return f"{unknown} {tuple(found[unknown].shape)} is not part of it" if unknown else None
