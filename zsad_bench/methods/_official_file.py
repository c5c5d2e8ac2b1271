"""The files of official prompt learners: opened without running anything, written as the released code reads them."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsad_bench.errors import CheckpointError

WRAPPER = "prompt_learner"


def open_file(path: Path) -> tuple[dict[str, Tensor], str]:
    """The prompt learner's state dict, bare or wrapped, and the sha256 of the file; nothing in it is executed.

    Raises:
        CheckpointError: missing, truncated, no torch file, one that asks for code, or one of something else.
    """
    what = f"official checkpoint {path}"
    if not path.is_file():
        raise CheckpointError(f"{what}: no such file")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and TorchScript: the error says it
            loaded = torch.load(path, map_location="cpu", weights_only=True)
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
    inner = loaded.get(WRAPPER, loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(inner, dict) or not inner or not all(_plain(*pair) for pair in inner.items()):
        held = ", ".join(map(str, list(loaded)[:4])) if isinstance(loaded, dict) else type(loaded).__name__
        raise CheckpointError(f"{what}: found {held or 'nothing'}, expected a state dict, bare or under '{WRAPPER}'")
    return dict(inner), sha256


def save_file(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes the wrapped state dict to a temporary file and puts it in place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    torch.save({WRAPPER: dict(state)}, partial)
    os.replace(partial, path)


def _is_pickle(path: Path) -> bool:
    """Whether a file that could not be read as tensors begins as a pickle, bare or in torch's archive."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _plain(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
