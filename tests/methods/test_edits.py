# pytest tests/methods/test_edits.py
"""What methods put into the towers: visual tokens, their deep replacements, injections, deep text tokens."""

from __future__ import annotations

import pytest
import torch

from tests.float32 import assert_close
from zsad_bench.backbones.forward import Increment
from zsad_bench.errors import BackboneError
from zsad_bench.methods._edits import (
    behind_blocks,
    chain,
    deep_text_tokens,
    deep_visual_tokens,
    patch_injections,
    patch_rows,
    visual_tokens,
)
from zsad_bench.types import EncoderSpec, Tap

TAPS = frozenset({Tap(2, raw=True), Tap(4), Tap(4, 2)})
PATCHES = slice(1, 17)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(3,3,32,32), the native size of the miniature."""
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def request_(mini):
    return EncoderSpec(mini.forward_spec(32), TAPS, frozenset({"cls", "cls_raw"}))


def tokens(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- images -----------------------------------------------------------------------------------------------------------


def test_extra_tokens_are_seen_but_not_returned(mini, images, request_):
    plain = mini.encode_image(images, request_)
    extra = mini.encode_image(images, request_, visual_tokens(tokens(4, 64)))
    for tap in TAPS:
        assert extra.rows[tap].shape == plain.rows[tap].shape, f"{tap}: extra tokens are dropped"
        assert (extra.rows[tap] - plain.rows[tap]).abs().max() > 1e-3, f"{tap}: the patches attend to them"
    assert extra.extra_rows.shape == (3, 4, 64), "they can be read as they leave the last block"
    assert plain.extra_rows is None


def test_no_tokens_is_none(mini, images, request_):
    plain = mini.encode_image(images, request_)
    empty = mini.encode_image(images, request_, visual_tokens(tokens(0, 64)))
    for tap in TAPS:
        assert torch.equal(plain.rows[tap], empty.rows[tap]), f"{tap}: zero tokens changed it"


def test_extra_tokens_are_appended_behind_the_norm_in_front(mini, images, request_):
    """The same sequence, put together by hand and run by open_clip's own blocks."""
    extra = tokens(4, 64)
    by_hand = torch.cat([mini.embed_patches(images), extra.expand(3, -1, -1)], dim=1)
    for block in mini.model.visual.transformer.resblocks:
        by_hand = block(by_hand)
    found = mini.encode_image(images, request_, visual_tokens(extra))
    assert_close(found.rows[Tap(4)], mini.vision.project(by_hand[:, :17]))
    assert_close(found.extra_rows, by_hand[:, 17:])


def test_tokens_of_each_image_are_its_own(mini, images, request_):
    own = tokens(3, 2, 64)
    whole = mini.encode_image(images, request_, visual_tokens(own))
    for i in range(3):
        one = mini.encode_image(images[i : i + 1], request_, visual_tokens(own[i]))
        assert_close(whole.rows[Tap(4, 2)][i], one.rows[Tap(4, 2)][0])


def test_deep_tokens_overwrite_before_their_block(mini, images, request_):
    extra, deep = tokens(2, 64), [tokens(2, 64, seed=4), tokens(3, 2, 64, seed=5)]
    found = mini.encode_image(images, request_, chain(visual_tokens(extra), deep_visual_tokens(mini, deep)))
    x = torch.cat([mini.embed_patches(images), extra.expand(3, -1, -1)], dim=1)
    for number, block in enumerate(mini.model.visual.transformer.resblocks, start=1):
        if number in (2, 3):
            x = torch.cat([x[:, :17], deep[number - 2].expand(3, -1, -1)], dim=1)
        x = block(x)
        if number == 2:
            assert_close(found.rows[Tap(2, raw=True)], x[:, :17])
    assert_close(found.pooled("cls_raw"), x[:, 0] @ mini.model.visual.proj)


