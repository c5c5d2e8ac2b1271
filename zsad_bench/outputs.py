"""Whether results can be written where they are to go: tried before anything is computed for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from zsad_bench.errors import UsageError, ZsadError

_TRIED = 1 << 20  # bytes that are written to see whether a disk or a quota is full
_FREE = 16 << 20  # bytes that a run needs at least, for rows, scores and checkpoints


def check_folder(path: str | Path, option: str) -> None:
    """Nothing, when files can be written into the folder, which need not exist; what is tried is removed again.

    option: that names the folder, as it is typed.

    Raises:
        UsageError: it, or something above it, is a file. ZsadError: it cannot be written, or its disk is full.
    """
    path = Path(path)
    there = _nearest(path)
    if not there.is_dir():
        raise UsageError(f"{option} {path}: {there} is a file; name a folder")
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_TRIED))
            file.flush()
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise ZsadError(
            f"{option} {path}: cannot be written ({error.strerror or error}); free or unlock it, or name another folder"
        ) from None
    if free < _FREE:
        raise ZsadError(
            f"{option} {path}: {free >> 20} MB are free on its disk, and {_FREE >> 20} are needed at least; free "
            "some, or name another folder"
        )


def check_file(path: str | Path, option: str) -> None:
    """Nothing, when the file can be written or written anew; its folder need not exist.

    Raises:
        UsageError: it is a folder, or something above it is a file. ZsadError: as `check_folder`.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; name a file, as in {path / 'NAME'}{path.suffix}")
    if not path.name:
        raise UsageError(f"{option} '{path}': name a file")
    check_folder(path.parent, option)


def _nearest(path: Path) -> Path:
    """The nearest thing that exists at or above a path."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
