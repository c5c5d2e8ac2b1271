"""What somebody hands in of a method that is not run here: saved maps and scores, paired with images and looked at."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zsad_bench.console import Progress
from zsad_bench.data import decode
from zsad_bench.data.base import ZeroShotDataModule
from zsad_bench.data.image_names import match
from zsad_bench.data.saved_maps import listed, read_map
from zsad_bench.data.score_table import read_scores
from zsad_bench.errors import DatasetError, UsageError
from zsad_bench.results.external_maps import PREFIX
from zsad_bench.results.row import digest
from zsad_bench.types import Sample

_NAMED = 5  # files that a message names before it counts


@dataclass(frozen=True)
class Handed:
    """What somebody hands in. maps: a folder; scores: a CSV file; one of them may be None.

    name, by, prior: the method, who says so, and what it learned from, all as they are told. transductive: whether it
    saw all images of a category before it scored one. seed: of its training. skip_missing: images without a map or a
    score are left out and counted, instead of being an error.
    """

    maps: Path | None
    scores: Path | None
    name: str
    by: str = ""
    prior: str = "unknown"
    seed: int = 0
    transductive: bool = False
    skip_missing: bool = False

    @property
    def method(self) -> str:
        """What rows call it: no registered method has such a name."""
        return f"{PREFIX}{self.name}"


class Facts(NamedTuple):
    """What the first look at a map found."""

    sha256: str
    kind: str
    shape: tuple[int, int]
    low: float
    high: float
    double: bool


@dataclass
class Surveyed:
    """What was handed in for the samples of a dataset, looked at and found fit.

    maps: sample id -> name below the folder. scores: sample id -> score; None takes the maxima of the maps.
    facts: sample id -> of its map. missing, unused: as `External` has them.
    """

    handed: Handed
    samples: list[Sample]
    maps: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] | None = None
    scores_sha256: str = ""
    facts: dict[str, Facts] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Of the maps; asked for where there are some."""
        assert self.handed.maps is not None
        return self.handed.maps

    @property
    def hash(self) -> str:
        """16 hex digits: of every file's bytes and every score, by sample."""
        used = [sample.id for sample in self.samples]
        scores = None if self.scores is None else [[one, repr(self.scores[one])] for one in used]
        return digest({"maps": [[one, self.facts[one].sha256] for one in used if self.maps], "scores": scores})

    @property
    def double(self) -> bool:
        """Whether float32 would not tell the values of some map apart."""
        return any(one.double for one in self.facts.values())


def survey(handed: Handed, data: ZeroShotDataModule, wanted: Sequence[str]) -> Surveyed:
    """Pairs files and scores with samples, and reads every map once: what is wrong is said before anything is computed.

    wanted: names of the categories.

    Raises:
        UsageError: neither maps nor scores, or none of what the dataset is labelled by.
        DatasetError: files or scores of no sample at all, images without one, ambiguous names, maps that are not fit.
    """
    if handed.maps is None and handed.scores is None:
        raise UsageError("nothing to evaluate; name a folder of maps, --scores FILE, or both")
    if handed.maps is None and data.level == "pixel":
        raise UsageError(
            f"{data.name} is labelled by pixels alone, and scores say nothing of pixels; name a folder of maps"
        )
    samples = [sample for sample in data.samples() if sample.category in wanted]
    # Names are compared with all samples: a map of another category is none of a similar name in these.
    every = data.samples()
    surveyed = Surveyed(handed, samples)
    if handed.maps is not None:
        names, others = listed(handed.maps)
        if not names:
            found = f"{_count(others, 'file')} of other kinds" if others else "nothing"
            raise DatasetError(
                f"{handed.maps}: no map, found {found}; expected PNG, TIFF, NPY, NPZ or safetensors files"
            )
        if others:
            surveyed.lines.append(f"not read: {_count(others, 'file')} of other kinds: {_listed(others)}")
        named = _paired(str(handed.maps), "map", names, every, samples, surveyed)
        surveyed.maps = named
    if handed.scores is not None:
        table = read_scores(handed.scores)
        named = _paired(str(handed.scores), "score", list(table.scores), every, samples, surveyed)
        surveyed.scores = {sample: table.scores[name] for sample, name in named.items()}
        surveyed.scores_sha256 = table.sha256
    _leave_out(surveyed, data)
    if handed.maps is not None:
        _look(surveyed, data)
    return surveyed


