# pytest tests/backbones/test_forward.py
"""CLIP's visual tower against open_clip and against formulas written out head by head; edits, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.float32 import assert_close
from zsad_bench.backbones.forward import Increment, resize_positions
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec, ForwardSpec, Tap


def spec(backbone, *taps, pooled=("cls",), size=32, interp="bilinear", activation="own"):
    return EncoderSpec(backbone.forward_spec(size, interp, activation), frozenset(taps), frozenset(pooled))


def slow_paths(model, x, first):
    """Every block's plain and V-V output, one head at a time, from tokens x (T,C) of one image.

    The third list has the rows between attention and MLP.
    """
    plain, local, between = [], [], []
    y = None
    for number, block in enumerate(model.visual.transformer.resblocks, start=1):
        if number == first:
            y = x
        heads, width = block.attn.num_heads, x.shape[1]
        u = F.layer_norm(x, (width,), block.ln_1.weight, block.ln_1.bias, 1e-5)
        q, k, v = (u @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).split(width, dim=1)
        side = width // heads

        def attend(left, right, values, block=block, heads=heads, side=side):
            parts = []
            for h in range(heads):
                cut = slice(h * side, (h + 1) * side)
                weights = (left[:, cut] @ right[:, cut].T / side**0.5).softmax(dim=1)
                parts.append(weights @ values[:, cut])
            return torch.cat(parts, dim=1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias

        if y is not None:
            y = y + attend(v, v, v)
        x = x + attend(q, k, v)
        between.append(x)
        hidden = F.layer_norm(x, (width,), block.ln_2.weight, block.ln_2.bias, 1e-5)
        hidden = hidden @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        x = x + hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
        plain.append(x)
        local.append(x if y is None else y)
    return plain, local, between


def test_plain_path_is_open_clip_at_native_size(mini, mini_clip, images):
    taps = [Tap(b, raw=True) for b in (1, 2, 3, 4)]
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, *taps))
        expected = mini_clip.encode_image(images)
        blocks = mini_clip.visual.forward_intermediates(images, output_fmt="NLC", output_extra_tokens=True)
    assert_close(found.pooled("cls"), expected)
    for tap, patches, prefix in zip(
        taps, blocks["image_intermediates"], blocks["image_intermediates_prefix"], strict=True
    ):
        assert_close(found.rows[tap], torch.cat([prefix, patches], 1))
    assert found.grid == (4, 4), "grid is patch rows and columns"
    assert found.image_size == (32, 32), "image size of the input"


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_vv_path_is_the_formula_written_out(mini, images, first):
    taps = {Tap(b, f, raw) for b in (1, 2, 3, 4) for f in (0, first) for raw in (False, True)}
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, *taps, pooled=("cls", "cls_raw")))
        for i, tokens in enumerate(mini.embed_patches(images)):
            plain, local, _ = slow_paths(mini.model, tokens, first)
            for tap in taps:
                expected = (local if tap.first_vv_block else plain)[tap.block - 1]
                expected = expected if tap.raw else mini.vision.project(expected)
                assert_close(found.rows[tap][i], expected)
            last = plain[-1][0]
            assert_close(found.pooled("cls_raw")[i], last @ mini.model.visual.proj)
            assert_close(found.pooled("cls")[i], mini.vision.project(last))


def test_a_block_is_read_between_attention_and_mlp(mini, images):
    taps = {Tap(b, 0, raw, attended=True) for b in (1, 3, 4) for raw in (False, True)}
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, *taps, Tap(3, raw=True)))
        for i, tokens in enumerate(mini.embed_patches(images)):
            plain, _, between = slow_paths(mini.model, tokens, 1)
            for tap in taps:
                expected = between[tap.block - 1]
                assert_close(found.rows[tap][i], expected if tap.raw else mini.vision.project(expected))
            assert_close(found.rows[Tap(3, raw=True)][i], plain[2])
    with pytest.raises(BackboneError, match="tap inside block 2: the V-V path cannot be read between"):
        mini.encode_image(images, spec(mini, Tap(2, 1, attended=True)))


def test_the_last_block_run_may_be_one_that_is_read_inside(mini, images):
    request = spec(mini, Tap(2, attended=True, raw=True), pooled=())
    with torch.no_grad():
        found = mini.encode_image(images, request).rows[Tap(2, attended=True, raw=True)]
        between = slow_paths(mini.model, mini.embed_patches(images)[0], 1)[2]
    assert_close(found[0], between[1])


STREAMS = ("value_value", "value_only", "batch_mix")


def slow_stream(model, x, first, kind):
    """Outputs of all blocks for tokens x (B,T,C), attention of values with values from block `first` on, by open_clip.

    Where a block's attention is replaced, its weights are copied to queries and keys, so that open_clip does the rest.
    """
    outputs = []
    for number, block in enumerate(model.visual.transformer.resblocks, start=1):
        if number < first:
            x = block(x)
        else:
            block, width = copy.deepcopy(block), x.shape[2]
            for table in (block.attn.in_proj_weight, block.attn.in_proj_bias):
                table.data[:width] = table.data[width : 2 * width] = table.data[2 * width :]
            if kind == "value_value":
                x = block(x)
            elif kind == "batch_mix":
                x = torch.stack([block(x[:, [t]].transpose(0, 1))[0] for t in range(x.shape[1])], 1)
            else:
                x = torch.cat([block(x[:, [t]]) for t in range(x.shape[1])], 1)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("first", [1, 3])
def test_a_stream_feeds_its_own_blocks(mini, images, first, kind):
    taps = {Tap(b, f, raw, kind if f else "sum") for b in (1, 2, 3, 4) for f in (0, first) for raw in (False, True)}
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, *taps))
        alone = mini.encode_image(images, spec(mini))
        plain = slow_stream(mini.model, mini.embed_patches(images), 5, kind)
        stream = slow_stream(mini.model, mini.embed_patches(images), first, kind)
        for tap in taps:
            expected = (stream if tap.first_vv_block else plain)[tap.block - 1]
            assert_close(found.rows[tap], expected if tap.raw else mini.vision.project(expected))
    assert torch.equal(found.pooled("cls"), alone.pooled("cls")), "the plain path knows of the stream"


def test_only_one_stream_lets_images_know_of_their_batch(mini, images):
    request = spec(mini, *(Tap(4, 2, vv=kind) for kind in STREAMS))
    whole, one = mini.encode_image(images, request), mini.encode_image(images[:1], request)
    for kind in STREAMS:
        off = float((whole.rows[Tap(4, 2, vv=kind)][0] - one.rows[Tap(4, 2, vv=kind)][0]).abs().max())
        assert (off > 1e-3) == (kind == "batch_mix"), f"{kind}: an image in a batch and alone differ by {off:.1e}"
    assert_close(one.rows[Tap(4, 2, vv="batch_mix")], one.rows[Tap(4, 2, vv="value_only")], "nothing to mix with")


@pytest.mark.parametrize("checkpoint_blocks", [False, True])
def test_a_stream_is_edited_by_itself(mini, images, checkpoint_blocks):
    taps = [Tap(4, raw=True), Tap(4, 2, True, "value_value"), Tap(3, 2, True, "value_value")]
    step = torch.full((mini.vision.width,), 0.1, requires_grad=True)
    seen = []

    def edit(block, rows):
        seen.append(block)
        return rows * (1 + step) if block == 4 else rows

    found = mini.encode_image(images, spec(mini, *taps), edit, checkpoint_blocks)
    assert seen == [1, 2, 3, 3, 4, 4], "the stream starts at block 2, behind the edit, and is edited from 3 on"
    expected = mini.vision.value_block(4, found.rows[taps[2]] * (1 + step), "own")
    assert_close(found.rows[taps[1]], expected)
    gradient, slow = (torch.autograd.grad(x.square().sum(), step, retain_graph=True)[0]
                      for x in (found.rows[taps[1]], expected))  # fmt: skip
    torch.testing.assert_close(gradient, slow, rtol=1e-4, atol=1e-3)


def test_a_text_behind_the_norm_alone(mini):
    ids = mini.text_tower.tokenize(["a metal nut", "damaged"])
    embedded, eot = mini.text_tower.embed_tokens(ids), ids.argmax(-1)
    rows = mini.encode_text(embedded, eot, project=False)
    assert rows.shape == (2, mini.text_tower.width)
    assert_close(rows @ mini.model.text_projection, mini.encode_text(embedded, eot))
    assert mini.encode_text(embedded[:0], eot[:0], project=False).shape == (0, mini.text_tower.width)


def test_several_requests_in_one_pass_equal_each_alone(mini, images):
    requests = ((Tap(4, 2),), (Tap(3, 1), Tap(2, 3), Tap(3, 2, vv="value_value")), (Tap(4), Tap(4, 2, vv="value_only")))
    pooled = (("cls_raw",), ("cls",), ())
    alone = [spec(mini, *taps, pooled=names) for taps, names in zip(requests, pooled, strict=True)]
    merged = alone[0].merge(alone[1]).merge(alone[2])
    together = mini.encode_image(images, merged)
    assert set(together.rows) == merged.taps, "the merged pass returns the union"
    for one in alone:
        single = mini.encode_image(images, one)
        for tap, rows in single.rows.items():
            assert torch.equal(together.rows[tap], rows), f"{tap} changed by what else was asked"
        for name, vector in single.vectors.items():
            assert torch.equal(together.pooled(name), vector), f"pooled {name} changed by what else was asked"


def test_images_do_not_depend_on_their_batch(mini, images):
    request = spec(mini, Tap(4, 2), Tap(3))
    whole = mini.encode_image(images, request)
    for i in range(len(images)):
        one = mini.encode_image(images[i : i + 1], request)
        assert_close(whole.pooled("cls")[i], one.pooled("cls")[0])
        for tap in request.taps:
            assert_close(whole.rows[tap][i], one.rows[tap][0])


@pytest.mark.parametrize("interp", ["bilinear", "bicubic", "bicubic_antialias"])
def test_positions_are_resized_from_the_native_table(mini, interp):
    table, native = mini.model.visual.positional_embedding, mini.vision.native_grid
    before = table.clone()
    mode, antialias = interp.split("_")[0], interp.endswith("antialias")
    for grid in [(6, 6), (3, 5), (4, 4), (6, 6)]:  # the last one again: sizes must not build on each other
        found = resize_positions(table, 1, native, grid, interp)
        assert found.shape == (1 + grid[0] * grid[1], 64), f"{grid}: one row per token"
        assert torch.equal(found[0], table[0]), "the class token's position is kept"
        for channel in (0, 63):
            plane = table[1:, channel].reshape(1, 1, 4, 4)
            expected = F.interpolate(plane, size=grid, mode=mode, align_corners=False, antialias=antialias)
            expected = plane if grid == native else expected
            assert_close(found[1:, channel].reshape(grid), expected[0, 0])
    assert torch.equal(table, before), "the native table was changed"


def test_bilinear_positions_are_hand_computed():
    table = torch.tensor([[9.0], [0.0], [1.0], [2.0], [3.0]])
    found = resize_positions(table, 1, (2, 2), (2, 4), "bilinear")
    assert found.flatten().tolist() == [9.0, 0.0, 0.25, 0.75, 1.0, 2.0, 2.25, 2.75, 3.0], "half-pixel centres"


def test_antialiased_bicubic_is_open_clips_own_resize(mini, mini_clip):
    from open_clip.model import resize_pos_embed

    class Wanted:
        class visual:
            grid_size = (6, 6)

    state = {"visual.positional_embedding": mini_clip.visual.positional_embedding.detach().clone()}
    resize_pos_embed(state, Wanted())
    found = resize_positions(mini.model.visual.positional_embedding, 1, (4, 4), (6, 6), "bicubic_antialias")
    assert_close(found, state["visual.positional_embedding"])


def test_rectangles_and_other_sizes(mini):
    images = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(2))
    found = mini.encode_image(images, spec(mini, Tap(4, 2), size=40))
    assert found.grid == (5, 7), "rows before columns"
    assert found.rows[Tap(4, 2)].shape == (2, 36, 48), "class token and 35 patches in the joint space"
    first_row = mini.model.visual.conv1(images)[0, :, 0, :].T  # the patches of row 0, left to right
    placed = mini.embed_patches(images)[0, 1:8]
    positions = resize_positions(mini.model.visual.positional_embedding, 1, (4, 4), (5, 7), "bilinear")
    assert_close(placed, mini.model.visual.ln_pre(first_row + positions[1:8]))


def test_pieces_make_the_whole(mini, images):
    with torch.no_grad():
        whole = mini.encode_image(images, spec(mini)).pooled("cls")
        pieces = mini.vision.project(mini.run_blocks(mini.embed_patches(images))[:, 0])
    assert torch.equal(whole, pieces), "embed_patches, run_blocks, project"


# --- edits ------------------------------------------------------------------------------------------------------------


def test_an_edit_is_called_before_each_block_with_all_rows(mini, images):
    """A step of its own for each row and block, against a hand-run tower."""
    step = torch.randn(4, 17, 64, generator=torch.Generator().manual_seed(3))
    seen = []

    def edit(block, tokens):
        seen.append((block, tuple(tokens.shape)))
        return tokens + step[block - 1]

    taps = [Tap(b, raw=True) for b in (1, 2, 3, 4)]
    found = mini.encode_image(images, spec(mini, *taps), edit)
    assert seen == [(number, (3, 17, 64)) for number in (1, 2, 3, 4)], "class token and patches, before each block"
    x = mini.embed_patches(images)
    for number, block in enumerate(mini.model.visual.transformer.resblocks):
        x = block(x + step[number])
        assert_close(found.rows[taps[number]], x)
    assert_close(found.pooled("cls"), mini.vision.project(x[:, 0]))


def test_an_edit_is_not_called_for_blocks_that_do_not_run(mini, images):
    seen = []
    mini.encode_image(images, spec(mini, Tap(2), pooled=()), lambda block, tokens: seen.append(block) or tokens)
    assert seen == [1, 2]


def test_what_an_edit_adds_joins_the_sums_that_have_started(mini, images):
    """Before block 4: what two V-V paths gain there is the same, whether started earlier or at that block."""
    taps = (Tap(4, 2, raw=True), Tap(4, 4, raw=True), Tap(3, 2, raw=True), Tap(3, raw=True))
    step = torch.randn(17, 64, generator=torch.Generator().manual_seed(3))
    found = mini.encode_image(images, spec(mini, *taps), lambda b, tokens: tokens + step if b == 4 else tokens).rows
    gained_by_started = found[Tap(4, 2, raw=True)] - found[Tap(3, 2, raw=True)]
    gained_by_new = found[Tap(4, 4, raw=True)] - found[Tap(3, raw=True)]
    torch.testing.assert_close(gained_by_started, gained_by_new, atol=2e-5, rtol=1e-4)


def test_an_increment_is_the_same_edit_without_a_rounding(mini, images):
    step = torch.randn(17, 64, generator=torch.Generator().manual_seed(3)).expand(3, -1, -1)
    request = spec(mini, Tap(4), Tap(4, 2, raw=True), Tap(4, 3, raw=True))
    as_rows = mini.encode_image(images, request, lambda b, tokens: tokens + step if b == 3 else tokens)
    as_step = mini.encode_image(images, request, lambda b, tokens: Increment(step) if b == 3 else tokens)
    for tap in request.taps:
        assert_close(as_rows.rows[tap], as_step.rows[tap])
    assert torch.equal(as_rows.rows[Tap(4)], as_step.rows[Tap(4)]), "the plain path takes the same sum"
    x = mini.encode_image(images, spec(mini, Tap(2, raw=True), Tap(2, 2, raw=True)))
    total, plain = x.rows[Tap(2, 2, raw=True)] + step, x.rows[Tap(2, raw=True)] + step
    for number in (3, 4):
        plain, vv = mini.vision.block(number, plain, True, "own")
        total = total + vv
    assert torch.equal(as_step.rows[Tap(4, 2, raw=True)], total), "a running sum was not given exactly the step"


def test_an_edit_that_adds_nothing_changes_nothing(mini, images):
    request = spec(mini, Tap(4), Tap(4, 2), Tap(2, raw=True))
    plain = mini.encode_image(images, request)
    for edit in (lambda block, tokens: tokens, lambda block, tokens: tokens + 0):
        found = mini.encode_image(images, request, edit)
        assert all(torch.equal(found.rows[tap], plain.rows[tap]) for tap in request.taps)


def test_rows_may_be_added_behind_the_patches_where_no_sum_runs(mini, images):
    extra = torch.randn(2, 64, generator=torch.Generator().manual_seed(3))

    def at(number):
        return lambda block, tokens: (
            torch.cat([tokens, extra.expand(len(tokens), -1, -1)], 1) if block == number else tokens
        )

    with torch.no_grad():
        late = mini.encode_image(images, spec(mini, Tap(4, 3), Tap(2, raw=True)), at(3))
        x = mini.encode_image(images, spec(mini, Tap(2, raw=True))).rows[Tap(2, raw=True)]
        x = torch.cat([x, extra.expand(3, -1, -1)], 1)
        for block in mini.model.visual.transformer.resblocks[2:]:
            x = block(x)
    assert_close(late.pooled("cls"), mini.vision.project(x[:, 0]))
    assert_close(late.extra_rows, x[:, 17:])
    with pytest.raises(ValueError, match=r"before block 3 made \(3, 19, 64\) of \(3, 17, 64\); .* beside a V-V sum"):
        mini.encode_image(images, spec(mini, Tap(4, 2)), at(3))
    mini.encode_image(images, spec(mini, Tap(2, 2)), at(3))  # the sum has ended


@pytest.mark.parametrize(
    "edit", [lambda b, x: x[:, :-1], lambda b, x: x[..., :8], lambda b, x: x[:1], lambda b, x: x[0]]
)
def test_an_edit_may_lose_nothing(mini, images, edit):
    with pytest.raises(ValueError, match=r"an edit before block 1 made .* of \(3, 17, 64\); rows may be put behind"):
        mini.encode_image(images, spec(mini), edit)


# --- activations, pooled features -------------------------------------------------------------------------------------


def test_another_activation_is_another_pass(mini, mini_clip, images):
    """Of weights with QuickGELU: exact GELU on purpose, against open_clip's own model built so."""
    exact = copy.deepcopy(mini_clip)
    for block in exact.visual.transformer.resblocks:
        block.mlp.gelu = torch.nn.GELU()
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, activation="gelu")).pooled("cls")
        assert_close(found, exact.encode_image(images))
        assert not torch.allclose(found, mini.encode_image(images, spec(mini)).pooled("cls"), atol=1e-4)
        patches = mini.run_blocks(mini.embed_patches(images), "gelu")
        assert torch.equal(found, mini.vision.project(patches[:, 0]))


