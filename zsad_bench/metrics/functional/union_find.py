"""The inner loop of RCPRO: an image's pixels enter in descending order of score, and components grow and merge.

Compiled by numba where it is installed; without it the same lines run as plain Python, on lists. Import this file
only where it is needed (`component_tree` does): numba takes a second to load.
"""

from __future__ import annotations

from collections.abc import Callable

try:
    import numba

    COMPILED = True
except ImportError:
    COMPILED = False


def compiled(function: Callable) -> Callable:
    """`function` compiled at its first call and kept on disk beside this file; as it is without numba."""
    if not COMPILED:
        return function
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to write the cache
        return numba.njit(nogil=True)(function)


@compiled
def find(parent, pixel):  # type: ignore[no-untyped-def]
    """The root of a pixel's component; halves the path on the way."""
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel


# A component's overlap with each region is a binary trie over region numbers, made only where there is overlap: every
# node knows the largest count below it and whose it is. Merging two tries costs the nodes they share, so all merges of
# an image together cost O(anomalous pixels * log regions), whatever the masks look like.


@compiled
def count_pixel(trie, number, depth, used, left, right, best, which):  # type: ignore[no-untyped-def]
    """Root of `trie` (0: none) with one pixel more of region `number`, and how many nodes are in use."""
    if trie == 0:
        used += 1
        trie = used
    node = trie
    for bit in range(depth - 1, -1, -1):
        branch = right if (number >> bit) & 1 else left
        if branch[node] == 0:
            used += 1
            branch[node] = used
        node = branch[node]
    best[node] += 1
    which[node] = number
    count, node = best[node], trie
    for bit in range(depth - 1, -1, -1):
        if count > best[node] or (count == best[node] and number < which[node]):
            best[node] = count
            which[node] = number
        node = right[node] if (number >> bit) & 1 else left[node]
    return trie, used


@compiled
def merge(a, b, depth, left, right, best, which):  # type: ignore[no-untyped-def]
    """Root of the sum of two tries; both are used up. On equal counts the lower region number wins."""
    if a == 0:
        return b
    if b == 0:
        return a
    if depth == 0:
        best[a] += best[b]
        return a
    left[a] = merge(left[a], left[b], depth - 1, left, right, best, which)
    right[a] = merge(right[a], right[b], depth - 1, left, right, best, which)
    low, high = left[a], right[a]
    winner = low if low != 0 and (high == 0 or best[low] >= best[high]) else high
    best[a] = best[winner]
    which[a] = which[winner]
    return a


@compiled
def sweep(  # type: ignore[no-untyped-def]
    order, ends, width, offsets, joins, region, sizes, depth, tau, theta, excess, min_area,
    parent, area, inside, quality, done, trie, left, right, best, which, totals, counts,
):  # fmt: skip
    """Fills totals[g] and counts[g]: sum of q over the components, and how many they are, once ends[g] pixels entered.

    order: pixel numbers on the padded grid of `width`, in the order of entering. ends: ascending, at most len(order).
    offsets: from a pixel to its eight neighbours, clockwise from above. joins: for each set of neighbours that have
    entered (bit k: neighbour k) how many different components they can be, and a neighbour of each (up to 4).
    region: 0 or 1 + the number of the pixel's region; regions are numbered by ascending size. depth: bits of a number.
    excess: 0 matched, 1 union, 2 area. The rest is room to work in: by pixel, by node of a trie, by group.
    """
    total, count, used, start = 0.0, 0, 0, 0
    for group in range(len(ends)):
        for i in range(start, ends[group]):
            pixel = order[i]
            above, below = pixel - width, pixel + width
            entered = (
                done[above] | done[above + 1] << 1 | done[pixel + 1] << 2 | done[below + 1] << 3
                | done[below] << 4 | done[below - 1] << 5 | done[pixel - 1] << 6 | done[above - 1] << 7
            )  # fmt: skip
            done[pixel] = 1
            row = entered * 5
            if joins[row] == 0:
                root = pixel
                parent[pixel] = pixel
            else:
                root = find(parent, pixel + offsets[joins[row + 1]])
                if joins[row] == 1 and trie[root] == 0 and region[pixel] == 0 and area[root] >= min_area:
                    parent[pixel] = root  # most pixels: a false alarm grows, which changes nothing
                    area[root] += 1
                    continue
                if area[root] >= min_area:
                    total -= quality[root]
                    count -= 1
                for k in range(row + 2, row + 1 + joins[row]):
                    other = find(parent, pixel + offsets[joins[k]])
                    if other == root:
                        continue
                    if area[other] >= min_area:
                        total -= quality[other]
                        count -= 1
                    if area[other] > area[root]:
                        root, other = other, root
                    parent[other] = root
                    area[root] += area[other]
                    inside[root] += inside[other]
                    trie[root] = merge(trie[root], trie[other], depth, left, right, best, which)
                parent[pixel] = root
            area[root] += 1
            if region[pixel] != 0:
                inside[root] += 1
                trie[root], used = count_pixel(trie[root], region[pixel] - 1, depth, used, left, right, best, which)
            node = trie[root]
            value = 0.0
            if node != 0:
                overlap, size = best[node], sizes[which[node]]
                if overlap >= tau * size:
                    beyond = area[root]
                    if excess == 0:
                        beyond -= overlap
                    elif excess == 1:
                        beyond -= inside[root]
                    value = theta * size / beyond if beyond > theta * size else 1.0
            quality[root] = value
            if area[root] >= min_area:
                total += value
                count += 1
        start = ends[group]
        totals[group] = total
        counts[group] = count
