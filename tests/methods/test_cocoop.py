# pytest tests/methods/test_cocoop.py
"""What is special to CoCoOp: prompts of every image, and two presets; parity is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zsad_bench.types import Tap


@pytest.fixture
def cocoop(make):
    return lambda **settings: make("cocoop", **settings)


def found_by(method, batch):
    """Features and text pairs of a batch."""
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        return features, method.texts(features, batch.samples)


def test_parameters(cocoop):
    shapes = {name: tuple(value.shape) for name, value in cocoop().own_state().items()}
    assert shapes == {
        "ctx": (4, 32), "meta.fc1.weight": (3, 48), "meta.fc1.bias": (3,),
        "meta.fc2.weight": (32, 3), "meta.fc2.bias": (32,),
    }, "the network narrows to a sixteenth of the joint width"  # fmt: skip


def test_every_image_has_texts_of_its_own(cocoop, batch):
    same = replace(batch, samples=[batch.samples[0]] * len(batch))
    _, text = found_by(cocoop(), same)
    assert text.shape == (5, 2, 48)
    assert not torch.allclose(text[0], text[1], atol=1e-5), "two images of a category got the same texts"


def test_without_the_network_it_is_coop(cocoop, make, predict, batch):
    """A network that answers zero leaves CoOp with the same context."""
    method, coop = cocoop(), make("coop", ctx_init="a photo of a")
    with torch.no_grad():
        method.meta.fc2.weight.zero_()
        method.meta.fc2.bias.zero_()
    one, other = predict(method, batch), predict(coop, batch)
    assert torch.allclose(one.score, other.score, atol=1e-5), "scores differ from CoOp's"
    assert torch.allclose(one.map, other.map, atol=1e-5), "maps differ from CoOp's"


def test_the_shift_is_the_same_for_all_context_tokens(cocoop, batch, mini, monkeypatch):
    method = cocoop()
    encode, seen = mini.encode_tree, []
    monkeypatch.setattr(
        mini, "encode_tree", lambda rows, tree, *a, **k: seen.append(rows[tree.paths]) or encode(rows, tree, *a, **k)
    )
    features, _ = found_by(method, batch)
    moved = seen[0].unflatten(0, (5, 2))[:, :, 1:5] - method.ctx
    expected = method.shift(features)[:, None, None].expand_as(moved)
    assert torch.allclose(moved, expected, atol=1e-6), "context rows are not the context plus the image's shift"


def test_presets(cocoop, mini):
    plain, zsad = cocoop().config, cocoop(preset="zsad").config
    named = ("local_features", "first_vv_block", "global_ln_post", "local_weight")
    assert [getattr(plain, name) for name in named] == ["original", 0, True, 0.0]
    assert [getattr(zsad, name) for name in named] == ["vv", 1, False, 4.0]
    assert plain.temperature == pytest.approx(float(1 / mini.model.logit_scale.exp()))
    assert zsad.temperature == 0.07
    assert cocoop(preset="zsad").encoder_spec.taps == {Tap(4, 1)}
    assert cocoop(preset="zsad", local_weight=0.0, temperature=0.01).config.temperature == 0.01, "what is given wins"


def test_losses_of_the_presets(cocoop, batch):
    def terms(**settings):
        method = cocoop(**settings)
        return method.losses(method.encode(batch.images, batch.samples), batch)

    assert set(terms()) == {"image"}
    assert set(terms(preset="zsad")) == {"image", "local"}, "the mask supervises the second preset"


def test_deep_tokens_are_added_when_asked_for(cocoop, batch):
    without, deep = cocoop(preset="zsad"), cocoop(preset="zsad", deep_tokens=True)
    assert set(deep.own_state()) - set(without.own_state()) == {"deep_tokens"}
    assert deep.deep_tokens.shape == (1, 4, 32), "one matrix in front of block 2: depth 9 of 12, scaled to 3"
    assert torch.equal(deep.ctx, without.ctx), "the rest starts as without them"
    stage = deep.stages()[0]
    deep.begin_stage(stage)
    losses = deep.losses(deep.encode(batch.images, batch.samples), batch)
    sum(losses.values()).backward()
    reached = {name for name, p in deep.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == set(deep.trainables(stage)), "gradients and trainables differ"


def test_an_empty_start_is_drawn(cocoop):
    drawn, other = cocoop(ctx_init=""), cocoop(ctx_init="", seed=4)
    assert drawn.ctx.shape == (4, 32)
    assert not torch.equal(drawn.ctx, other.ctx), "the seed does not draw the context"
    assert torch.equal(cocoop().ctx, cocoop(seed=4).ctx), "the words 'a photo of a' are the same for any seed"


def test_cutting_the_context_changes_nothing(cocoop, batch):
    cut, whole = (found_by(cocoop(truncate_context=yes), batch)[1] for yes in (True, False))
    assert torch.allclose(cut, whole, atol=1e-5), f"off by {(cut - whole).abs().max():.1e}"
