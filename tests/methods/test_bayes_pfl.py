# pytest tests/methods/test_bayes_pfl.py
"""Bayes-PFL: draws, flows, sentences, attention, both stages and both image scores; parity is in tests/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from tests.float32 import assert_close
from tests.methods.conftest import some
from zsad_bench.errors import UsageError
from zsad_bench.methods._prompt_flow import StateFlow, divergence, draw
from zsad_bench.methods.bayes_pfl import BayesPfl, BayesPflConfig, attended, largest, warm_cosine
from zsad_bench.types import Batch, Category, SampleInfo

SIZE = 48


@pytest.fixture
def bayes(make):
    return lambda **settings: make("bayes_pfl", **settings)


def as_class(batch: Batch, name: str, dataset: str = "made_up") -> Batch:
    """The same images, all of one class."""
    category = Category(dataset, name, name, "object", "industrial")
    return replace(batch, samples=[replace(sample, category=category) for sample in batch.samples])


def in_stage(method: BayesPfl, number: int) -> BayesPfl:
    method.begin_stage(method.stages()[number])
    method.train()
    return method


# --- draws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_draws", ["image", "run"])
def test_order_batches_and_chunks_change_nothing(bayes, predict, batch, state_draws):
    method, order = bayes(state_draws=state_draws, draws=2), [4, 2, 0]
    expected = predict(method, batch)
    for chunk in (1, 10**6):
        found = predict(bayes(state_draws=state_draws, draws=2, sentence_chunk=chunk), some(batch, order), [1, 2])
        torch.testing.assert_close(found.score, expected.score[order], rtol=0, atol=1e-5)
        torch.testing.assert_close(found.map, expected.map[order], rtol=0, atol=1e-5)
    noise, part = method.noise(batch.samples), method.noise([batch.samples[row] for row in order])
    assert torch.equal(part.context, noise.context[order])
    rows = order if state_draws == "image" else [0]
    assert torch.equal(part.normal, noise.normal[rows])
    assert noise.normal.shape == (5 if state_draws == "image" else 1, 2, 32), "in the text tower's width"
    assert not torch.equal(noise.normal, noise.abnormal)


def test_a_step_draws_once_for_its_batch_and_names_a_prompt(bayes, batch, monkeypatch):
    method, seen = in_stage(bayes(), 0), set()
    noise, number = method.noise_of_step(batch.samples)
    assert [part.shape for part in noise] == [(5, 1, 32), (1, 1, 32), (1, 1, 32)]
    assert torch.equal(method.noise_of_step(batch.samples[::-1])[0].context, noise.context.flip(0))
    for step in range(20):
        monkeypatch.setattr(type(method), "global_step", step)
        seen.add(method.noise_of_step(batch.samples)[1])
    assert seen == {0, 1, 2}, "each prompt of the bank learns"
    assert number in seen
    monkeypatch.setattr(type(method), "current_epoch", 1)
    assert not torch.equal(method.noise_of_step(batch.samples)[0].context, noise.context), "each epoch draws anew"


def test_the_flow_against_its_jacobian_and_the_divergence_against_densities():
    generator = torch.Generator().manual_seed(0)
    flow = StateFlow(4, 6, generator).double()
    mean, variance = (
        torch.randn(1, 6, generator=generator).double(),
        torch.rand(1, 6, generator=generator).double() + 0.1,
    )
    noise = torch.randn(3, 1, 6, generator=generator).double()
    drawn = draw((mean, variance), flow(), noise)

    def through(start: torch.Tensor) -> torch.Tensor:
        z = start
        for u, w, b in zip(flow.u[0], flow.w[0], flow.b[0], strict=True):
            z = z + u * torch.tanh(w @ z + b)
        return z

    for row in range(3):
        start = mean[0] + variance[0].sqrt() * noise[row, 0]
        torch.testing.assert_close(drawn.end[row, 0], through(start))
        _, log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(through, start))
        torch.testing.assert_close(drawn.log_det[row, 0], log_det, rtol=0, atol=1e-3)  # 1e-5 in each logarithm
    log_q = Normal(mean, variance.sqrt()).log_prob(drawn.start[:, 0]).sum(-1)
    log_p = Normal(0.0, 1.0).log_prob(drawn.end[:, 0]).sum(-1)
    expected = (log_q - log_p).mean() - drawn.log_det.sum() / 7
    torch.testing.assert_close(divergence(drawn, 7), expected)


# --- sentences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("pcb3", "printed circuit board"),
        ("macaroni2", "macaroni"),
        ("Metal_Nut", "metal nut"),
        ("Bracket_Black", "bracket_black"),
    ],
)
def test_what_classes_are_called(bayes, name, called):
    category = Category("made_up", name, "readable", "object", "industrial")
    assert bayes().called(category) == called
    assert bayes(class_names="prompt_name").called(category) == "readable"
    assert bayes(class_names="raw").called(category) == (called if called != "bracket_black" else "Bracket Black")


def test_a_text_is_its_sentence_by_itself(bayes, batch):
    """Row by row: start, context, state, class name, end; in the order of draws, then prompts, normal ones first."""
    method, tower = bayes(draws=2, n_prompts=2, n_ctx=2, n_state=3), bayes().backbone.text_tower
    samples = batch.samples[:2]
    with torch.no_grad():
        features = method.encode(batch.images[:2], samples)
        latents = method.latents(features, method.noise(samples))
        found = method.texts([sample.category for sample in samples], latents)
        for image, sample in enumerate(samples):
            ids = tower.tokenize([f"X {method.called(sample.category)}"])
            words, end = tower.embed_tokens(ids)[0], int(tower.end_of_text(ids))
            for state, (bank, drawn) in enumerate(
                ((method.prompt_normal, latents.normal), (method.prompt_abnormal, latents.abnormal))
            ):
                for pair in range(4):
                    r, b = divmod(pair, 2)
                    context = method.prompt_context[b] + latents.context.end[image, r]
                    rows = torch.cat([words[:1], context, bank[b] + drawn.end[image, r], words[2 : end + 1]])[None]
                    alone = method.backbone.encode_text(rows, torch.tensor([len(rows[0]) - 1]), activation="gelu")[0]
                    assert_close(found[image, state, pair], alone / alone.norm(), f"image {image}, {state}, {pair}")
    assert found.shape == (2, 2, 4, 48)


# --- maps and scores --------------------------------------------------------------------------------------------------


def test_attention_head_by_head():
    generator = torch.Generator().manual_seed(0)
    queries, patches = torch.randn(2, 3, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)
    found = attended(queries, patches, 4)
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        weights = (queries[..., part] @ patches[..., part].mT * 8**-0.5).softmax(-1)
        assert_close(found[..., part], weights @ patches[..., part], f"head {head}")


def test_pairs_are_compared_as_two_channels(bayes, batch):
    """The difference of logits, upsampled, against both logits upsampled and a softmax over the pair."""
    method = bayes(draws=2)
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        texts = method.texts([s.category for s in batch.samples], method.latents(features, method.noise(batch.samples)))
        image, maps = method.readings(features, batch.samples)
        expected = []
        for patches, of_level in method.aligned(features, texts):
            logits = method.log_scale_pixel.exp() * torch.einsum("bnd,bsmd->bsmn", patches, of_level)
            grid = logits.flatten(1, 2).unflatten(-1, features.grid)
            up = torch.nn.functional.interpolate(grid, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
            expected.append(up.unflatten(1, (2, -1)).softmax(1)[:, 1].mean(1))
        probability = method.image_logits(features, texts, fused=True).softmax(1)[:, 1].mean(1)
    torch.testing.assert_close(maps, torch.stack(expected).mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(image, probability, rtol=0, atol=1e-6)


def test_the_plain_score_and_how_many_values_count(bayes, predict, batch):
    resolved = BayesPfl.resolve(BayesPflConfig(image_size=512), bayes().backbone)
    assert (resolved.top_k, resolved.few_top_k) == (1954, 20), "2000 and 20 of 518 x 518 pixels, scaled"
    method = bayes()
    assert (method.config.top_k, method.config.few_top_k) == (17, 1)
    assert not method.transductive
    with torch.no_grad():
        image, maps = method.readings(method.encode(batch.images, batch.samples), batch.samples)
    highest = maps.flatten(1).sort(1, descending=True).values[:, :17].mean(1)
    assert_close(largest(maps, 17), highest)
    assert_close(predict(method, batch).score, (image + highest) / 2)


def test_the_official_score_is_of_the_whole_set(bayes, predict, batch):
    method = bayes(fidelity="official")
    assert method.transductive
    assert (method.config.state_logdet, method.config.state_draws) == ("batch", "run")
    assert not bayes(fidelity="official", image_score="plain").transductive

    def scaled(values: torch.Tensor) -> torch.Tensor:
        return (values - values.min()) / (values.max() - values.min())

    for name, count in (("gear", 17), ("screw", 1)):
        of_class = as_class(batch, name)
        with torch.no_grad():
            image, maps = method.readings(method.encode(batch.images, of_class.samples), of_class.samples)
        expected = (scaled(image) + scaled(maps.flatten(1).sort(1).values[:, -count:].mean(1))) / 2
        torch.testing.assert_close(predict(method, of_class).score, expected, rtol=0, atol=1e-4)
    unmasked = as_class(batch, "head", "headct")
    with torch.no_grad():
        image, _ = method.readings(method.encode(batch.images, unmasked.samples), unmasked.samples)
    torch.testing.assert_close(predict(method, unmasked).score, image, rtol=0, atol=1e-6)
    alone = predict(method, some(as_class(batch, "gear"), [1]))
    assert alone.score.tolist() == [0.0], "one image has no range, and no 0/0"


# --- learning ---------------------------------------------------------------------------------------------------------


def test_stages_and_their_rates(bayes):
    method = bayes()
    first, second = method.stages()
    names = {p: name for name, p in method.own_parameters().items()}
    rates: dict[float, set[str]] = {}
    for group in method.optimizer_for(first).param_groups:
        assert group["betas"] == (0.5, 0.999)
        rates.setdefault(group["lr"], set()).update(names[p].partition(".")[0] for p in group["params"])
    assert rates == {
        1e-3: {"prompt_context", "prompt_normal", "prompt_abnormal", "context_flow", "normal_flow", "abnormal_flow"},
        1e-2: {"log_scale_pixel", "log_scale_image"},
        1e-4: {"context_encoder", "state_encoder", "query", "patch_maps", "class_map"},
    }
    assert {names[p].partition(".")[0] for p in method.trainables(second).values()} == {
        "class_map",
        "image_map",
        "fuse",
    }
    assert (first.epochs, second.epochs, first.batch_size) == (8, 2, 32)
    assert (first.mosaic, second.learns_from) == ({"mvtec": 0.4}, "labels")
    alone = bayes(fuse_epochs=0)
    assert [stage.name for stage in alone.stages()] == ["prompts"]
    assert not [name for name in alone.own_parameters() if name.startswith(("image_map", "fuse"))]


def test_the_rate_rises_over_a_tenth_of_thirty_epochs_and_falls_to_zero():
    rates = [warm_cosine(step, 300, 0.1) for step in range(301)]
    assert rates[:30] == sorted(rates[:30])
    assert rates[0] > 0
    assert rates[30] == 1.0
    assert rates[165] == pytest.approx(0.5)
    assert rates[300] == pytest.approx(0.0)
    assert warm_cosine(80, 300, 0.1) > 0.9, "8 of 30 epochs end near the top"


def test_what_the_log_determinants_of_states_are_divided_by(bayes, batch):
    terms = {}
    for how in ("own", "batch"):
        method = in_stage(bayes(state_logdet=how), 0)
        with torch.no_grad():
            features = method.encode(batch.images, batch.samples)
            terms[how] = method.losses(features, batch)
            latents = method.latents(features, method.noise_of_step(batch.samples)[0])
    log_dets = latents.normal.log_det.sum() + latents.abnormal.log_det.sum()
    assert log_dets.abs() > 0.1, "they would show nothing"
    torch.testing.assert_close(
        terms["batch"]["kl"] - terms["own"]["kl"], 0.01 * log_dets * (1 - 1 / 5), rtol=1e-3, atol=1e-5
    )
    assert terms["own"].keys() == {"image", "focal", "dice", "kl", "ortho"}


def test_training_images_and_masks_are_turned_alike(bayes):
    masks = torch.zeros(24, SIZE, SIZE, dtype=torch.bool)
    masks[:, 20:34, 24:40] = True
    category = Category("made_up", "nut", "nut", "object", "industrial")
    samples = [SampleInfo(f"made_up/{i}.png", category) for i in range(24)]
    batch = Batch(3 * masks[:, None].float().expand(-1, 3, -1, -1), torch.ones(24, dtype=torch.int64), masks, samples)
    method = in_stage(bayes(), 0)
    found = method.augmented(batch)
    grey = found.images.mean(1).flatten(1)
    middle = (grey.amax(1) + grey.median(1).values) / 2  # whatever colours became
    wrong = ((grey > middle[:, None]) != found.masks.flatten(1)).sum(1)
    assert wrong.max() <= 40, f"{int(wrong.max())} of {14 * 16} pixels differ"
    moved = int((found.masks != masks).flatten(1).any(1).sum())
    assert 12 <= moved < 24, f"{moved} of 24 moved; one in four stays as it is"
    again = method.augmented(some(batch, [7, 3]))
    assert torch.equal(again.images, found.images[[7, 3]]), "its place in a batch changes an image"
    unmasked = method.augmented(replace(batch, masks=None))
    assert unmasked.masks is None
    assert torch.equal(unmasked.images, found.images)
    assert bayes(augment=False).augmented(batch) is batch


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": (2, 1)}, r"layers=\[2, 1\]; expected different numbers of 1..4 in ascending order"),
        ({"n_heads": 5}, "n_heads=5; expected a divisor of 48"),
        ({"top_k": 2305}, "top_k=2305, an image of 48 px has 2304; take fewer"),
        ({"schedule_epochs": 3}, "schedule_epochs=3; expected 8 or more"),
        ({"draws": 0}, "draws=0; expected 1 or more"),
        ({"warmup": 1.5}, "warmup=1.5; expected 0 to 1"),
        ({"mosaic_prob": 2.0}, "mosaic_prob=2.0; expected 0 to 1"),
    ],
)
def test_configurations_that_no_run_can_have(bayes, settings, said):
    with pytest.raises(UsageError, match=rf"Bayes-PFL: {said}"):
        bayes(**settings)
