# pytest tests/backbones/test_vision.py
"""The visual tower against open_clip and against formulas written out head by head."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.float32 import assert_close
from zsad_bench.backbones.vision import resize_positions
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec, Tap


def spec(backbone, *taps, ln_post=(True,), size=32, interp="bilinear"):
    return EncoderSpec(backbone.forward_spec(size, interp), frozenset(taps), frozenset(ln_post))


def slow_paths(model, x, first):
    """Every block's plain and V-V output, one head at a time, from tokens x (T,C) of one image."""
    plain, local = [], []
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
        hidden = F.layer_norm(x, (width,), block.ln_2.weight, block.ln_2.bias, 1e-5)
        hidden = hidden @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        x = x + hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
        plain.append(x)
        local.append(x if y is None else y)
    return plain, local


def test_plain_path_is_open_clip_at_native_size(mini, mini_clip, images):
    taps = [Tap(b, raw=True) for b in (1, 2, 3, 4)]
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, *taps))
        expected = mini_clip.encode_image(images)
        blocks = mini_clip.visual.forward_intermediates(images, output_fmt="NLC", output_extra_tokens=True)
    assert_close(found.global_[True], expected)
    for tap, patches, prefix in zip(
        taps, blocks["image_intermediates"], blocks["image_intermediates_prefix"], strict=True
    ):
        assert_close(found.taps[tap], torch.cat([prefix, patches], 1))
    assert found.grid == (4, 4), "grid is patch rows and columns"
    assert found.image_size == (32, 32), "image size of the input"


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_vv_path_is_the_formula_written_out(mini, images, first):
    taps = {Tap(b, f, raw) for b in (1, 2, 3, 4) for f in (0, first) for raw in (False, True)}
    with torch.no_grad():
        found = mini.encode_image(images, spec(mini, *taps, ln_post=(True, False)))
        for i, tokens in enumerate(mini.embed_patches(images)):
            plain, local = slow_paths(mini.model, tokens, first)
            for tap in taps:
                expected = (local if tap.first_vv_block else plain)[tap.block - 1]
                expected = expected if tap.raw else mini.project(expected)
                assert_close(found.taps[tap][i], expected)
            last = plain[-1][0]
            assert_close(found.global_[False][i], last @ mini.model.visual.proj)
            assert_close(found.global_[True][i], mini.project(last))


def test_several_requests_in_one_pass_equal_each_alone(mini, images):
    alone = [spec(mini, Tap(4, 2), ln_post=(False,)), spec(mini, Tap(3, 1), Tap(2, 3)), spec(mini, Tap(4), ln_post=())]
    merged = alone[0].merge(alone[1]).merge(alone[2])
    together = mini.encode_image(images, merged)
    assert set(together.taps) == merged.taps, "the merged pass returns the union"
    for one in alone:
        single = mini.encode_image(images, one)
        for tap, rows in single.taps.items():
            assert torch.equal(together.taps[tap], rows), f"{tap} changed by what else was asked"
        for ln_post, rows in single.global_.items():
            assert torch.equal(together.global_[ln_post], rows), f"global {ln_post} changed by what else was asked"


def test_images_do_not_depend_on_their_batch(mini, images):
    request = spec(mini, Tap(4, 2), Tap(3))
    whole = mini.encode_image(images, request)
    for i in range(len(images)):
        one = mini.encode_image(images[i : i + 1], request)
        assert_close(whole.global_[True][i], one.global_[True][0])
        for tap in request.taps:
            assert_close(whole.taps[tap][i], one.taps[tap][0])


@pytest.mark.parametrize("interp", ["bilinear", "bicubic", "bicubic_antialias"])
def test_positions_are_resized_from_the_native_table(mini, interp):
    table, native = mini.model.visual.positional_embedding, mini.native_grid
    before = table.clone()
    mode, antialias = interp.split("_")[0], interp.endswith("antialias")
    for grid in [(6, 6), (3, 5), (4, 4), (6, 6)]:  # the last one again: sizes must not build on each other
        found = resize_positions(table, native, grid, interp)
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
    found = resize_positions(table, (2, 2), (2, 4), "bilinear")
    assert found.flatten().tolist() == [9.0, 0.0, 0.25, 0.75, 1.0, 2.0, 2.25, 2.75, 3.0], "half-pixel centres"


def test_antialiased_bicubic_is_open_clips_own_resize(mini, mini_clip):
    from open_clip.model import resize_pos_embed

    class Wanted:
        class visual:
            grid_size = (6, 6)

    state = {"visual.positional_embedding": mini_clip.visual.positional_embedding.detach().clone()}
    resize_pos_embed(state, Wanted())
    found = resize_positions(mini.model.visual.positional_embedding, (4, 4), (6, 6), "bicubic_antialias")
    assert_close(found, state["visual.positional_embedding"])


def test_rectangles_and_other_sizes(mini):
    images = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(2))
    found = mini.encode_image(images, spec(mini, Tap(4, 2), size=40))
    assert found.grid == (5, 7), "rows before columns"
    assert found.taps[Tap(4, 2)].shape == (2, 36, 48), "class token and 35 patches in the joint space"
    first_row = mini.model.visual.conv1(images)[0, :, 0, :].T  # the patches of row 0, left to right
    placed = mini.embed_patches(images)[0, 1:8]
    positions = resize_positions(mini.model.visual.positional_embedding, (4, 4), (5, 7), "bilinear")
    assert_close(placed, mini.model.visual.ln_pre(first_row + positions[1:8]))


def test_pieces_make_the_whole(mini, images):
    with torch.no_grad():
        whole = mini.encode_image(images, spec(mini)).global_[True]
        pieces = mini.project(mini.run_blocks(mini.embed_patches(images))[:, 0])
    assert torch.equal(whole, pieces), "embed_patches, run_blocks, project"


@pytest.mark.parametrize(
    ("tap", "said"),
    [
        (Tap(0), "tap at block 0: mini has blocks 1..4"),
        (Tap(5), "tap at block 5: mini has blocks 1..4"),
        (Tap(4, 5), "first_vv_block 5: mini has blocks 1..4"),
        (Tap(4, -1), "first_vv_block -1: mini has blocks 1..4"),
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
    other = EncoderSpec(mini.forward_spec(32).__class__("other@0", 32))
    with pytest.raises(BackboneError, match="made for other@0, but the weights are mini@"):
        mini.encode_image(images, other)
