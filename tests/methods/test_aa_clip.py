# pytest tests/methods/test_aa_clip.py
"""What is special to AA-CLIP; parity with the official code is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.methods.conftest import learn, some
from tests.official import aa_clip_files
from zsad_bench import registry
from zsad_bench.backbones.load import architecture
from zsad_bench.errors import BackboneError, CheckpointError, UsageError
from zsad_bench.methods._augment import flipped, jittered, moved
from zsad_bench.methods._official_file import Content, find_released
from zsad_bench.methods._scoring import l2_normalize
from zsad_bench.methods.aa_clip import AaClip, ResidualAdapter, blurred
from zsad_bench.prompts.load import read
from zsad_bench.types import Batch, Category, SampleInfo, Tap


@pytest.fixture
def aa_clip(make):
    return lambda **settings: make("aa_clip", **settings)


def in_stage(method, number: int):
    method.begin_stage(method.stages()[number])
    return method.train()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def medical(batch: Batch, rows: list[int]) -> Batch:
    """The batch with these images' categories in the medical domain."""
    samples = [
        replace(s, category=replace(s.category, domain="medical")) if row in rows else s
        for row, s in enumerate(batch.samples)
    ]
    return replace(batch, samples=samples)


# --- towers -----------------------------------------------------------------------------------------------------------


def test_an_adapter_is_a_tenth_at_the_length_of_its_row():
    adapter = ResidualAdapter(2, 0.1)
    with torch.no_grad():
        adapter.fc.weight.copy_(torch.tensor([[0.0, 2.0], [-1.0, 0.0]]))
        found = adapter(torch.tensor([[3.0, 4.0]]))
    # W x = (8, -3), leaky (8, -0.03), brought to length 5
    made = np.array([8, -0.03]) * 5 / np.hypot(8, 0.03)
    np.testing.assert_allclose(found[0], 0.1 * made + 0.9 * np.array([3, 4]), rtol=1e-6)


def test_without_adapters_and_maps_it_sees_plain_clip(aa_clip, mini, batch):
    method = aa_clip(text_adapters=0, vision_adapters=0)
    with torch.no_grad():
        for linear in method.patch_maps:
            linear.weight.copy_(mini.model.visual.proj.T)
        features = method.encode(batch.images, batch.samples)
        plain = mini.encode_image(batch.images, replace(method.encoder_spec, taps=frozenset({Tap(2), Tap(4)})))
        text = method.text_for(batch.samples)
    for place, tap in ((1, Tap(2)), (3, Tap(4))):
        expected = l2_normalize(plain.patches(tap)) @ text.mT
        torch.testing.assert_close(features.extra["patches"][:, place], expected, rtol=0, atol=1e-5)


def test_a_tap_has_the_adapter_of_its_own_block_behind_it(aa_clip, mini, batch):
    method = aa_clip(vision_adapters=2, levels=(2, 3))
    forward = method.encoder_spec.forward
    rows = mini.embed_patches(batch.images, forward.pos_interp)
    with torch.no_grad():
        expected = []
        for block in (1, 2, 3):
            rows, _ = mini.vision.block(block, rows, False, forward.activation)
            rows = method.vision_adapters[block - 1](rows) if block < 3 else rows
            expected.append(mini.vision.norm(rows)[:, 1:])
        found, image = method.adapted(
            mini.encode_image(
                batch.images,
                method.encoder_spec,
                lambda block, rows: method.vision_adapters[block - 2](rows) if block in (2, 3) else rows,
            )
        )
        for place, linear in enumerate(method.patch_maps):
            slow = l2_normalize(linear(expected[1 + place]))
            torch.testing.assert_close(found[:, place], slow, rtol=0, atol=1e-5)
        torch.testing.assert_close(image, l2_normalize(method.image_map(expected[2])).mean(1), rtol=0, atol=1e-5)


# --- stages -----------------------------------------------------------------------------------------------------------


def test_what_is_encoded_in_the_first_stage_is_not_what_is_tested(aa_clip, predict, batch):
    method = aa_clip()
    before = predict(method, batch)
    in_stage(method, 0)
    fixed = method.encode(batch.images, batch.samples)
    assert set(fixed.rows) == set(method.stage1_taps())
    assert not fixed.extra
    assert not fixed.pooled("cls").requires_grad, "the images of stage 1 are fixed"
    method.eval()
    after = predict(method, batch)
    assert torch.equal(before.map, after.map), "a test in the middle of stage 1 reads the features of stage 1"
    assert torch.equal(before.score, after.score)


