"""Which image a name means that others wrote: of a saved map, or in a table of scores. Never by the order of files.

A name is compared as a path below the dataset's root, with its suffix or without: `carpet/test/good/000.npy` and
`carpet/test/good/000.png.npy` are of the image `carpet/test/good/000.png`. Where no image is called so, either may have
further folders before it: `good/000.npy` is of that image if no other one ends so, and so is
`mvtec/carpet/test/good/000.npy`. Letters are compared in Unicode's composed form, in the case that they have.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from zsad_bench.data import files
from zsad_bench.data.saved_maps import SUFFIXES
from zsad_bench.types import Sample


@dataclass(frozen=True)
class Named:
    """names: sample id -> its name. missing: ids of samples that no name means. unused: names that mean no sample.

    ambiguous: one line for each name that may mean several samples, and each sample that several names mean.
    """

    names: dict[str, str]
    missing: list[str]
    unused: list[str]
    ambiguous: list[str] = field(default_factory=list)


def match(names: Sequence[str], samples: Iterable[Sample]) -> Named:
    """Whose names they are; POSIX paths, distinct. Every sample is in `names`, in `missing` or in `ambiguous`."""
    ids = [sample.id for sample in samples]
    exact: dict[str, set[str]] = defaultdict(set)
    ends: dict[str, set[str]] = defaultdict(set)
    for sample in ids:
        for form in _forms_of_sample(sample):
            exact[form].add(sample)
            for end in _ends(form):
                ends[end].add(sample)
    named: dict[str, list[str]] = defaultdict(list)
    unused, ambiguous, unsure = [], [], set()
    for name in names:
        meant = _meant(name, exact, ends)
        if len(meant) == 1:
            named[meant.pop()].append(name)
        elif meant:
            ambiguous.append(f"{name} may mean {_listed(sorted(meant))}")
            unsure |= meant
        else:
            unused.append(name)
    for sample, several in named.items():
        if len(several) > 1:
            ambiguous.append(f"{_listed(several)} all mean {sample}")
            unsure.add(sample)
    of = {sample: several[0] for sample, several in named.items() if len(several) == 1}
    return Named(of, [sample for sample in ids if sample not in of and sample not in unsure], unused, ambiguous)


def _meant(name: str, exact: dict[str, set[str]], ends: dict[str, set[str]]) -> set[str]:
    forms = _forms(name)
    for form in forms:
        if form in exact:
            return set(exact[form])
    found: set[str] = set()
    for form in forms:
        found |= ends.get(form, set()).union(*(exact.get(end, set()) for end in _ends(form)))
    return found


def _forms(name: str) -> list[str]:
    """A name that others wrote, whole and without a suffix that files of images and maps have."""
    whole = unicodedata.normalize("NFC", name)
    has_suffix = files.is_image(whole) or whole.lower().endswith(SUFFIXES)
    return list(dict.fromkeys((whole, whole.rpartition(".")[0] if has_suffix else whole)))


def _forms_of_sample(sample: str) -> list[str]:
    """The id, and without the suffix of its image: "a/000.png#0,0,8,8" is "a/000#0,0,8,8" too."""
    whole = unicodedata.normalize("NFC", sample)
    path, crop, of = whole.partition("#")
    return list(dict.fromkeys((whole, f"{PurePosixPath(path).with_suffix('')}{crop}{of}")))


def _ends(form: str) -> Iterator[str]:
    """What remains of a path when folders before it are taken off, one after the other."""
    while "/" in form:
        form = form.partition("/")[2]
        yield form


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
