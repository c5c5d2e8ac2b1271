"""Compiled sorting of float32 scores with something that belongs to each, in time linear in their number.

Import this file only where it is needed: numba takes a second to load.
"""

from __future__ import annotations

import numpy as np

from zsad_bench.metrics.functional.union_find import compiled


@compiled
def key_of(bits):  # type: ignore[no-untyped-def]
    """The int32 key of a float32 score, from its bits: in the order of the scores, and 0 for both zeros."""
    key = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    return np.int32(0) if key == -1 else key


@compiled
def pack(key, lowest, payload):  # type: ignore[no-untyped-def]
    """A key, counted from the lowest, above an int32 that belongs to it: one uint64 to be sorted."""
    return np.uint64((np.int64(key) - lowest) << 32) | np.uint64(np.int64(payload) & 0xFFFFFFFF)


@compiled
def payload_of(item):  # type: ignore[no-untyped-def]
    """What belongs to the key."""
    return np.int64(np.int32(np.uint32(item & np.uint64(0xFFFFFFFF))))


@compiled
def radix_sort(items, spare, n, bits):  # type: ignore[no-untyped-def]
    """`items[:n]` sorted by up to 33 bits from bit 32 on, equal ones in their order; in one of the two arrays."""
    if n < 2 or bits == 0:
        return items
    passes = (bits + 10) // 11
    digit = (bits + passes - 1) // passes
    size = 1 << digit
    mask = np.uint64(size - 1)
    counts = np.zeros((3, size), np.int32)
    low, middle, high = counts[0], counts[1], counts[2]  # by name: half of the time of a loop over the digits
    for i in range(n):
        item = items[i] >> np.uint64(32)
        low[item & mask] += 1
        middle[(item >> np.uint64(digit)) & mask] += 1
        high[(item >> np.uint64(2 * digit)) & mask] += 1
    for k in range(passes):
        at, place = np.int32(0), counts[k]
        for b in range(size):
            at, place[b] = at + place[b], at
        shift = np.uint64(32 + k * digit)
        for i in range(n):
            item = items[i]
            b = (item >> shift) & mask
            to = place[b]
            spare[to] = item
            place[b] = to + np.int32(1)
        items, spare = spare, items
    return items
