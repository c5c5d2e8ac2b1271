# pytest tests/backbones/test_fitting.py
"""A batch is encoded in parts where memory asks for it: the same features, one warning where it does not fit."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

from zsad_bench.backbones import fitting
from zsad_bench.backbones.encoder import Encoder
from zsad_bench.errors import UsageError
from zsad_bench.types import Category, EncoderSpec, SampleInfo, Tap

CATEGORY = Category("set", "nut", "nut", "object", "industrial")
SAMPLES = [SampleInfo(str(i), CATEGORY) for i in range(11)]


class Small:
    """A visual tower that has memory for so many images at once."""

    def __init__(self, tower, most: int) -> None:
        self.tower, self.most, self.asked = tower, most, []

    def __getattr__(self, name: str):
        return getattr(self.tower, name)

    def embed(self, images, pos_interp):
        self.asked.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.tower.embed(images, pos_interp)


@pytest.fixture
def encoder_with(mini):
    """encoder_with(most, taps): on the miniature, whose tower takes `most` images; and that tower."""

    def made(most: int, *taps: Tap, trains: bool = False) -> tuple[Encoder, Small]:
        backbone = copy.copy(mini)
        backbone.vision = Small(mini.vision, most)
        spec = EncoderSpec(mini.forward_spec(32), frozenset(taps or {Tap(4, 2), Tap(2, raw=True)}), frozenset({"cls"}))
        return Encoder(backbone, spec, trains), backbone.vision

    return made


@pytest.fixture
def images():
    return torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("most", [10, 5, 2, 1])
def test_parts_are_the_whole(encoder_with, images, most):
    expected = encoder_with(11)[0](images, SAMPLES)
    encoder, tower = encoder_with(most)
    with pytest.warns(UserWarning, match="11 images of 32 x 32 pixels do not fit into the memory of cpu") as said:
        found = encoder(images, SAMPLES)
    assert len(said) == 1, "it is said more than once"
    for tap, rows in expected.rows.items():
        assert torch.allclose(found.rows[tap], rows, atol=1e-5), tap
    assert torch.allclose(found.pooled("cls"), expected.pooled("cls"), atol=1e-5)
    assert (found.grid, found.image_size, found.n_prefix) == (expected.grid, expected.image_size, expected.n_prefix)
    assert encoder.n_images == 11
    tower.asked.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(images, SAMPLES)
    assert max(tower.asked) <= most, "what did not fit is tried again"
    assert sum(tower.asked) == 11


def test_a_cpu_takes_what_its_allocator_keeps(encoder_with, images, monkeypatch):
    expected = encoder_with(11)[0](images, SAMPLES)
    encoder, tower = encoder_with(11)
    rows = tower.n_prefix + (32 // tower.patch_size) ** 2
    monkeypatch.setattr(fitting, "KEPT_BYTES", 5 * 4 * rows * 4 * tower.width + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = encoder(images, SAMPLES)
    assert tower.asked == [5, 5, 1], "images that are encoded together"
    for tap, rows in expected.rows.items():
        assert torch.allclose(found.rows[tap], rows, atol=1e-5), tap


def test_one_image_that_does_not_fit_is_one_line(encoder_with, images):
    encoder, _ = encoder_with(0)
    refused = pytest.raises(
        UsageError, match="one image of 32 x 32 pixels does not fit into the memory of cpu with mini"
    )
    with pytest.warns(UserWarning, match="in parts"), refused as no:
        encoder(images, SAMPLES)
    assert "\n" not in str(no.value)


def test_what_depends_on_its_batch_is_not_split(encoder_with, images):
    with pytest.raises(torch.OutOfMemoryError):
        encoder_with(5, Tap(4, 2, vv="batch_mix"))[0](images, SAMPLES)
    with pytest.raises(torch.OutOfMemoryError):
        encoder_with(5)[0](images, SAMPLES, edit=lambda block, rows: rows)
    with pytest.raises(torch.OutOfMemoryError):
        encoder_with(5, trains=True)[0](images, SAMPLES)
