"""Looking into folders of images: what counts, in which order, and one line where a folder cannot be read.

A loop of links ends nowhere: no folder is entered twice. Everything is sorted by name in byte order, whatever
order the file system has.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from zsad_bench.errors import DatasetError

# Pillow has a name for them and no photographs inside: vector drawings (EPS would run Ghostscript), films, icons,
# fonts, and formats of which it reads the header alone.
_NO_PHOTOGRAPHS = frozenset(
    ".eps .ps .emf .wmf .mpg .mpeg .flc .fli .ico .icns .cur .ftc .ftu .bufr .grib .h5 .hdf".split()
)
# Images that Pillow cannot read: named where they are left out.
_FOREIGN = frozenset(
    ".heic .heif .jxl .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw .dcm .dicom .nii .exr .hdr .svg .eps .pdf".split()
)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".7z", ".rar")
_NOISE = ("thumbs.db", "desktop.ini", "__macosx")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name; hidden files and what operating systems leave behind are left out.

    Raises:
        DatasetError: it is not a folder, or may not be read.
    """
    try:
        with os.scandir(folder) as listing:
            visible = [entry for entry in listing if not is_noise(entry.name)]
    except OSError as error:
        raise DatasetError(
            f"cannot read the folder {folder} ({error.strerror}); correct the path or its permissions"
        ) from None
    return sorted(visible, key=lambda e: os.fsencode(e.name))


def is_noise(name: str) -> bool:
    """Whether a file or folder is hidden, or one that operating systems leave behind."""
    return name.startswith(".") or name.lower() in _NOISE


def folders(folder: Path) -> list[str]:
    """Names of the folders in a folder."""
    return [entry.name for entry in entries(folder) if _is(entry.is_dir)]


@cache
def suffixes() -> frozenset[str]:
    """What the names of images end in, in lower case: every format that Pillow reads photographs from."""
    Image.init()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN) - (
        _NO_PHOTOGRAPHS
    )


def is_image(name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, in any case. Which format it has, its content says."""
    return PurePosixPath(name).suffix.lower() in suffixes()


def is_foreign(name: str) -> bool:
    """Whether the suffix is of images that cannot be read here: raw photographs, DICOM, HEIC…"""
    return PurePosixPath(name).suffix.lower() in _FOREIGN


def images(folder: Path) -> list[str]:
    """Names of the images directly in a folder, judged by suffix; [] when there is no such folder.

    Empty files are left out; `data/unused.py` says which they are.

    Raises:
        DatasetError: the folder may not be read, or holds a link to nothing.
    """
    if not folder.is_dir():
        return []
    names = []
    for entry in entries(folder):
        if not is_image(entry.name):
            continue
        if not _is(entry.is_file):
            if entry.is_symlink() and not _is(entry.is_dir):
                raise DatasetError(f"{entry.path} is a link to nothing, or to itself; restore the file it stands for")
            continue
        if entry.stat().st_size:
            names.append(entry.name)
    return names


def images_below(folder: Path, skip: Callable[[Path], bool] = lambda inner: False) -> list[str]:
    """POSIX paths below a folder of all images in it and in its folders, but for those folders that `skip` names.

    Links to folders are followed, each folder once.
    """
    paths: list[str] = []
    _collect(folder, "", skip, set(), paths)
    return paths


def _collect(folder: Path, start: str, skip: Callable[[Path], bool], been: set[str], paths: list[str]) -> None:
    real = os.path.realpath(folder)
    if real in been or not folder.is_dir():
        return
    been.add(real)
    paths += [start + name for name in images(folder)]
    for name in folders(folder):
        if not skip(folder / name):
            _collect(folder / name, f"{start}{name}/", skip, been, paths)


def plain(name: str) -> str:
    """A name by its letters and digits alone, in lower case: `groundtruth` of `Ground_Truth`."""
    return "".join(letter for letter in unicodedata.normalize("NFC", name).casefold() if letter.isalnum())


def any_case(folder: Path, path: str) -> str | None:
    """The POSIX path of the folder below `folder` that this one names in any letter case; None when no path matches.

    Where several differ only in their case, the one as written, else the first by name.
    """
    parts: list[str] = []
    for part in path.split("/"):
        here = folder.joinpath(*parts)
        names = folders(here) if here.is_dir() else []
        alike = [name for name in names if name.casefold() == part.casefold()]
        if not alike:
            return None
        parts.append(part if part in alike else alike[0])
    return "/".join(parts)


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
