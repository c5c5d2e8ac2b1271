# pytest tests/inspection/test_overlay.py
"""Colours of maps on photos."""

import numpy as np

from zsad_bench.inspection.overlay import ColourRange, colour_range, overlay, reduced

PHOTO = np.full((20, 30, 3), 128, np.uint8)


def test_what_is_usual_keeps_the_photo_as_it_is():
    map_ = np.zeros((20, 30), np.float32)
    map_[5, 5] = 1
    colours = ColourRange(0.0, 1.0)
    mixed = overlay(PHOTO, map_, colours)
    assert (mixed[map_ == 0] == 128).all()
    assert (mixed[5, 5] != 128).any()
    assert (overlay(PHOTO, map_ - 5, colours) == PHOTO).all()


def test_higher_values_are_brighter_over_a_dark_photo():
    map_ = np.linspace(0, 1, 30, dtype=np.float32)[None].repeat(20, 0)
    mixed = overlay(np.zeros_like(PHOTO), map_, ColourRange(0.0, 1.0))
    light = mixed[0].astype(float) @ (0.299, 0.587, 0.114)
    assert (np.diff(light) >= -1e-9).all()
    assert light[-1] > 150


def test_a_constant_map_colours_nothing():
    assert (overlay(PHOTO, np.full((20, 30), 3.0, np.float32), ColourRange(3.0, 3.0)) == PHOTO).all()


def test_outside_the_region_the_photo_is_dim_and_without_colour():
    inside = np.zeros((20, 30), bool)
    inside[:, :10] = True
    mixed = overlay(PHOTO, np.ones((20, 30), np.float32), ColourRange(0.0, 1.0), inside)
    assert (mixed[:, 10:] < 64).all()
    assert len(np.unique(mixed[:, 10:])) == 1
    assert (mixed[:, :10] > 64).any()


def test_the_range_runs_from_the_usual_value_to_the_highest():
    assert colour_range([(0.1, 0.5), (0.2, 4.0), (0.3, 1.0)]) == ColourRange(0.2, 4.0)


def test_a_single_pixel_survives_being_made_small():
    map_ = np.zeros((999, 1001), np.float32)
    map_[500, 77] = 7
    small = reduced(map_, 40, 30)
    assert small.shape == (30, 40)
    assert small.max() == 7
    assert (small > 0).sum() == 1
    assert reduced(map_[:5, :5], 40, 30).shape == (30, 40)
