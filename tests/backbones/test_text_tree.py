# pytest tests/backbones/test_text_tree.py
"""Sentences as rows of a tree, against each sentence by itself: values, gradients, edits, and which rows there are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.float32 import assert_close
from zsad_bench.backbones.text_tree import LARGEST, grown, joined, joined_rows, with_contexts
from zsad_bench.methods._edits import deep_text_tokens, deep_tree_tokens

WORDS = ("nut", "bent", "metal", "a photo of", "with", "scratched")
TEXTS = ["a photo of a nut", "a photo of a nut with", "a photo of a nut", "", "a bent metal nut"]

# Few words, so that sentences share beginnings of all lengths; also equal ones and empty ones.
sentences = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), min_size=1, max_size=14)


def plain(backbone, tree, embeddings, edit=None):
    """Features of a tree's sentences, each read by itself from its own rows."""
    return backbone.encode_text(embeddings[tree.paths], tree.ends, edit)


@settings(max_examples=30)
@given(texts=sentences, others=sentences)
def test_any_sentences_have_the_features_and_gradients_they_have_alone(mini, texts, others):
    trees = [backbone_tree(mini, some) for some in (texts, others)]
    tree = joined([trees[0], trees[1], trees[0]])
    assert len(tree) == 2 * len(texts) + len(others)
    results = []
    for encode in (mini.encode_tree, lambda rows, tree: plain(mini, tree, rows)):
        rows = mini.text_tower.embed_tokens(tree.ids).clone().requires_grad_()
        found = encode(rows, tree)
        weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
        results.append((found, *torch.autograd.grad((found * weight).sum(), [rows])))
    for one, other, what in zip(*results, ("features", "gradients"), strict=True):
        assert_close(one, other, what)
    assert_close(results[0][0][: len(texts)], mini.encode_prompts(texts))


@settings(max_examples=30)
@given(texts=sentences)
def test_each_beginning_is_one_row(mini, texts):
    ids = mini.text_tower.tokenize(texts)
    ends, tree = mini.text_tower.end_of_text(ids).tolist(), backbone_tree(mini, texts)
    beginnings = {tuple(line[: place + 1]) for line, end in zip(ids.tolist(), ends, strict=True)
                  for place in range(end + 1)}  # fmt: skip
    assert tree.n_rows == len(beginnings)
    for number, end in enumerate(ends):
        path = tree.paths[number, : end + 1]
        assert torch.equal(tree.ids[path], ids[number, : end + 1]), "the rows of a sentence are its tokens in order"
        assert tree.places[path].tolist() == list(range(end + 1))
    assert tree.first_end == min(ends)


def backbone_tree(backbone, texts):
    return backbone.text_tree(backbone.text_tower.tokenize(texts))


def test_rows_attend_to_their_own_sentences_and_to_nothing_behind_them(mini):
    texts = [f"{one} {other} {third}" for one in WORDS for other in WORDS for third in WORDS]
    tree = backbone_tree(mini, texts)
    assert tree.n_rows > 5 * LARGEST, "several groups, and trunks above them"
    attended = [set() for _ in range(tree.n_rows)]
    within = tree.within
    lines = within.asks.flatten()
    for slot_row, slot in enumerate(within.slots.tolist()):
        group, place = divmod(slot, within.asks.shape[1])
        assert int(lines[slot]) == slot_row
        attended[slot_row] = set(within.seen[group][within.mask[group, place]].tolist())
    for path, end in zip(tree.paths.tolist(), tree.ends.tolist(), strict=True):
        for place in range(end + 1):
            assert attended[path[place]] == set(path[: place + 1])
    assert max(within.asks.shape[1], tree.last.asks.shape[1]) <= LARGEST


def test_labels_tell_equal_tokens_apart(mini):
    ids = mini.text_tower.tokenize(["a nut", "a nut"])
    labels = ids.clone()
    assert mini.text_tree(ids).n_rows == 4
    labels[1, 1] = -1
    apart = mini.text_tree(ids, labels)
    assert apart.n_rows == 7, "all but the start"
    rows = mini.text_tower.embed_tokens(apart.ids)
    own = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))
    found = mini.encode_tree(with_contexts(rows, apart, own, torch.tensor([0, 1])), apart)
    expected = mini.text_tower.embed_tokens(ids)
    expected = torch.cat([expected[:, :1], own, expected[:, 2:]], 1)
    assert_close(found, mini.encode_text(expected, mini.text_tower.end_of_text(ids)))
    assert_close(apart.rows_of(expected), with_contexts(rows, apart, own, torch.tensor([0, 1])))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("cast", ["none", "fp16"])
