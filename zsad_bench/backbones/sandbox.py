"""Tensors of a weight file that is a pickle or a TorchScript archive, read in a locked process of its own.

The process (`sandboxed_read.py`) has no environment, a temporary folder, bounds on memory, time and output, and hands
back nothing but safetensors. On Linux it is also locked before the file is opened: no network, no other programs,
nothing written or removed. It may still read what this user may read; nothing of that can leave the machine, and what
comes back is checked like any other weight file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from zsad_bench.backbones import sandboxed_read
from zsad_bench.backbones.file_kind import Kind
from zsad_bench.errors import BackboneError

_MEMORY = 4 << 30  # bytes beside what the tensors take: torch itself, and room
_SECONDS = 900  # of CPU, for the largest file that is known
_WAIT = 1800  # seconds by the clock, on a slow disk
_ANSWER = 1 << 16  # bytes; whatever code in a file prints is cut there
_CODE = re.compile(r"GLOBAL (\S+)")  # how torch names what a pickle asks for
_REFUSED = "Weights only load failed"  # and how it begins where it does not name what
_IMPORTED = ("torch", "numpy", "typing_extensions")  # and what they import, which lies beside them


class AsksForCode(BackboneError):
    """A file that cannot be read without running code in it; what says which, "" where that is not known."""

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what


class Sandboxed(NamedTuple):
    """Tensors by name; how many other values the file had; whether the process was locked."""

    state: dict[str, Tensor]
    others: int
    locked: bool


def read_sandboxed(path: Path, kind: Kind, trusted: bool = False) -> Sandboxed:
    """What a file holds, in its own types.

    kind: what it is. trusted: whether code in it may run, in that process.

    Raises:
        AsksForCode: it does, and is not trusted. BackboneError: it cannot be read, or takes more than it may.
    """
    if kind == "torchscript" and not trusted:
        raise AsksForCode(f"{path.name} is a TorchScript archive, which may run code when it is opened", "")
    size = path.stat().st_size
    locked = sandboxed_read.can_lock()
    with tempfile.TemporaryDirectory(prefix="zsad-weights-") as folder:
        out = Path(folder) / "tensors.safetensors"
        with out.open("wb") as file:
            task: dict[str, Any] = {
                "kind": kind, "file": str(path.resolve()), "out": file.fileno(), "trusted": trusted, "lock": locked,
                "packages": _packages(), "memory": _MEMORY + 8 * size, "written": 2 * size + (64 << 20),
                "seconds": _SECONDS,
            }  # fmt: skip
            code, answer = _run(task, folder, file.fileno())
        said = _answered(answer)
        if code != 0 or "tensors" not in said:
            reason = str(said.get("error") or f"its process ended with {code}, by itself or at a limit")
            if not trusted and (asked := _CODE.search(reason)):
                what = asked[1].rstrip(".,")
                raise AsksForCode(f"{path.name} asks for {what}, which is code, when it is opened", what)
            if not trusted and _REFUSED in reason:
                raise AsksForCode(f"{path.name} holds more than tensors, and may run code when it is opened", "")
            raise BackboneError(f"{path.name} cannot be read: {reason[:200]}")
        return Sandboxed(_loaded(out, path), int(said["others"]), locked)


def _run(task: dict[str, Any], folder: str, out: int) -> tuple[int, bytes]:
    command = [sys.executable, "-I", "-S", "-B", sandboxed_read.__file__, json.dumps(task)]
    environment = {"HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as answer:  # not a pipe: nobody waits for whoever prints without end
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.DEVNULL,
            close_fds=True, pass_fds=(out,), start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(_WAIT)
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            code = -9
        end = answer.seek(0, os.SEEK_END)
        answer.seek(max(0, end - _ANSWER))
        return code, answer.read()


def _answered(answer: bytes) -> dict[str, Any]:
    """The last line, which is the process's own; code in a file may have printed others."""
    lines = answer.decode(errors="replace").strip().splitlines()
    try:
        said = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _loaded(out: Path, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(out.read_bytes()))  # not mapped: the file is about to go
    except (SafetensorError, ValueError, KeyError) as error:
        raise BackboneError(f"{path.name} cannot be read: what came back is not safetensors ({error})") from None


def _packages() -> list[str]:
    """The folders that hold torch and what it imports."""
    found = [find_spec(name) for name in _IMPORTED]
    folders = [Path(spec.origin).parent for spec in found if spec is not None and spec.origin is not None]
    tops = [
        folder.parent if (folder / "__init__.py").is_file() else folder for folder in folders
    ]  # a module lies in it, a package one below
    return list(dict.fromkeys(map(str, tops)))
