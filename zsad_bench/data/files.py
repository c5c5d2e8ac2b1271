"""Looking into folders of images: what counts, in which order, and one line where a folder cannot be read.

Nothing here descends by itself, so a loop of links ends nowhere. Everything is sorted by name in byte order, whatever
order the file system has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from zsad_bench.errors import DatasetError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")  # in any case; the content decides the format
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".7z", ".rar")
_NOISE = ("thumbs.db", "desktop.ini", "__macosx")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name; hidden files and what operating systems leave behind are left out.

    Raises:
        DatasetError: it is no folder, or may not be read.
    """
    try:
        with os.scandir(folder) as found:
            kept = [e for e in found if not e.name.startswith(".") and e.name.lower() not in _NOISE]
    except OSError as error:
        raise DatasetError(
            f"cannot read the folder {folder} ({error.strerror}); correct the path or its permissions"
        ) from None
    return sorted(kept, key=lambda e: os.fsencode(e.name))


def folders(folder: Path) -> list[str]:
    """Names of the folders in a folder."""
    return [entry.name for entry in entries(folder) if _is(entry.is_dir)]


def images(folder: Path, notes: list[str] | None = None) -> list[str]:
    """Names of the images directly in a folder, judged by suffix; [] when there is no such folder.

    Empty files are left out and said in `notes`.

    Raises:
        DatasetError: the folder may not be read, or holds a link to nothing.
    """
    if not folder.is_dir():
        return []
    names = []
    for entry in entries(folder):
        if not entry.name.lower().endswith(SUFFIXES):
            continue
        if not _is(entry.is_file):
            if entry.is_symlink():
                raise DatasetError(f"{entry.path} is a link to nothing, or to itself; restore the file it stands for")
            continue
        if entry.stat().st_size == 0:
            if notes is not None:
                notes.append(f"{entry.path} is empty (0 bytes) and left out; restore it")
            continue
        names.append(entry.name)
    return names


def nested(folder: Path, names: Iterable[str], depth: int = 2) -> Iterator[Path]:
    """The folder itself, then the folders of these names one and two levels below: archives nest."""
    yield folder
    wanted, level = set(names), [folder]
    for _ in range(depth):
        below = [parent / name for parent in level for name in folders(parent)]
        yield from (path for path in below if path.name in wanted)
        level = below


def archives(folder: Path) -> list[str]:
    """Names of packed archives in a folder."""
    return [entry.name for entry in entries(folder) if entry.name.lower().endswith(ARCHIVES)]


def stem_and_suffix(name: str) -> tuple[str, str]:
    """`("001", ".png")` of `001.PNG`: stems keep their case, suffixes do not matter in theirs."""
    path = PurePosixPath(name)
    return path.stem, path.suffix.lower()


def relative(path: Path, root: Path) -> str:
    """The POSIX path below a root."""
    return path.relative_to(root).as_posix()


def seen(folder: Path, most: int = 6) -> str:
    """What a folder holds, for an error message."""
    names = [entry.name + ("/" if _is(entry.is_dir) else "") for entry in entries(folder)]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"


def _is(check: object) -> bool:
    try:
        return bool(check())  # type: ignore[operator]
    except OSError:  # a link that points to itself
        return False
