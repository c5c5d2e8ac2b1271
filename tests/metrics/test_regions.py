# pytest tests/metrics/test_regions.py
"""Regions of a mask: which pixels belong together, and the area each pixel's region has."""

from __future__ import annotations

import numpy as np
import pytest

from zsad_bench.metrics.functional.regions import find_regions, label_regions, region_areas

MASK = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize(("connectivity", "areas"), [(8, [2, 2, 2, 2]), (4, [1, 2, 1, 2])])
def test_areas_in_row_major_order(connectivity: int, areas: list[int]) -> None:
    found, n_regions = region_areas(MASK, connectivity)
    assert (found.tolist(), n_regions) == (areas, {8: 2, 4: 3}[connectivity])
    assert found.dtype == np.int32
    assert label_regions(MASK, connectivity)[1] == n_regions


def test_an_empty_mask_has_no_region() -> None:
    found, n_regions = region_areas(np.zeros((3, 3), bool))
    assert (found.size, n_regions) == (0, 0)


def test_regions_know_where_they_lie_and_how_large_they_are() -> None:
    regions = find_regions(MASK)
    height, width = regions.labels.shape
    whole = np.zeros_like(MASK, np.int32)
    whole[regions.top : regions.top + height, regions.left : regions.left + width] = regions.labels
    assert np.array_equal(whole > 0, MASK)
    assert np.array_equal(whole, label_regions(MASK)[0]), "the box changes the numbers of regions"
    assert regions.sizes.tolist() == [2, 2]
    nothing = find_regions(np.zeros((3, 3), bool))
    assert (nothing.labels.size, nothing.sizes.size) == (0, 0)
    with pytest.raises(ValueError, match="connectivity must be 4 or 8, found 6"):
        find_regions(MASK, 6)


def test_weights_of_a_region_add_up_to_one() -> None:
    mask = np.random.default_rng(0).random((30, 40)) > 0.7
    areas, n_regions = region_areas(mask)
    assert np.sum(1 / areas) == pytest.approx(n_regions), "each region must weigh 1 in all"