def test_an_injection_is_given_the_patches_and_reaches_them_alone(mini, images, request_):
    """An increment that is the same for all patches, before block 3, against a hand-run tower."""
    step, seen = tokens(64), []

    def inject(patches):
        seen.append(patches)
        return step.expand_as(patches)

    edit = chain(visual_tokens(tokens(2, 64)), patch_injections({3: inject}, patch_rows(mini, images)))
    plain = mini.encode_image(images, request_, visual_tokens(tokens(2, 64)))
    found = mini.encode_image(images, request_, edit)
    assert torch.equal(seen[0], plain.patches(Tap(2, raw=True))), "it is given the patch rows entering the block"
    assert torch.equal(found.rows[Tap(2, raw=True)], plain.rows[Tap(2, raw=True)]), "earlier taps do not see it"
    x = torch.cat([mini.embed_patches(images), tokens(2, 64).expand(3, -1, -1)], dim=1)
    for number, block in enumerate(mini.model.visual.transformer.resblocks, start=1):
        if number == 3:
            x[:, PATCHES] += step
        x = block(x)
    assert_close(found.rows[Tap(4)], mini.vision.project(x[:, :17]))


def test_an_injection_stays_an_increment_where_it_is_all_that_happens(mini, images):
    inject = patch_injections({1: torch.ones_like, 3: torch.ones_like}, PATCHES)
    edit, rows = chain(visual_tokens(tokens(2, 64)), inject), torch.zeros(3, 17, 64)
    alone, together = edit(3, rows), edit(1, rows)
    assert isinstance(alone, Increment), "sums that run would be given a difference that was rounded"
    assert torch.equal(alone.step, inject(3, rows).step)
    assert torch.equal(together[:, :17], inject(1, rows).step), "both happen before block 1"
    assert torch.equal(together[:, 17:], tokens(2, 64).expand(3, -1, -1))
    assert edit(2, rows) is rows


def test_patch_rows_are_those_of_the_grid(mini):
    assert patch_rows(mini, torch.zeros(1, 3, 40, 56)) == slice(1, 36), "5 rows of 7 patches behind the class token"


@pytest.mark.parametrize("checkpoint", [False, True])
def test_gradients_flow_to_what_trains_and_only_there(mini, images, request_, checkpoint):
    extra, deep, step = (tokens(2, 64, seed=s).requires_grad_() for s in (6, 7, 8))
    edit = chain(
        visual_tokens(extra),
        deep_visual_tokens(mini, [deep]),
        patch_injections({3: lambda patches: step[:1].expand_as(patches)}, PATCHES),
    )

    def gradients(checkpoint_blocks: bool):
        found = mini.encode_image(images, request_, edit, checkpoint_blocks)
        loss = found.rows[Tap(4, 2)].square().mean() + found.pooled("cls").square().mean()
        return torch.autograd.grad(loss, [extra, deep, step])

    for name, one, other in zip(("visual", "deep", "injected"), gradients(checkpoint), gradients(False), strict=True):
        assert one.abs().max() > 0, f"no gradient reaches the {name} tokens"
        assert_close(one, other, f"gradient of the {name} tokens")
    assert all(p.grad is None for p in mini.parameters()), "a frozen weight has a gradient"


def test_visual_tokens_that_do_not_fit(mini, images, request_):
    with pytest.raises(ValueError, match=r"\(4, 32\), expected \(n,64\)"):
        mini.encode_image(images, request_, visual_tokens(tokens(4, 32)))
    with pytest.raises(ValueError, match=r"\(2, 4, 64\), expected \(n,64\) or \(3,n,64\)"):
        mini.encode_image(images, request_, visual_tokens(tokens(2, 4, 64)))
    with pytest.raises(BackboneError, match=r"before block 5: mini has blocks 1..4"):
        deep_visual_tokens(mini, [tokens(1, 64)] * 4)


# --- texts ------------------------------------------------------------------------------------------------------------


def padded(mini, texts=("X X X X X X object.", "X X X X X X damaged object.")):
    ids = mini.text_tower.tokenize(texts)
    return mini.text_tower.embed_tokens(ids), ids.argmax(dim=-1)


def deep(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 32, generator=generator) for n in lengths]