def test_texts_of_the_second_stage_are_encoded_once(aa_clip, batch, monkeypatch):
    method = aa_clip()
    calls = []
    encode = method.backbone.encode_text
    monkeypatch.setattr(method.backbone, "encode_text", lambda *a, **k: calls.append(len(a[0])) or encode(*a, **k))
    for number, expected in ((0, [32, 32, 32]), (1, [32])):
        in_stage(method, number)
        calls.clear()
        for _ in range(3):
            method.losses(method.encode(batch.images, batch.samples), batch)
        assert calls == expected, f"stage {number}: sentences of the two classes in three steps"


def test_the_readings_of_the_first_stage(aa_clip, batch):
    patches, alone = {}, {}
    for kind in ("value_value", "value_only", "official_batch_mix"):
        method = in_stage(aa_clip(stage1_attention=kind), 0)
        with torch.no_grad():
            encoded = [method.encode(b.images, b.samples) for b in (batch, some(batch, [0]))]
            patches[kind], alone[kind] = [method.stage1_patches(features)[0][0] for features in encoded]
        off = float((patches[kind] - alone[kind]).abs().max())
        assert (off > 1e-2) == (kind == "official_batch_mix"), f"{kind}: alone and in a batch differ by {off:.1e}"
    torch.testing.assert_close(alone["official_batch_mix"], alone["value_only"], rtol=0, atol=1e-5)
    assert (patches["value_value"] - patches["value_only"]).abs().max() > 1e-2


def test_levels_and_terms_of_the_first_stage(aa_clip, batch):
    last, every = (in_stage(aa_clip(stage1_levels=levels), 0) for levels in ("last", "all"))
    assert last.stage1_taps() == [Tap(4, 1, vv="value_value")]
    assert [tap.block for tap in every.stage1_taps()] == [1, 2, 3, 4]
    terms = [m.losses(m.encode(batch.images, batch.samples), batch) for m in (last, every)]
    assert terms[1]["seg"] > terms[0]["seg"], "a sum over levels"
    assert torch.equal(terms[0]["ortho"], terms[1]["ortho"]), "counted once"
    assert set(terms[0]) == {"seg", "ortho"}
    with_image = in_stage(aa_clip(stage1_image_weight=2.0, ortho_weight=0.0), 0)
    features = with_image.encode(batch.images, batch.samples)
    found = with_image.losses(features, batch)
    assert set(found) == {"seg", "image"}
    image, text = F.normalize(features.pooled("cls"), dim=-1), with_image.text_for(batch.samples)
    cosines = (image[:, None] * text).sum(-1)
    torch.testing.assert_close(found["image"], 2 * F.cross_entropy(cosines, batch.labels))


def test_the_rate_falls_by_steps(aa_clip):
    method = aa_clip(milestones=(2, 3), lr=0.4, gamma=0.5)
    stage = in_stage(method, 1).stages()[1]
    optimizer = method.optimizer_for(stage)
    schedule = stage.scheduler(optimizer, 100)
    assert stage.schedule_each == "step"
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.4, 0.4, 0.2, 0.1])


def test_recomputed_blocks_give_the_same_gradients(aa_clip, batch):
    found = []
    for checkpoint_blocks in (False, True):
        method = in_stage(aa_clip(checkpoint_blocks=checkpoint_blocks), 1)
        torch.stack(list(method.losses(method.encode(batch.images, batch.samples), batch).values())).sum().backward()
        found.append({n: p.grad for n, p in method.own_parameters().items() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


# --- texts ------------------------------------------------------------------------------------------------------------


def test_names_of_classes(aa_clip):
    described = Category("visa", "pcb1", "printed circuit board", "object", "industrial")
    other = Category("made_up", "metal_nut", "metal nut", "object", "industrial")
    names = {
        how: [aa_clip(class_text=how).class_text(c) for c in (described, other)]
        for how in ("descriptions", "prompt_name", "raw")
    }
    assert names == {
        "descriptions": ["dual ultrasonic distance sensor pcb module", "metal nut"],
        "prompt_name": ["printed circuit board", "metal nut"],
        "raw": ["pcb1", "metal nut"],
    }


def test_sentences(aa_clip):
    normal, anomalous = aa_clip().sentences(Category("made_up", "nut", "nut", "object", "industrial"))
    assert normal == ["nut.", "a photo of nut.", "a nut.", "a photo of a nut.", "the nut.", "a photo of the nut."]
    assert len(anomalous) == 10
    assert anomalous[-1] == "a photo of a nut with damage."


def test_descriptions_are_of_categories_that_there_are():
    described = read("aa_clip")["descriptions"]
    for dataset, of in described.items():
        known = {card.name for card in registry.load("datasets", dataset).category_cards}
        assert set(of) == known, f"{dataset}: described are not exactly its categories"
        assert all(isinstance(text, str) and text.strip() == text for text in of.values()), dataset
    assert {"mvtec", "visa", "mpdd", "btad"} < set(described)


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "kernel"), [(1.0, 7), (1.5, 9), (0.3, 3)])
def test_smoothing_written_out(sigma, kernel):
    image = np.random.default_rng(0).normal(size=(6, 8))
    reach = kernel // 2
    weight = np.array([np.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)])
    weight /= weight.sum()
    padded = np.pad(image, reach, mode="reflect")
    slow = np.zeros_like(image)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            slow[row, column] = weight @ padded[row : row + kernel, column : column + kernel] @ weight
    found = blurred(torch.from_numpy(image)[None], sigma, kernel)[0]
    np.testing.assert_allclose(found, slow, atol=1e-12)
    assert torch.equal(blurred(found[None], 0.0, kernel)[0], found)


