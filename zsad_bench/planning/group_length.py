"""How long groups of cells take compared with each other, before one was measured: so that the longest start first.

Made of the parts in `gpu_hours.py`. They are of one GPU and of full-size backbones, so the seconds are not those of
another machine. Only the order of groups is taken from them.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from zsad_bench.planning.gpu_hours import MethodParts, Part, Parts, encoding_seconds


class Size(NamedTuple):
    """How much a cell computes, in images.

    settings: of the method, those of the suite included. shares: whether it reads features that other methods of its
    group read as well. trained: images times epochs of each stage; () where nothing is learned. auxiliary: what the
    images that are learned from are known by, and n_auxiliary their number. tested: images of the target.
    """

    method: str
    settings: Mapping[str, Any]
    shares: bool
    trained: tuple[int, ...]
    auxiliary: str
    n_auxiliary: int
    tested: int


def expected_seconds(cells: Iterable[tuple[Hashable, str, Size]], parts: Parts) -> float:
    """What a group of cells takes on the device of the parts; of each the job, which is trained once, and the target.

    What is shared is encoded once: an auxiliary image for all trainings, a test image for all methods. A method that
    was never measured takes what the methods take in the median.
    """
    encode = encoding_seconds(parts)
    once: dict[Hashable, int] = {}  # images that are encoded for all that share them
    trained: set[Hashable] = set()
    total = 0.0
    for job, target, size in cells:
        known = parts.of(size.method, size.settings)
        spared = encode if size.shares else 0.0
        if job not in trained:
            trained.add(job)
            for images, step in zip(size.trained, _steps(known, len(size.trained), parts), strict=True):
                total += images * max(0.0, step.seconds / parts.step_images - spared)
            if size.trained and size.shares:
                once["auxiliary", size.auxiliary] = size.n_auxiliary
        image = known.image.seconds if known else statistics.median(m.image.seconds for m in parts.methods.values())
        total += size.tested * max(0.0, image - spared)
        if size.shares:
            once["target", target] = size.tested
    return total + encode * sum(once.values())


def _steps(known: MethodParts | None, n_stages: int, parts: Parts) -> list[Part]:
    """A training step of each stage."""
    if known is not None and len(known.steps) == n_stages:
        return list(known.steps)
    every = [step for method in parts.methods.values() for step in method.steps]
    usual = Part(*(statistics.median(values) for values in zip(*every, strict=True)))
    return [usual] * n_stages
