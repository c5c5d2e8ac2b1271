"""Pixel metrics of one image by itself, for captions of pictures and galleries: functions image -> value.

They say how well a map ranks the pixels of its own image. Their mean over images is not the category's value, for
which all images share their thresholds.
"""

from __future__ import annotations

from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics.functional.aupro import aupro_of
from zsad_bench.metrics.functional.checks import as_array, maps_and_masks
from zsad_bench.metrics.functional.component_tree import Matching
from zsad_bench.metrics.functional.ranking import auroc_of
from zsad_bench.metrics.functional.rcpro import add_image, exact_grid, no_steps, rcpro_of
from zsad_bench.metrics.functional.sorted_pixels import SortedPixels, sort_pixels, split_pixels
from zsad_bench.metrics.values import MetricValue, undefined

MAP_KEYS = ("auroc", "aupro", "rcpro")


def map_values(
    map_HW: ArrayLike, mask_HW: ArrayLike, fpr_limit: float = 0.3, rcpro: bool = True
) -> dict[str, MetricValue]:
    """The values by `MAP_KEYS` of one image, undefined ones with their reason.

    map_HW: (H,W) or (1,H,W) float, any range, higher is more anomalous. mask_HW: the same size, bool.
    rcpro: with False it is left out; at 518 px it takes milliseconds with numba, seconds without.

    Raises:
        ValueError: a score is not finite, shapes differ, `fpr_limit` outside (0, 1].
    """
    pixels = _sorted(map_HW, mask_HW, "map_values")
    values = {"auroc": _auroc(pixels), "aupro": aupro_of(pixels, fpr_limit)}
    return values | {"rcpro": map_rcpro(map_HW, mask_HW)} if rcpro else values


def map_auroc(map_HW: ArrayLike, mask_HW: ArrayLike) -> MetricValue:
    """Pixel AUROC within one image; undefined without an anomalous or without a normal pixel."""
    return _auroc(_sorted(map_HW, mask_HW, "map_auroc"))


def map_aupro(map_HW: ArrayLike, mask_HW: ArrayLike, fpr_limit: float = 0.3, connectivity: int = 8) -> MetricValue:
    """AUPRO of one image up to `fpr_limit` of its own normal pixels; undefined as `map_auroc`."""
    return aupro_of(_sorted(map_HW, mask_HW, "map_aupro", connectivity), fpr_limit)


def map_rcpro(map_HW: ArrayLike, mask_HW: ArrayLike, matching: Matching | None = None) -> MetricValue:
    """RCPRO of one image over all its distinct scores; undefined without an anomalous pixel."""
    maps, masks = _checked(map_HW, mask_HW, "map_rcpro")
    matching = matching or Matching()
    grid = exact_grid(maps, masks, matching.min_area)
    steps = no_steps(grid)
    add_image(steps, maps[0], masks[0], grid, matching)
    return rcpro_of(steps)


def _auroc(pixels: SortedPixels) -> MetricValue:
    if not pixels.ranking.n_pos:
        return undefined("no anomalous pixel")
    return MetricValue(auroc_of(pixels.ranking)) if pixels.ranking.n_neg else undefined("no normal pixel")


def _sorted(map_HW: ArrayLike, mask_HW: ArrayLike, metric: str, connectivity: int = 8) -> SortedPixels:
    maps, masks = _checked(map_HW, mask_HW, metric)
    return sort_pixels(split_pixels(maps, masks, connectivity))


def _checked(map_HW: ArrayLike, mask_HW: ArrayLike, metric: str) -> tuple[NDArray, NDArray]:
    """Map (1,H,W) float and mask (1,H,W) bool. Raises ValueError when they are not one image each."""
    map_HW, mask_HW = as_array(map_HW), as_array(mask_HW)
    for array in (map_HW, mask_HW):
        if array.shape[:-2] not in ((), (1,)) or array.ndim < 2:
            raise ValueError(f"{metric}: needs one map and one mask (H, W), found {map_HW.shape} and {mask_HW.shape}")
    return maps_and_masks(map_HW.reshape(1, *map_HW.shape[-2:]), mask_HW.reshape(1, *mask_HW.shape[-2:]), metric)
