# pytest tests/methods/test_af_clip.py
"""What is special to AF-CLIP; parity with an independent reference of its description is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.float32 import assert_close
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.af_clip import AfClip, AfClipConfig, masks_on_grid, misalignment, neighbourhood_means
from zsad_bench.types import Category, Tap

NUT = Category("made_up", "metal_nut", "metal nut", "object", "industrial")
CARPET = Category("made_up", "carpet", "carpet", "texture", "industrial")


@pytest.fixture
def af_clip(make):
    return lambda **settings: make("af_clip", **settings)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- what it is -------------------------------------------------------------------------------------------------------


def test_it_has_the_sizes_of_the_paper():
    method = AfClip(architecture("ViT-L-14-336-quickgelu"))
    sizes = {"context": 0, "adapter": 0}
    for name, parameter in method.own_parameters().items():
        sizes[name.partition(".")[0]] += parameter.numel()
    assert sizes == {"context": 9_216, "adapter": 2_100_224}
    assert (method.config.taps, method.config.n_heads) == ((6, 12, 18, 24), 8)
    assert method.encoder_spec.taps == {Tap(block, raw=True) for block in (6, 12, 18, 24)}


def test_blocks_and_heads_scale_to_the_backbone(af_clip):
    assert af_clip().config.taps == (1, 2, 3, 4)
    assert af_clip(taps=(2, 4)).config.taps == (2, 4), "numbers that are given are taken as they are"
    assert af_clip().config.n_heads == 1, "half of 64 channels, but no less than one head"
    assert af_clip(n_heads=3).adapter.q.weight.shape == (3 * 64, 64)
    base = AfClip.resolve(AfClipConfig(), architecture("ViT-B-32-quickgelu"))
    assert (base.taps, base.n_heads) == ((3, 6, 9, 12), 6), "of 12 blocks and a width of 768"


def test_its_initial_values_are_the_seeds_alone(af_clip):
    torch.manual_seed(1)
    one = af_clip().own_state()
    torch.manual_seed(2)
    other = af_clip().own_state()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert float(one["context"].std()) == pytest.approx(0.01, rel=0.2)


# --- neighbourhoods ---------------------------------------------------------------------------------------------------


def test_a_neighbourhood_is_a_gaussian_mean_with_zeros_beyond_the_border():
    rows, cols, side, sigma = 4, 6, 3, 1.5
    patches = draw(2, rows * cols, 5)
    found = neighbourhood_means(patches, (rows, cols), side, sigma)
    weights = {(i, j): float(torch.exp(torch.tensor(-(i * i + j * j) / (2 * sigma**2)))) for i in (-1, 0, 1)
               for j in (-1, 0, 1)}  # fmt: skip
    expected = torch.zeros_like(patches)
    for row in range(rows):
        for col in range(cols):
            for (i, j), weight in weights.items():
                if 0 <= row + i < rows and 0 <= col + j < cols:
                    near = patches[:, (row + i) * cols + col + j]
                    expected[:, row * cols + col] += weight / sum(weights.values()) * near
    assert_close(found, expected, "neighbourhood of 3 x 3")


def test_borders_lose_mass_and_a_side_of_one_is_the_patch_itself():
    ones = torch.ones(1, 49, 2)
    found = neighbourhood_means(ones, (7, 7), 5, 4.0).unflatten(1, (7, 7))[0, ..., 0]
    assert_close(found[2:5, 2:5], torch.ones(3, 3), "inside")
    assert float(found[0, 0]) < float(found[0, 3]) < 1, "corners lose more than edges"
    assert torch.equal(neighbourhood_means(ones, (7, 7), 1, 4.0), ones)


def test_the_class_token_is_left_out_of_neighbourhoods(af_clip, batch):
    method = af_clip()
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        sets = list(method.aggregated(features))
    assert len(sets) == 12, "four taps, three neighbourhoods each"
    for number, tokens in enumerate(sets):
        tap = Tap(method.config.taps[number // 3], raw=True)
        assert torch.equal(tokens[:, :1], features.prefix(tap)), f"set {number}: the class token changed"
        same = torch.equal(tokens[:, 1:], features.patches(tap))
        assert same == (number % 3 == 0), f"set {number}: only a side of 1 leaves patches as they are"


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_context_stands_in_front_of_start_of_text(af_clip, mini_clip):
    method = af_clip(init_std=0.3)
    with torch.no_grad():
        embedded = mini_clip.token_embedding(method.token_ids)
        rows = torch.cat([method.context.expand(2, -1, -1), embedded], 1)[:, :77] + mini_clip.positional_embedding
        out = mini_clip.ln_final(mini_clip.transformer(rows, attn_mask=mini_clip.attn_mask))
        at = 12 + method.token_ids.argmax(-1)
        expected = out[torch.arange(2), at] @ mini_clip.text_projection
        assert_close(method.raw_texts(), expected, "texts by open_clip itself")
        assert_close(af_clip(init_std=0.3, truncate_context=False).raw_texts(), expected, "texts, nothing cut off")


def test_one_pair_for_every_category(af_clip):
    with torch.no_grad():
        pair = af_clip().text_features([NUT, CARPET])
    assert torch.equal(pair[0], pair[1]), "the sentences never name the object"


# --- scores -----------------------------------------------------------------------------------------------------------


def test_logits_are_sums_over_blocks_and_neighbourhoods(af_clip, batch):
    def logits(**settings):
        method = af_clip(**settings)
        features = method.encode(batch.images, batch.samples)
        return method.logits(method.token_sets(features), method.text_for(batch.samples))

    with torch.no_grad():
        parts = [logits(taps=(tap,), neighbourhoods=(side,)) for tap in (1, 2, 3, 4) for side in (1, 3, 5)]
        assert_close(logits(), torch.stack(parts).sum(0), "the sum of the twelve")


def test_the_adapter_has_no_residual_path(af_clip, batch, predict):
    method = af_clip(gaussian_sigma=0.0)
    with torch.no_grad():
        method.adapter.out.weight.zero_()
    found = predict(method, batch)
    assert_close(found.map, found.map[:1, :1, :1].expand_as(found.map), "patches that the adapter says nothing of")


# --- losses -----------------------------------------------------------------------------------------------------------


def terms_of(method: AfClip, batch) -> dict[str, torch.Tensor]:
    return method.losses(method.encode(batch.images, batch.samples), batch)


def test_losses_by_hand(af_clip, batch):
    method = af_clip(map_weight=0.5, align_weight=3.0)
    with torch.no_grad():
        terms = {name: float(value) for name, value in terms_of(method, batch).items()}
        features = method.encode(batch.images, batch.samples)
        sets = list(method.token_sets(features))
        probs = method.logits(sets, method.text_for(batch.samples)).softmax(-1).double()

    def focal(anomalous: torch.Tensor, target: torch.Tensor) -> float:
        right = torch.where(target.bool(), anomalous, 1 - anomalous)
        return float((-right.log() * (1 - right) ** 4).mean())

    target = masks_on_grid(batch.masks, features.grid)
    patches = probs[:, 1:, 1]
    assert terms["image"] == pytest.approx(focal(probs[:, 0, 1], batch.labels), rel=1e-4)
    assert terms["map_focal"] == pytest.approx(0.5 * focal(patches, target), rel=1e-4)
    assert terms["map_l1"] == pytest.approx(0.5 * float((patches - target.double()).abs().mean()), rel=1e-5)
    over = [max(0.0, float(by_pairs(tokens[:, 1:], target, "image"))) for tokens in sets]
    assert terms["alignment"] == pytest.approx(3 * sum(over) / 12, rel=1e-3, abs=1e-6)


def by_pairs(tokens: torch.Tensor, masks: torch.Tensor, pairs: str) -> torch.Tensor:
    """What `misalignment` is, from all pairs one by one."""
    unlike, alike = [], []
    groups = [(tokens.flatten(0, 1), masks.flatten())] if pairs == "batch" else list(zip(tokens, masks, strict=True))
    for vectors, values in groups:
        cosines = vectors.double() @ vectors.double().T
        differ = values[:, None] != values[None]
        unlike.append(cosines[differ])
        alike.append(cosines[~differ])
    return torch.cat(unlike).mean() - torch.cat(alike).mean()


@pytest.mark.parametrize("pairs", ["image", "batch"])
def test_misalignment_is_a_mean_over_pairs(pairs):
    tokens = l2_normalize(draw(3, 20, 6) + 0.5)
    masks = draw(3, 20, seed=1) > 0.8
    masks[2] = False  # an image of one kind has only pairs of like patches
    assert_close(misalignment(tokens, masks, pairs), by_pairs(tokens, masks, pairs), f"pairs of the {pairs}")
    other = {"image": "batch", "batch": "image"}[pairs]
    assert abs(float(misalignment(tokens, masks, pairs) - misalignment(tokens, masks, other))) > 1e-4


def test_without_unlike_patches_there_is_no_misalignment(af_clip, batch):
    tokens = l2_normalize(draw(2, 20, 6)).requires_grad_()
    halves = torch.tensor([[True], [False]]).expand(2, 20)  # one image all abnormal, one all normal
    for masks in (torch.zeros(2, 20, dtype=torch.bool), torch.ones(2, 20, dtype=torch.bool), halves):
        assert float(misalignment(tokens, masks).detach()) == 0
    assert float(misalignment(tokens, halves, "batch").detach()) != 0, "across images these are unlike"
    method = af_clip()
    method.begin_stage(method.stages()[0])
    normal = replace(batch, masks=torch.zeros_like(batch.masks))
    terms = terms_of(method, normal)
    assert float(terms["alignment"].detach()) == 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in method.own_parameters().values()), "a batch without anomalies"


def test_sets_that_agree_with_the_mask_are_not_counted_against_others(af_clip, batch, monkeypatch):
    """Clipped at 0 set by set: what one set does better pays for no other."""
    values = iter([torch.tensor(-1.0), torch.tensor(0.5), *[torch.tensor(0.0)] * 10])
    monkeypatch.setattr("zsad_bench.methods.af_clip.misalignment", lambda *_: next(values))
    with torch.no_grad():
        assert float(terms_of(af_clip(), batch)["alignment"]) == pytest.approx(0.5 / 12)


def test_masks_come_to_the_grid_as_described():
    masks = draw(2, 48, 48) > 0.3
    expected = F.interpolate(masks[:, None].double(), size=(6, 6), mode="bilinear", align_corners=False)[:, 0] > 0.5
    assert torch.equal(masks_on_grid(masks, (6, 6)), expected.flatten(1))
    whole = torch.zeros(1, 48, 48, dtype=torch.bool)
    whole[0, 8:16, 24:32] = True
    assert masks_on_grid(whole, (6, 6)).nonzero().tolist() == [[0, 9]], "row 1, column 3"


def test_confident_logits_have_finite_losses_and_gradients(af_clip, batch):
    method = af_clip(temperature=1e-4, init_std=0.5)
    method.begin_stage(method.stages()[0])
    terms = terms_of(method, batch)
    torch.stack(list(terms.values())).sum().backward()
    assert float(terms["image"].detach()) > 100, (
        "a probability of one in float32 would end here at the clamp of a logarithm"
    )
    assert all(p.grad.isfinite().all() for p in method.own_parameters().values())


def test_without_losses_of_maps_labels_are_enough(af_clip, batch):
    unmasked = replace(batch, masks=None)
    method = af_clip(map_weight=0.0, align_weight=0.0)
    assert method.learns_from(method.config) == "labels"
    with torch.no_grad():
        assert set(terms_of(method, unmasked)) == {"image"}
    with pytest.raises(UsageError, match="AF-CLIP learns from masks"):
        af_clip(map_weight=0.0).training_step(unmasked, 0)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbourhoods": (1, 2)}, r"neighbourhoods=\[1, 2\]; expected odd numbers of patches"),
        ({"neighbourhoods": ()}, r"neighbourhoods=\[\]; expected odd"),
        ({"taps": ()}, r"taps=\[\]; expected at least one block"),
        ({"n_ctx": 73}, r"n_ctx=73 and a sentence of 5 tokens are 78 rows, .* reads 77; give a smaller n_ctx"),
        ({"align_weight": -1.0}, r"align_weight=-1.0; expected 0 or more"),
    ],
)
def test_what_it_refuses(af_clip, settings, message):
    with pytest.raises(UsageError, match=rf"AF-CLIP: {message}"):
        af_clip(**settings)


def test_the_longest_context_that_fits(af_clip):
    with torch.no_grad():
        assert af_clip(n_ctx=72).raw_texts().isfinite().all()


def test_a_tower_read_at_its_first_row_is_refused(mini_for):
    with pytest.raises(BackboneError, match=r"AF-CLIP puts its context in front of the row .* take a CLIP"):
        AfClip(mini_for("blip"))
