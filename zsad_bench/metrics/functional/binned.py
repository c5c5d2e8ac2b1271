"""Pixel metrics of one category from a histogram of constant size, each with a certified bound on its error.

The edges are fixed by the scores' float32 bits, not by a guess of their range: read as integers, the bits of floats
have the same order as the floats. Bins are aligned runs of 2^shift neighbouring floats, and shift is the smallest with
which the `bins` bins reach from the lowest score to the highest. It can only grow while scores come in, and pairs of
bins then join exactly, so the counts depend on the set of scores alone: neither on their order nor on the split over
batches and ranks. Narrow ranges get one bin per float, which is exact; one hot pixel costs next to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.aupro import check_fpr_limit
from zsad_bench.metrics.functional.compiled import is_worth_loading
from zsad_bench.metrics.values import MetricValue, undefined

BINS = 2**18  # 6 MiB per histogram; 2,048 bins per octave for scores from exactly 0 upwards, more for narrower ranges
CHUNK = 2**16  # scores that are turned into bin numbers at a time: small enough to stay in the processor's cache
ROUNDING = 1e-12  # of float64 sums; part of every bound, so that it covers the arithmetic too
_HALF = 0x3F000000  # the bits of 0.5
_FINEST = 0x33800000  # the bits of 2^-24: nearer to an end of a known range float32 cannot tell numbers apart
BINNED_KEYS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro", "pixel_aupro_legacy200")
NO_LEGACY = "binned: the 200 steps need every score; keep the category exact (mode='exact')"


class BinnedValues(NamedTuple):
    """values: by pixel metric key. error_bounds: largest possible distance to the exact value, of the defined ones."""

    values: dict[str, MetricValue]
    error_bounds: dict[str, float]


class Histogram:
    """Counts of scores per bin. Bin b (of all there could be) lies at b modulo `bins`, so growing moves nothing.

    bins: a power of two. normal, anomalous: (bins,) int64 pixels. overlap: (bins,) float64, sum of 1 / region area.
    lowest, highest: keys of the extreme scores, lowest > highest while empty.
    """

    def __init__(self, bins: int = BINS) -> None:
        check_bins(bins)
        self.bins, self.shift = bins, 0
        self.lowest, self.highest = 2**31, -(2**31)
        self.normal, self.anomalous = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
        self.overlap = np.zeros(bins, np.float64)

    def add_normal(self, keys: NDArray) -> None:
        """Count normal pixels. keys: (N,) int32 from `sort_keys`."""
        if keys.size and is_worth_loading(keys.size):
            from zsad_bench.metrics.functional import pixel_loops

            self._cover(int(keys.min()), int(keys.max()))
            pixel_loops.count_bins(keys, self.shift, self.bins - 1, self.normal)
            return
        for start in range(0, keys.size, CHUNK):
            np.add.at(self.normal, self._at(keys[start : start + CHUNK]), 1)  # a bincount would empty all bins first

    def add_anomalous(self, keys: NDArray, areas: NDArray) -> None:
        """Count anomalous pixels. keys: (P,) int32 from `sort_keys`. areas: (P,) the area of each one's region."""
        for start in range(0, keys.size, CHUNK):
            at = self._at(keys[start : start + CHUNK])
            np.add.at(self.anomalous, at, 1)
            np.add.at(self.overlap, at, 1.0 / areas[start : start + CHUNK])

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram with as many bins."""
        if other.bins != self.bins:
            raise ValueError(f"histograms of {self.bins} and {other.bins} bins cannot be added; use one `bins`")
        if other.lowest > other.highest:
            return
        self._cover(other.lowest, other.highest)
        numbers = other._numbers() >> (self.shift - other.shift)
        for mine, theirs in zip(self._counts(), other._counts(), strict=True):
            np.add.at(mine, numbers & (self.bins - 1), theirs)

    def ascending(self) -> tuple[NDArray, NDArray, NDArray]:
        """normal, anomalous and overlap of the bins that hold a pixel, from the lowest score to the highest."""
        order = ((self.lowest >> self.shift) + np.arange(self.bins)) & (self.bins - 1)
        order = order[(self.normal[order] > 0) | (self.anomalous[order] > 0)]
        return self.normal[order], self.anomalous[order], self.overlap[order]

    def packed(self) -> NDArray:
        """Everything in one int64 vector of `packed_size(bins)`: what a metric state can gather and pickle."""
        extremes = np.array([self.lowest, self.highest])
        return np.concatenate([extremes, self.normal, self.anomalous, self.overlap.view(np.int64)])

    @classmethod
    def unpacked(cls, packed: NDArray, bins: int) -> Histogram:
        """The histogram that `packed` holds, in arrays of its own."""
        histogram = cls(bins)
        histogram.lowest, histogram.highest = (int(key) for key in packed[:2])
        if histogram.lowest <= histogram.highest:
            histogram.shift = _shift(histogram.lowest, histogram.highest, bins)
        histogram.normal, histogram.anomalous, overlap = (part.copy() for part in np.split(packed[2:], 3))
        histogram.overlap = overlap.view(np.float64)
        return histogram

    def _at(self, keys: NDArray) -> NDArray:
        self._cover(int(keys.min()), int(keys.max()))
        return np.bitwise_and(keys >> self.shift, self.bins - 1).astype(np.intp)

    def _cover(self, lowest: int, highest: int) -> None:
        """Reach from `lowest` to `highest` as well, joining bins where that needs wider ones."""
        if self.lowest > self.highest:
            self.lowest, self.highest = lowest, highest
            self.shift = _shift(lowest, highest, self.bins)
            return
        lowest, highest = min(self.lowest, lowest), max(self.highest, highest)
        wider = _shift(lowest, highest, self.bins) - self.shift
        at = (self._numbers() >> wider) & (self.bins - 1) if wider else None
        self.lowest, self.highest, self.shift = lowest, highest, self.shift + wider
        if at is not None:
            for counts in self._counts():
                before = counts.copy()
                counts[:] = 0
                np.add.at(counts, at, before)

    def _numbers(self) -> NDArray:
        """(bins,) int64: which of all bins lies at each place. Places not reached hold no pixel."""
        first = self.lowest >> self.shift
        return first + (np.arange(self.bins) - first) % self.bins

    def _counts(self) -> tuple[NDArray, NDArray, NDArray]:
        return self.normal, self.anomalous, self.overlap


def sort_keys(scores: NDArray, score_range: tuple[float, float] | None = None) -> NDArray:
    """(N,) int32 in the order of the float32 scores, equal for equal ones; the steps between floats are 1.

    score_range: (low, high) that scores are known to lie in, such as (0, 1): steps then narrow towards both ends as
    on a logit axis, which tells apart maps crowded near the high end. Scores outside count as that end.
    """
    scores = scores.astype(np.float32, copy=False)
    if score_range is None:
        bits = scores.view(np.int32)
        if not bits.size or bits.min() >= 0:
            return bits
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # sign and size become one order; both zeros are 0
    low, high = score_range
    share = np.clip((scores - np.float32(low)) / np.float32(high - low), 0, 1)
    from_low, from_high = (np.maximum(end.view(np.int32), _FINEST) for end in (share, 1 - share))
    return np.where(share < 0.5, from_low, 2 * _HALF - from_high)  # 1 - share is exact from 0.5 on


def packed_size(bins: int) -> int:
    """Length of a packed histogram."""
    return 3 * bins + 2


def merged(packed: NDArray, bins: int) -> Histogram:
    """One histogram of any number of packed ones, end to end in one vector (none: an empty one)."""
    if not packed.size:
        return Histogram(bins)
    first, *others = (Histogram.unpacked(part, bins) for part in packed.reshape(-1, packed_size(bins)))
    for other in others:
        first.merge(other)
    return first


def binned_values(histogram: Histogram, fpr_limit: float = 0.3) -> BinnedValues:
    """The metrics of `BINNED_KEYS` as if the scores of a bin were equal, and how far off that can be.

    Inside a bin the true curve is some monotone path through the rectangle that the bin spans; the bounds hold for
    all such paths. AUPRO of the 200 steps has no such bound and is undefined, with the reason.
    """
    check_fpr_limit(fpr_limit)
    normal, anomalous, overlap = (counts[::-1] for counts in histogram.ascending())
    tp, fp = np.cumsum(anomalous), np.cumsum(normal)
    n_pos, n_neg = (int(counts[-1]) if counts.size else 0 for counts in (tp, fp))
    if not n_pos:
        return BinnedValues(dict.fromkeys(BINNED_KEYS, undefined("no anomalous pixel")), {})
    bounded = {
        "pixel_ap": _average_precision(anomalous, tp, fp, normal),
        "pixel_f1max": _f1max(tp, fp, normal, anomalous),
    }
    if n_neg:
        pro = np.cumsum(overlap)
        bounded["pixel_auroc"] = _auroc(normal, anomalous, tp)
        bounded["pixel_aupro"] = _aupro(fp / n_neg, normal / n_neg, pro / pro[-1], overlap / pro[-1], fpr_limit)
    lost = {"pixel_aupro_legacy200": undefined(NO_LEGACY)} if n_neg else {}
    values = {key: MetricValue(*bounded[key][:1]) if key in bounded else lost.get(key, undefined("no normal pixel"))
              for key in BINNED_KEYS}  # fmt: skip
    return BinnedValues(values, {key: bound + ROUNDING for key, (_, bound) in bounded.items()})


def check_bins(bins: int) -> None:
    """Raises ValueError unless `bins` is a power of two from 2 to 2^24."""
    if not (isinstance(bins, int) and 2 <= bins <= 2**24 and bins & (bins - 1) == 0):
        raise ValueError(f"bins must be a power of two from 2 to 2**24, found {bins!r}")


def check_score_range(score_range: tuple[float, float] | None) -> None:
    """Raises ValueError unless `score_range` is None or a lower and a higher finite number."""
    if score_range is None:
        return
    low, high = score_range
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"score_range must be (low, high) with low < high, both finite, found {score_range!r}")


# Per bin, descending: `normal` and `anomalous` pixels in it, `tp` and `fp` of it and all bins above. Each function
# returns the value and its bound.


def _auroc(normal: NDArray, anomalous: NDArray, tp: NDArray) -> tuple[float, float]:
    n_pos, n_neg = int(tp[-1]), int(normal.sum())
    twice = int(np.sum(normal * (2 * tp - anomalous)))  # integers: the value is bitwise the same for any split
    pairs = n_pos * n_neg
    return twice / (2 * pairs), int(np.sum(normal * anomalous)) / (2 * pairs)


def _average_precision(anomalous: NDArray, tp: NDArray, fp: NDArray, normal: NDArray) -> tuple[float, float]:
    n_pos = tp[-1]
    value = float(np.sum(anomalous * (tp / (tp + fp))) / n_pos)
    # The j-th anomalous pixel of a bin has precision >= f(tp0 + j), f(x) = x / (x + fp); f is concave, so its mean
    # over the bin is at least that of its ends.
    first = tp - anomalous + 1
    least = float(np.sum(anomalous * (first / (first + fp) + tp / (tp + fp)) / 2) / n_pos)
    held = anomalous > 0
    most = float(np.sum(anomalous[held] * (tp / np.maximum(tp + fp - normal, 1))[held]) / n_pos)
    return value, max(most - value, value - least, 0.0)


def _f1max(tp: NDArray, fp: NDArray, normal: NDArray, anomalous: NDArray) -> tuple[float, float]:
    n_pos = tp[-1]
    value = float(np.max(2 * tp / (tp + fp + n_pos)))
    most = float(np.max(2 * tp / (tp + fp - normal + n_pos)))
    return value, most - value


def _aupro(fpr: NDArray, width: NDArray, pro: NDArray, height: NDArray, limit: float) -> tuple[float, float]:
    """fpr, pro: after each bin, descending scores; width, height: what the bin adds to them."""
    left, below = fpr - width, pro - height
    inside = np.clip(limit - left, 0, width)  # the part of each bin's width up to the limit
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    area = inside * (below + share * height / 2)
    # of the rectangle inside x height, the straight line has share / 2 below it
    bound = inside * height * (1 - share / 2)
    return float(min(1.0, np.sum(area) / limit)), float(np.sum(bound) / limit)


def _shift(lowest: int, highest: int, bins: int) -> int:
    """The smallest shift with which `bins` bins hold both keys."""
    shift = max(0, (highest - lowest).bit_length() - bins.bit_length())
    while (highest >> shift) - (lowest >> shift) >= bins:
        shift += 1
    return shift
