"""What kind of weight file a file is, seen from its first bytes and its table of contents: nothing in it is opened."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Literal

Kind = Literal["safetensors", "torchscript", "torch", "pickle", "other"]

TITLES: dict[Kind, str] = {
    "safetensors": "safetensors",
    "torchscript": "a TorchScript archive",
    "torch": "a torch file (pickle in a zip archive)",
    "pickle": "a pickle",
    "other": "not a weight file",
}
_LARGEST_HEADER = 100_000_000  # bytes: the limit of the safetensors format


def file_kind(path: Path) -> Kind:
    """`torch`: an archive of torch.save. `pickle`: a bare one, as torch.save wrote before 1.6, or any other program.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if start[:2] == b"PK" and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return "other"
        if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
            return "torchscript"
        return "torch" if any(name.endswith("data.pkl") for name in names) else "other"
    if start[8:9] == b"{" and _header(path) is not None:
        return "safetensors"
    return "pickle" if start[:1] == b"\x80" else "other"


def safetensors_notes(path: Path) -> dict[str, str]:
    """The notes (`__metadata__`) of a safetensors file; {} where it has none or is no such file."""
    header = _header(path) or {}
    notes = header.get("__metadata__", {})
    return {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {}


def _header(path: Path) -> dict[str, object] | None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_LARGEST_HEADER, path.stat().st_size - 8):
            return None
        try:
            header = json.loads(file.read(length))
        except (ValueError, UnicodeDecodeError):
            return None
    return header if isinstance(header, dict) else None