def test_scores_of_both_domains_in_one_batch(aa_clip, predict, batch):
    method, mixed = aa_clip(), medical(batch, [0, 2])
    found = predict(method, mixed)
    with torch.no_grad():
        own = (1 + method.encode(mixed.images, mixed.samples).extra["image"][:, 1]) / 2
    highest = found.map.flatten(1).amax(1)
    # The map is a sum over 4 levels of (1 + 100 difference) / 2.
    share = 0.5 + 0.5 * (highest - 2) / (50 * 4)
    expected = torch.where(torch.tensor([True, False, True, False, False]), share, (share + own) / 2)
    torch.testing.assert_close(found.score, expected, rtol=0, atol=1e-6)
    industrial = predict(method, batch)
    assert torch.equal(found.map[[1, 3, 4]], industrial.map[[1, 3, 4]]), "medical neighbours change an image"
    assert not torch.equal(found.map[0], industrial.map[0]), "medical maps are smoothed wider"


def test_scaling_over_the_set(aa_clip, predict, batch):
    # One category, so that it is one set.
    batch = replace(batch, samples=[replace(s, category=batch.samples[0].category) for s in batch.samples])
    plain, scaled = aa_clip(), aa_clip(set_minmax=True)
    assert scaled.transductive
    assert not plain.transductive
    before, found = predict(plain, batch), predict(scaled, batch)
    low, high = before.map.min(), before.map.max()
    torch.testing.assert_close(found.map, (before.map - low) / (high - low), rtol=0, atol=1e-6)
    with torch.no_grad():
        own = plain.encode(batch.images, batch.samples).extra["image"][:, 1]
    expected = found.map.flatten(1).amax(1) / 2 + (own - own.min()) / (own.max() - own.min()) / 2
    torch.testing.assert_close(found.score, expected, rtol=0, atol=1e-5)
    in_parts = predict(scaled, batch, sizes=[2, 1, 2])
    torch.testing.assert_close(in_parts.score, found.score, rtol=0, atol=1e-5)
    torch.testing.assert_close(in_parts.map, found.map, rtol=0, atol=1e-5)
    of_organs = predict(scaled, medical(batch, [0, 1, 2, 3, 4]))
    torch.testing.assert_close(of_organs.score, of_organs.map.flatten(1).amax(1))
    with pytest.raises(UsageError, match="AA-CLIP scores whole categories"):
        scaled.predict_step(batch)


def test_a_set_of_one_image_has_a_finite_score(aa_clip, predict, batch):
    found = predict(aa_clip(set_minmax=True), some(batch, [0]))
    assert float(found.map.max()) == 1
    assert float(found.score) == 0.5, "the only image's own score is no larger than any other"


def test_features_of_a_set_are_small(aa_clip, batch):
    with torch.no_grad():
        features = aa_clip(set_minmax=True).encode(batch.images, batch.samples)
    assert not features.rows
    assert not features.vectors
    assert {name: tuple(value.shape) for name, value in features.extra.items()} == {
        "patches": (5, 4, 36, 2),
        "image": (5, 2),
    }


# --- augmentation -----------------------------------------------------------------------------------------------------


def painted(count: int = 24, size: int = 48) -> Batch:
    """Images of zeros with the mask, an off-centre rectangle, painted in ones."""
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    masks[:, 20:34, 24:30] = True
    category = Category("made_up", "nut", "nut", "object", "industrial")
    images = masks[:, None].float().expand(-1, 3, -1, -1).clone()
    samples = [SampleInfo(f"made_up/{i}.png", category) for i in range(count)]
    return Batch(images, torch.ones(count, dtype=torch.int64), masks, samples)