def test_deep_text_tokens_overwrite_rows_before_their_block(mini):
    embeddings, eot = padded(mini)
    own = deep(3, 2)
    x = embeddings + mini.model.positional_embedding
    for number, block in enumerate(mini.model.transformer.resblocks, start=1):
        if number in (2, 3):
            rows = own[number - 2]
            x = torch.cat([x[:, :1], rows.expand(2, -1, -1), x[:, 1 + len(rows) :]], dim=1)
        x = block(x, attn_mask=mini.model.attn_mask)
    expected = mini.model.ln_final(x)[torch.arange(2), eot] @ mini.model.text_projection
    found = mini.encode_text(embeddings, eot, deep_text_tokens(mini, own, eot))
    assert_close(found, expected)
    each = [t.expand(2, -1, -1).clone() for t in own]
    assert torch.equal(mini.encode_text(embeddings, eot, deep_text_tokens(mini, each, eot)), found), "one a text"
    assert (mini.encode_text(embeddings, eot) - expected).abs().max() > 1e-3, "they change the features"


def test_truncation_beside_deep_tokens_is_exact_in_values_and_gradients(mini):
    embeddings, eot = padded(mini)
    results = []
    for truncate in (True, False):
        context = embeddings.clone().requires_grad_()
        own = [t.requires_grad_() for t in deep(3, 3)]
        features = mini.encode_text(context, eot, deep_text_tokens(mini, own, eot), truncate_context=truncate)
        loss = (features * torch.arange(48)).sum()
        results.append([features, *torch.autograd.grad(loss, [context, *own])])
    for short, full in zip(*results, strict=True):
        assert_close(short, full)


def test_half_precision_cast_rounds_values_and_gradients(mini):
    embeddings, eot = padded(mini)
    own = [t.requires_grad_() for t in deep(4)]

    def encoded(these, cast="none"):
        return mini.encode_text(embeddings, eot, deep_text_tokens(mini, these, eot, cast))

    cast = encoded(own, "fp16")
    rounded = [t.detach().half().float() for t in own]
    assert torch.equal(cast, encoded(rounded)), "values are those of rounded tokens"
    assert not torch.equal(cast, encoded(own)), "rounding changes something"
    (gradient,) = torch.autograd.grad(cast[0].sum(), own)  # one text: its gradient is a half-precision number
    assert torch.equal(gradient, gradient.half().float()), "gradients pass through half precision"


def test_deep_text_tokens_that_do_not_fit(mini):
    _, eot = padded(mini)
    with pytest.raises(BackboneError, match=r"deep tokens before block 4: mini's text has blocks 1..3"):
        deep_text_tokens(mini, deep(2, 2, 2), eot)
    with pytest.raises(ValueError, match=r"end-of-text row 9 must lie behind row 9"):
        deep_text_tokens(mini, deep(9), eot)
    with pytest.raises(ValueError, match=r"deep tokens \[0\] are \(2, 16\), expected \(len,32\)"):
        deep_text_tokens(mini, [torch.zeros(2, 16)], eot)


# --- both -------------------------------------------------------------------------------------------------------------


def test_what_stands_behind_a_block_comes_before_the_next(mini, images, request_):
    changes = [lambda rows: 2 * rows, lambda rows: rows + 1]
    edit = behind_blocks(changes)
    rows = tokens(1, 5, 64)
    assert [edit(block, rows).mean() for block in (1, 2, 3, 4)] == [
        rows.mean(), (2 * rows).mean(), (rows + 1).mean(), rows.mean()
    ]  # fmt: skip
    x = mini.embed_patches(images)
    for block in (1, 2, 3, 4):
        x, _ = mini.vision.block(block, x, False, "own")
        x = changes[block - 1](x) if block <= len(changes) else x
    found = mini.encode_image(images, request_, edit)
    assert_close(found.pooled("cls"), mini.vision.project(x[:, 0]))
    ids = mini.text_tower.tokenize(["a metal nut"])
    embedded, eot = mini.text_tower.embed_tokens(ids), mini.text_tower.end_of_text(ids)
    y = mini.text_tower.place(embedded)
    for block in (1, 2, 3):
        y = mini.text_tower.block(block, y, eot, "own")
        y = changes[block - 1](y) if block <= len(changes) else y
    assert_close(mini.encode_text(embedded, eot, edit), mini.text_tower.read(y, eot))
