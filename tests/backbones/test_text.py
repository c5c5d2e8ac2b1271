# pytest tests/backbones/test_text.py
"""The text tower against open_clip, exact truncation, deep tokens, and batches of any make-up."""

from __future__ import annotations

import open_clip
import pytest
import torch

from tests.float32 import assert_close
from zsad_bench.errors import BackboneError, UsageError

TEXTS = ["a photo of a normal carpet", "Damaged metal nut.", "", "a photo of an anomalous, scratched & bent transistor"]


def padded(mini, texts=("X X X X X X object.", "X X X X X X damaged object.")):
    ids = mini.tokenize(texts)
    return mini.embed_tokens(ids), ids.argmax(dim=-1)


def deep(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 32, generator=generator) for n in lengths]


def test_text_is_open_clips(mini, mini_clip):
    ids = mini.tokenize(TEXTS)
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
        tokens = [t.requires_grad_() for t in deep(3, 3)]
        features = mini.encode_text(context, eot, tokens, truncate_context=truncate)
        loss = (features * torch.arange(48)).sum()
        results.append([features, *torch.autograd.grad(loss, [context, *tokens])])
    for short, full in zip(*results, strict=True):
        assert_close(short, full)
    gradient = results[0][1]
    assert gradient[:, :8].abs().max() > 0, "gradients reach the context"
    assert gradient[0, int(eot[0]) + 1 :].abs().max() == 0, "nothing behind end-of-text matters"


def test_deep_tokens_overwrite_rows_before_their_block(mini):
    embeddings, eot = padded(mini)
    tokens = deep(3, 2)
    x = embeddings + mini.model.positional_embedding
    for number, block in enumerate(mini.model.transformer.resblocks, start=1):
        if number in (2, 3):
            rows = tokens[number - 2]
            x = torch.cat([x[:, :1], rows.expand(2, -1, -1), x[:, 1 + len(rows) :]], dim=1)
        x = block(x, attn_mask=mini.model.attn_mask)
    expected = mini.model.ln_final(x)[torch.arange(2), eot] @ mini.model.text_projection
    assert_close(mini.encode_text(embeddings, eot, tokens), expected)
    each = [t.expand(2, -1, -1).clone() for t in tokens]
    assert torch.equal(mini.encode_text(embeddings, eot, each), mini.encode_text(embeddings, eot, tokens)), "one a text"
    assert (mini.encode_text(embeddings, eot) - expected).abs().max() > 1e-3, "they change the features"


def test_half_precision_cast_rounds_values_and_gradients(mini):
    embeddings, eot = padded(mini)
    tokens = [t.requires_grad_() for t in deep(4)]
    rounded = [t.detach().half().float() for t in tokens]
    cast = mini.encode_text(embeddings, eot, tokens, deep_token_cast="fp16")
    assert torch.equal(cast, mini.encode_text(embeddings, eot, rounded)), "values are those of rounded tokens"
    assert not torch.equal(cast, mini.encode_text(embeddings, eot, tokens)), "rounding changes something"
    (gradient,) = torch.autograd.grad(cast[0].sum(), tokens)  # one text: its gradient is a half-precision number
    assert torch.equal(gradient, gradient.half().float()), "gradients pass through half precision"


def test_text_requests_that_do_not_fit(mini):
    embeddings, eot = padded(mini)
    with pytest.raises(BackboneError, match=r"deep tokens before block 4: mini's text has blocks 1..3"):
        mini.encode_text(embeddings, eot, deep(2, 2, 2))
    with pytest.raises(ValueError, match=r"end-of-text rows 9..10 must lie behind row 9"):
        mini.encode_text(embeddings, eot, deep(9))
    with pytest.raises(ValueError, match=r"deep_tokens\[0\] is \(2, 16\), expected \(len,32\)"):
        mini.encode_text(embeddings, eot, [torch.zeros(2, 16)])
    with pytest.raises(ValueError, match="before row 10"):
        mini.encode_text(embeddings[:, :10], eot)
    with pytest.raises(UsageError, match="unknown deep_token_cast 'half'; known: none, fp16"):
        mini.encode_text(embeddings, eot, deep_token_cast="half")


def test_a_text_that_is_too_long_is_refused_not_cut(mini):
    fits = "nut " * 75
    assert int(mini.tokenize([fits]).argmax()) == 76, "75 words, start and end fill the context"
    with pytest.raises(UsageError, match="text of 78 tokens, mini reads 77"):
        mini.tokenize([fits + "nut"])
