"""How many scores reach thresholds, without sorting the scores.

float32 scores of one sign are in the order of their bits, so an aligned run of neighbouring floats is a range of
scores. One pass counts the scores of each of some 2^16 runs. Only those in a run that has a threshold in it are
unsure, usually a few per cent; they are sorted and searched. Integers, so equal to sorting all of them bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.compiled import is_worth_loading

FEWEST_RUNS, MOST_RUNS = 10, 16  # powers of two; 2^16 counts are 512 KiB, more of them leave the processor's cache
RUNS_PER_THRESHOLD = 4
_INF = 0x7F800000  # the key of infinity; those of nan lie beyond


class Reached(NamedTuple):
    """Scores at or above each threshold, and above it; both (K,) int64."""

    at_least: NDArray
    above: NDArray


def reached(parts: Sequence[NDArray], thresholds: NDArray, fast: bool = True) -> Reached:
    """How many scores of all parts together reach each threshold. A score that is not a number counts as the highest.

    parts: 1-D, in any order, which stay as they are. thresholds: (K,) numbers in any order, of the scores' dtype.
    fast: with numba, float32 scores are counted as this file says; else they are sorted.
    """
    if fast and is_worth_loading(sum(part.size for part in parts)):
        counted = _counted(parts, thresholds)
        if counted is not None:
            return counted
    return _searched(np.sort(np.concatenate([np.zeros(0, thresholds.dtype), *parts])), thresholds)


def _searched(ascending: NDArray, thresholds: NDArray) -> Reached:
    sides = (ascending.size - np.searchsorted(ascending, thresholds, side=side) for side in ("left", "right"))
    return Reached(*(counts.astype(np.int64, copy=False) for counts in sides))


def _counted(parts: Sequence[NDArray], thresholds: NDArray) -> Reached | None:
    """None: nothing to count, another dtype than float32, or a score or threshold that is not a number."""
    scores = [np.ascontiguousarray(part) for part in parts if part.size]
    if not (scores and thresholds.size) or {part.dtype for part in [*scores, thresholds]} != {np.dtype(np.float32)}:
        return None
    if np.isnan(thresholds).any():
        return None
    from zsad_bench.metrics.functional import pixel_loops

    keys = _keys(thresholds)
    lowest, highest = int(keys.min()), int(keys.max())
    runs = min(max((RUNS_PER_THRESHOLD * keys.size).bit_length(), FEWEST_RUNS), MOST_RUNS)
    shift = max(0, (highest - lowest).bit_length() - runs)
    run_of = (keys.astype(np.int64) - lowest) >> shift
    divided = np.zeros(int(run_of.max()) + 2, np.uint8)
    divided[run_of] = 1
    counts = np.zeros(divided.size, np.int64)
    room = np.empty(max(part.size for part in scores) + 1, np.int32)
    n_above, unsure = 0, []
    for part in scores:
        ends = np.int32(lowest), np.int32(highest)
        above, n, least, most = pixel_loops.count_runs(part.view(np.int32), *ends, shift, divided, counts, room)
        if least < ~_INF or most > _INF:
            return None
        n_above += int(above)
        unsure.append(room[: int(n)].copy())
    sure = np.where(divided[:-1] == 0, counts[:-1], 0)
    from_run = n_above + np.cumsum(sure[::-1])[::-1]  # sure to lie in a run or above it
    unsure_keys = np.concatenate(unsure)
    unsure_keys = np.sort(unsure_keys[(unsure_keys >= lowest) & (unsure_keys <= highest)])
    found = _searched(unsure_keys, keys)
    return Reached(found.at_least + from_run[run_of], found.above + from_run[run_of])


def _keys(scores: NDArray) -> NDArray:
    """int32 in the order of float32 scores, 0 for both zeros: `radix.key_of`."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
