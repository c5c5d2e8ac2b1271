"""The events of RCPRO for one image, without its score-by-score sweep: what `rcpro.image_events` runs where it can.

Equal to the sweep of `component_tree.grow` over all distinct scores, bit by bit, for float32 maps: see `merge_tree`.
"""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.component_tree import EXCESS, FEW_SLOTS, RING, Matching, joins, number_by_size
from zsad_bench.metrics.functional.regions import Regions

KEPT_ROOM = 2**26  # bytes of room that a thread keeps for its next image: 64 MiB are images of 1,100 px
_INF = 0x7F800000  # the key of infinity; those of nan lie beyond


class RcproEvents(NamedTuple):
    """The state that replaces maps: the scores at which components change. Batches and ranks come in any order.

    A false alarm that only grows changes nothing, so a normal image leaves two events per local maximum, an anomalous
    one at most an event per pixel.
    scores: (E,) in the dtype of the map. quality: (E,) float64, judged: (E,) int32: added from that score down.
    """

    scores: NDArray
    quality: NDArray
    judged: NDArray


def fast_events(map_HW: NDArray, regions: Regions, matching: Matching) -> RcproEvents | None:
    """The events of one image, or None where the sweep has to find them. map_HW: float32. regions: of its mask.

    None: scores with at most `FEW_SLOTS` different ones (the sweep then takes equal ones in another order), a nan,
    another dtype, or a smallest area. Needs numba. Releases the GIL; each thread keeps its room for the next image.
    """
    if map_HW.dtype != np.float32 or matching.min_area != 1 or map_HW.size <= FEW_SLOTS:
        return None
    from zsad_bench.metrics.functional import merge_tree, radix

    tables = _tables(matching.connectivity, map_HW.shape[1] + 2)
    room = _room(map_HW.shape)
    height, width = room.keys.shape
    keys, higher, label = room.keys.ravel(), room.higher.ravel(), room.label
    bits = np.ascontiguousarray(map_HW).view(np.int32)
    lowest, highest = (int(key) for key in merge_tree.enter_keys(bits, room.keys, room.higher))
    if lowest < ~_INF or highest > _INF:
        return None
    if not merge_tree.more_scores_than(room.keys, FEW_SLOTS, np.zeros(2**16, np.uint8)):
        return None
    label[:] = 0
    region, sizes = room.region.ravel(), number_by_size(regions, room.region)
    n, peaks = merge_tree.peaks_and_passes(higher, height, width, tables.arcs, room.special)
    merge_tree.label_peaks(room.special, n, higher, tables.arcs, label)
    merge_tree.pack_pixels(room.special, n, keys, lowest, room.items)
    order = radix.radix_sort(room.items, room.spare, n, (highest - lowest).bit_length())
    area = np.zeros(peaks + 1, np.int64)
    if sizes.size:
        merge_tree.label_all(higher, height, width, tables.ascent, label)
        touched = np.empty(peaks + 1, np.int64)
        first = (1 + regions.top) * width + 1 + regions.left
        merge_tree.touched_inside(regions.labels, first, width, keys, label, touched)
        by_peak = [np.zeros(peaks + 1, np.int32) for _ in range(3)]
        walk = (keys, higher, tables.joins, tables.offsets, tables.ascent, label)
        merge_tree.touched_from(order, n, *walk, np.arange(peaks + 1, dtype=np.int32), touched, *by_peak)
        where = (keys, higher, height, width, tables.arcs, label, region)
        n, highest = merge_tree.pick(*where, touched, lowest, room.items, area)
        order = radix.radix_sort(room.items, room.spare, n, (int(highest) - lowest).bit_length())
    depth = max(sizes.size - 1, 0).bit_length()
    by_node = [np.zeros(int(sizes.sum()) * (depth + 1) + 1, np.int32) for _ in range(4)]
    by_peak = [np.arange(peaks + 1, dtype=np.int32), area, np.zeros(peaks + 1, np.int64),
               np.zeros(peaks + 1, np.int32), *np.zeros((3, peaks + 1))]  # fmt: skip
    rules = (float(matching.tau), float(matching.theta), EXCESS.index(matching.excess))
    made = merge_tree.visit(
        order, n, lowest, higher, tables.joins, tables.offsets, tables.ascent, label, region, sizes, depth, *rules,
        *by_peak, *by_node, room.event_bits, room.event_quality, room.event_judged,
    )  # fmt: skip
    scores = room.event_bits[:made].view(np.float32)
    return RcproEvents(scores.copy(), room.event_quality[:made].copy(), room.event_judged[:made].copy())


