"""One process at a time: the lock of a file, also on file systems without locks.

Network file systems without a lock daemon refuse locks (ENOLCK), and some do not know them (ENOSYS, EOPNOTSUPP). There
the existence of a file replaces a lock. This file lies beside the usual lock file, which stays when it is released.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zsad_bench.printable import say

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
_without: dict[Path, bool] = {}  # folder -> whether its file system has no locks, for the folders tested so far
_told: set[int] = set()  # devices of file systems without locks


class Held(TimeoutError):
    """Another process held a lock for longer than we waited."""


@contextmanager
def locked(path: str | Path, seconds: float = -1) -> Iterator[None]:
    """Holds the lock that the file at `path` stands for. seconds: how long it is waited for; -1 is without end.

    Where there are no locks, a line says so once, and `<path>.held` exists while it is held; one that a killed
    process of this machine left is taken away, one of another machine is waited for.

    Raises:
        Held: another process holds it for longer. OSError: the file cannot be made.
    """
    lock = _acquired(Path(path), seconds)
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, seconds: float) -> Any:
    from filelock import FileLock, SoftFileLock, Timeout

    folder = path.parent.absolute()
    try:
        if not _has_none(folder):
            lock = FileLock(path, timeout=seconds)
            try:
                lock.acquire()
                return lock
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                _tell(folder, error)
        lock = SoftFileLock(f"{path}.held", timeout=seconds)
        lock.acquire()
        return lock
    except Timeout as error:
        raise Held(f"another process holds {error.lock_file}") from None


def _has_none(folder: Path) -> bool:
    """Whether the file system of a folder has no locks; tested once, on an unnamed file."""
    if folder in _without:
        return _without[folder]
    try:
        import fcntl
    except ImportError:  # Windows: locks are part of every file system
        _without[folder] = False
        return False
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _tell(folder, error)
            return True
    _without[folder] = False
    return False


def _tell(folder: Path, error: OSError) -> None:
    _without[folder] = True
    system = folder.stat().st_dev
    if system not in _told:
        _told.add(system)
        why = f"this file system has no locks ({error.strerror})"
        say(f"zsad-bench: {folder}: {why}; files that end in .held replace them", error=True)
