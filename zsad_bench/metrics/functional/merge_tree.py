"""The compiled loops behind `component_events`: components of one image from its peaks and passes alone.

Pixels enter in descending order of score, of equal scores the later one first. A pixel whose neighbours that entered
before it are one connected arc only makes a component larger. So components are born at peaks (no such neighbour) and
can merge at passes (two arcs or more), and every other pixel belongs to the peak that a climb leads to. Where no
region is near, nothing else has to be sorted or visited.

Import this file only where it is needed: numba takes a second to load.
"""

from __future__ import annotations

import numpy as np

from zsad_bench.metrics.functional.radix import key_of, pack, payload_of
from zsad_bench.metrics.functional.union_find import compiled, count_pixel, find, merge

NEVER = -(2**31)  # below the key of every score: a component that no region ever touches


@compiled
def enter_keys(bits, keys, higher):  # type: ignore[no-untyped-def]
    """Fills the keys (H+2,W+2) int32 of the scores and `higher`, uint8; returns the lowest key and the highest.

    bits: (H,W) int32, the bits of float32 scores. Keys have the order of the scores, and both zeros have key 0; the
    border lies below all. higher: bit k of a pixel is set where its neighbour k, clockwise from above, enters before.
    """
    height, width = bits.shape
    lowest, highest = np.int32(2**31 - 1), np.int32(-(2**31))
    keys[0, :] = NEVER
    keys[height + 1, :] = NEVER
    for y in range(height):
        row, source = keys[y + 1], bits[y]
        row[0] = NEVER
        row[width + 1] = NEVER
        inner = row[1:]
        for x in range(width):
            key = key_of(source[x])
            inner[x] = key
            lowest = min(lowest, key)
            highest = max(highest, key)
    for y in range(height):
        above, here, below = keys[y], keys[y + 1], keys[y + 2]
        n, ne, nw = above[1:], above[2:], above
        c, e, w = here[1:], here[2:], here
        s, se, sw = below[1:], below[2:], below
        out = higher[y + 1, 1:]
        for x in range(width):
            key = c[x]
            out[x] = (
                np.uint8(n[x] > key) | np.uint8(ne[x] > key) << 1 | np.uint8(e[x] >= key) << 2
                | np.uint8(se[x] >= key) << 3 | np.uint8(s[x] >= key) << 4 | np.uint8(sw[x] >= key) << 5
                | np.uint8(w[x] > key) << 6 | np.uint8(nw[x] > key) << 7
            )  # fmt: skip
    return lowest, highest


@compiled
def more_scores_than(keys, limit, seen):  # type: ignore[no-untyped-def]
    """Whether there are surely more than `limit` different keys, from the bits of a hash that they set.

    keys: (H+2,W+2), the border is not read. seen: (2**16,) uint8 zeros.
    """
    count = 0
    for y in range(1, keys.shape[0] - 1):
        row = keys[y]
        for x in range(1, keys.shape[1] - 1):
            place = ((np.int64(row[x]) * 2654435761) >> 12) & 0xFFFF
            if seen[place] == 0:
                seen[place] = 1
                count += 1
                if count > limit:
                    return True
    return False


@compiled
def peaks_and_passes(higher, height, width, arcs, found):  # type: ignore[no-untyped-def]
    """Fills `found` with the pixels that have no arc or several, ascending; returns how many, and how many peaks.

    higher: flat, of rows of `width`, the border included. arcs: (256,) uint8, of each set of neighbours.
    """
    n, peaks = 0, 0
    for y in range(1, height - 1):
        row = higher[y * width + 1 : (y + 1) * width - 1]
        for x in range(row.size):
            of = arcs[row[x]]
            if of != 1:
                found[n] = y * width + 1 + x
                n += 1
                if of == 0:
                    peaks += 1
    return n, peaks


