# pytest tests/backbones/test_compiled.py
"""Compiled blocks give what the blocks give; where gradients flow they are left alone."""

from __future__ import annotations

import copy

import pytest
import torch

from zsad_bench.backbones import compiled
from zsad_bench.types import EncoderSpec, Tap

pytestmark = pytest.mark.slow

TAPS = frozenset({Tap(4, 2), Tap(3, raw=True), Tap(4, 2, vv="value_value")})


def encoded(backbone, images):
    with torch.no_grad():
        return backbone.encode_image(images, EncoderSpec(backbone.forward_spec(32), TAPS, frozenset({"cls"})))


@pytest.fixture
def backbone(mini, monkeypatch):
    """The miniature with compiled blocks, by the part of the compiler that needs no C compiler."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    yield (one := copy.copy(mini))
    torch._dynamo.reset()
    assert one is not mini


def test_it_computes_the_same(mini, backbone, images):
    backbone.compiled = "default"
    found, exact = encoded(backbone, images), encoded(mini, images)
    for tap in TAPS:
        assert torch.allclose(found.rows[tap], exact.rows[tap], atol=1e-6), tap
    assert torch.allclose(found.pooled("cls"), exact.pooled("cls"), atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= mini.vision.n_blocks, "nothing was compiled"
    assert backbone.forward_spec(32) == mini.forward_spec(32), "equal numbers have one spec"


def test_a_large_tower_is_compiled_to_its_last_block(mini, backbone, images):
    """The compiler gives up after so many versions of one function, and says so in a log that nobody reads."""
    backbone.compiled = "default"
    encoded(backbone, images)
    limit = getattr(torch._dynamo.config, "recompile_limit", None) or torch._dynamo.config.cache_size_limit
    assert limit >= 8 * mini.vision.n_blocks


def test_blocks_that_gradients_flow_through_run_as_they_are(backbone, images, monkeypatch):
    backbone.compiled = "default"
    blocks = compiled.CompiledBlocks(backbone.vision, "default")
    rows = backbone.embed_patches(images).requires_grad_()
    monkeypatch.setattr(blocks, "_block", lambda *_: pytest.fail("compiled"))
    out, _ = blocks.block(1, rows, False, "own")
    out.sum().backward()
    assert rows.grad.isfinite().all()
