# pytest tests/methods/test_sanity.py
"""The two floors: a map that knows only where the middle is, and one that knows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

SANITY = ("center_prior", "random")


@pytest.mark.parametrize("name", SANITY)
def test_nothing_is_encoded_and_no_pixel_is_read(name, make, predict, batch, mini, monkeypatch):
    def forbidden(*args):
        raise AssertionError(f"{name} encodes images")

    monkeypatch.setattr(mini, "encode_image", forbidden)
    method = make(name)
    assert method.is_sanity_check, f"{name} must stand apart from the contenders in tables"
    blank = replace(batch, images=torch.zeros_like(batch.images))
    assert torch.equal(predict(method, batch).map, predict(method, blank).map), f"{name} looked at the images"


@pytest.mark.parametrize("size", [48, 56])
def test_center_prior_is_highest_in_the_middle(make, predict, batch, size):
    square = replace(batch, images=torch.zeros(5, 3, size, size))
    found = predict(make("center_prior", image_size=size), square)
    assert (found.score == found.score[0]).all(), "its image score is constant"
    one = found.map[0]
    assert torch.equal(found.map, one.expand(5, -1, -1)), "every image has the same map"
    middle = one[size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1]
    assert (middle == one.max()).all(), "the four pixels in the middle are highest"
    assert one[0, 0] == one.min() == 0, "the corners are lowest"
    assert torch.allclose(one, one.flip(0), atol=1e-6), "up and down differ"
    assert torch.allclose(one, one.T, atol=1e-6), "rows and columns differ"
    inside = one[size // 2, size // 2 :]
    assert (inside.diff() < 0).all(), "it falls towards the border"


def test_random_depends_on_id_and_seed_alone(make, predict, batch):
    found = predict(make("random"), batch)
    other = replace(batch.samples[1].category, name="cable", dataset="elsewhere")
    moved = replace(batch, samples=[replace(s, category=other) for s in batch.samples])
    assert torch.equal(predict(make("random"), moved).map, found.map), "the category changed the draw"
    renamed = replace(batch, samples=[replace(batch.samples[0], id="made_up/99.png"), *batch.samples[1:]])
    changed = predict(make("random"), renamed)
    assert changed.score[0] != found.score[0], "the id does not matter"
    assert torch.equal(changed.score[1:], found.score[1:]), "one id changed the draw of another image"
    assert not torch.equal(predict(make("random", seed=4), batch).map, found.map), "the seed does not matter"


def test_random_is_uniform_and_independent(make, predict, batch):
    found = predict(make("random"), batch)
    assert 0 <= float(found.map.min()) < 0.01 < 0.99 < float(found.map.max()) < 1
    assert float(found.map.mean()) == pytest.approx(0.5, abs=0.02)  # 11,520 pixels: standard error 0.003
    assert found.score.unique().numel() == 5, "two images drew the same score"
    neighbours = torch.corrcoef(torch.stack([found.map[:, :, 1:].flatten(), found.map[:, :, :-1].flatten()]))[0, 1]
    assert abs(float(neighbours)) < 0.05, "neighbouring pixels are correlated"
    assert not torch.isclose(found.map[:, 0, 0], found.score).any(), "the score is the map's first pixel"
