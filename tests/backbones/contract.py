"""What every backbone keeps to, whatever its family; each check takes a backbone that has values."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.float32 import assert_close
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.text_tree import joined
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec, Tap

CHECKS = []
TEXTS = ["a photo of a metal nut", "damaged", "a photo of a scratched and bent transistor"]


def check(function):
    CHECKS.append(function)
    return function


def images_for(backbone: Backbone, rows: int, columns: int, count: int = 2, seed: int = 1) -> Tensor:
    side = backbone.vision.patch_size
    return torch.randn(count, 3, rows * side, columns * side, generator=torch.Generator().manual_seed(seed))


def spec(backbone: Backbone, rows: int, *taps: Tap, pooled=(), **forward) -> EncoderSpec:
    made = backbone.forward_spec(rows * backbone.vision.patch_size, **forward)
    return EncoderSpec(made, frozenset(taps), frozenset(pooled))


def pooled_names(backbone: Backbone) -> tuple[str, ...]:
    return ("cls", "cls_raw", "mean") if "cls" in backbone.offers else ("mean",)


@check
def it_is_frozen_and_named_by_its_weights(backbone: Backbone) -> None:
    assert not any(module.training for module in backbone.train().modules()), "a frozen tower woke up"
    assert not any(parameter.requires_grad for parameter in backbone.parameters()), "a weight would train"
    assert backbone.weights_hash == hash_weights(backbone.model.state_dict())
    assert backbone.id == f"{backbone.name}@{backbone.weights_hash[:12]}"
    assert len(backbone.mean) == len(backbone.std) == 3
    assert backbone.offers <= {"text", "bidirectional_text", "vv", "logit_scale", "cls", "tokens"}
    assert "text" in backbone.offers or "bidirectional_text" not in backbone.offers
    assert ("cls" in backbone.offers) == (backbone.vision.n_prefix > 0)
    assert backbone.scale_block(24) == backbone.vision.n_blocks, "the last block is the last one"


@check
def rows_are_prefix_then_patches(backbone: Backbone) -> None:
    tower = backbone.vision
    for rows, columns in ((2, 3), tower.native_grid):
        images = images_for(backbone, rows, columns)
        tokens = tower.embed(images, tower.pos_interps[0])
        assert tokens.shape == (2, tower.n_prefix + rows * columns, tower.width)
        found = backbone.encode_image(images, spec(backbone, min(rows, columns), Tap(1, raw=True), pooled=["mean"],
                                                   pos_interp=tower.pos_interps[0]))  # fmt: skip
        assert (found.grid, found.n_prefix) == ((rows, columns), tower.n_prefix)
        assert found.patches(Tap(1, raw=True)).shape == (2, rows * columns, tower.width)
        assert found.prefix(Tap(1, raw=True)).shape == (2, tower.n_prefix, tower.width)
        assert found.pooled("mean").shape == (2, tower.joint_width)
        assert found.extra_rows is None


@check
def patches_are_those_of_their_place(backbone: Backbone) -> None:
    """A pixel that changes is seen, before the first block, in the row of its patch and in no other."""
    tower, side = backbone.vision, backbone.vision.patch_size
    images = images_for(backbone, 2, 3, count=1)
    changed = images.clone()
    changed[0, :, side + 1, 2 * side + 1] += 1  # second row, third column
    before, after = (tower.embed(each, tower.pos_interps[0]) for each in (images, changed))
    moved = (before - after).abs().amax(-1)[0].nonzero().flatten().tolist()
    assert moved == [tower.n_prefix + 5], f"rows {moved} moved"


@check
def taps_are_the_tower_run_by_hand(backbone: Backbone) -> None:
    tower, images = backbone.vision, images_for(backbone, 3, 2)
    blocks = range(1, tower.n_blocks + 1)
    taps = [Tap(block, raw=raw) for block in blocks for raw in (False, True)]
    found = backbone.encode_image(images, spec(backbone, 2, *taps, pooled=pooled_names(backbone)))
    x = tower.embed(images, "bilinear")
    for block in blocks:
        x, vv = tower.block(block, x, False, "own")
        assert vv is None, "V-V output that nobody asked for"
        assert_close(found.rows[Tap(block, raw=True)], x)
        assert_close(found.rows[Tap(block)], tower.project(x))
        assert found.rows[Tap(block)].shape[-1] == tower.joint_width
    assert_close(tower.project(x), tower.project(tower.norm(x), norm=False), "project is the norm, then the rest")
    assert_close(found.pooled("mean"), tower.project(x[:, tower.n_prefix :]).mean(1))
    if "cls" in backbone.offers:
        assert_close(found.pooled("cls"), tower.project(x[:, 0]))
        assert_close(found.pooled("cls_raw"), tower.project(x[:, 0], norm=False))
    assert_close(backbone.run_blocks(tower.embed(images, "bilinear")), x)
    outside = Tap(tower.n_blocks + 1)
    with pytest.raises(BackboneError, match=rf"tap at block {outside.block}: {backbone.name} has blocks 1"):
        backbone.encode_image(images, spec(backbone, 2, outside))


@check
def blocks_take_any_rows(backbone: Backbone) -> None:
    tower = backbone.vision
    tokens = torch.randn(2, 3, tower.width, generator=torch.Generator().manual_seed(0))
    order = [2, 0, 1]
    out, _ = tower.block(1, tokens, False, "own")
    assert out.shape == tokens.shape
    assert_close(tower.block(1, tokens[:, order], False, "own")[0], out[:, order], "a block knows places")


@check
def an_edit_comes_before_each_block_with_all_rows(backbone: Backbone) -> None:
    tower, images = backbone.vision, images_for(backbone, 2, 2)
    n_rows = tower.n_prefix + 4
    steps = torch.randn(tower.n_blocks, n_rows, tower.width, generator=torch.Generator().manual_seed(3))
    extra = torch.randn(2, 2, tower.width, generator=torch.Generator().manual_seed(4))
    seen = []

    def edit(block: int, tokens: Tensor) -> Tensor:
        seen.append((block, tokens.shape[1]))
        tokens = torch.cat([tokens, extra], 1) if block == 1 else tokens
        return torch.cat([tokens[:, :n_rows] + steps[block - 1], tokens[:, n_rows:]], 1)

    last = Tap(tower.n_blocks, raw=True)
    found = backbone.encode_image(images, spec(backbone, 2, last), edit)
    assert seen == [(1, n_rows), *((block, n_rows + 2) for block in range(2, tower.n_blocks + 1))]
    x = torch.cat([tower.embed(images, "bilinear"), extra], 1)
    for block in range(1, tower.n_blocks + 1):
        x = torch.cat([x[:, :n_rows] + steps[block - 1], x[:, n_rows:]], 1)
        x, _ = tower.block(block, x, False, "own")
    assert_close(found.rows[last], x[:, :n_rows])
    assert_close(found.extra_rows, x[:, n_rows:])


@check
def tokens_take_the_class_tokens_place_where_it_is_offered(backbone: Backbone) -> None:
    """The class token itself, placed as a token is, is the row that the tower puts in front."""
    if "tokens" not in backbone.offers:
        with pytest.raises(BackboneError, match=f"{backbone.name} has no place for tokens beside its class token"):
            _ = backbone.token_tower
        return
    tower = backbone.token_tower
    class_tokens = [p for name, p in backbone.model.named_parameters()
                    if name.rpartition(".")[2] in ("class_embedding", "cls_token")]  # fmt: skip
    (class_token,) = class_tokens
    row = tower.embed(images_for(backbone, 2, 3), "bilinear")[:, 0]
    assert_close(tower.place_tokens(class_token.reshape(1, -1)).expand(2, -1), row)
    tokens = torch.randn(2, 3, tower.width, generator=torch.Generator().manual_seed(0))
    assert tower.place_tokens(tokens).shape == tokens.shape
    assert_close(tower.final_norm(tokens), tower.norm(tokens))


@check
def gradients_reach_edits_and_no_weight(backbone: Backbone) -> None:
    images, request = images_for(backbone, 2, 2), spec(backbone, 2, pooled=pooled_names(backbone))
    step = torch.zeros(backbone.vision.width, requires_grad=True)
    gradients = []
    for checkpoint_blocks in (False, True):
        found = backbone.encode_image(images, request, lambda block, tokens: tokens + step, checkpoint_blocks)
        gradients += torch.autograd.grad(sum(vector.square().sum() for vector in found.vectors.values()), [step])
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5 * float(gradients[0].abs().max()))
    assert all(parameter.grad is None for parameter in backbone.parameters()), "a frozen weight has a gradient"


@check
def the_v_v_path_where_it_is_offered(backbone: Backbone) -> None:
    tower, images = backbone.vision, images_for(backbone, 2, 2)
    last = tower.n_blocks
    if "vv" not in backbone.offers:
        with pytest.raises(BackboneError, match=rf"first_vv_block 1: {backbone.name} has no V-V path"):
            backbone.encode_image(images, spec(backbone, 2, Tap(last, 1)))
        return
    first = max(1, last - 1)
    found = backbone.encode_image(images, spec(backbone, 2, Tap(last, first, raw=True)))
    x = tower.embed(images, "bilinear")
    for block in range(1, first):
        x, _ = tower.block(block, x, False, "own")
    total = x
    for block in range(first, last + 1):
        plain, _ = tower.block(block, x, False, "own")
        x, vv = tower.block(block, x, True, "own")
        assert_close(x, plain, "asking for V-V changes the plain path")
        total = total + vv
    assert_close(found.rows[Tap(last, first, raw=True)], total)
    stream = Tap(last, last, True, "value_value")
    found = backbone.encode_image(images, spec(backbone, 2, stream, Tap(last - 1, raw=True)))
    assert_close(found.rows[stream], tower.value_block(last, found.rows[Tap(last - 1, raw=True)], "own"))


@check
def blocks_are_read_inside_where_it_is_offered(backbone: Backbone) -> None:
    tower, images = backbone.vision, images_for(backbone, 2, 2)
    inside = Tap(1, raw=True, attended=True)
    if "attended" not in tower.paths:
        with pytest.raises(BackboneError, match=rf"tap inside block 1: {backbone.name} cannot be read between"):
            backbone.encode_image(images, spec(backbone, 2, inside))
        return
    tokens = tower.embed(images, "bilinear")
    found = backbone.encode_image(images, spec(backbone, 2, inside, Tap(1, raw=True)))
    assert_close(found.rows[inside], tower.attend(1, tokens))
    assert_close(found.rows[Tap(1, raw=True)], tower.block(1, tokens, False, "own")[0])
    assert not torch.equal(found.rows[inside], found.rows[Tap(1, raw=True)]), "the MLP adds nothing"


@check
def images_do_not_depend_on_their_batch(backbone: Backbone) -> None:
    images = images_for(backbone, 2, 3, count=3)
    request = spec(backbone, 2, Tap(backbone.vision.n_blocks), pooled=pooled_names(backbone))
    whole = backbone.encode_image(images, request)
    for i in range(3):
        one = backbone.encode_image(images[i : i + 1], request)
        for tap in request.taps:
            assert_close(whole.rows[tap][i], one.rows[tap][0])
            assert torch.equal(whole.select([i]).rows[tap][0], whole.rows[tap][i])
        for name in request.pooled:
            assert_close(whole.pooled(name)[i], one.pooled(name)[0])


@check
def ways_to_resize_positions(backbone: Backbone) -> None:
    tower = backbone.vision
    native, other = images_for(backbone, *tower.native_grid, count=1), images_for(backbone, 2, 3, count=1)
    at_native = [tower.embed(native, interp) for interp in tower.pos_interps]
    assert all(torch.equal(each, at_native[0]) for each in at_native), "nothing is resized at the native size"
    assert all(tower.embed(other, interp).isfinite().all() for interp in tower.pos_interps)
    assert {"bilinear", "bicubic_antialias"} <= set(tower.pos_interps), "what configurations take unless told otherwise"
    assert len({spec(backbone, 2, pos_interp=interp).forward for interp in tower.pos_interps}) == len(tower.pos_interps)


@check
def activations(backbone: Backbone) -> None:
    tower, images = backbone.vision, images_for(backbone, 2, 2)
    assert tower.activation in tower.activations
    own = backbone.forward_spec(tower.patch_size, activation="own")
    assert backbone.forward_spec(tower.patch_size, activation=tower.activation) == own, "one pass under two names"
    plain = backbone.encode_image(images, spec(backbone, 2, pooled=["mean"])).pooled("mean")
    for other in tower.activations - {tower.activation}:
        found = backbone.encode_image(images, spec(backbone, 2, pooled=["mean"], activation=other)).pooled("mean")
        assert not torch.allclose(found, plain, atol=1e-5), f"{other} computes what {tower.activation} does"
    with pytest.raises(UsageError, match=f"activation=tanh: {backbone.name} computes"):
        backbone.forward_spec(tower.patch_size, activation="tanh")


@check
def a_copy_is_independent(backbone: Backbone) -> None:
    images, request = images_for(backbone, 2, 2), spec(backbone, 2, pooled=["mean"])
    before = backbone.encode_image(images, request).pooled("mean")
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.zero_()
    assert torch.equal(backbone.encode_image(images, request).pooled("mean"), before), "a copy shares its weights"
    assert not torch.equal(other.encode_image(images, request).pooled("mean"), before), "a copy runs the original"


@check
def texts_where_they_are_offered(backbone: Backbone) -> None:
    if "text" not in backbone.offers:
        for ask in (lambda: backbone.encode_prompts(TEXTS), lambda: backbone.scale_text_block(9)):
            with pytest.raises(BackboneError, match=f"{backbone.name} has no text tower"):
                ask()
        return
    tower = backbone.text_tower
    ids = tower.tokenize(TEXTS)
    eot = tower.end_of_text(ids)
    assert ids.shape == (3, tower.context_length)
    assert ids.dtype == eot.dtype == torch.int64
    assert eot.shape == (3,)
    assert eot[1] < eot[2], "a longer text ends later"
    assert len({int(row[end]) for row, end in zip(ids, eot, strict=True)}) == 1, "texts end in one token"
    assert torch.equal(tower.end_of_text(ids[:, : int(eot.max()) + 1]), eot), "padding moves the end"
    assert all(not row[end + 1 :].any() for row, end in zip(ids, eot, strict=True)), "something behind end-of-text"
    embedded = tower.embed_tokens(ids)
    assert embedded.shape == (3, tower.context_length, tower.width)
    x = tower.place(embedded)
    for block in range(1, tower.n_blocks + 1):
        x = tower.block(block, x, eot, "own")
    expected = tower.read(x, eot)
    assert expected.shape == (3, backbone.vision.joint_width), "texts and images meet in one space"
    assert tower.read(x, eot, project=False).shape == (3, tower.width)
    assert_close(backbone.encode_prompts(TEXTS), expected)
    assert_close(backbone.encode_text(embedded, eot, truncate_context=False), expected)
    for share in (True, False):
        trees = [backbone.text_tree(some, share=share) for some in (ids[:2], ids[2:])]
        tree = joined([*trees, trees[0]])
        found = backbone.encode_tree(tower.embed_tokens(tree.ids), tree)
        assert_close(found, expected[[0, 1, 2, 0, 1]], "texts as a tree")
        assert (tree.within is not None) == (share and hasattr(tower, "tree_block") and not tower.bidirectional)
    rows, end = torch.randn(1, 6, tower.width, generator=torch.Generator().manual_seed(0)), torch.tensor([3])
    for first, sees in ((4, False), (3, tower.bidirectional)):
        later = rows.clone()
        later[:, first:] += torch.randn(tower.width, generator=torch.Generator().manual_seed(1))
        before, after = (tower.block(1, each, end, "own")[:, :first] for each in (rows, later))
        moved = float((before - after).abs().max()) > 1e-3
        assert moved == sees, f"rows in front of row {first} {'see' if moved else 'do not see'} it; it ends at row 3"
        if first > int(end):
            assert_close(before, after, "what is behind end-of-text is looked at")
            assert_close(tower.read(rows, end), tower.read(later, end), "it is read behind its end")
    with pytest.raises(UsageError, match="tokens"):
        tower.tokenize(["nut " * tower.context_length])
