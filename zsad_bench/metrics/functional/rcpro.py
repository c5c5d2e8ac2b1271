"""RCPRO as defined here: how well predicted components fit the regions, over the per-region overlap they reach.

At a threshold t every predicted component P (of score >= t) is judged by its region T*, the one it overlaps most:
q(P) is 0 where it overlaps none or less than tau of T*, theta / E where its excess E is above theta, else 1.
RC(t) is the mean of q over the components of all images; RCPRO is the integral of RC over PRO(t) in [0, 1].

Source: arXiv 2606.29428 (the paper of DIVE), in words only and without code at the time of writing; so the number is
printed with its parameters (`described`), and never as the paper's. Our decisions: E = |P - T*| / |T*|; the mean is
pooled, components of normal images included, and of anomalous images whose mask is empty left out by the caller, for
the region that would judge them is not there; no limit on the FPR; every distinct score is a threshold; before any
region is reached the RC of the highest threshold holds; ties for T* go to the smallest region.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.aupro import check_fpr_limit
from zsad_bench.metrics.functional.checks import maps_and_masks
from zsad_bench.metrics.functional.component_events import RcproEvents, fast_area, fast_events
from zsad_bench.metrics.functional.component_tree import Grid, Growth, Matching, grow, is_compiled
from zsad_bench.metrics.functional.regions import Regions, find_regions, region_areas
from zsad_bench.metrics.values import MetricValue, undefined

AGGREGATES, INTERPOLATIONS = ("pooled", "image"), ("linear", "step")


class RcproSteps(NamedTuple):
    """What each of the S slots of a grid adds to the sums over a category; those of its parts add up, array by array.

    quality: (S,) float64, to the sum of q (aggregate "image": of the images' own means). judged: (S,) int64, to the
    number of components (of images that have one). overlap: (S,) float64, to the sum of covered shares of regions.
    normal: (S,) int64, normal pixels. totals: (2,) int64, regions and normal pixels of the category.
    """

    quality: NDArray
    judged: NDArray
    overlap: NDArray
    normal: NDArray
    totals: NDArray


def rcpro(
    maps_BHW: ArrayLike,
    masks_BHW: ArrayLike,
    exact: bool = True,
    bins: int = 4096,
    tau: float = 0.05,
    theta: float = 2.0,
    excess: str = "matched",
    aggregate: str = "pooled",
    include_normal: bool = True,
    fpr_limit: float | None = None,
    interpolation: str = "linear",
    min_area: int = 1,
    connectivity: int = 8,
) -> float:
    """RCPRO of the images of one category; in [0, 1]. nan without a region.

    maps_BHW: float, any range, higher is more anomalous. masks_BHW: bool.
    exact: every distinct score is a threshold; else `bins` equally spaced ones, from the lowest score to the highest.
    tau, theta, excess, min_area, connectivity: as in `Matching`. aggregate: "pooled", or "image": the mean over the
    images that have a component of their own means. include_normal: False leaves out components of normal images.
    fpr_limit: stop at this FPR and divide by the PRO reached (nan where it is 0). interpolation: "linear" or "step".
    Memory beyond the maps: O(H*W + anomalous pixels), or O(pixels) where `exact` and min_area > 1.

    Raises:
        ValueError: a score is not finite, shapes differ, or an argument is out of its range.
    """
    matching = Matching(tau, theta, excess, min_area, connectivity)
    check_options(aggregate, fpr_limit, interpolation)
    maps, masks = maps_and_masks(maps_BHW, masks_BHW, "rcpro")
    if not maps.size:
        return undefined("no image").value
    grid = exact_grid(maps, masks, min_area) if exact else even_grid(maps, bins)
    grid = down_to(grid, maps[masks].min(initial=maps.max()))
    steps = no_steps(grid)
    for map_HW, mask_HW in zip(maps, masks, strict=True):
        add_image(steps, map_HW, mask_HW, grid, matching, aggregate, include_normal)
    return rcpro_of(steps, fpr_limit, interpolation).value


def rcpro_of(steps: RcproSteps, fpr_limit: float | None = None, interpolation: str = "linear") -> MetricValue:
    """RCPRO from the sums over a category. Where thresholds end above a region's pixels, what is not reached adds 0."""
    check_options("pooled", fpr_limit, interpolation)
    n_regions, n_normal = steps.totals.tolist()
    if not n_regions:
        return undefined("no anomalous pixel")
    judged = np.cumsum(steps.judged)
    counts = judged > 0
    if fpr_limit is not None and n_normal:
        counts &= np.cumsum(steps.normal) <= fpr_limit * n_normal
    rc = np.cumsum(steps.quality)[counts] / judged[counts]
    x = np.cumsum(steps.overlap)[counts] / n_regions
    reached = 1.0 if fpr_limit is None else float(x[-1]) if x.size else 0.0
    if not reached:
        return undefined(f"no region is reached at an FPR up to {fpr_limit:g}")
    if not x.size:
        return undefined("no component at any threshold")
    before = rc if interpolation == "step" else np.append(rc[0], rc[:-1])
    area = float(np.sum(np.diff(x, prepend=0.0) * (before + rc) * 0.5))
    return MetricValue(min(1.0, max(0.0, area / reached)))  # rounding of the sums may pass the ends by 1e-16


def no_steps(grid: Grid) -> RcproSteps:
    """The sums before any image."""
    return RcproSteps(*(np.zeros(n, t) for n, t in zip((*[grid.n_slots] * 4, 2), _DTYPES, strict=True)))


_DTYPES = (np.float64, np.int64, np.float64, np.int64, np.int64)


def add_image(
    steps: RcproSteps,
    map_HW: NDArray,
    mask_HW: NDArray,
    grid: Grid,
    matching: Matching = Matching(),  # noqa: B008 (frozen)
    aggregate: str = "pooled",
    include_normal: bool = True,
) -> None:
    """Adds one image to `steps`, in place. map_HW: finite, in the dtype of the grid. mask_HW: bool."""
    areas, n_regions = region_areas(mask_HW, matching.connectivity)
    steps.totals[:] += n_regions, mask_HW.size - areas.size
    if not grid.n_slots:
        return
    slots = grid.slots(map_HW[mask_HW])
    in_grid = slots < grid.n_slots
    np.add.at(steps.overlap, slots[in_grid], 1.0 / areas[in_grid])
    if not (n_regions or include_normal):
        normal = grid.slots(np.sort(map_HW, axis=None))
        np.add.at(steps.normal, normal[normal < grid.n_slots], 1)
        return
    growth = grow(map_HW, mask_HW, grid, matching)
    steps.normal[growth.slots] += np.diff(growth.pixels, prepend=0)
    np.subtract.at(steps.normal, slots[in_grid], 1)
    quality, judged = changes(growth, aggregate)
    steps.quality[growth.slots] += quality
    steps.judged[growth.slots] += judged


def image_events(
    map_HW: NDArray,
    mask_HW: NDArray,
    matching: Matching = Matching(),  # noqa: B008 (frozen)
    aggregate: str = "pooled",
    fast: bool = True,
    regions: Regions | None = None,
) -> RcproEvents:
    """The events of one image. map_HW: finite float32 or float64. mask_HW: bool. regions: its, if labelled already.

    fast: with numba, from the image's peaks and passes where that gives the same bit by bit; else by the sweep.
    """
    if fast and aggregate == "pooled" and is_compiled():
        if regions is None:
            regions = find_regions(mask_HW, matching.connectivity)
        events = fast_events(map_HW, regions, matching)
        if events is not None:
            return events
    grid = Grid(np.unique(map_HW), between=False)
    growth = grow(map_HW, mask_HW, grid, matching)
    quality, judged = changes(growth, aggregate)
    changed = (quality != 0) | (judged != 0)
    scores = grid.ascending[::-1][growth.slots[changed]]
    return RcproEvents(scores, quality[changed], judged[changed].astype(np.int32))


def rcpro_of_events(
    events: RcproEvents, positives: NDArray, areas: NDArray, n_regions: int, fast: bool = True
) -> MetricValue:
    """RCPRO of a category from the events of its images, as `rcpro` gives it from the maps.

    positives: (P,) scores of its anomalous pixels, in the dtype of the events. areas: (P,) the area of each one's
    region (`sorted_pixels.Pixels` has both). fast: with numba, float32 scores are put in order by a radix sort, and
    the sums are taken in one compiled loop; the value is the same bit by bit.
    """
    if fast and n_regions and is_compiled():
        area = fast_area(events, positives, areas, n_regions)
        if area is not None:
            return MetricValue(min(1.0, max(0.0, area)))
    grid = Grid(np.unique(np.concatenate([events.scores, positives])), between=False)
    steps = no_steps(grid)
    slots = grid.slots(events.scores)
    np.add.at(steps.quality, slots, events.quality)
    np.add.at(steps.judged, slots, events.judged)
    np.add.at(steps.overlap, grid.slots(positives), 1.0 / areas)
    steps.totals[0] = n_regions
    return rcpro_of(steps)


def changes(growth: Growth, aggregate: str) -> tuple[NDArray, NDArray]:
    """What each slot of an image's growth adds to the sums `quality` and `judged` of a category, both (G,)."""
    quality, judged = growth.quality, growth.components
    if aggregate == "image":
        quality, judged = quality / np.maximum(judged, 1), np.minimum(judged, 1)
    return np.diff(quality, prepend=0.0), np.diff(judged, prepend=0)


def exact_grid(maps: NDArray, masks: NDArray, min_area: int = 1) -> Grid:
    """Thresholds that give RCPRO as all distinct scores do.

    PRO changes at the scores of anomalous pixels only, so RC is needed there and just above. Only where small
    components do not exist may the first component come later, and be held back over PRO > 0.
    """
    return Grid(np.unique(maps[masks]), between=True) if min_area == 1 else Grid(np.unique(maps), between=False)


def even_grid(maps: NDArray, bins: int) -> Grid:
    """`bins` equally spaced thresholds from the lowest score to the highest."""
    if bins < 2:
        raise ValueError(f"rcpro: bins must be at least 2, found {bins!r}")
    return threshold_grid(np.linspace(float(maps.min()), float(maps.max()), bins), maps.dtype)


def down_to(grid: Grid, lowest: float) -> Grid:
    """The grid without the thresholds that change nothing: at the one up to `lowest`, every region is covered.

    lowest: the lowest score of an anomalous pixel of the category.
    """
    first = int(np.searchsorted(grid.ascending, lowest, side="right")) - 1
    return Grid(grid.ascending[max(first, 0) :], grid.between)


def threshold_grid(thresholds: ArrayLike, dtype: np.dtype | type = np.float32) -> Grid:
    """These thresholds, for maps of `dtype`: rounded up to it, which decides `score >= t` as the threshold does."""
    exact = np.unique(np.asarray(thresholds, np.float64))
    rounded = exact.astype(dtype)
    rounded = np.where(rounded < exact, np.nextafter(rounded, np.dtype(dtype).type(np.inf)), rounded)
    return Grid(np.unique(rounded), between=False)


def described(
    matching: Matching = Matching(),  # noqa: B008 (frozen)
    aggregate: str = "pooled",
    include_normal: bool = True,
    fpr_limit: float | None = None,
    interpolation: str = "linear",
) -> str:
    """The line that must stand beside every printed RCPRO."""
    parts = [f"tau {matching.tau:g}", f"theta {matching.theta:g}", f"excess {matching.excess}", f"{aggregate} mean"]
    parts += ["normal images included" if include_normal else "anomalous images only"]
    parts += ["all of PRO" if fpr_limit is None else f"FPR up to {fpr_limit:g}", f"{interpolation} interpolation"]
    parts += [f"{matching.connectivity}-connected", f"components from {matching.min_area} px"]
    return f"RCPRO as defined here ({', '.join(parts)})"


def check_options(aggregate: str, fpr_limit: float | None, interpolation: str) -> None:
    """Raises ValueError, with what was found, on an option that does not exist."""
    if aggregate not in AGGREGATES:
        raise ValueError(f"rcpro: aggregate must be one of {', '.join(AGGREGATES)}, found {aggregate!r}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"rcpro: interpolation must be one of {', '.join(INTERPOLATIONS)}, found {interpolation!r}")
    if fpr_limit is not None:
        check_fpr_limit(fpr_limit)
