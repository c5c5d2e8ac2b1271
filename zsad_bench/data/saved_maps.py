"""Anomaly maps that others saved, one per file: the numbers that a file holds, none of them scaled, rounded or guessed.

PNG and TIFF of one channel give their stored values (integers stay integers, a 16-bit PNG is 0 to 65535), NPY, NPZ and
safetensors their one array. What cannot be the map of one image is refused: colours, several arrays, several pages.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.data import decode, float_tiff
from zsad_bench.data.decode import UnreadableError

SUFFIXES = (".npy", ".npz", ".png", ".safetensors", ".tif", ".tiff")
_WHOLE_FLOAT32 = 2**24  # integers up to here are float32 numbers


@dataclass(frozen=True)
class SavedMap:
    """values: (h,w) float32, or float64 where float32 would not tell its numbers apart; finite, higher is more
    anomalous. sha256: of the file, hex. kind: "npy float32", "png 16-bit"…"""

    values: NDArray
    sha256: str
    kind: str

    @property
    def largest(self) -> float:
        """The largest value, exactly as it is stored."""
        return float(self.values.max())


class _Stored(NamedTuple):
    array: NDArray
    kind: str


def read_map(path: Path) -> SavedMap:
    """The map that a file holds.

    Raises:
        UnreadableError: missing, damaged, of no such format, not one (H,W) array of real numbers, or not finite; one
            line that names the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot read map {path} ({error.strerror}); save it again") from None
    stored = _stored(path, data)
    values = _as_map(path, stored.array)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        row, column = divmod(int(wrong[0]), values.shape[1])
        raise UnreadableError(
            f"map {path}: {wrong.size} of its {values.size} values are nan or infinite, the first at row {row}, column "
            f"{column}; every value has to be a finite number"
        )
    return SavedMap(values, hashlib.sha256(data).hexdigest(), stored.kind)


def listed(folder: Path) -> tuple[list[str], list[str]]:
    """(files that may hold a map, all others), POSIX paths below a folder, sorted; hidden files are in neither.

    Raises:
        UnreadableError: not a folder.
    """
    if not folder.is_dir():
        raise UnreadableError(f"{folder} is not a folder of maps; name the folder that holds one file per image")
    found: tuple[list[str], list[str]] = [], []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found[path.suffix.lower() not in SUFFIXES].append(name.as_posix())
    return sorted(found[0]), sorted(found[1])


def _stored(path: Path, data: bytes) -> _Stored:
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _of_numpy(path, data)
    if suffix == ".safetensors":
        return _of_safetensors(path, data)
    if suffix in SUFFIXES:
        if suffix != ".png" and (floats := float_tiff.read(path, data)) is not None:
            return _Stored(floats, f"tiff {floats.dtype.name}")
        array, kind = decode.stored_values(path, data)
        return _Stored(array, kind)
    raise UnreadableError(f"map {path}: expected a file of {', '.join(SUFFIXES)}")


def _of_numpy(path: Path, data: bytes) -> _Stored:
    """Never through pickle: an array of objects is refused."""
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _Stored(loaded, f"npy {loaded.dtype.name}")
        with loaded:
            name = _only(path, loaded.files)
            array = loaded[name]
        return _Stored(array, f"npz {array.dtype.name}")
    except (OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, MemoryError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from None


def _of_safetensors(path: Path, data: bytes) -> _Stored:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        arrays = load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from None
    tensor = arrays[_only(path, list(arrays))]
    kind = f"safetensors {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()  # numpy has no bfloat16; each of these is a float32 number
    return _Stored(tensor.numpy(), kind)


def _only(path: Path, names: Iterable[str]) -> str:
    names = sorted(names)
    if len(names) != 1:
        found = f"{len(names)} arrays ({', '.join(names[:4]) or 'none'})"
        raise UnreadableError(f"map {path} holds {found} and nothing says which is the map; save one array per file")
    return names[0]


def _as_map(path: Path, array: NDArray) -> NDArray:
    """(h,w) float32, or float64 where that would lose something; axes of one entry before and behind are taken off."""
    shape = array.shape
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UnreadableError(f"map {path} is an array of {array.dtype}; expected real numbers of at most 64 bits")
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        raise UnreadableError(f"map {path} is an array of shape {shape}; expected one number per pixel, (H,W)")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and _beyond(array, 2**53):
        raise UnreadableError(
            f"map {path} holds integers beyond 2^53, which no floating-point number tells apart; divide them before"
        )
    exact = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2) or _fits_float32(array)
    return np.ascontiguousarray(array, dtype=np.float32 if exact else np.float64)


def _fits_float32(array: NDArray) -> bool:
    if array.dtype.kind != "f":
        return not _beyond(array, _WHOLE_FLOAT32)
    with np.errstate(over="ignore", under="ignore"):
        return bool(np.array_equal(array.astype(np.float32).astype(np.float64), array, equal_nan=True))


def _beyond(array: NDArray, limit: int) -> bool:
    return int(array.max()) > limit or int(array.min()) < -limit


def _damaged(path: Path, error: Exception) -> UnreadableError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "pickle" in reason:
        reason = "it is no array of numbers; Python objects are not loaded"
    return UnreadableError(f"cannot read map {path} ({reason}); save it again")
