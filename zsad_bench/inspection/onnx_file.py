"""What an exported graph says of itself, and how its file is sealed: damage is found before anything is run.

An ONNX file is a protobuf message, and two such messages written one behind the other are their union. So the last
bytes of a file are a message of its own, with one entry of metadata: the SHA-256 of all bytes in front of it. Every
ONNX program reads the file as usual.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from zsad_bench.errors import OnnxError
from zsad_bench.types import Category, Normalisation

FORMAT = "zsad-bench onnx 1"
EXPORTERS, RUNTIME = ("onnx", "onnxscript", "onnxruntime"), "onnxruntime"  # the packages of the extra `onnx`
INSTALL = "pip install 'zsad-bench[onnx]'"
IMAGES, SCORE, MAP = "images", "score", "map"  # the input and the outputs
SEAL = "file_sha256"
_PIECE = 1 << 20
_DATA = r"\.[0-9a-f]{16}\.data"  # how the name of a file with weights ends
_DIGITS = 64
# Field 14 of a model (metadata), an entry with its key and 64 characters; all lengths are below 128, one byte each.
_SEAL_START = bytes([0x72, 4 + len(SEAL) + _DIGITS, 0x0A, len(SEAL)]) + SEAL.encode() + bytes([0x12, _DIGITS])
_SEAL_SIZE = len(_SEAL_START) + _DIGITS


@dataclass(frozen=True)
class Header:
    """What a graph says of itself; all of it lies in the file's metadata, as text.

    method: its registry name; title: as printed. version: of the method. config: resolved. backbone: its id, name and
    twelve digits of the weights' hash; weights_hash: all of them. licence: of the weights, "unknown" where it is not
    known. training: of a checkpoint, what it was trained on; {} without one. identity: 16 hex digits of all that
    decides a score. image_size: S, pixels. category: what the texts call the images. package, torch: versions that
    exported it. data: the file with the weights, beside this one, and data_sha256: its hash; "" where all is in one.
    """

    method: str
    title: str
    version: str
    config: dict[str, Any]
    backbone: str
    weights_hash: str
    licence: str
    training: dict[str, Any]
    identity: str
    image_size: int
    normalisation: Normalisation
    category: Category
    opset: int
    package: str
    torch: str
    data: str = ""
    data_sha256: str = ""

    def metadata(self) -> dict[str, str]:
        """As the file holds it: texts as they are, all else as JSON."""
        parts = asdict(self) | {"normalisation": None}
        mean, std = self.normalisation
        parts |= {"mean": list(mean), "std": list(std)}
        del parts["normalisation"]
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in parts.items()}
        return {"format": FORMAT} | texts

    @classmethod
    def of(cls, metadata: Mapping[str, str], path: Path) -> Header:
        """The header in a file's metadata.

        Raises:
            OnnxError: of another format, or with an entry missing.
        """
        if (found := metadata.get("format", "none")) != FORMAT:
            raise OnnxError(
                f"ONNX file {path}: its format is '{found}', this version reads '{FORMAT}'; export it again"
            )
        try:
            names = ("config", "training", "image_size", "opset")
            read: dict[str, Any] = {name: json.loads(metadata[name]) for name in names}
            mean, std, category = (json.loads(metadata[name]) for name in ("mean", "std", "category"))
            plain = ("method", "title", "version", "backbone", "weights_hash", "licence", "identity", "package",
                     "torch", "data", "data_sha256")  # fmt: skip
            read |= {name: metadata[name] for name in plain}
            return cls(
                **read,
                normalisation=Normalisation(tuple(mean), tuple(std)), category=Category(**category),
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            raise OnnxError(f"ONNX file {path}: its metadata is incomplete ({error!r}); export it again") from None


def require(packages: tuple[str, ...], what: str) -> None:
    """Nothing, where these packages are installed. what: what asks for them.

    Raises:
        OnnxError: one is missing; names all that are, and how to install them.
    """
    if missing := [name for name in packages if find_spec(name) is None]:
        raise OnnxError(f"{what} needs {' and '.join(missing)}, not installed here; {INSTALL}")


def data_name(graph: str, digest: str) -> str:
    """The name of the file beside a graph's that has its weights: of another content another name."""
    return f"{graph}.{digest[:16]}.data"


def old_data(graph: Path) -> list[Path]:
    """The files beside a graph's that have `data_name`s of it."""
    mine = re.compile(re.escape(graph.name) + _DATA)
    return sorted(each for each in graph.parent.iterdir() if mine.fullmatch(each.name))


def seal(content: bytes) -> bytes:
    """The bytes that follow a file's content."""
    return _SEAL_START + hashlib.sha256(content).hexdigest().encode()


def check_sealed(path: Path) -> None:
    """Nothing, where a file is as it was written. Reads all of it.

    Raises:
        OnnxError: missing, unreadable, another program's, incomplete or changed.
    """
    if not path.is_file():
        raise OnnxError(f"ONNX file {path}: no such file")
    try:
        size = path.stat().st_size - _SEAL_SIZE
        with path.open("rb") as file:
            file.seek(max(0, size))
            end = file.read()
            file.seek(0)
            found = _sha256(file, max(0, size))
    except OSError as error:
        raise OnnxError(f"ONNX file {path}: cannot be read ({error.strerror})") from None
    if size <= 0 or not end.startswith(_SEAL_START):
        raise OnnxError(
            f"ONNX file {path}: is not one that `zsad-bench export onnx` wrote, or its end is missing; export it or "
            "copy it again"
        )
    if found.encode() != end[len(_SEAL_START) :]:
        raise OnnxError(f"ONNX file {path}: was changed or damaged since it was exported; copy it or export it again")


def check_data(path: Path, header: Header) -> None:
    """Nothing, where the weights beside a graph are those that it was exported with. Reads all of them.

    Raises:
        OnnxError: missing, or others.
    """
    if not header.data:
        return
    beside = path.parent / header.data
    if not re.fullmatch(r"[^/\\]+" + _DATA, header.data):
        raise OnnxError(f"ONNX file {path}: names '{header.data}' as its weights, which cannot be a file beside it")
    if not beside.is_file():
        raise OnnxError(f"ONNX file {path}: its weights are missing; put {header.data} beside it")
    with beside.open("rb") as file:
        if _sha256(file, beside.stat().st_size) != header.data_sha256:
            raise OnnxError(
                f"ONNX file {path}: {header.data} beside it is damaged or of another export; copy both again"
            )


def file_sha256(path: Path) -> str:
    """Hex digits of a file's hash."""
    with path.open("rb") as file:
        return _sha256(file, path.stat().st_size)


def _sha256(file: BinaryIO, size: int) -> str:
    """Of the next `size` bytes."""
    digest = hashlib.sha256()
    while size > 0 and (piece := file.read(min(_PIECE, size))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()
