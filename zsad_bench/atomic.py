"""Files that are either complete or missing."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zsad_bench.errors import RowError, UsageError

# What every file system keeps apart: no capitals, nothing hidden, no dot or space at the end, no name of a device.
_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$))[a-z0-9_-]([a-z0-9._-]{0,98}[a-z0-9_-])?")
_READABLE, _DIGITS = 60, 16  # letters of a name that stay readable, and hex digits that tell it from others


def file_name(text: str) -> str:
    """The text as the name of a file, without its ending: another one for every text, on any file system.

    Plain names of lower-case letters, digits, dots, dashes and underscores stay as they are. Of others ("Class1",
    "Übung", "con", a hundred letters) what is plain stays readable, and a tilde and 16 hex digits of the text follow:
    "class1~5f2b…". No plain name has a tilde.
    """
    if _PLAIN.fullmatch(text):
        return text
    readable = re.sub(r"[^a-z0-9_-]", "_", text.lower())[:_READABLE]
    # "surrogatepass": what was not UTF-8 on disk has a name too
    return f"{readable}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:_DIGITS]}"


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place when the block ends: readers see the old or the new content.

    It lies beside `path`, whose folder is made, and is gone when the block fails. durable: on disk before it takes its
    place; False for what can be made again.

    Raises:
        OSError: the folder cannot be written, or the disk is full; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by `tempfile`: its files are private, while these are for whoever may read others of this user.
    temporary = path.with_name(f".{path.name[:20]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: str | Path, content: bytes) -> Path:
    """The path, written as a whole: readers see the old or the new content.

    Raises:
        RowError: the folder cannot be written, or the disk is full; what was there stays.
    """
    path = Path(path)
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise RowError(f"{path}: cannot be written ({error.strerror}); free or unlock its folder") from error
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
