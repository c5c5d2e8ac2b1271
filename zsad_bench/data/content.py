"""The content of files, read once and cached on disk until a file changes.

The cache holds the sha256 of a file's bytes (where processors have instructions for it, faster than any other of its
strength; also what publishers state of their archives) and, where the leak guard asked, how the decoded image looks.
The first is believed while size, times and inode are those seen when it was read, the second as long as the content is
the same. As git does, a file that changed less than two seconds before it was read is not cached: within the tick of a
file system's clock a second change would not show.

One file per data root; lines are only appended, each with its own checksum: processes need no locks,
which home folders on networks may not have, and a half-written line counts as missing. The folder may be
deleted at any time; where it cannot be written everything works, but files are read again each time.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import PIL

from zsad_bench.atomic import whole_file
from zsad_bench.data import decode, locations
from zsad_bench.data.looks import RULE, WAVES, Look, look
from zsad_bench.data.pixels import PIXEL_RULE
from zsad_bench.errors import DatasetError

UNREADABLE = "unreadable"  # stands for the content of a file that may not be read
SETTLED = 2_000_000_000  # nanoseconds; the coarsest clock of a file system in use (FAT) ticks that often
_LOOKS = f"{PIXEL_RULE}.{RULE}.{PIL.__version__}"  # another decoder may give other pixels
_SHARE = 256  # files between two writes: what is stopped has not read for nothing
_TASK = 8  # files that a thread takes at a time
_READERS, _DECODERS = 8, 4  # threads: reading waits for disks and networks, decoding holds whole images
_WORTH_SWEEPING = 1000  # outdated lines
_HEX = frozenset("0123456789abcdef")

T = TypeVar("T")


class Stamp(NamedTuple):
    """What changes with a file, as far as the file system tells without reading it; times in nanoseconds."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> Stamp:
        """Raises OSError where there is no such file."""
        seen = os.stat(path)  # noqa: PTH116 thousands of times, and without a Path each
        return cls(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)

    def is_settled(self, now: int) -> bool:
        """Whether another change would have shown since. The time of change cannot be set back, except on Windows."""
        return (self.modified if os.name == "nt" else self.changed) < now - SETTLED


