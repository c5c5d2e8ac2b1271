"""Sample-level metrics: of objects that several images show (views), each by its largest score under its largest label.

As the authors of Real-IAD evaluate theirs: in ADEval 1.1.0 (BSD 3-Clause), which their repository names, the score of a
sample is the maximum of the image scores of its views, and its label the maximum of their labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zsad_bench.metrics import SAMPLE_KEYS
from zsad_bench.metrics.functional.bootstrap import image_intervals
from zsad_bench.metrics.functional.image import image_values
from zsad_bench.metrics.values import Interval, MetricValue, by_key

_IMAGE_KEY = {key: f"image_{key.partition('_')[2]}" for key in SAMPLE_KEYS}  # the same metric of images


def largest_of_each(scores: NDArray, labels: NDArray, groups: ArrayLike) -> tuple[NDArray, NDArray]:
    """Scores (G,) float64 and labels (G,) bool of G objects, in the order of their numbers.

    scores: (N,) of images. labels: (N,) bool. groups: (N,) integers, the object that each image shows.
    An object is anomalous if one of its views is. (0,) of no images.

    Raises:
        ValueError: the vectors differ in length.
    """
    numbers = np.asarray(groups, np.int64)
    if not scores.shape == labels.shape == numbers.shape:
        raise ValueError(
            f"sample metrics: scores, labels and groups must be three vectors of one length, found {scores.shape}, "
            f"{labels.shape} and {numbers.shape}"
        )
    objects, place = np.unique(numbers, return_inverse=True)
    largest, anomalous = np.full(objects.size, -np.inf), np.zeros(objects.size, np.bool_)
    np.maximum.at(largest, place, scores)
    np.logical_or.at(anomalous, place, labels)
    return largest, anomalous


def sample_values(scores: NDArray, labels: NDArray) -> dict[str, MetricValue]:
    """The values by key of objects with these scores (G,) and labels (G,) bool, undefined ones with their reason."""
    found = {
        key: value._replace(reason=value.reason and value.reason.replace("image", "sample"))
        for key, value in image_values(scores, labels).items()
    }
    return by_key(SAMPLE_KEYS, {key: found[of] for key, of in _IMAGE_KEY.items() if of in found})


def sample_intervals(scores: NDArray, labels: NDArray) -> dict[str, Interval]:
    """Percentile intervals by key, as those of images; objects are drawn, with all of their views."""
    found = image_intervals(scores, labels)
    return {key: found[of] for key, of in _IMAGE_KEY.items() if of in found}
