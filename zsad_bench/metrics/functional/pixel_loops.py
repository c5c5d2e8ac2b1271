"""The compiled passes over all pixels: scores taken apart by their mask, and counted by runs of neighbouring floats.

Import this file only where it is needed: numba takes a second to load.
"""

from __future__ import annotations

import numpy as np

from zsad_bench.metrics.functional.radix import key_of
from zsad_bench.metrics.functional.union_find import compiled

RUN = 64  # pixels that are looked at together: most have none of a mask, and are copied as they are
BLOCK = 2**12  # scores at a time: their keys stay in the nearest cache


@compiled
def split(scores, mask, outside, inside):  # type: ignore[no-untyped-def]
    """Fills `outside` and `inside` with the scores where the mask, (N,) bool, is not and is set, in their order."""
    n_out, n_in = 0, 0
    for start in range(0, scores.size, RUN):
        end = min(start + RUN, scores.size)
        hit = False
        for i in range(start, end):
            hit |= mask[i]
        if not hit:
            outside[n_out : n_out + end - start] = scores[start:end]
            n_out += end - start
            continue
        for i in range(start, end):
            if mask[i]:
                inside[n_in] = scores[i]
                n_in += 1
            else:
                outside[n_out] = scores[i]
                n_out += 1


@compiled
def count_runs(bits, lowest, highest, shift, divided, counts, unsure):  # type: ignore[no-untyped-def]
    """Adds float32 scores, by their bits (N,) int32, to the runs of 2^shift keys that they are in.

    lowest, highest: int32 keys of the thresholds. divided: (R+1,) uint8, 1 for a run with a threshold in it. On which
    side of it a score lies takes a closer look, so the keys of such runs are put into `unsure`, (N+1,) int32, as well.
    The last run is for scores beyond either end. counts: (R+1,) int64.
    Returns how many scores lie above the highest key, how many are unsure, and the lowest and the highest key of all.
    """
    above: np.int64 = np.int64(0)
    n = np.uint64(0)
    first, last, low_bits = np.uint32(lowest), np.uint32(divided.size - 1), np.uint32(shift)
    least, most = np.int32(2**31 - 1), np.int32(-(2**31))
    block = np.empty(BLOCK, np.int32)
    for start in range(0, bits.size, BLOCK):  # keys first: that loop is vectorised, the one that counts cannot be
        end = min(start + BLOCK, bits.size)
        for i in range(start, end):
            key = key_of(bits[i])
            block[i - start] = key
            least, most = min(least, key), max(most, key)
            above += np.int32(key > highest)
        for i in range(end - start):
            key = block[i]
            # unsigned: below the lowest the difference wraps around, to more than any run
            run = min(np.uint32(np.uint32(key) - first) >> low_bits, last)
            counts[run] += 1
            unsure[n] = key
            n += np.uint64(divided[run])
    return above, n, least, most


@compiled
def count_bins(keys, shift, mask, counts):  # type: ignore[no-untyped-def]
    """Adds each key, (N,) int32, to the bin `key >> shift`, modulo mask + 1, of `counts`, (mask + 1,) int64."""
    for i in range(keys.size):
        counts[(keys[i] >> shift) & mask] += 1
