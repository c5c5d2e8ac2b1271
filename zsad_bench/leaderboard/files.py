"""Files that are either whole or not there."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from zsad_bench.errors import RowError, UsageError


def file_name(text: str) -> str:
    """The text as the name of a file: what is not a plain letter, digit, dot, dash or underscore becomes one."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def write_whole(path: str | Path, content: bytes) -> Path:
    """The path, written through a temporary file beside it and a rename: readers see the old or the new content.

    Raises:
        RowError: the folder cannot be written, or the disk is full; what was there stays.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; what lies in a leaderboard is for everyone to read.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RowError(f"{path}: cannot be written ({error.strerror}); free or unlock its folder") from error
        raise
    return path


def write_between(path: str | Path, begin: str, end: str, text: str) -> Path:
    """The path of a page whose lines between two marker lines are now this text; the rest of it stays.

    Raises:
        UsageError: the page does not have each marker once. RowError: it cannot be written.
    """
    path = Path(path)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(end) < old.index(begin):
        raise UsageError(f"{path}: expected the lines '{begin}' and '{end}' to write between; put them back")
    return write_whole(path, f"{old.partition(begin)[0]}{begin}\n\n{text}\n\n{end}{old.partition(end)[2]}".encode())
