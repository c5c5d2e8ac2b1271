# pytest tests/backbones/test_text.py
"""The text tower against open_clip, exact truncation, edits, activations, and batches of any make-up."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch

from tests.float32 import assert_close
from zsad_bench.errors import UsageError

TEXTS = ["a photo of a normal carpet", "Damaged metal nut.", "", "a photo of an anomalous, scratched & bent transistor"]


def padded(mini, texts=("X X X X X X object.", "X X X X X X damaged object.")):
    ids = mini.text_tower.tokenize(texts)
    return mini.text_tower.embed_tokens(ids), ids.argmax(dim=-1)


def test_text_is_open_clips(mini, mini_clip):
    ids = mini.text_tower.tokenize(TEXTS)
    assert torch.equal(ids, open_clip.tokenize(TEXTS)), "token ids"
    with torch.no_grad():
        assert_close(mini.encode_prompts(TEXTS), mini_clip.encode_text(ids))


def test_texts_do_not_depend_on_their_batch(mini):
    whole = mini.encode_prompts(TEXTS)
    alone = torch.cat([mini.encode_prompts([t]) for t in TEXTS])
    assert_close(whole, alone)
    assert_close(whole, mini.encode_prompts(TEXTS, chunk=3))
    assert mini.encode_prompts([]).shape == (0, 48), "no texts give no features"


def test_truncation_is_exact_in_values_and_gradients(mini):
    embeddings, eot = padded(mini)
    results = []
    for truncate in (True, False):
        context = embeddings.clone().requires_grad_()
        features = mini.encode_text(context, eot, truncate_context=truncate)
        loss = (features * torch.arange(48)).sum()
        results.append([features, *torch.autograd.grad(loss, [context])])
    for short, full in zip(*results, strict=True):
        assert_close(short, full)
    gradient = results[0][1]
    assert gradient[:, :8].abs().max() > 0, "gradients reach the context"
    assert gradient[0, int(eot[0]) + 1 :].abs().max() == 0, "nothing behind end-of-text matters"


def test_an_edit_is_called_before_each_block_with_all_rows(mini):
    embeddings, eot = padded(mini)
    step, seen = torch.randn(3, 32, generator=torch.Generator().manual_seed(5)), []

    def edit(block, tokens):
        seen.append((block, tuple(tokens.shape)))
        return tokens + step[block - 1]

    x = embeddings + mini.model.positional_embedding
    for number, block in enumerate(mini.model.transformer.resblocks):
        x = block(x + step[number], attn_mask=mini.model.attn_mask)
    expected = mini.model.ln_final(x)[torch.arange(2), eot] @ mini.model.text_projection
    assert_close(mini.encode_text(embeddings, eot, edit), expected)
    assert seen == [(number, (2, int(eot.max()) + 1, 32)) for number in (1, 2, 3)], "rows up to the last end-of-text"
    assert_close(mini.encode_text(embeddings, eot, edit, truncate_context=False), expected)


def test_an_edit_of_texts_keeps_their_rows(mini):
    embeddings, eot = padded(mini)
    with pytest.raises(ValueError, match=r"an edit before text block 2 made \(2, 9, 32\) of \(2, 11, 32\)"):
        mini.encode_text(embeddings, eot, lambda block, tokens: tokens[:, 2:] if block == 2 else tokens)


def test_recomputing_blocks_gives_the_same_gradients(mini):
    embeddings, eot = padded(mini)
    gradients = []
    for checkpoint_blocks in (False, True):
        context = embeddings.clone().requires_grad_()
        features = mini.encode_text(context, eot, checkpoint_blocks=checkpoint_blocks)
        gradients += torch.autograd.grad(features.square().sum(), [context])
    assert gradients[0].abs().max() > 0
    assert_close(*gradients)


def test_another_activation_is_another_function(mini, mini_clip):
    """Of weights with QuickGELU: exact GELU on purpose, against open_clip's own model built so."""
    exact = copy.deepcopy(mini_clip)
    for block in exact.transformer.resblocks:
        block.mlp.gelu = torch.nn.GELU()
    ids = mini.text_tower.tokenize(TEXTS)
    with torch.no_grad():
        assert_close(mini.encode_prompts(TEXTS, activation="gelu"), exact.encode_text(ids))
        assert torch.equal(mini.encode_prompts(TEXTS, activation="quickgelu"), mini.encode_prompts(TEXTS))
        assert not torch.allclose(mini.encode_prompts(TEXTS, activation="gelu"), mini.encode_prompts(TEXTS), atol=1e-4)
    with pytest.raises(UsageError, match="activation=relu: mini computes gelu, quickgelu"):
        mini.encode_prompts(TEXTS, activation="relu")


def test_text_requests_that_do_not_fit(mini):
    embeddings, eot = padded(mini)
    with pytest.raises(ValueError, match=r"embeddings are \(2, 77, 16\) and eot \(2,\), expected \(n,T,32\)"):
        mini.encode_text(embeddings[..., :16], eot)
    with pytest.raises(ValueError, match="before row 10"):
        mini.encode_text(embeddings[:, :10], eot)


def test_a_text_that_is_too_long_is_refused_not_cut(mini):
    fits = "nut " * 75
    assert int(mini.text_tower.tokenize([fits]).argmax()) == 76, "75 words, start and end fill the context"
    with pytest.raises(UsageError, match="text of 78 tokens, mini reads 77"):
        mini.text_tower.tokenize([fits + "nut"])
