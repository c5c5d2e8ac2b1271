"""Predicted components of one image at every threshold at once, matched with the ground-truth regions.

Lowering the threshold only adds pixels, so components only grow and merge: one sort of the pixels and one union-find
over them (`union_find.sweep`) replace one labelling per threshold. O(H*W) memory, O(H*W log H*W) time.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.regions import Regions, check_connectivity, find_regions

EXCESS = ("matched", "union", "area")
RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # clockwise from above
FEW_SLOTS = 2000  # sorting the pixels of each by their place costs a microsecond or two per slot


@dataclass(frozen=True)
class Matching:
    """How a predicted component P is judged: q = 0, or min(1, theta / excess), with the region T* it overlaps most.

    tau: q is 0 where P covers less than this share of T* (or nothing of any region); 0 to 1.
    theta: the excess that costs nothing, in areas of T*; above 0. min_area: smaller components do not exist.
    excess: "matched" |P - T*| / |T*|, "union" (pixels in any region do not count), "area" |P| / |T*|.
    connectivity: 8 or 4, of regions and of predicted components.
    """

    tau: float = 0.05
    theta: float = 2.0
    excess: str = "matched"
    min_area: int = 1
    connectivity: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 1:
            raise ValueError(f"rcpro: tau must be in [0, 1], found {self.tau!r}")
        if not 0 < self.theta < np.inf:
            raise ValueError(f"rcpro: theta must be a number above 0, found {self.theta!r}")
        if self.excess not in EXCESS:
            raise ValueError(f"rcpro: excess must be one of {', '.join(EXCESS)}, found {self.excess!r}")
        if self.min_area < 1:
            raise ValueError(f"rcpro: min_area must be at least 1 pixel, found {self.min_area!r}")
        check_connectivity(self.connectivity)


class Grid(NamedTuple):
    """Thresholds of a category, and the slots between them that scores fall into; the highest score is in slot 0.

    ascending: (K,) float32 or float64. between: False, K slots: slot k holds the scores from the k-th highest
    threshold up to the next. True, 2K slots: scores that equal a threshold have their own slot, 2k + 1, and those
    above it and below the next are in slot 2k. Scores below the lowest threshold are in none.
    """

    ascending: NDArray
    between: bool

    @property
    def n_slots(self) -> int:
        return self.ascending.size * (2 if self.between else 1)

    def slots(self, scores: NDArray) -> NDArray:
        """The slot of each score; `n_slots` for those below the lowest threshold."""
        above = self.ascending.size - np.searchsorted(self.ascending, scores, side="right")
        if not self.between:
            return above
        return above + self.ascending.size - np.searchsorted(self.ascending, scores, side="left")


class Growth(NamedTuple):
    """One image's components as the threshold falls, at the G slots of a grid that any pixel of the image is in.

    slots: (G,) ascending. pixels: (G,) int64, how many of them have entered by the end of that slot.
    quality: (G,) float64, the sum of q over the components there are then. components: (G,) int64, how many.
    """

    slots: NDArray
    pixels: NDArray
    quality: NDArray
    components: NDArray


def grow(map_HW: NDArray, mask_HW: NDArray, grid: Grid, matching: Matching) -> Growth:
    """Components of one image at every threshold of `grid`. map_HW: finite, in the dtype of the grid. mask_HW: bool."""
    if map_HW.shape != mask_HW.shape or map_HW.dtype != grid.ascending.dtype:  # the compiled loop checks no bounds
        raise ValueError(
            f"rcpro: needs a map and a mask of one shape, and a grid of the map's dtype, found {map_HW.shape}, "
            f"{mask_HW.shape}, and {grid.ascending.dtype} for {map_HW.dtype}"
        )
    kernel = _kernel()
    height, width = map_HW.shape[0], map_HW.shape[1] + 2
    order, slots, ends = _enter(map_HW, grid)
    region = np.zeros((height + 2, width), np.int32)
    sizes = number_by_size(find_regions(mask_HW, matching.connectivity), region)
    depth = max(sizes.size - 1, 0).bit_length()
    by_pixel: Sequence[Any] = [
        np.zeros((height + 2) * width, dtype) for dtype in (*[np.int32] * 3, np.float64, np.uint8, np.int32)
    ]
    # zeros are given out lazily by the system: room for the worst masks costs nothing on usual ones
    by_node: Sequence[Any] = [np.zeros(int(sizes.sum()) * (depth + 1) + 1, np.int32) for _ in range(4)]
    by_group: Sequence[Any] = [np.zeros(ends.size, np.float64), np.zeros(ends.size, np.int64)]
    offsets = np.array([dy * width + dx for dy, dx in RING], np.int64)
    arrays: Sequence[Any] = [order, ends, offsets, joins(matching.connectivity), region.ravel(), sizes]
    rules = (float(matching.tau), float(matching.theta), EXCESS.index(matching.excess), int(matching.min_area))
    if not kernel.COMPILED:  # plain Python reads lists several times faster than arrays
        arrays, by_pixel, by_node, by_group = (
            [array.tolist() for array in group] for group in (arrays, by_pixel, by_node, by_group)
        )
    order, group_ends, offsets, joined, region, areas = arrays
    kernel.sweep(
        order, group_ends, width, offsets, joined, region, areas, depth, *rules, *by_pixel, *by_node, *by_group
    )
    return Growth(slots, ends, np.asarray(by_group[0], np.float64), np.asarray(by_group[1], np.int64))


def _enter(map_HW: NDArray, grid: Grid) -> tuple[NDArray, NDArray, NDArray]:
    """Pixel numbers on the padded grid in descending order of score, the slots they are in, and where each ends."""
    keys, pixels = _sorted_keys(map_HW, grid.ascending[0])
    thresholds = grid.ascending + grid.ascending.dtype.type(0)
    if pixels is None:  # packed: a pixel's key holds its number, so a threshold lies just below its first pixel
        thresholds = _ordered_bits(thresholds).astype(np.int64)
        lower, upper = thresholds << 32, (thresholds + 1) << 32
        pixels = (keys & 0xFFFFFFFF).astype(np.int32)
    else:
        lower, upper = thresholds, None
    down = keys.size - np.searchsorted(keys, lower, side="left")[::-1]
    if grid.between:
        strictly = np.searchsorted(keys, lower, side="right") if upper is None else np.searchsorted(keys, upper)
        down = np.stack((keys.size - strictly[::-1], down), axis=1).ravel()
    used = np.flatnonzero(np.diff(down, prepend=0))
    ends = down[used].astype(np.int64)
    order = np.ascontiguousarray(pixels[::-1][: ends[-1] if ends.size else 0])
    if ends.size <= FEW_SLOTS:  # neighbours in memory enter one after the other: the sweep takes half the time
        for start, end in itertools.pairwise((0, *ends.tolist())):
            order[start:end].sort()
    return order, used, ends


def _sorted_keys(map_HW: NDArray, lowest: float) -> tuple[NDArray, NDArray | None]:
    """Ascending sort keys of the scores from `lowest` on, and their pixels (None: in the lower half of the keys).

    Sorting bare 64-bit integers is vectorised, and three times faster than an index sort.
    """
    height, width = map_HW.shape
    numbers = _padded_numbers(height, width)
    scores = np.ravel(map_HW)
    enters = scores >= lowest
    if not enters.all():
        scores, numbers = scores[enters], numbers[enters]
    scores = scores + map_HW.dtype.type(0)  # -0.0 becomes 0.0: they are equal
    if scores.dtype == np.float32:
        keys = _ordered_bits(scores).astype(np.int64)
        keys <<= 32
        keys |= numbers
        keys.sort()
        return keys, None
    order = np.argsort(scores)
    return scores[order], numbers[order].astype(np.int32)


def _ordered_bits(scores: NDArray) -> NDArray:
    """int32 in the order of float32 `scores`: negative floats are stored as sign and size, so their size is turned."""
    bits = scores.view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@functools.lru_cache(maxsize=4)
def _padded_numbers(height: int, width: int) -> NDArray:
    """Number of each pixel (row-major) on the grid with a border of one: neighbours then always exist."""
    rows, columns = np.arange(1, height + 1)[:, None], np.arange(1, width + 1)
    return (rows * (width + 2) + columns).ravel()


def number_by_size(regions: Regions, region: NDArray) -> NDArray:
    """The n sizes, ascending, int64; fills `region` with the numbers, 1..n in that order, and 0 outside.

    region: (H+2,W+2) int32, by pixel of the padded grid.
    """
    region[:] = 0
    n_regions = regions.sizes.size
    order = np.argsort(regions.sizes, kind="stable")
    rank = np.zeros(n_regions + 1, np.int32)
    rank[order + 1] = np.arange(1, n_regions + 1)
    height, width = regions.labels.shape
    region[1 + regions.top :, 1 + regions.left :][:height, :width] = rank[regions.labels]
    return regions.sizes[order]


@functools.lru_cache(maxsize=2)
def joins(connectivity: int) -> NDArray:
    """(256 * 5,): for each set of entered neighbours, how many components they may be, and one neighbour of each.

    Neighbours that touch each other are already one component, so most pixels ask for a single root.
    """
    step = 1 if connectivity == 8 else 2  # at 4, corners join nothing themselves, but may link two sides
    table = np.zeros((256, 5), np.int8)
    for entered in range(256):
        group = [k if entered >> k & 1 else -1 for k in range(8)]
        for _ in range(8):
            for k in range(8):
                # two sides around a corner touch diagonally, which counts at 8 only
                near = (k + 1, k - 1, k + 2, k - 2) if connectivity == 8 and k % 2 == 0 else (k + 1, k - 1)
                if group[k] >= 0:
                    group[k] = min([group[k], *(group[n % 8] for n in near if group[n % 8] >= 0)])
        sides = [k for k in range(0, 8, step) if group[k] >= 0]
        picked = {group[k]: k for k in reversed(sides)}
        table[entered, 0] = len(picked)
        table[entered, 1 : 1 + len(picked)] = list(picked.values())
    return table.ravel()


def is_compiled() -> bool:
    """Whether the inner loop is compiled; warns once where it is not."""
    return bool(_kernel().COMPILED)


@functools.lru_cache(maxsize=1)
def _kernel() -> ModuleType:
    """The inner loop; warns once where it is not compiled."""
    from zsad_bench.metrics.functional import union_find  # numba is loaded here, by those who need it

    if not union_find.COMPILED:
        warnings.warn(
            "rcpro: numba is not installed, so its inner loop runs as plain Python: the same numbers, about a second "
            'for an image of 518x518. Install it with: pip install "zsad-bench[fast]"',
            stacklevel=4,
        )
    return union_find