def test_deep_tokens_of_a_tree_are_those_of_its_texts(mini, share, several, cast):
    texts = ["a photo of a nut", "a photo of a bent nut", "a photo of"]
    one = mini.text_tree(mini.text_tower.tokenize(texts), share=share)
    tree, owner = joined([one, one]), torch.tensor([0, 0, 0, 1, 1, 1])
    generator, results = torch.Generator().manual_seed(0), []
    start = torch.randn(*([2] if several else []), 3, 32, generator=generator)
    for way in ("tree", "texts"):
        deep = start.clone().requires_grad_()
        if way == "tree":
            edit = deep_tree_tokens(mini, [deep, 2 * deep], tree, owner if several else None, cast)
            found = mini.encode_tree(mini.text_tower.embed_tokens(tree.ids), tree, edit)
        else:
            each = deep[owner] if several else deep
            edit = deep_text_tokens(mini, [each, 2 * each], tree.ends, cast)
            found = plain(mini, tree, mini.text_tower.embed_tokens(tree.ids), edit)
        results.append((found, *torch.autograd.grad(found.square().sum(), [deep])))
    assert_close(results[0][0], results[1][0], "features")
    gradient, expected = results[0][1], results[1][1]
    rounding = 0 if cast == "none" else 2.0**-10  # of sums of shared rows, in the place of each
    off = float((gradient - expected).abs().max() / expected.abs().max())
    assert off <= max(rounding if share else 2.0**-20, 2.0**-19), f"gradients off by {off:.1e}"


def test_deep_tokens_that_do_not_fit(mini):
    tree = backbone_tree(mini, ["a nut"])
    with pytest.raises(ValueError, match=r"deep tokens \[0\] are \(1, 2, 32\), expected \(len,32\)"):
        deep_tree_tokens(mini, [torch.zeros(1, 2, 32)], tree)
    with pytest.raises(ValueError, match="end-of-text row 3 must lie behind row 3"):
        deep_tree_tokens(mini, [torch.zeros(3, 32)], tree)
    with pytest.raises(ValueError, match="texts keep their rows"):
        mini.encode_tree(mini.text_tower.embed_tokens(tree.ids), tree, lambda block, rows: rows[1:])


def test_blocks_that_were_run_before_are_not_run_again(mini):
    tree = backbone_tree(mini, TEXTS)
    embedded = mini.text_tower.embed_tokens(tree.ids)
    begun = mini.begin_tree(embedded, tree, 1)
    assert begun.shape == (tree.n_rows, 32)
    assert_close(mini.finish_tree(begun, tree, 2), mini.encode_prompts(TEXTS))


def test_recomputing_blocks_of_a_tree_gives_the_same_gradients(mini):
    tree, gradients = backbone_tree(mini, TEXTS), []
    for again in (False, True):
        rows = mini.text_tower.embed_tokens(tree.ids).clone().requires_grad_()
        found = mini.encode_tree(rows, tree, checkpoint_blocks=again)
        gradients += torch.autograd.grad(found.square().sum(), [rows])
    assert gradients[0].abs().max() > 0
    assert_close(*gradients)


def test_another_activation_of_a_tree(mini):
    tree = backbone_tree(mini, TEXTS)
    rows = mini.text_tower.embed_tokens(tree.ids)
    assert_close(mini.encode_tree(rows, tree, activation="gelu"), mini.encode_prompts(TEXTS, activation="gelu"))


@pytest.mark.parametrize("share", [True, False])
def test_rows_of_trees_are_joined_as_the_trees_are(mini, share):
    trees = [mini.text_tree(mini.text_tower.tokenize(some), share=share) for some in (TEXTS[:1], TEXTS, TEXTS[3:4])]
    found = joined_rows(trees, [mini.text_tower.embed_tokens(tree.ids) for tree in trees])
    tree = joined(trees)
    for path, end, text in zip(tree.paths, tree.ends, [TEXTS[0], *TEXTS, TEXTS[3]], strict=True):
        expected = mini.text_tower.embed_tokens(mini.text_tower.tokenize([text]))[0, : int(end) + 1]
        assert torch.equal(found[path[: int(end) + 1]], expected)


def test_trees_of_two_kinds_are_not_joined(mini):
    ids = mini.text_tower.tokenize(TEXTS)
    with pytest.raises(ValueError, match="cannot be joined"):
        joined([mini.text_tree(ids), mini.text_tree(ids, share=False)])


def test_a_grown_tree_serves_a_backward_pass_though_it_was_grown_without_gradients(mini):
    with torch.inference_mode():
        ids = mini.text_tower.tokenize(TEXTS)
        with torch.inference_mode(False):
            tree = grown(ids, mini.text_tower.end_of_text(ids))
    rows = mini.text_tower.embed_tokens(tree.ids).clone().requires_grad_()
    mini.encode_tree(rows, tree).sum().backward()
    assert rows.grad.abs().max() > 0