@compiled
def climb(pixel, higher, ascent, label):  # type: ignore[no-untyped-def]
    """The label of the peak that a pixel leads to; labels the way there. ascent: (256,), the step up, 0 at a peak."""
    top = pixel
    while label[top] == 0:
        top += ascent[higher[top]]
    found = label[top]
    while label[pixel] == 0:
        label[pixel] = found
        pixel += ascent[higher[pixel]]
    return found


@compiled
def label_peaks(special, n, higher, arcs, label):  # type: ignore[no-untyped-def]
    """Numbers the peaks from 1 on."""
    peaks = 0
    for i in range(n):
        if arcs[higher[special[i]]] == 0:
            peaks += 1
            label[special[i]] = peaks


@compiled
def label_all(higher, height, width, ascent, label):  # type: ignore[no-untyped-def]
    """Labels every pixel; the peaks are labelled."""
    for y in range(1, height - 1):
        for pixel in range(y * width + 1, (y + 1) * width - 1):
            if label[pixel] == 0:
                near = label[pixel + ascent[higher[pixel]]]
                if near != 0:  # most pixels: the step leads to a pixel that was labelled before
                    label[pixel] = near
                else:
                    climb(pixel, higher, ascent, label)


@compiled
def touched_inside(labels, first, width, keys, label, touched):  # type: ignore[no-untyped-def]
    """Fills `touched`, by label, with the highest key of a region's pixel that leads to that peak; NEVER where none is.

    labels: (h,w) int32, 0 outside of regions. first: the pixel of the padded grid that its corner lies on.
    """
    touched[:] = NEVER
    for y in range(labels.shape[0]):
        row = labels[y]
        for x in range(row.size):
            if row[x] != 0:
                pixel = first + y * width + x
                touched[label[pixel]] = max(touched[label[pixel]], np.int64(keys[pixel]))


@compiled
def pack_pixels(special, n, keys, lowest, items):  # type: ignore[no-untyped-def]
    """Fills `items` with the special pixels, -1 - pixel each under its key, to be sorted."""
    for i in range(n):
        items[i] = pack(keys[special[i]], lowest, -1 - special[i])


@compiled
def touched_from(  # type: ignore[no-untyped-def]
    order, n, keys, higher, joins, offsets, ascent, label, parent, touched, child, above, fixed
):  # fmt: skip
    """Turns `touched` into the key from which on a peak's component holds a region's pixel; NEVER where none does.

    order: the special pixels sorted. touched: by label, the highest key of a region's pixel that leads to that peak.
    parent: by label, itself. The last three are room by label. Of equal keys the answer may come early, never late.
    """
    links = 0
    for i in range(n - 1, -1, -1):
        pixel = -1 - payload_of(order[i])
        row = np.int64(higher[pixel]) * 5
        if joins[row] < 2:
            continue
        key = np.int64(keys[pixel])
        root = find(parent, climb(pixel + offsets[joins[row + 1]], higher, ascent, label))
        for k in range(row + 2, row + 1 + joins[row]):
            other = find(parent, climb(pixel + offsets[joins[k]], higher, ascent, label))
            if other == root:
                continue
            if touched[other] >= key and touched[root] < key:
                root, other = other, root
            fixed[links] = 1
            if touched[root] < key:  # both wait for a region's pixel, together from here on
                touched[root] = max(touched[root], touched[other])
                fixed[links] = 0
            elif touched[other] < key:
                touched[other] = key
            parent[other] = root
            child[links] = other
            above[links] = root
            links += 1
    for i in range(links - 1, -1, -1):
        if fixed[i] == 0:
            touched[child[i]] = touched[above[i]]


