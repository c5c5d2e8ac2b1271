"""The files of official prompt learners: opened without running anything, written as the released code reads them."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zsad_bench.atomic import whole_file
from zsad_bench.backbones.wrappers import NotFound, find_state
from zsad_bench.errors import CheckpointError

WRAPPER = "prompt_learner"
MARKS = ("ctx_pos", "ctx_neg")  # what every prompt learner of the released code has


class OfficialFile(NamedTuple):
    """state: the prompt learner's. prefix: what stood before its names. sha256: of the file."""

    state: dict[str, Tensor]
    prefix: str
    sha256: str


def open_file(path: Path) -> OfficialFile:
    """The prompt learner in a file, bare or under any prefixes and dictionaries; nothing in it is executed.

    Raises:
        CheckpointError: missing, truncated, no torch file, one that asks for code, or one of something else or of two.
    """
    what = f"official checkpoint {path}"
    if not path.is_file():
        raise CheckpointError(f"{what}: no such file")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and TorchScript: the error says it
            loaded = _open(path)
    except Exception as error:  # a damaged pickle can raise anything
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise CheckpointError(
                f"{what}: asks for {asked[1].rstrip('.,')}, which is code and is never run; expected tensors alone"
            ) from None
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
            raise CheckpointError(f"{what}: found a pickle of more than tensors, which is never run") from None
        raise CheckpointError(
            f"{what}: found {path.stat().st_size} bytes that are no torch file, or a truncated one; copy it anew"
        ) from None
    try:
        state, prefix = find_state(loaded, MARKS)
    except NotFound as error:
        raise CheckpointError(f"{what}: {error}") from None
    if odd := next((name for name, tensor in state.items() if not _plain(tensor)), None):
        raise CheckpointError(f"{what}: {prefix}{odd}: found no plain tensor, expected one with its values in rows")
    return OfficialFile(state, prefix, sha256)


def save_file(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes the wrapped state dict, whole or not at all."""
    with whole_file(path) as file:
        torch.save({WRAPPER: dict(state)}, file)


def _is_pickle(path: Path) -> bool:
    """Whether a file that could not be read as tensors begins as a pickle, bare or in torch's archive."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _open(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path, device="cpu")
    return torch.load(path, map_location="cpu", weights_only=True)


def _plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta
