"""Confidence intervals by a stratified bootstrap over the images of one category.

A resample draws as many anomalous and as many normal images as there are, each with replacement. It is kept as how
often each image was drawn, so that one sort of the scores serves all resamples. Images are put in an order of their
own before they are drawn, so that the order they came in changes nothing.

There is no interval where a class has a single image: every resample draws that one image, so the interval would say
nothing of how much the value owes to which image it was, and have no width at all where both classes have one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.ranking import group_ends
from zsad_bench.metrics.values import Interval

KEYS = ("image_auroc", "image_ap", "image_f1max")  # the image metrics whose resamples are counted here
RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
_AT_A_TIME = 2**20  # image counts that are worked on together: tens of MiB whatever the number of images


class ImagePairs(NamedTuple):
    """What pixel AUROC needs of each image, whatever the resample.

    twice: (A, N) int64, for each anomalous image (a row) and image (a column), twice the number of pairs of an
    anomalous pixel of the one and a normal pixel of the other that are in the right order, ties counting half.
    anomalous: (A,) which images have anomalous pixels. n_pos, n_neg: (N,) pixels of each image.
    labels: (N,) bool, which are anomalous; an anomalous one may have no anomalous pixel.
    """

    twice: NDArray
    anomalous: NDArray
    n_pos: NDArray
    n_neg: NDArray
    labels: NDArray


def image_intervals(
    scores: NDArray, labels: NDArray, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> dict[str, Interval]:
    """Percentile intervals of image AUROC, AP and F1-max by key, of the defined ones.

    scores: (N,) finite. labels: (N,) bool. AP and F1-max need an anomalous image, AUROC a normal one as well.
    {} where a class has a single image.
    """
    check_resampling(resamples, level)
    if not labels.any() or _single(labels):
        return {}
    order = np.lexsort((labels, scores))[::-1]
    scores, labels = scores[order], labels[order]
    starts = np.append(0, group_ends(scores)[:-1] + 1)  # a tie moves as one
    blocks = [
        _image_values(drawn, labels, starts)
        for drawn in draws(labels, resamples, np.random.default_rng(seed))
    ]  # fmt: skip
    keys = KEYS[1:] if labels.all() else KEYS
    return dict(zip(keys, _intervals(np.concatenate(blocks, axis=1)[-len(keys) :], level), strict=True))


def pixel_auroc_interval(
    pairs: ImagePairs, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> Interval | None:
    """Percentile interval of pixel AUROC, exact for every resample.

    None where a resample has no normal pixel, or where a class has a single image: anomalous images with anomalous
    pixels, or normal images. Anomalous images without one are drawn among themselves.
    The other pixel metrics of a resample do not follow from a fixed number per image, so they have no interval.
    """
    check_resampling(resamples, level)
    if not pairs.anomalous.size or not pairs.n_neg.any():
        return None
    marked = pairs.n_pos > 0
    vanished = pairs.labels & ~marked
    if _single(marked[~vanished]):
        return None
    in_order = np.zeros(marked.size, np.int64)
    in_order[pairs.anomalous] = pairs.twice.sum(1)
    order = np.lexsort((pairs.twice.sum(0), in_order, pairs.n_neg, vanished, pairs.n_pos))
    rank_of = np.argsort(order)
    aurocs = []
    for drawn in draws(marked[order], resamples, np.random.default_rng(seed), vanished[order]):
        times = drawn[:, rank_of].astype(np.float64)
        right = np.einsum("ra,ra->r", times[:, pairs.anomalous] @ pairs.twice, times)
        total = 2 * (times @ pairs.n_pos) * (times @ pairs.n_neg)
        if not total.all():
            return None
        aurocs.append(right / total)
    return _intervals(np.concatenate(aurocs)[None], level)[0]


def image_pairs(
    negatives: NDArray, positives: NDArray, n_neg: NDArray, n_pos: NDArray, labels: NDArray | None = None
) -> ImagePairs:
    """The pairs of pixels taken apart as `split_pixels` does, image after image. n_neg, n_pos: (N,) pixels of each.

    labels: (N,) bool; without them an image is anomalous where it has an anomalous pixel.
    One sort per image and one search of every anomalous pixel per image: O(N P log).
    """
    marked = np.flatnonzero(n_pos)
    starts = np.cumsum(n_pos)[marked] - n_pos[marked]
    twice = np.zeros((marked.size, n_neg.size), np.int64)
    ends = np.cumsum(n_neg)
    for image in range(n_neg.size if marked.size else 0):
        scores = np.sort(negatives[ends[image] - n_neg[image] : ends[image]])
        below = np.searchsorted(scores, positives, "left") + np.searchsorted(scores, positives, "right")
        twice[:, image] = np.add.reduceat(below, starts)
    labels = n_pos > 0 if labels is None else labels
    return ImagePairs(twice, marked, n_pos.astype(np.int64), n_neg.astype(np.int64), labels)


def draws(
    labels: NDArray, resamples: int, generator: np.random.Generator, apart: NDArray | None = None
) -> Iterator[NDArray]:
    """Blocks (R, N) int64, `resamples` rows in all: how often each image was drawn, strata by label (N,) bool.

    apart: (N,) bool, images that are a stratum of their own, whatever their label.
    """
    apart = np.zeros(labels.size, np.bool_) if apart is None else apart
    strata = [np.flatnonzero(labels & ~apart), np.flatnonzero(~labels & ~apart), np.flatnonzero(apart)]
    at_a_time = max(1, _AT_A_TIME // max(1, labels.size))
    for start in range(0, resamples, at_a_time):
        rows = min(at_a_time, resamples - start)
        drawn = np.zeros((rows, labels.size), np.int64)
        for images in strata:
            if images.size:
                picked = generator.integers(images.size, size=(rows, images.size))
                picked += np.arange(rows)[:, None] * images.size
                drawn[:, images] = np.bincount(picked.ravel(), minlength=rows * images.size).reshape(rows, -1)
        yield drawn


def check_resampling(resamples: int, level: float) -> None:
    """Raises ValueError unless there are resamples and `level` is between 0 and 1."""
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"a bootstrap needs resamples >= 1 and 0 < level < 1, found {resamples!r} and {level!r}")


def _single(labels: NDArray) -> bool:
    """Whether a class has one image."""
    return 1 in (int(labels.sum()), int((~labels).sum()))


def _image_values(drawn: NDArray, labels: NDArray, starts: NDArray) -> NDArray:
    """(3, R) AUROC, AP, F1-max of resamples (R, N) of images in descending order; AUROC is nan without a normal one."""
    positive, negative = (np.add.reduceat(drawn * is_counted, starts, axis=1) for is_counted in (labels, ~labels))
    tp, fp = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    n_pos, n_neg = int(labels.sum()), int((~labels).sum())
    twice = np.sum(positive * (2 * (n_neg - fp) + negative), axis=1)
    auroc = twice / (2 * n_pos * n_neg) if n_neg else np.full(len(drawn), np.nan)
    ap = np.sum(positive * (tp / np.maximum(tp + fp, 1)), axis=1) / n_pos
    return np.stack([auroc, ap, np.max(2 * tp / (tp + fp + n_pos), axis=1)])


def _intervals(values: NDArray, level: float) -> list[Interval]:
    """One interval per row of values (K, R)."""
    ends = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=1).T
    return [Interval(float(low), float(high), level) for low, high in ends]