@compiled
def pick(keys, higher, height, width, arcs, label, region, touched, lowest, items, area):  # type: ignore[no-untyped-def]
    """Fills `items` with the pixels to visit, ascending, and `area` with how many of each label are not; how many.

    Peaks, passes and pixels of regions: -1 - pixel, under their key. Others that may enter a component with a region:
    their label. The highest key among them is returned too.
    """
    n, highest = 0, np.int64(lowest)
    for y in range(1, height - 1):
        first = y * width + 1
        row, steps, labels = keys[first:], higher[first:], label[first:]
        for x in range(width - 2):
            key, of = np.int64(row[x]), labels[x]
            if arcs[steps[x]] != 1:
                items[n] = pack(key, lowest, -1 - (first + x))
            elif key <= touched[of]:  # so are all pixels of regions
                items[n] = pack(key, lowest, of if region[first + x] == 0 else -1 - (first + x))
            else:
                area[of] += 1
                continue
            n += 1
            highest = max(highest, key)
    return n, highest


@compiled
def visit(  # type: ignore[no-untyped-def]
    order, n, lowest, higher, joins, offsets, ascent, label, region, sizes, depth, tau, theta, excess,
    parent, area, inside, trie, quality, goal, beyond, left, right, best, which,
    event_bits, event_quality, event_judged,
):  # fmt: skip
    """Fills the events from the highest score down; returns how many.

    The sums are taken step by step as `union_find.sweep` takes them, so that they are the same bit by bit.
    order: what `pick` or `pack_pixels` gave, sorted. By label: goal, the excess that costs nothing, in pixels, 0 where
    the component matches no region; beyond: its excess in pixels. event_bits: the bits of the float32 scores.
    """
    total, count, used, events = 0.0, 0, 0, 0
    total_before, count_before = 0.0, 0
    for i in range(n - 1, -1, -1):
        item = payload_of(order[i])
        if item >= 0:  # most: one pixel more outside of all regions
            root = np.int64(parent[item])
            if parent[root] != root:
                root = find(parent, item)
                parent[item] = root
            area[root] += 1
            free = goal[root]
            if free > 0:
                excess_now = beyond[root] + 1
                beyond[root] = excess_now
                value = free / excess_now
                value = value if excess_now > free else 1.0
                total = (total - quality[root]) + value
                quality[root] = value
        else:
            pixel = -1 - item
            row = np.int64(higher[pixel]) * 5
            if joins[row] == 0:
                root = np.int64(label[pixel])
                count += 1
            else:
                root = find(parent, climb(pixel + offsets[joins[row + 1]], higher, ascent, label))
                total -= quality[root]
                for k in range(row + 2, row + 1 + joins[row]):
                    other = find(parent, climb(pixel + offsets[joins[k]], higher, ascent, label))
                    if other == root:
                        continue
                    total -= quality[other]
                    count -= 1
                    if area[other] > area[root]:
                        root, other = other, root
                    parent[other] = root
                    area[root] += area[other]
                    inside[root] += inside[other]
                    trie[root] = merge(trie[root], trie[other], depth, left, right, best, which)
            area[root] += 1
            if region[pixel] != 0:
                inside[root] += 1
                trie[root], used = count_pixel(trie[root], region[pixel] - 1, depth, used, left, right, best, which)
            node = trie[root]
            value, goal[root] = 0.0, 0.0
            if node != 0:
                overlap, size = best[node], sizes[which[node]]
                if overlap >= tau * size:
                    outside = area[root]
                    if excess == 0:
                        outside -= overlap
                    elif excess == 1:
                        outside -= inside[root]
                    goal[root], beyond[root] = theta * size, outside
                    value = theta * size / outside if outside > theta * size else 1.0
            quality[root] = value
            total += value
        key = np.int64(order[i] >> np.uint64(32))
        last = i == 0 or np.int64(order[i - 1] >> np.uint64(32)) != key  # of the pixels of this score
        if last and (total != total_before or count != count_before):
            key += lowest
            event_bits[events] = key ^ ((key >> 31) & 0x7FFFFFFF)
            event_quality[events] = total - total_before
            event_judged[events] = count - count_before
            total_before, count_before = total, count
            events += 1
    return events
