"""Files of released checkpoints: opened without running anything, written as the released code reads them."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zsad_bench.atomic import whole_file
from zsad_bench.backbones.wrappers import Ambiguous, Found, NotFound, find_state
from zsad_bench.errors import CheckpointError
from zsad_bench.methods._official import OfficialForm, Part


@dataclass(frozen=True)
class Content:
    """What files held. name: of them all, for messages; sha256: of the file, of several that of their hashes."""

    name: str
    loaded: tuple[Any, ...]
    sha256: str


class Released(NamedTuple):
    """state: of all parts. prefix: of the names of each part that is not in its usual place, else ""."""

    state: dict[str, Tensor]
    prefix: str


def open_files(paths: Sequence[Path]) -> Content:
    """The content of one file or several; nothing in them is executed.

    Raises:
        CheckpointError: missing, truncated, not a torch file, or one that asks for code.
    """
    opened = [_open_one(path) for path in paths]
    digests = [sha256 for _, sha256 in opened]
    both = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return Content(", ".join(map(str, paths)), tuple(loaded for loaded, _ in opened), both)


def find_released(content: Content, method: str, forms: Mapping[str, OfficialForm]) -> Released:
    """The parts of a method's released checkpoint, bare or under any prefixes and dictionaries.

    forms: of all methods, by name; they are asked whose the file is, where it seems not to be this one's.

    Raises:
        CheckpointError: a part is missing, there are two of it that differ, or the file is another method's.
    """
    found, why = None, ""
    try:
        found = _parts(content, forms[method])
    except NotFound as error:
        why = str(error)
    if found is None or not forms[method].shown_by(found.state):
        for name, form in forms.items():
            if name != method and (key := _shown(content, form)):
                raise CheckpointError(f"official checkpoint {content.name}: {key}, use --method {name}")
    if found is None:
        raise CheckpointError(f"official checkpoint {content.name}: {why}")
    if odd := next((name for name, tensor in found.state.items() if not _plain(tensor)), None):
        raise CheckpointError(
            f"official checkpoint {content.name}: {found.prefix}{odd}: found no plain tensor, expected one with its "
            "values in rows"
        )
    return found


def save_file(path: Path, content: Mapping[str, Any]) -> None:
    """Writes what `OfficialForm.packed` gave, whole or not at all."""
    with whole_file(path) as file:
        torch.save(dict(content), file)


def _shown(content: Content, form: OfficialForm) -> str:
    """What shows a file to be of this form, and its shape; "" where nothing does."""
    for part in form.parts:  # one of several files is enough
        try:
            state = _part(content, part).state
        except NotFound:
            continue
        if key := form.shown_by(state):
            return f"{key}: found {tuple(state[key].shape)}; it is of {form.title}"
    return ""


def _parts(content: Content, form: OfficialForm) -> Released:
    state: dict[str, Tensor] = {}
    elsewhere = []
    for part in form.parts:
        try:
            found = _part(content, part)
        except Ambiguous:
            raise
        except NotFound as error:
            if len(form.parts) == 1:
                raise
            raise NotFound(f"{error}; a checkpoint of {form.title} may be several files: give all of them") from None
        state |= found.state
        if found.prefix not in ("", f"{part.wrapper}."):
            elsewhere.append(found.prefix)
    return Released(state, ", ".join(elsewhere))


def _part(content: Content, part: Part) -> Found:
    """A part in whichever file it is, its names with the part's prefix.

    Raises:
        NotFound: in none. Ambiguous: there are two that differ.
    """
    inside = f"{part.wrapper}." if part.only_wrapped else ""
    found: list[Found] = []
    missing: list[NotFound] = []
    for loaded in content.loaded:
        try:
            found.append(find_state(loaded, [inside + mark for mark in part.marks]))
        except Ambiguous:
            raise
        except NotFound as error:
            missing.append(error)
    if not found:
        raise missing[0]
    (state, prefix), *others = found
    for other, _ in others:
        if state.keys() != other.keys() or not all(torch.equal(state[key], other[key]) for key in state):
            raise Ambiguous(f"found {part.marks[0]} in two files that differ; give only the one you mean")
    own = {part.prefix + name.removeprefix(inside): value for name, value in state.items() if name.startswith(inside)}
    return Found(own, prefix + inside)


def _open_one(path: Path) -> tuple[Any, str]:
    what = f"official checkpoint {path}"
    if not path.is_file():
        raise CheckpointError(f"{what}: no such file")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and TorchScript: the error says it
            return _open(path), sha256
    except Exception as error:  # a damaged pickle can raise anything
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise CheckpointError(
                f"{what}: asks for {asked[1].rstrip('.,')}, which is code and is never run; expected tensors alone"
            ) from None
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
            raise CheckpointError(f"{what}: found a pickle of more than tensors, which is never run") from None
        raise CheckpointError(
            f"{what}: found {path.stat().st_size} bytes that are not a torch file, or a truncated one; copy it anew"
        ) from None


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