def test_the_weights_own_activation_has_one_spelling(mini):
    assert mini.forward_spec(32, activation="quickgelu") == mini.forward_spec(32), "one pass was asked for twice"
    assert mini.forward_spec(32, activation="gelu") != mini.forward_spec(32)
    assert mini.forward_spec(32, activation="gelu").activation == "gelu"
    with pytest.raises(UsageError, match=r"activation=relu: mini computes gelu, quickgelu; .* --set activation="):
        mini.forward_spec(32, activation="relu")
    with pytest.raises(UsageError, match="pos_interp=official: mini has bilinear, bicubic, bicubic_antialias"):
        mini.forward_spec(32, "official")


def test_the_mean_is_that_of_the_projected_patches(mini, images):
    found = mini.encode_image(images, spec(mini, Tap(4), pooled=("mean",)))
    assert_close(found.pooled("mean"), found.rows[Tap(4)][:, 1:].mean(1))
    with pytest.raises(BackboneError, match="unknown pooled feature 'max'; known: cls, cls_raw, mean"):
        mini.encode_image(images, spec(mini, pooled=("max",)))


@pytest.mark.parametrize(
    ("tap", "said"),
    [
        (Tap(0), "tap at block 0: mini has blocks 1..4"),
        (Tap(5), "tap at block 5: mini has blocks 1..4"),
        (Tap(4, 5), "first_vv_block 5: mini has blocks 1..4"),
        (Tap(4, -1), "first_vv_block -1: mini has blocks 1..4"),
        (Tap(4, 2, vv="mean"), "unknown V-V path 'mean'; known: sum, value_value, value_only, batch_mix"),
        (Tap(4, vv="value_only"), "V-V path 'value_only' with first_vv_block 0, the plain path"),
    ],
)
def test_taps_out_of_range(mini, images, tap, said):
    with pytest.raises(BackboneError, match=said):
        mini.encode_image(images, spec(mini, tap))


def test_requests_that_do_not_fit_the_images_or_the_weights(mini, images):
    with pytest.raises(UsageError, match="30x30: mini needs multiples of 8, such as --set image_size=32"):
        mini.forward_spec(30)
    with pytest.raises(UsageError, match="32x30"):
        mini.encode_image(images[..., :30], spec(mini))
    with pytest.raises(UsageError, match="images are 32x32, the encoder spec says 40"):
        mini.encode_image(images, spec(mini, size=40))
    other = EncoderSpec(ForwardSpec("other@0", 32))
    with pytest.raises(BackboneError, match="made for other@0, but the weights are mini@"):
        mini.encode_image(images, other)
