"""Exact RCPRO without keeping the maps: what is left of each image are the scores at which its components change.

A false alarm that only grows changes nothing, so a normal image leaves two events a local maximum, and an anomalous
one at most an event a pixel. Events of batches and ranks are concatenated, in any order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsad_bench.metrics.functional.component_tree import Grid, Matching, grow
from zsad_bench.metrics.functional.rcpro import changes, no_steps, rcpro_of
from zsad_bench.metrics.values import MetricValue


class RcproEvents(NamedTuple):
    """scores: (E,) in the dtype of the map. quality: (E,) float64, judged: (E,) int64: added from that score down."""

    scores: NDArray
    quality: NDArray
    judged: NDArray


def image_events(
    map_HW: NDArray,
    mask_HW: NDArray,
    matching: Matching = Matching(),  # noqa: B008 (frozen)
    aggregate: str = "pooled",
) -> RcproEvents:
    """The events of one image. map_HW: finite float32 or float64. mask_HW: bool."""
    grid = Grid(np.unique(map_HW), between=False)
    growth = grow(map_HW, mask_HW, grid, matching)
    quality, judged = changes(growth, aggregate)
    kept = (quality != 0) | (judged != 0)
    return RcproEvents(grid.ascending[::-1][growth.slots[kept]], quality[kept], judged[kept])


def rcpro_of_events(events: RcproEvents, positives: NDArray, areas: NDArray, n_regions: int) -> MetricValue:
    """RCPRO of a category from the events of its images, as `rcpro` gives it from the maps.

    positives: (P,) scores of its anomalous pixels, in the dtype of the events. areas: (P,) the area of each one's
    region (`pixel.Pixels` has both).
    """
    grid = Grid(np.unique(np.concatenate([events.scores, positives])), between=False)
    steps = no_steps(grid)
    slots = grid.slots(events.scores)
    np.add.at(steps.quality, slots, events.quality)
    np.add.at(steps.judged, slots, events.judged)
    np.add.at(steps.overlap, grid.slots(positives), 1.0 / areas)
    steps.totals[0] = n_regions
    return rcpro_of(steps)