class ContentIndex:
    """The files below one root, by their paths relative to it; POSIX, as in samples.

    trouble: why nothing could be written, in one line, or "".
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self._base = root, os.fspath(root)
        self.file = folder / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.jsonl"
        self.trouble = ""
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._looks: dict[str, Look | None] = {}
        self._unsaved: list[list[Any]] = []
        self._load()

    def digest(self, path: str) -> str:
        """The sha256 of one file, or `UNREADABLE`; what was read is written with the next `save`."""
        file, before = os.path.join(self._base, path), time.time_ns()  # noqa: PTH118
        try:
            stamp = Stamp.of(file)
            known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            digest = sha256(file)
            if Stamp.of(file) == stamp:
                self._keep(path, stamp, before, digest)
        except OSError:
            return UNREADABLE
        return digest

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """The sha256 of each file, hex; `UNREADABLE` where it may not be read or is missing."""
        digests = self._in_shares(self.digest, list(dict.fromkeys(paths)), _READERS)
        return dict(digests)

    def looks(self, paths: Iterable[str]) -> dict[str, Look | None]:
        """How each image looks; None where it cannot be read or decoded."""
        return dict(self._in_shares(self._look, list(dict.fromkeys(paths)), _DECODERS))

    def unseen(self, paths: Iterable[str]) -> int:
        """How many images `looks` would have to decode."""
        return sum(digest != UNREADABLE and digest not in self._looks for digest in self.digests(paths).values())

    def learn(self, path: str, stamp: Stamp, before: int, digest: str, seen: Look | None) -> None:
        """Takes over what was read elsewhere. stamp, before: of the file and the clock, before it was read."""
        self._keep(path, stamp, before, digest)
        if digest not in self._looks:
            self._keep_look(digest, seen)

    def save(self) -> None:
        """Writes new entries. A folder that cannot be written is noted in `trouble`, and is not an error."""
        lines, self._unsaved = self._unsaved, []
        if not lines or self.trouble:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                # The line end in front closes a line that somebody was killed in.
                os.write(handle, b"\n" + b"".join(map(_line, lines)))
            finally:
                os.close(handle)
        except OSError as error:
            self.trouble = (
                f"{self.file.parent} cannot be written ({error.strerror}), so every file is read again each time; free "
                "or unlock it, or set ZSAD_CACHE to another folder"
            )

    # Reading files.

    def _in_shares(self, read: Callable[[str], T], paths: Sequence[str], threads: int) -> list[tuple[str, T]]:
        found: list[tuple[str, T]] = []
        with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of large images and odd metadata: a run says it
            for start in range(0, len(paths), _SHARE):
                share = paths[start : start + _SHARE]
                tasks = [share[at : at + _TASK] for at in range(0, len(share), _TASK)]
                done = pool.map(lambda task: [read(path) for path in task], tasks)
                found += zip(share, itertools.chain.from_iterable(done), strict=True)
                self.save()
        return found

    def _look(self, path: str) -> Look | None:
        digest = self.digest(path)
        if digest == UNREADABLE:
            return None
        if digest not in self._looks:
            try:
                seen = look(decode.read_image(self.root / path).image)
            except (DatasetError, OSError):
                seen = None
            if self.digest(path) != digest:  # replaced meanwhile
                return seen
            self._keep_look(digest, seen)
        return self._looks[digest]

    def _keep(self, path: str, stamp: Stamp, before: int, digest: str) -> None:
        if stamp.is_settled(before) and self._known.get(path) != (stamp, digest):
            self._known[path] = stamp, digest
            self._unsaved.append(["file", path, *stamp, digest])

    def _keep_look(self, digest: str, seen: Look | None) -> None:
        self._looks[digest] = seen
        if seen is not None:  # what cannot be decoded is tried again: the reason may have been a lack of memory
            mark = None if seen.signature is None else base64.b64encode(seen.signature).decode()
            self._unsaved.append(["look", digest, _LOOKS, *seen[:3], mark])

    # The file on disk.

    def _load(self) -> None:
        try:
            lines = [line for line in self.file.read_bytes().split(b"\n") if line]
        except OSError:  # none yet, or none that may be read
            return
        for line in lines:
            self._take(_record(line))
        current = len(self._known) + len(self._looks)
        if len(lines) - current > _WORTH_SWEEPING + current:
            self._sweep()

    def _take(self, record: Any) -> None:
        match record:
            case ["file", str(path), int(size), int(modified), int(changed), int(inode), str(digest)] if _is_hex(
                digest, 64
            ):
                self._known[path] = Stamp(size, modified, changed, inode), digest
            case ["look", str(digest), str(rule), int(width), int(height), str(pixels), mark] if rule == _LOOKS:
                signature = None if mark is None else _decoded(mark)
                if _is_hex(digest, 64) and _is_hex(pixels, 32) and (mark is None or signature is not None):
                    self._looks[digest] = Look(width, height, pixels, signature)

    def _sweep(self) -> None:
        """Writes the file anew without outdated lines; what others append meanwhile is lost, and read again."""
        self._unsaved = [["file", path, *stamp, digest] for path, (stamp, digest) in self._known.items()]
        for digest, seen in list(self._looks.items()):
            self._keep_look(digest, seen)
        content = b"".join(map(_line, self._unsaved))
        self._unsaved = []
        with suppress(OSError), whole_file(self.file, durable=False) as file:  # the long file is as good
            file.write(content)


def index_of(root: Path) -> ContentIndex:
    """The index of a data root in the cache, one per process."""
    return _index(root, locations.cache_root() / "content")


def troubles() -> list[str]:
    """Why this process could not cache what it read; one line per folder."""
    return list(dict.fromkeys(index.trouble for index in _opened if index.trouble))


def sha256(path: str | Path) -> str:
    """Of a file's bytes, in hex."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


_opened: list[ContentIndex] = []


@functools.cache
def _index(root: Path, folder: Path) -> ContentIndex:
    _opened.append(ContentIndex(root, folder))
    return _opened[-1]


def _line(record: list[Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()  # ASCII: names that are not UTF-8 come back as they were
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _record(line: bytes) -> Any:
    """The entry of a line, or None for a line that is half-written or damaged."""
    check, _, text = line.partition(b" ")
    if check != b"%08x" % zlib.crc32(text):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _decoded(mark: Any) -> bytes | None:
    try:
        signature = base64.b64decode(mark, validate=True)
    except (ValueError, TypeError):
        return None
    return signature if len(signature) == WAVES * WAVES else None


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)
