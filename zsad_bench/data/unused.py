"""Images below a dataset's root that no sample uses: counted and named, so that nothing is left out without a word."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from zsad_bench.data import files

_FOLDERS, _NAMES = 4, 2  # named in a line; the rest is counted
# How files begin whose names do not say that they are images.
_STARTS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_LONGEST = max(map(len, _STARTS))


@dataclass
class Unused:
    """POSIX paths below the root. images: that could be read. empty: of no bytes. foreign: of formats that Pillow does
    not read. nameless: images by their content, without a suffix that says so."""

    images: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)

    def lines(self, root: Path) -> dict[str, str]:
        """Kind -> one line, for each kind that occurs."""
        meanings = {
            "images": "image files of no sample, left out",
            "empty": "empty image files (0 bytes), left out; restore them",
            "foreign": "image files of formats that are not read, left out; convert them to PNG or TIFF",
            "nameless": "image files whose names have no suffix of images, left out; rename them",
        }
        paths_of = {kind: getattr(self, kind) for kind in meanings}
        return {
            kind: f"{root}: {len(paths)} {meanings[kind]}: {_listed(paths)}"
            for kind, paths in paths_of.items()
            if paths
        }


def find(root: Path, used: Collection[str], folders: Iterable[str] | None = None) -> Unused:
    """The images below the root that are not among the used ones. Links to folders are not entered.

    folders: paths below the root, to be looked into instead of everything. Files that have no suffix of images are
    opened for their first bytes.
    """
    result = Unused()
    for path in _walk(root) if folders is None else _directly(root, folders):
        name = path.rpartition("/")[2]
        if path in used:
            continue
        if files.is_image(name) or files.is_foreign(name):
            kind = result.images if files.is_image(name) else result.foreign
            (result.empty if _size(root / path) == 0 else kind).append(path)
        elif _begins_like_an_image(root / path):
            result.nameless.append(path)
    return result


def _walk(root: Path) -> Iterator[str]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted((name for name in inner if not files.is_noise(name)), key=os.fsencode)
        start = Path(folder).relative_to(root).as_posix()
        start = "" if start == "." else f"{start}/"
        yield from (start + name for name in sorted(names, key=os.fsencode) if not files.is_noise(name))


def _directly(root: Path, folders: Iterable[str]) -> Iterator[str]:
    for folder in sorted(set(folders)):
        start = "" if folder == "." else f"{folder}/"
        yield from (start + entry.name for entry in files.entries(root / folder) if not entry.is_dir())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing
        return None


def _begins_like_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).startswith(_STARTS)
    except OSError:
        return False


def _listed(paths: list[str]) -> str:
    """`crack/cam1/ 3 (0.png, 1.png, …), ./ 1 (overview.jpg)`."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_folder[PurePosixPath(path).parent.as_posix()].append(PurePosixPath(path).name)
    parts = []
    for folder, names in list(by_folder.items())[:_FOLDERS]:
        more = ", …" if len(names) > _NAMES else ""
        parts.append(f"{folder}/ {len(names)} ({', '.join(names[:_NAMES])}{more})")
    rest = len(by_folder) - _FOLDERS
    return ", ".join(parts) + (f" and in {rest} more folders" if rest > 0 else "")
