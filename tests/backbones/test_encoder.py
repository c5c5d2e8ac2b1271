# pytest tests/backbones/test_encoder.py
"""The encoder as an object: what it counts, when gradients flow, and that it runs nothing for nothing; features."""

from __future__ import annotations

import time

import pytest
import torch

from zsad_bench.backbones.encoder import Encoder
from zsad_bench.errors import BackboneError
from zsad_bench.types import Category, EncoderSpec, Features, ForwardSpec, SampleInfo, Tap

NUT = Category("made_up", "nut", "nut", "object", "industrial")
SAMPLES = [SampleInfo(f"{i}.png", NUT) for i in range(3)]


@pytest.fixture
def spec(mini):
    return EncoderSpec(mini.forward_spec(32), frozenset({Tap(4), Tap(2, raw=True)}), frozenset({"cls"}))


def test_it_encodes_what_its_spec_says(mini, images, spec):
    found, expected = Encoder(mini, spec)(images, SAMPLES), mini.encode_image(images, spec)
    assert found.rows.keys() == spec.taps
    assert found.vectors.keys() == spec.pooled
    assert all(torch.equal(found.rows[tap], expected.rows[tap]) for tap in spec.taps)


def test_it_counts_images_and_seconds(mini, images, spec, monkeypatch):
    encoder, encode = Encoder(mini, spec), mini.encode_image

    def slow(*args):
        time.sleep(0.02)
        return encode(*args)

    monkeypatch.setattr(mini, "encode_image", slow)
    assert (encoder.n_images, encoder.seconds) == (0, 0)
    encoder(images, SAMPLES)
    first = encoder.seconds
    encoder(images[:2], SAMPLES[:2])
    assert encoder.n_images == 5
    assert first >= 0.02, "the encoding itself is not in its time"
    assert encoder.seconds >= first + 0.02, "the second batch took no time"


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_gradients_flow_where_it_trains_and_they_are_on(mini, images, spec, trains, enabled):
    step = torch.zeros(64, requires_grad=True)
    encoder = Encoder(mini, spec, trains=trains)
    with torch.set_grad_enabled(enabled):
        found = encoder(images, SAMPLES, edit=lambda block, tokens: tokens + step)
        assert torch.is_grad_enabled() == enabled, "it left gradients in another state"
    assert found.pooled("cls").requires_grad == (trains and enabled)


def test_blocks_can_be_recomputed(mini, images, spec, monkeypatch):
    runs, block = [], mini.vision.block
    monkeypatch.setattr(mini.vision, "block", lambda number, *args: runs.append(number) or block(number, *args))
    step = torch.zeros(64, requires_grad=True)
    for checkpoint_blocks, expected in ((False, 4), (True, 8)):
        runs.clear()
        found = Encoder(mini, spec, trains=True)(
            images, SAMPLES, lambda number, tokens: tokens + step, checkpoint_blocks=checkpoint_blocks
        )
        torch.autograd.grad(found.pooled("cls").sum(), [step])
        assert len(runs) == expected, f"blocks ran {len(runs)} times, forward and backward"


def test_nothing_asked_for_is_nothing_run(mini, images, monkeypatch):
    monkeypatch.setattr(mini, "encode_image", lambda *args: pytest.fail("images were encoded for nothing"))
    encoder = Encoder(mini, EncoderSpec(mini.forward_spec(32)))
    found = encoder(images, SAMPLES)
    assert (found.rows, found.vectors, found.image_size) == ({}, {}, (32, 32))
    assert (encoder.n_images, encoder.seconds) == (0, 0)


def test_what_cannot_be_is_refused_when_it_is_made(mini, images, spec):
    with pytest.raises(BackboneError, match="made for other@0"):
        Encoder(mini, EncoderSpec(ForwardSpec("other@0", 32)))
    with pytest.raises(BackboneError, match=r"tap at block 5: mini has blocks 1\.\.4"):
        Encoder(mini, EncoderSpec(mini.forward_spec(32), frozenset({Tap(5)})))
    with pytest.raises(ValueError, match="3 images, but 2 samples"):
        Encoder(mini, spec)(images, SAMPLES[:2])


# --- features ---------------------------------------------------------------------------------------------------------


def features() -> Features:
    tap = Tap(1, raw=True)
    extra = {"windows": {2: torch.arange(12.0).view(3, 4)}, "edges": torch.arange(3.0)}
    rows, behind = torch.arange(3 * 8 * 2.0).view(3, 8, 2), torch.arange(3 * 2.0).view(3, 1, 2)
    return Features({tap: rows}, {"cls": torch.arange(6.0).view(3, 2)}, (2, 3), (28, 42), 2, behind, extra)


def test_rows_are_read_by_name():
    found, tap = features(), Tap(1, raw=True)
    assert torch.equal(found.prefix(tap), found.rows[tap][:, :2])
    assert torch.equal(found.patches(tap), found.rows[tap][:, 2:])
    assert found.patches(tap).shape[1] == found.grid[0] * found.grid[1]
    with pytest.raises(KeyError, match=r"Tap\(block=2.*was not asked for; there are: Tap\(block=1"):
        found.patches(Tap(2))
    with pytest.raises(KeyError, match="pooled feature 'mean' was not asked for; there are: cls"):
        found.pooled("mean")


@pytest.mark.parametrize("images", [slice(1, 2), [1], [2, 0]])
def test_the_part_of_some_images(images):
    whole, tap = features(), Tap(1, raw=True)
    part = whole.select(images)
    assert torch.equal(part.rows[tap], whole.rows[tap][images])
    assert torch.equal(part.pooled("cls"), whole.pooled("cls")[images])
    assert torch.equal(part.extra_rows, whole.extra_rows[images])
    assert torch.equal(part.extra["windows"][2], whole.extra["windows"][2][images])
    assert torch.equal(part.extra["edges"], whole.extra["edges"][images])
    assert (part.grid, part.image_size, part.n_prefix) == (whole.grid, whole.image_size, whole.n_prefix)


def test_requests_of_one_pass_merge(mini):
    one = EncoderSpec(mini.forward_spec(32), frozenset({Tap(4)}), frozenset({"cls"}))
    other = EncoderSpec(mini.forward_spec(32), frozenset({Tap(2)}), frozenset({"mean"}))
    assert one.merge(other) == EncoderSpec(one.forward, frozenset({Tap(2), Tap(4)}), frozenset({"cls", "mean"}))
    with pytest.raises(ValueError, match="differ in the forward pass"):
        one.merge(EncoderSpec(mini.forward_spec(32, activation="gelu")))