def fast_area(events: RcproEvents, positives: NDArray, areas: NDArray, n_regions: int) -> float | None:
    """The area under RC against PRO, of at least one region, or None where it has to be taken the plain way.

    Arguments as for `rcpro.rcpro_of_events`. None: scores of another dtype than float32, a nan, or no component.
    """
    if events.scores.dtype != np.float32 or positives.dtype != np.float32 or events.scores.size >= 2**31:
        return None
    from zsad_bench.metrics.functional import event_sums, radix

    bits = [np.ascontiguousarray(scores).view(np.int32) for scores in (events.scores, positives)]
    lowest, highest = 2**31, -(2**31)
    for part in bits:
        lowest, highest = (int(key) for key in event_sums.key_range(part, lowest, highest))
    if lowest < ~_INF or highest > _INF:
        return None
    orders = []
    for part in bits:
        items = np.empty(part.size, np.uint64)
        event_sums.pack_descending(part, highest, items)
        sort_bits = max(0, highest - lowest).bit_length()
        orders.append(radix.radix_sort(items, np.empty_like(items), items.size, sort_bits))
    terms = np.zeros(bits[0].size + bits[1].size)
    args = (events.quality, events.judged, orders[1], areas, n_regions, terms)
    steps = event_sums.areas_of_steps(orders[0], *args)
    return float(np.sum(terms[:steps])) if steps else None


class _Tables(NamedTuple):
    """By set of neighbours that entered: joins as in `component_tree.joins`, arcs: how many, ascent: a step up."""

    joins: NDArray
    arcs: NDArray
    ascent: NDArray
    offsets: NDArray


@functools.lru_cache(maxsize=8)
def _tables(connectivity: int, width: int) -> _Tables:
    """For rows of `width` pixels, the border included. A step up prefers pixels that come before: they are labelled."""
    offsets = np.array([dy * width + dx for dy, dx in RING], np.int64)
    table = joins(connectivity)
    ascent = np.zeros(256, np.int64)
    for entered in range(256):
        steps = [offsets[k] for k in range(0, 8, 1 if connectivity == 8 else 2) if entered >> k & 1]
        ascent[entered] = min(steps, default=0)
    return _Tables(table, table[::5].astype(np.uint8), ascent, offsets)


class _Room(NamedTuple):
    """What the loops work in, for images of one shape, by pixel of the padded grid or by pixel of the image."""

    keys: NDArray
    higher: NDArray
    label: NDArray
    region: NDArray
    special: NDArray
    items: NDArray
    spare: NDArray
    event_bits: NDArray
    event_quality: NDArray
    event_judged: NDArray


_of_thread = threading.local()


def _room(shape: tuple[int, ...]) -> _Room:
    kept = getattr(_of_thread, "room", None)
    padded = (shape[0] + 2, shape[1] + 2)
    if kept is not None and kept.keys.shape == padded:
        return kept
    n = shape[0] * shape[1]
    by_pixel = [np.empty(n, t) for t in (np.int32, np.uint64, np.uint64, np.int32, np.float64, np.int32)]
    room = _Room(
        np.empty(padded, np.int32), np.empty(padded, np.uint8), np.empty(padded[0] * padded[1], np.int32),
        np.empty(padded, np.int32), *by_pixel,
    )  # fmt: skip
    _of_thread.room = room if sum(array.nbytes for array in room) <= KEPT_ROOM else None
    return room
