"""A list of test images that somebody else made: a text file of paths, the images that a variant tests.

For subsets that are published as lists (`zs`: labels that hold without a reference), or kept by a user. One path below
the dataset's root per line; empty lines and what follows `#` at the start of a line do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from zsad_bench.data import complete
from zsad_bench.errors import DatasetError
from zsad_bench.path_lists import home
from zsad_bench.types import Sample


def read(path: str | Path, name: str) -> dict[str, int]:
    """Path of each image in the list -> its line. name: of the dataset, for messages.

    Raises:
        DatasetError: not a text file, an empty list, or a path that is there twice; names the line.
    """
    path = home(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{name}: cannot read the list {path} ({error}); give a text file of paths") from None
    listed: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().replace("\\", "/")
        if not text or text.startswith("#"):
            continue
        image = PurePosixPath(text).as_posix()
        if image in listed:
            raise DatasetError(f"{name}: {path} line {number} is {image}, as line {listed[image]} is; keep one of them")
        listed[image] = number
    if not listed:
        raise DatasetError(f"{name}: {path} lists no image; write one path below the dataset's root per line")
    return listed


def digest(listed: Iterable[str]) -> str:
    """16 hex digits that change with any path of a list and not with its order."""
    return hashlib.sha256("\n".join(sorted(listed)).encode(errors="surrogateescape")).hexdigest()[:16]


def kept(
    samples: Iterable[Sample], listed: dict[str, int], source: str | Path, name: str, partial: bool, notes: list[str]
) -> list[Sample]:
    """The samples without the test images that the list does not name; `notes` takes how many those are.

    partial: listed images that are missing are left out instead of being an error.

    Raises:
        DatasetError: the list names an image that is not one of the test split; names its line.
    """
    chosen, n_test, found = [], 0, set()
    for sample in samples:
        if sample.split != "test":
            chosen.append(sample)
            continue
        n_test += 1
        if sample.image in listed:
            found.add(sample.image)
            chosen.append(sample)
    if missing := [image for image in listed if image not in found]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        line = f"{name}: {source} line {listed[missing[0]]} names {missing[0]}{more}, no test image of this copy"
        if not partial:
            raise DatasetError(f"{line}; {complete.remedy('correct the list')}")
        notes.append(f"partial: {line}; left out")
    n_kept = sum(sample.split == "test" for sample in chosen)
    notes.append(f"{name}: {n_kept} of {n_test} test images are tested, those that {source} lists")
    return chosen
