"""Which images are meant by the paths that were given, and what each is called in the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from zsad_bench.data import files, unused
from zsad_bench.errors import UsageError
from zsad_bench.path_lists import home


class Photo(NamedTuple):
    """path: of the file. name: what results call it, unique among all: the path below the folder that was given."""

    path: Path
    name: str


class Photos(NamedTuple):
    """photos: in the order given, those of a folder by name, also such as cannot be read, which reading will say.
    notes: one line for each kind of file left out."""

    photos: list[Photo]
    notes: list[str]


def find(given: Sequence[str], without: Path | None = None) -> Photos:
    """The images that files and folders stand for; folders are searched with all folders in them.

    A file counts whatever its suffix is, since it was named; in a folder the suffix decides. A file that is reached
    twice counts once. without: a folder whose files are left out, such as the one that results are written to.

    Raises:
        UsageError: a path that does not exist; no image at all. DatasetError: a folder that cannot be read.
    """
    found: dict[Path, tuple[str, str]] = {}  # resolved file -> short name, long name
    notes, own = [], 0
    for text in given:
        path = home(text)
        if path.is_file():
            _add(found, path, path.name, f"{path.parent.name}/{path.name}")
            continue
        if not path.is_dir():
            raise UsageError(f"{text}: no such file or folder; give images, or folders of images")
        below = files.images_below(path)
        mine = [name for name in below if without is None or not _is_below(path / name, without)]
        own += len(below) - len(mine)
        others = unused.find(path, set(below))
        # A photo that cannot be read is no reason to say nothing of it: whoever sorts parts by decisions has to see it.
        for name in (*mine, *others.empty, *others.foreign):
            _add(found, path / name, name, f"{path.resolve().name}/{name}")
        notes += [line for kind, line in others.lines(path).items() if kind == "nameless"]
    if own:
        notes.append(f"{without}: {own} images there are results, left out")
    if not found:
        listed = ", ".join(given)
        raise UsageError(f"{listed}: no image found{_reasons(notes)}; give images, or folders of images")
    return Photos(_named(found), notes)


def _add(found: dict[Path, tuple[str, str]], path: Path, short: str, long: str) -> None:
    found.setdefault(path.resolve(), (short, long))


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _reasons(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _named(found: dict[Path, tuple[str, str]]) -> list[Photo]:
    """The shortest names that tell all apart: file or path below its folder, then with the folder, then whole."""
    whole = [str(PurePosixPath(path)) for path in found]
    names = [short for short, _ in found.values()]
    for longer in ([long for _, long in found.values()], whole):
        count = Counter(names)
        names = [name if count[name] == 1 else other for name, other in zip(names, longer, strict=True)]
    return [Photo(path, name) for path, name in zip(found, names, strict=True)]