def _paired(
    where: str, what: str, names: Sequence[str], every: Sequence[Sample], samples: Sequence[Sample], into: Surveyed
) -> dict[str, str]:
    """Sample id -> its name; missing and unused ones go into what was surveyed."""
    found = match(names, every)
    used = {sample.id for sample in samples}
    if found.ambiguous:
        raise DatasetError(
            f"{where}: {_count(found.ambiguous, 'ambiguous name')}: {_listed(found.ambiguous, '; ')}; name each {what} "
            "as the path of its image below the dataset's folder"
        )
    if not used & found.names.keys():
        raise DatasetError(
            f"{where}: none of its {_count(names, what)} is of an image of this dataset; expected names such as "
            f"{samples[0].id} (any suffix), found {_listed(names, most=2)}"
        )
    if found.unused:
        unused = f"{_count(found.unused, what)} of no test image"
        into.lines.append(f"not used: {unused}: {_listed(found.unused)}")
    into.unused += found.unused
    into.missing += [f"{one} ({what})" for one in found.missing if one in used]
    return {sample: name for sample, name in found.names.items() if sample in used}


def _leave_out(surveyed: Surveyed, data: ZeroShotDataModule) -> None:
    """Samples without a map or score, where that was asked for."""
    if not surveyed.missing:
        return
    images = {text.rpartition(" (")[0] for text in surveyed.missing}
    lack = f"{_count(images, 'image')} without a map or a score"
    what = f"{data.name}: {lack}: {_listed(surveyed.missing)}"
    if not surveyed.handed.skip_missing:
        raise DatasetError(f"{what}; add them, or leave those images out with --on-missing skip")
    surveyed.lines.append(f"left out: {what}")

    def has_all(sample: Sample) -> bool:
        return (surveyed.handed.maps is None or sample.id in surveyed.maps) and (
            surveyed.scores is None or sample.id in surveyed.scores
        )

    kept = [sample for sample in surveyed.samples if has_all(sample)]
    if not kept:
        raise DatasetError(f"{data.name}: no image has both a map and a score; see the names of both")
    surveyed.samples = kept


def _look(surveyed: Surveyed, data: ZeroShotDataModule) -> None:
    """Reads each map once."""
    folder, bad, lying = surveyed.folder, [], []
    with Progress() as bar:
        task = bar.add_task("looking at maps", total=len(surveyed.samples))
        for sample in surveyed.samples:
            try:
                saved = read_map(folder / surveyed.maps[sample.id])
            except DatasetError as error:
                bad.append(str(error))
                continue
            finally:
                bar.update(task, advance=1)
            shape = saved.values.shape
            height, width = shape
            if height != width and shape == _size_of(data, sample)[::-1]:
                lying.append(f"{surveyed.maps[sample.id]} is {wide(shape)}")
            surveyed.facts[sample.id] = Facts(
                saved.sha256, saved.kind, (height, width), float(saved.values.min()), saved.largest,
                saved.values.dtype == np.float64,
            )  # fmt: skip
    if bad:
        more = f"; {len(bad)} of {len(surveyed.samples)} maps cannot be used" if len(bad) > 1 else ""
        raise DatasetError(f"{bad[0]}{more}")
    if lying:
        raise DatasetError(
            f"{folder}: {_count(lying, 'map')} on the side ({_listed(lying)}, and its image has the two exchanged); "
            "save maps as (height, width)"
        )


def _size_of(data: ZeroShotDataModule, sample: Sample) -> tuple[int, int]:
    """Height and width of an image as it stands upright, or of its crop."""
    if sample.crop is not None:
        left, top, right, bottom = sample.crop
        return bottom - top, right - left
    width, height = decode.size_of(data.root / sample.image)
    return height, width


def wide(shape: tuple[int, ...]) -> str:
    """A shape (h,w) in words."""
    return f"{shape[1]} x {shape[0]} (width x height)"


def _count(things: Sized, what: str) -> str:
    return f"{len(things)} {what}" + "s" * (len(things) != 1)


def _listed(names: Sequence[str], comma: str = ", ", most: int = _NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return comma.join(names[:most]) + more