def test_images_and_masks_move_alike(aa_clip):
    method, batch = in_stage(aa_clip(), 0), painted()
    found = method.augmented(batch)
    assert found.images.shape == batch.images.shape
    assert found.masks.dtype == torch.bool
    # A bilinear image is above one half where the nearest mask is, but for the rim.
    wrong = ((found.images[:, 0] > 0.5) != found.masks).flatten(1).sum(1)
    assert wrong.max() <= 12, f"{int(wrong.max())} of {14 * 6} pixels differ"
    moved_ones = int((found.masks != batch.masks).flatten(1).any(1).sum())
    assert 12 <= moved_ones < 24, f"{moved_ones} of 24 images moved; 1 in 16 stays as it is"


def test_colours_change_in_the_second_stage_alone(aa_clip):
    grey = painted()
    grey.images[:] = 0.3
    inside = (slice(None), slice(None), slice(22, 26), slice(22, 26))  # no border reaches the middle
    first = in_stage(aa_clip(), 0).augmented(grey).images[inside]
    assert torch.allclose(first, torch.full_like(first, 0.3), atol=1e-5)
    second = in_stage(aa_clip(), 1).augmented(grey).images[inside]
    changed = int(((second - 0.3).abs().amax((1, 2, 3)) > 1e-3).sum())
    assert 10 <= changed <= 23, f"{changed} of 24 images have other colours; 7 of 10 are expected"


def test_draws_follow_from_the_seed_the_image_and_the_epoch(aa_clip, monkeypatch):
    method, batch = in_stage(aa_clip(), 1), painted(8)
    first = method.augmented(batch)
    again = method.augmented(some(batch, [3, 1]))
    assert torch.equal(again.images, first.images[[3, 1]]), "its place in a batch changes an image"
    monkeypatch.setattr(type(method), "current_epoch", 1)
    assert not torch.equal(method.augmented(batch).images, first.images), "each epoch shows the same"
    monkeypatch.undo()
    other = in_stage(aa_clip(seed=4), 1)
    assert not torch.equal(other.augmented(batch).images, first.images)
    off = in_stage(aa_clip(augment=False), 1)
    assert off.augmented(batch) is batch


def test_training_learns_from_augmented_images(aa_clip, batch, monkeypatch):
    method, seen = in_stage(aa_clip(), 1), []
    monkeypatch.setattr(method, "log", lambda *a, **k: None)
    monkeypatch.setattr(type(method), "global_step", 0)
    losses = method.losses
    monkeypatch.setattr(method, "losses", lambda features, of: seen.append(of) or losses(features, of))
    method.training_step(batch, 0)
    expected = method.augmented(batch)
    assert torch.equal(seen[0].images, expected.images)
    assert torch.equal(seen[0].masks, expected.masks)
    assert not torch.equal(seen[0].images, batch.images)


def test_each_move_by_itself():
    picture = torch.zeros(3, 10, 20)
    picture[:, 2, 4] = 1
    mask = picture[0] > 0
    image, moved_mask = moved(picture, mask, 0.0, (0.25, 0.5))
    assert moved_mask.nonzero().tolist() == [[7, 9]], "right by 0.25 * 20, down by 0.5 * 10"
    assert image[0, 7, 9] == pytest.approx(1, abs=1e-5)
    assert image.sum() == pytest.approx(3, abs=1e-4)
    _, gone = moved(picture, mask, 0.0, (-0.5, 0.0))
    assert not gone.any()
    square = torch.zeros(3, 9, 9)
    square[:, 0, 4] = 1
    _, turned = moved(square, square[0] > 0, 90.0, (0.0, 0.0))
    assert turned.nonzero().tolist() == [[4, 8]], "from the top clockwise to the right"
    across = flipped(picture, mask, across=True, down=False)[1].nonzero().tolist()
    down = flipped(picture, mask, across=False, down=True)[1].nonzero().tolist()
    assert (across, down) == ([[2, 15]], [[7, 4]])
    assert flipped(picture, mask, across=False, down=False)[1].equal(mask)


