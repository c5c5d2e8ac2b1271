"""The compiled loops that turn the events of a category into the steps of the area under RC against PRO.

Import this file only where it is needed: numba takes a second to load.
"""

from __future__ import annotations

import numpy as np

from zsad_bench.metrics.functional.radix import key_of, pack, payload_of
from zsad_bench.metrics.functional.union_find import compiled


@compiled
def key_range(bits, lowest, highest):  # type: ignore[no-untyped-def]
    """The lowest and the highest key of the scores with these bits, and of the two that are given."""
    for i in range(bits.size):
        key = np.int64(key_of(bits[i]))
        lowest = min(lowest, key)
        highest = max(highest, key)
    return lowest, highest


@compiled
def pack_descending(bits, highest, items):  # type: ignore[no-untyped-def]
    """Fills `items` with the numbers of the scores; sorted, they go down from the key `highest`."""
    for i in range(bits.size):
        items[i] = pack(highest - np.int64(key_of(bits[i])), 0, i)


@compiled
def areas_of_steps(events, quality, judged, positives, areas, n_regions, terms):  # type: ignore[no-untyped-def]
    """Fills `terms` with what each distinct score from the first component on adds to the area; returns how many.

    events, positives: from `pack_descending`, sorted. terms: zeros, as many as both together. The sums are taken in
    the order in which `rcpro.rcpro_of` takes them.
    """
    i, j, steps = 0, 0, 0
    sum_quality, sum_judged, sum_overlap = 0.0, 0, 0.0
    quality_before, judged_before, reached = 0.0, 0, 0.0
    shift = np.uint64(32)
    while i < events.size or j < positives.size:
        if j == positives.size or (i < events.size and events[i] >> shift <= positives[j] >> shift):
            key = events[i] >> shift
        else:
            key = positives[j] >> shift
        at_key, overlap, entered = 0.0, 0.0, j
        while i < events.size and events[i] >> shift == key:
            at = payload_of(events[i])
            at_key += quality[at]
            sum_judged += judged[at]
            i += 1
        while j < positives.size and positives[j] >> shift == key:
            overlap += 1.0 / areas[payload_of(positives[j])]
            j += 1
        sum_quality += at_key
        sum_overlap += overlap
        if sum_judged <= 0:
            continue
        if j > entered or steps == 0:
            x, rc = sum_overlap / n_regions, sum_quality / sum_judged
            before = quality_before / judged_before if steps > 0 else rc
            terms[steps] = (x - reached) * (before + rc) * 0.5
            reached = x
        quality_before, judged_before = sum_quality, sum_judged
        steps += 1
    return steps
