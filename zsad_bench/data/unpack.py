"""Archives that others made, unpacked into a folder and nowhere else."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from typing import Literal

from zsad_bench.errors import DatasetError

Kind = Literal["zip", "tar"]  # a tar may be compressed

# What zipfile and tarfile raise on archives that are cut short, mangled, encrypted, or something else.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


def unpack(name: str, archive: Path, kind: Kind, folder: Path, report: Callable[[str, int, int | None], None]) -> None:
    """Writes every member of the archive below `folder`, which is made; checked names and types only.

    name: of the dataset, for errors. report: called with "unpacking", the bytes written, and those in all if known.

    Raises:
        DatasetError: the archive is damaged, does not fit on the disk, or has a member that would lie or point
            outside the folder or is not an ordinary file; nothing outside the folder was written.
    """
    folder.mkdir(parents=True)
    members = _unzip if kind == "zip" else _untar
    written = 0
    try:
        for size, total in members(name, archive, folder):
            written += size
            report("unpacking", written, total)
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{name}: cannot unpack {archive} ({reason}); make sure the disk has room, or delete the file to download "
            "it again"
        ) from None


def _unzip(name: str, archive: Path, folder: Path) -> Iterator[tuple[int, int]]:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:  # all of them before the first is written
            _check_name(name, archive, member.filename)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(name, archive, member.filename, "is a link or a device")
        total = sum(member.file_size for member in members)
        if total > shutil.disk_usage(folder).free:
            raise OSError(f"{total:,} bytes do not fit on the disk")
        for member in members:
            opened.extract(member, folder)
            yield member.file_size, total


def _untar(name: str, archive: Path, folder: Path) -> Iterator[tuple[int, None]]:
    if not hasattr(tarfile, "data_filter"):
        raise DatasetError(f"{name}: safe unpacking needs Python 3.11.4 or newer; unpack {archive} by hand")
    with tarfile.open(archive) as opened:
        for member in opened:
            _check_name(name, archive, member.name)
            try:
                opened.extract(member, folder, filter="data")  # refuses devices, and links that lead outside
            except tarfile.FilterError as error:
                raise _unsafe(name, archive, member.name, f"is refused ({error})") from None
            yield member.size, None


def _check_name(name: str, archive: Path, member: str) -> None:
    parts = member.replace("\\", "/").split("/")
    if parts[0] == "" or PureWindowsPath(member).drive or ".." in parts:
        raise _unsafe(name, archive, member, "would lie outside the folder it is unpacked into")


def _unsafe(name: str, archive: Path, member: str, why: str) -> DatasetError:
    shown = os.fsencode(member).decode("utf-8", "backslashreplace")
    return DatasetError(f"{name}: {archive} is unsafe and was not unpacked: its member {shown} {why}; look at the file")