def test_colours_written_out():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    colours = torch.rand(3, 5, 7, generator=rng(1))
    m, s = (torch.tensor(v)[:, None, None] for v in (mean, std))
    image = (colours - m) / s
    torch.testing.assert_close(jittered(image, mean, std, 0.0, rng()), image, rtol=0, atol=1e-5)
    generator = rng(5)
    order = torch.randperm(3, generator=generator).tolist()
    factors = [0.5 + float(torch.rand((), generator=generator)) for _ in order]
    slow = colours
    for which, factor in zip(order, factors, strict=True):
        grey = (torch.tensor([0.2989, 0.587, 0.114])[:, None, None] * slow).sum(0, keepdim=True)
        base = (torch.zeros(()), grey.mean(), grey)[which]  # black, mean grey, each pixel's grey
        slow = (factor * slow + (1 - factor) * base).clamp(0, 1)
    torch.testing.assert_close(jittered(image, mean, std, 0.5, rng(5)), (slow - m) / s, rtol=0, atol=1e-4)


# --- options ----------------------------------------------------------------------------------------------------------


def test_the_presets(aa_clip):
    paper, official = aa_clip(), aa_clip(fidelity="official")
    assert (paper.config.stage1_attention, paper.config.set_minmax) == ("value_value", False)
    assert (official.config.stage1_attention, official.config.set_minmax) == ("official_batch_mix", True)
    assert official.transductive
    assert not aa_clip(fidelity="official", set_minmax=False).transductive


def test_defaults_scale_with_the_backbone(aa_clip):
    c = aa_clip().config
    assert (c.levels, c.first_vv_block, c.vision_adapters, c.text_adapters) == ((1, 2, 3, 4), 1, 1, 1)
    assert c.gaussian_sigma == pytest.approx(6 / 37)
    assert (c.gaussian_kernel, c.medical_kernel) == (7, 9)
    small = aa_clip(image_size=16).config
    assert (small.gaussian_kernel, small.medical_kernel) == (3, 3), "no wider than a grid of 2 x 2 can reflect"


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"vision_adapters": 4}, BackboneError, r"vision_adapters=4, but mini's visual tower has 4 blocks.*=3 or less"),
        ({"text_adapters": 3}, BackboneError, r"text_adapters=3, but mini's text tower has 3 blocks.*=2 or less"),
        ({"levels": ()}, UsageError, r"levels=\[\]; expected one or more blocks in ascending order"),
        ({"levels": (3, 2)}, UsageError, r"levels=\[3, 2\]; expected one or more blocks in ascending order"),
        ({"gaussian_kernel": 4}, UsageError, r"gaussian_kernel=4, .* 6 patches a side; take an odd number up to 11"),
        ({"medical_kernel": 13}, UsageError, r"medical_kernel=13, .* 6 patches a side; take an odd number up to 11"),
        ({"first_vv_block": 0}, UsageError, "first_vv_block=0; expected 1 or more"),
        ({"text_lr": 0.0}, UsageError, "text_lr=0.0; expected more than 0"),
    ],
)
def test_numbers_that_no_run_can_have(aa_clip, settings, error, said):
    with pytest.raises(error, match=f"^AA-CLIP: .*{said}$|^AA-CLIP: {said}$"):
        aa_clip(**settings)


def test_it_needs_masks(aa_clip, batch):
    method = in_stage(aa_clip(), 0)
    with pytest.raises(UsageError, match="AA-CLIP learns from masks"):
        method.training_step(replace(batch, masks=None), 0)


def test_an_ablation_without_adapters_still_trains(aa_clip, batch):
    method = aa_clip(text_adapters=0, vision_adapters=0)
    for number in (0, 1):
        assert all(value.isfinite() for value in learn(method, number, batch).values())


# --- released checkpoints ---------------------------------------------------------------------------------------------


def test_the_released_sizes_are_the_published_method():
    large = architecture("ViT-L-14-336-quickgelu")
    files = aa_clip_files(1024, 768, 768, n_text=3, n_vision=6, n_levels=4)
    state = find_released(Content("two files", tuple(files), "0"), "aa_clip", {"aa_clip": AaClip.official}).state
    overrides, tensors = AaClip.official.read(state, large)
    assert overrides == {"fidelity": "official"}
    text = sum(t.numel() for name, t in tensors.items() if name.startswith("text_"))
    assert (text, sum(t.numel() for t in tensors.values()) - text) == (2_359_296, 10_223_616)


def test_what_the_released_code_has_no_place_for(aa_clip):
    assert AaClip.official.write(aa_clip()).keys() >= {"text_adapter.1.fc.0.weight", "image_adapter.det_proj.fc.weight"}
    with pytest.raises(CheckpointError, match="numbers of adapters or levels are not the released ones"):
        AaClip.official.write(aa_clip(vision_adapters=2))


def test_an_imported_checkpoint_says_that_it_sees_whole_classes(aa_clip):
    assert "transductive" in AaClip.official.remarks(aa_clip(fidelity="official"))[0]
    assert not AaClip.official.remarks(aa_clip())
