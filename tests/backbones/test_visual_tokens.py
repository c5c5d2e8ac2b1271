# pytest tests/backbones/test_visual_tokens.py
"""Extra visual tokens, their replacement before deeper blocks, and injections into the patch rows."""

from __future__ import annotations

import pytest
import torch

from tests.float32 import assert_close
from zsad_bench.errors import BackboneError
from zsad_bench.types import EncoderSpec, Tap

TAPS = frozenset({Tap(2, raw=True), Tap(4), Tap(4, 2)})


@pytest.fixture
def request_(mini):
    return EncoderSpec(mini.forward_spec(32), TAPS, frozenset({True, False}))


def tokens(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same(a, b, message):
    for tap in TAPS:
        assert_close(a.taps[tap], b.taps[tap], message)
    for ln_post in (True, False):
        assert_close(a.global_[ln_post], b.global_[ln_post], message)


def test_extra_tokens_are_seen_but_not_returned(mini, images, request_):
    plain = mini.encode_image(images, request_)
    extra = mini.encode_image(images, request_, tokens(4, 64))
    for tap in TAPS:
        assert extra.taps[tap].shape == plain.taps[tap].shape, f"{tap}: extra tokens are dropped"
        assert (extra.taps[tap] - plain.taps[tap]).abs().max() > 1e-3, f"{tap}: the patches attend to them"
    assert extra.extra["visual_tokens"].shape == (3, 4, 64), "they can be read as they leave the last block"


def test_no_tokens_is_none(mini, images, request_):
    plain = mini.encode_image(images, request_)
    empty = mini.encode_image(images, request_, tokens(0, 64))
    for tap in TAPS:
        assert torch.equal(plain.taps[tap], empty.taps[tap]), f"{tap}: zero tokens changed it"


def test_extra_tokens_are_appended_behind_ln_pre(mini, images, request_):
    """The same sequence, put together by hand and run by open_clip's own blocks."""
    extra = tokens(4, 64)
    by_hand = torch.cat([mini.embed_patches(images), extra.expand(3, -1, -1)], dim=1)
    for block in mini.model.visual.transformer.resblocks:
        by_hand = block(by_hand)
    found = mini.encode_image(images, request_, extra)
    assert_close(found.taps[Tap(4)], mini.project(by_hand[:, :17]))
    assert_close(found.extra["visual_tokens"], by_hand[:, 17:])


def test_tokens_of_each_image_are_its_own(mini, images, request_):
    own = tokens(3, 2, 64)
    whole = mini.encode_image(images, request_, own)
    for i in range(3):
        one = mini.encode_image(images[i : i + 1], request_, own[i])
        assert_close(whole.taps[Tap(4, 2)][i], one.taps[Tap(4, 2)][0])


def test_deep_tokens_overwrite_before_their_block(mini, images, request_):
    extra, deep = tokens(2, 64), [tokens(2, 64, seed=4), tokens(3, 2, 64, seed=5)]
    found = mini.encode_image(images, request_, extra, deep)
    x = torch.cat([mini.embed_patches(images), extra.expand(3, -1, -1)], dim=1)
    for number, block in enumerate(mini.model.visual.transformer.resblocks, start=1):
        if number in (2, 3):
            x = torch.cat([x[:, :17], deep[number - 2].expand(3, -1, -1)], dim=1)
        x = block(x)
        if number == 2:
            assert_close(found.taps[Tap(2, raw=True)], x[:, :17])
    assert_close(found.global_[False], x[:, 0] @ mini.model.visual.proj)


def test_injection_reaches_both_paths(mini, images, request_):
    """An increment that is the same for all patches, before block 3, against a hand-run tower."""
    step = tokens(64)
    seen = []

    def inject(patches):
        seen.append(patches)
        return step.expand_as(patches)

    plain = mini.encode_image(images, request_)
    found = mini.encode_image(images, request_, inject={3: inject})
    assert torch.equal(seen[0], plain.taps[Tap(2, raw=True)][:, 1:]), "it is given the patch rows entering the block"
    assert torch.equal(found.taps[Tap(2, raw=True)], plain.taps[Tap(2, raw=True)]), "earlier taps do not see it"
    x = plain.taps[Tap(2, raw=True)].clone()
    x[:, 1:] += step
    for block in mini.model.visual.transformer.resblocks[2:]:
        x = block(x)
    assert_close(found.taps[Tap(4)], mini.project(x))


def test_injection_joins_the_sums_that_have_started(mini, images):
    """Before block 4: what two V-V paths gain there is the same, whether started earlier or at that block."""
    taps = frozenset({Tap(4, 2, raw=True), Tap(4, 4, raw=True), Tap(3, 2, raw=True), Tap(3, raw=True)})
    step = tokens(64)
    found = mini.encode_image(
        images, EncoderSpec(mini.forward_spec(32), taps), inject={4: lambda p: step.expand_as(p)}
    ).taps
    gained_by_started = found[Tap(4, 2, raw=True)] - found[Tap(3, 2, raw=True)]
    gained_by_new = found[Tap(4, 4, raw=True)] - found[Tap(3, raw=True)]
    torch.testing.assert_close(gained_by_started, gained_by_new, atol=2e-5, rtol=1e-4)


def test_zero_injection_is_none(mini, images, request_):
    plain = mini.encode_image(images, request_)
    assert_same(plain, mini.encode_image(images, request_, inject={2: torch.zeros_like}), "a zero increment")


@pytest.mark.parametrize("checkpoint", [False, True])
def test_gradients_flow_to_what_trains_and_only_there(mini, images, request_, checkpoint):
    extra, deep, step = (tokens(2, 64, seed=s).requires_grad_() for s in (6, 7, 8))

    def gradients():
        found = mini.encode_image(images, request_, extra, [deep], {3: lambda p: step[:1].expand_as(p)})
        loss = found.taps[Tap(4, 2)].square().mean() + found.global_[True].square().mean()
        return torch.autograd.grad(loss, [extra, deep, step])

    expected = gradients()
    mini.checkpoint_blocks = checkpoint
    try:
        found = gradients()
    finally:
        mini.checkpoint_blocks = False
    for name, one, other in zip(("visual", "deep", "injected"), found, expected, strict=True):
        assert one.abs().max() > 0, f"no gradient reaches the {name} tokens"
        assert_close(one, other, f"gradient of the {name} tokens")
    assert all(p.grad is None for p in mini.parameters()), "a frozen weight has a gradient"


def test_tokens_that_do_not_fit(mini, images, request_):
    with pytest.raises(ValueError, match=r"\(4, 32\), expected \(n,64\)"):
        mini.encode_image(images, request_, tokens(4, 32))
    with pytest.raises(ValueError, match=r"\(2, 4, 64\)"):
        mini.encode_image(images, request_, tokens(2, 4, 64))
    with pytest.raises(ValueError, match=r"deep_visual_tokens\[0\]"):
        mini.encode_image(images, request_, tokens(4, 64), [tokens(3, 64)])
    with pytest.raises(BackboneError, match=r"before block 5: mini has blocks 1..4"):
        mini.encode_image(images, request_, tokens(1, 64), [tokens(1, 64)] * 4)
    with pytest.raises(BackboneError, match="injection before block 0"):
        mini.encode_image(images, request_, inject={0: torch.zeros_like})
