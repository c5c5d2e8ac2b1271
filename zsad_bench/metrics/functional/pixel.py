"""Pixel AUROC, AP, F1-max and AUPRO of one category by their keys, exact, from one shared sort of its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zsad_bench.metrics.functional.aupro import aupro_legacy200_of, aupro_of
from zsad_bench.metrics.functional.ranking import auroc_of, average_precision_of, f1max_of
from zsad_bench.metrics.functional.sorted_pixels import SortedPixels
from zsad_bench.metrics.values import MetricValue, by_key, undefined


def _auroc(pixels: SortedPixels, _: float) -> MetricValue:
    return MetricValue(auroc_of(pixels.ranking)) if pixels.ranking.n_neg else undefined("no normal pixel")


# Key -> function of the sorted pixels (at least one of them anomalous) and the FPR limit, to a number or a
# `MetricValue` that may have a reason: what one sort of all pixels is enough for.
OF_SORTED: dict[str, Callable[[SortedPixels, float], MetricValue | float]] = {
    "pixel_auroc": _auroc,
    "pixel_ap": lambda pixels, _: average_precision_of(pixels.ranking),
    "pixel_f1max": lambda pixels, _: f1max_of(pixels.ranking),
    "pixel_aupro": aupro_of,
    "pixel_aupro_legacy200": lambda pixels, _: aupro_legacy200_of(pixels),
}


# Key -> the FPR limit of an AUPRO that only some datasets have.
FURTHER_LIMITS = {"pixel_aupro_005": 0.05}  # MVTec AD 2, arXiv 2503.21622


def further_values(pixels: SortedPixels, keys: Iterable[str]) -> dict[str, MetricValue]:
    """Those of `FURTHER_LIMITS` that are asked for, by their key, undefined ones with their reason."""
    return {key: aupro_of(pixels, FURTHER_LIMITS[key]) for key in keys}


def pixel_values(pixels: SortedPixels, fpr_limit: float = 0.3) -> dict[str, MetricValue]:
    """Every metric of `OF_SORTED` by its key, undefined ones with their reason."""
    if not pixels.ranking.n_pos:
        return dict.fromkeys(OF_SORTED, undefined("no anomalous pixel"))
    return by_key(OF_SORTED, {key: metric(pixels, fpr_limit) for key, metric in OF_SORTED.items()})
