# pytest tests/methods/test_anovl.py
"""What is special to AnoVL; parity with the official code is in tests/golden."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, uniform_filter

from tests.methods.conftest import some
from tests.miniature import random_batch
from tests.two_processes import by_gloo, run_script
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.methods._prediction import predict_set
from zsad_bench.methods.anovl import ANGLES, N_VIEWS, SHIFTS, adaptation_losses, merged, views_of
from zsad_bench.planning.configure import configure, encodes_alone
from zsad_bench.types import Category, Prediction

ROOT = Path(__file__).resolve().parents[2]
NUT = Category("made_up", "metal_nut", "steel nut", "object", "industrial")
CARPET = Category("made_up", "carpet", "carpet", "texture", "industrial")


@pytest.fixture(scope="module")
def encoded() -> dict[tuple[str, ...], torch.Tensor]:
    """Sentences -> their features: the 924 of a class are encoded once for all tests."""
    return {}


@pytest.fixture
def anovl(make, mini, encoded, monkeypatch):
    encode = mini.encode_prompts

    def once(texts, **options):
        if torch.is_inference_mode_enabled():  # what is made in it can be used in no other mode
            return encode(texts, **options)
        if tuple(texts) not in encoded:
            encoded[tuple(texts)] = encode(texts, **options)
        return encoded[tuple(texts)]

    monkeypatch.setattr(mini, "encode_prompts", once)
    return lambda **settings: make("anovl", **settings)


def one_category(count: int):
    """Random images of one category."""
    batch = random_batch(48, count)
    return replace(batch, samples=[replace(sample, category=NUT) for sample in batch.samples])


def set_of(method, batch) -> Prediction:
    """The prediction of a transductive configuration for these images, in their order."""
    with torch.no_grad():
        return predict_set(method, method.encode(batch.images, batch.samples), batch.samples)


# --- sentences --------------------------------------------------------------------------------------------------------


def test_every_state_in_every_template_for_every_noun(anovl):
    normal, anomalous = anovl().sentences(NUT)
    assert len(normal) == len(anomalous) == len(set(normal)) == len(set(anomalous)) == 3 * 22 * 7
    assert not set(normal) & set(anomalous), "a sentence is on both sides"
    assert all("metal nut" in sentence and "{" not in sentence for sentence in normal + anomalous)
    assert normal[:2] == ["a cropped industrial photo of the normal metal nut",
                          "a cropped industrial photo of the flawless metal nut"], "states come first"  # fmt: skip
    assert normal[7] == "a cropped industrial photo of a normal metal nut", "then templates"
    assert normal[22 * 7].startswith("a cropped industrial image of the"), "then nouns"
    assert "an industrial image of a small metal nut with flaw" in anomalous
    assert "a manufacturing image of the abnormal metal nut for visual inspection" in anomalous


@pytest.mark.parametrize(
    ("category", "by_kind", "by_name"),
    [
        (NUT, "image", "image"),
        (CARPET, "photo picture", "photo picture"),
        (replace(NUT, name="Woven_001", kind="texture"), "photo picture", "image"),
        (replace(CARPET, name="tile", kind="object"), "image", "photo picture"),
        (replace(NUT, name="brain", kind="organ"), "image", "image"),
    ],
)
def test_textures_have_nouns_of_their_own(anovl, category, by_kind, by_name):
    for how, expected in {"kind": by_kind, "named": by_name}.items():
        text = " ".join(anovl(textures=how).sentences(category)[0])
        assert ("surface picture" in text) == ("textural photo" in text) == ("picture" in expected), how
        assert ("manufacturing image" in text) == ("industrial image" in text) == ("image" in expected), how
        assert "industrial photo" in text


@pytest.mark.parametrize(
    ("how", "nut", "macaroni"),
    [
        ("raw", "metal nut", "macaroni"),
        ("folder", "metal_nut", "macaroni"),
        ("prompt_name", "steel nut", "elbow macaroni"),
        ("object", "object", "object"),
    ],
)
def test_how_a_class_is_called(anovl, how, nut, macaroni):
    method, pasta = anovl(class_names=how), Category("visa", "macaroni2", "elbow macaroni", "object", "industrial")
    for category, name in ((NUT, nut), (pasta, macaroni)):
        assert f"a dark industrial photo of a damaged {name}" in method.sentences(category)[1]


def test_text_pair_by_hand(anovl, mini):
    method = anovl()
    with torch.no_grad():
        found = method.text_features([NUT])[0].numpy()
        for state, sentences in enumerate(method.sentences(NUT)):
            mean = mini.encode_prompts(sentences).double().numpy().mean(0)
            assert np.allclose(found[state], mean / np.linalg.norm(mean), atol=1e-6), f"text of state {state}"


def test_sentences_are_encoded_once_per_category(anovl, batch, mini, monkeypatch):
    method, count = anovl(), Counter()
    encode = mini.encode_prompts

    def counted(texts, **options):
        count["sentences"] += len(texts)
        return encode(texts, **options)

    monkeypatch.setattr(mini, "encode_prompts", counted)
    for _ in range(2):
        method.predict_step(batch)
    categories = {sample.category for sample in batch.samples}
    assert count["sentences"] == len(categories) * 924, "of both states, once per category, adaptation or not"


# --- views ------------------------------------------------------------------------------------------------------------


def test_warped_views_against_scipy():
    """Places from the matrices by hand; scipy interpolates, and mirrors about the outermost pixels."""
    size = 21
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    views = views_of(images, ("rotations", "translations"))
    assert views.shape == (2, 16, 3, size, size)
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    turns = [(np.cos(np.pi * a), np.sin(np.pi * a)) for a in ANGLES]
    places = [(s * x + c * y, c * x - s * y) for c, s in turns] + [(y + dy, x + dx) for dx, dy in SHIFTS]
    for number, rows_and_columns in enumerate(places):
        pixels = [(1 + place) / 2 * (size - 1) for place in rows_and_columns]
        for image in range(2):
            expected = [map_coordinates(channel.double().numpy(), pixels, order=1, mode="mirror")
                        for channel in images[image]]  # fmt: skip
            assert np.allclose(views[image, number], expected, atol=1e-4), f"view {number} of image {image}"


def test_the_other_views_by_hand():
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = views_of(images)[:, 16:].numpy()
    one = images.numpy()
    assert np.array_equal(found[:, 0], one[..., ::-1]), "mirrored"
    luma = 0.299 * one[:, 0] + 0.587 * one[:, 1] + 0.114 * one[:, 2]
    assert np.allclose(found[:, 1], luma[:, None].repeat(3, 1), atol=1e-6), "grey in three equal channels"
    for turns in (1, 2, 3):
        assert np.array_equal(found[:, 1 + turns], np.rot90(one, turns, (2, 3))), f"{turns} quarter turns"
    assert found[0, 2, 0, -1, 0] == one[0, 0, 0, 0], "a quarter turn counter-clockwise brings the top left down"


@pytest.mark.parametrize("kinds", [*((kind,) for kind in N_VIEWS), tuple(N_VIEWS)])
def test_each_kind_has_its_views(anovl, batch, kinds):
    count = sum(N_VIEWS[kind] for kind in kinds)
    assert views_of(batch.images[:1], kinds).shape[1] == count
    method = anovl(views=list(kinds))
    with torch.no_grad():
        assert method.extra_features(batch.images, batch.samples)["views"].shape[:2] == (len(batch), count)


def test_the_score_is_the_mean_of_the_views_of_the_plain_path(anovl, batch, mini):
    """With a single pass for each view, and numpy behind it."""
    method = anovl(tta_steps=0)
    found = method.predict_step(batch).score
    spec = replace(method.encoder_spec, taps=frozenset())
    with torch.no_grad():
        texts = method.text_for(batch.samples).double().numpy()
        every = torch.cat([batch.images[:, None], views_of(batch.images)], 1)
        for image, views in enumerate(every):
            features = [mini.encode_image(view[None], spec).pooled("cls")[0].double().numpy() for view in views]
            cosines = np.stack([texts[image] @ feature / np.linalg.norm(feature) for feature in features])
            expected = (np.exp(cosines[:, 1]) / np.exp(cosines).sum(1)).mean()
            assert len(features) == 22
            assert float(found[image]) == pytest.approx(expected, abs=1e-6)


def test_without_views_the_image_alone_scores(anovl, batch):
    method = anovl(views=[], tta_steps=0)
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        assert not features.extra, "views were encoded"
        cosines = torch.einsum(
            "bd,bsd->bs", torch.nn.functional.normalize(features.pooled("cls"), dim=-1), method.text_for(batch.samples)
        )
        found = method.score(features, batch.samples)
    assert torch.allclose(found.score, cosines.softmax(-1)[:, 1], atol=1e-6)
    with_views = anovl(tta_steps=0).predict_step(batch)
    assert torch.equal(found.map, with_views.map), "views are for the score alone"
    assert not torch.allclose(found.score, with_views.score, atol=1e-5)


def test_how_many_views_run_at_once_changes_nothing(anovl, batch):
    with torch.no_grad():
        whole, some_, single = (anovl(view_batch=count).extra_features(batch.images, batch.samples)["views"]
                                for count in (1000, 50, 4))  # fmt: skip
    assert torch.allclose(whole, some_, atol=1e-5)
    assert torch.allclose(whole, single, atol=1e-5)


def test_the_order_in_which_views_are_named_is_no_other_variant(anovl):
    assert anovl(views=["flip", "rotations"]).config == anovl(views=["rotations", "flip"]).config


def test_the_plain_view_comes_from_a_shared_pass(anovl):
    assert not encodes_alone(type(anovl())), "it would share no pass with other methods"


# --- maps -------------------------------------------------------------------------------------------------------------


def test_a_map_by_hand(anovl, batch):
    method = anovl(tta_steps=0)
    with torch.no_grad():
        features, texts = method.encode(batch.images, batch.samples), method.text_for(batch.samples).double().numpy()
        found = method.score(features, batch.samples).map
    patches = features.patches(method._tap()).double().numpy()
    patches /= np.linalg.norm(patches, axis=-1, keepdims=True)
    cosines = np.einsum("bnd,bsd->bns", patches, texts)
    anomalous = (np.exp(cosines[..., 1]) / np.exp(cosines).sum(-1)).reshape(-1, 6, 6)
    smoothed = np.stack([uniform_filter(grid, 3, mode="nearest") for grid in anomalous])
    axis = np.linspace(0, 5, 48)  # corners lie on corners
    rows_and_columns = np.meshgrid(axis, axis, indexing="ij")
    expected = np.stack([map_coordinates(grid, rows_and_columns, order=1, mode="nearest") for grid in smoothed])
    assert np.allclose(found, expected, atol=2e-6)


def test_the_v_v_path_is_for_maps_alone(anovl, batch):
    usual, plain = (anovl(tta_steps=0, first_vv_block=first).predict_step(batch) for first in (1, 0))
    assert torch.equal(usual.score, plain.score)
    assert not torch.allclose(usual.map, plain.map, atol=1e-5)


# --- adaptation -------------------------------------------------------------------------------------------------------


def test_it_has_nothing_to_store(anovl, batch):
    method = anovl()
    method.predict_step(batch)
    assert not method.own_state(), "what is drawn anew for each image is in checkpoints"
    assert not method.own_parameters()
    assert not method.trains()


def test_losses_by_hand():
    clean, noisy = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    p, q = (np.exp(t.numpy()) / np.exp(t.numpy()).sum(1, keepdims=True) for t in (clean, noisy))
    entropy, noise = adaptation_losses(clean, noisy)
    assert float(entropy) == pytest.approx(-(p * np.log(p)).sum() / 2, abs=1e-6)
    assert float(noise) == pytest.approx(-(np.log(q[:, 1]) + np.log(p[:, 0])).sum() / 2, abs=1e-6)


def test_gradients_are_exact_where_both_texts_nearly_agree(anovl):
    """Adam makes large steps of small gradients: the rounding of what the texts share must not be among them."""
    method, generator = anovl(), torch.Generator().manual_seed(0)
    text = torch.randn(1, 48, generator=generator) + 0.01 * torch.randn(2, 48, generator=generator)
    text = text / text.norm(dim=-1, keepdim=True)
    rows = torch.randn(36, 48, generator=generator)
    noise = torch.randn(36, 48, generator=generator)

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        shift = torch.zeros(48, dtype=dtype, requires_grad=True)
        both = torch.stack([rows, rows + noise]).to(dtype) + shift
        entropy, against_noise = adaptation_losses(*method.logits(both, text.to(dtype)))
        (entropy + method.config.noise_weight * against_noise).backward()
        return shift.grad.double()

    exact = gradient(torch.float64)
    off = float((gradient(torch.float32) - exact).abs().max() / exact.abs().max())
    assert off < 2e-6, f"gradients are off by {off:.1e} of the largest"


@pytest.mark.parametrize("adapter", ["text", "linear"])
def test_an_adapter_by_hand(anovl, batch, adapter):
    method, sample = anovl(adapter=adapter, mix=0.25), batch.samples[0]
    rows = torch.randn(7, 48, generator=torch.Generator().manual_seed(0))
    draws = method.draws(sample, rows.shape)
    found = method.adapter_for(sample.category, draws)(rows).detach().numpy()
    x, weight, bias = (tensor.double().numpy() for tensor in (rows, draws.weight, draws.bias))
    mapped = x / np.linalg.norm(x, axis=1, keepdims=True) @ weight.T + bias
    if adapter == "text":
        sentences = method.sentence_features(sample.category).double().numpy().reshape(-1, 48)
        mapped = np.tanh(mapped) @ (sentences / np.linalg.norm(sentences, axis=1, keepdims=True))
    assert np.allclose(found, 0.75 * x + 0.25 * mapped, atol=1e-5)


def test_a_patch_without_the_adapters_share_is_not_adapted(anovl, batch):
    alone, none = anovl(mix=0.0).predict_step(batch), anovl(tta_steps=0).predict_step(batch)
    assert torch.allclose(alone.map, none.map, atol=1e-6)
    assert not torch.allclose(anovl().predict_step(batch).map, none.map, atol=1e-4), "nothing is adapted by default"


@pytest.mark.parametrize(
    "settings",
    [{"adapter": "linear"}, {"tta_steps": 2}, {"noise_std": 0.5}, {"noise_weight": 2.0}, {"lr": 1e-2}, {"mix": 0.9},
     {"temperature": 0.1}],
)  # fmt: skip
def test_options_of_the_adaptation_change_maps(anovl, batch, settings):
    usual, other = anovl().predict_step(batch), anovl(**settings).predict_step(batch)
    assert not torch.allclose(usual.map, other.map, atol=1e-5), settings
    assert torch.equal(usual.score, other.score) == ("temperature" not in settings), "adaptation is for maps alone"


def test_without_steps_nothing_is_drawn(anovl, batch):
    for fidelity in ("paper", "official"):
        one, other = (anovl(tta_steps=0, seed=seed, fidelity=fidelity) for seed in (1, 2))
        assert not any((one.adapts_at_test, one.stochastic_at_test, one.transductive)), fidelity
        assert torch.equal(one.predict_step(batch).map, other.predict_step(batch).map)
        assert not type(one).draws_at_test(configure("anovl", {"tta_steps": 0}))
    assert anovl().stochastic_at_test, "the object has the answer of its configuration"
    assert anovl().adapts_at_test


def test_what_is_drawn_is_uniform_and_normal(anovl, batch):
    draws = anovl().draws(batch.samples[0], (36, 48))
    assert draws.weight.shape == (924, 48)
    assert draws.bias.shape == (924,)
    assert draws.noise.shape == (5, 36, 48)
    bound = 48**-0.5
    for drawn in (draws.weight, draws.bias):
        assert float(drawn.abs().max()) == pytest.approx(bound, rel=0.02)
        assert float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert float(draws.noise.std()) == pytest.approx(0.055, rel=0.02)
    assert float(draws.noise.abs().max()) > 3 * 0.055
    assert not torch.equal(draws.noise[0], draws.noise[1]), "each step has noise of its own"
    linear = anovl(adapter="linear").draws(batch.samples[0], (36, 48))
    assert (linear.weight.shape, linear.bias.shape) == ((48, 48), (48,))


@pytest.mark.slow
def test_orders_and_batches_change_nothing(anovl):
    """Two orders of images, one at a time and eight at a time: equal to 1e-6."""
    method, batch, found = anovl(), random_batch(48, 16), []
    for order in (range(16), (5, 11, 0, 14, 3, 9, 1, 15, 7, 2, 13, 4, 10, 6, 12, 8)):
        for size in (1, 8):
            parts = [list(order)[start : start + size] for start in range(0, 16, size)]
            predictions = [method.predict_step(some(batch, part)) for part in parts]
            rows = [row for part in parts for row in part]
            back = [rows.index(row) for row in range(16)]
            found.append((torch.cat([one.score for one in predictions])[back],
                          torch.cat([one.map for one in predictions])[back]))  # fmt: skip
    for score, anomaly_map in found[1:]:
        assert float((score - found[0][0]).abs().max()) <= 1e-6
        assert float((anomaly_map - found[0][1]).abs().max()) <= 1e-6


SCRIPT = """
import sys, torch
from lightning import Callback, Trainer
import zsad_bench as zb

class Ids(Callback):
    def __init__(self):
        self.ids = []

    def on_predict_batch_end(self, trainer, module, outputs, batch, *place):
        self.ids += [sample.id for sample in batch.samples]

method, seen, devices = zb.load_method("anovl", backbone="tiny"), Ids(), int(sys.argv[1])
data = zb.load_dataset("demo_textures", method, scale=0.04, batch_size=3)
trainer = Trainer(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
                  enable_progress_bar=False, callbacks=[seen])
found = trainer.predict(method, datamodule=data)
scores, maps = torch.cat([one.score for one in found]), torch.cat([one.map for one in found])
torch.save({"ids": seen.ids, "scores": scores.clone(), "maps": maps.clone()}, f"{devices}_{trainer.global_rank}.pt")
"""


@pytest.mark.slow
@by_gloo
def test_two_processes_give_what_one_gives(tmp_path, cache):
    """The images of a dataset shared by two processes, and all of them in one: equal to 1e-6."""
    for devices in ("1", "2"):
        run_script(tmp_path, SCRIPT, devices)
    alone, *ranks = (torch.load(tmp_path / name) for name in ("1_0.pt", "2_0.pt", "2_1.pt"))
    assert all(rank["ids"] for rank in ranks), "one of two processes had nothing to do"
    assert sorted(ranks[0]["ids"] + ranks[1]["ids"]) == sorted(alone["ids"]), "an image twice, or left out"
    for rank in ranks:
        rows = [alone["ids"].index(image) for image in rank["ids"]]
        assert float((rank["scores"] - alone["scores"][rows]).abs().max()) <= 1e-6
        assert float((rank["maps"] - alone["maps"][rows]).abs().max()) <= 1e-6


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_it_adapts_in_inference_mode_too(anovl, fidelity):
    """A plain Trainer's mode, from which no gradient can be taken."""
    method, batch = anovl(fidelity=fidelity), one_category(3)
    found = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found.append(set_of(method, batch) if method.transductive else method.predict_step(batch))
        method.clear_text_cache()
    assert torch.equal(found[0].map, found[1].map)


# --- the official optimiser -------------------------------------------------------------------------------------------


def test_fidelity_sets_what_paper_and_code_do_differently(anovl):
    paper, official = anovl().config, anovl(fidelity="official").config
    assert (paper.moments, paper.class_names, paper.textures) == ("reset", "raw", "kind")
    assert (official.moments, official.class_names, official.textures) == ("carry", "folder", "named")
    own = anovl(fidelity="official", moments="reset")
    assert own.config.moments == "reset", "an option that is given wins over the preset"
    assert own.adapts_at_test
    assert not own.transductive


def test_carried_moments_make_it_transductive(anovl):
    method, batch = anovl(moments="carry"), one_category(4)
    assert method.transductive
    assert not method.adapts_at_test
    with pytest.raises(UsageError, match="AnoVL scores whole categories"):
        method.predict_step(batch)
    carried, reset = set_of(method, batch), anovl().predict_step(batch)
    assert torch.equal(carried.score, reset.score), "only maps are adapted"
    assert torch.allclose(carried.map[0], reset.map[0], atol=1e-6), "no image came before the first"
    for image in (1, 2, 3):
        off = float((carried.map[image] - reset.map[image]).abs().max())
        assert off > 1e-5, f"image {image} does not feel the images before it"
    again = set_of(method, batch)
    assert torch.equal(again.map, carried.map), "a category leaves moments to the next"


def test_carried_moments_follow_the_order(anovl):
    method, batch = anovl(moments="carry"), one_category(3)
    straight, turned = set_of(method, batch), set_of(method, some(batch, [2, 1, 0]))
    assert not torch.allclose(straight.map, turned.map[[2, 1, 0]], atol=1e-5)


def test_batches_of_a_carried_category_change_nothing(anovl, predict, batch):
    method = anovl(fidelity="official")
    together, apart = predict(method, batch), predict(method, batch, sizes=[2, 1, 2])
    assert float((together.map - apart.map).abs().max()) <= 1e-5
    assert torch.allclose(together.score, apart.score, atol=1e-6)


# --- wide images ------------------------------------------------------------------------------------------------------


def test_tiles_are_merged_by_their_mean():
    tiles = torch.tensor([[[[1.0, 2.0, 3.0]]], [[[5.0, 6.0, 7.0]]]])
    assert merged(tiles, 4).tolist() == [[[1.0, 3.5, 4.5, 7.0]]]
    assert merged(tiles, 6).tolist() == [[[1.0, 2.0, 3.0, 5.0, 6.0, 7.0]]]
    assert merged(tiles, 3).tolist() == [[[3.0, 4.0, 5.0]]]


def test_a_square_image_is_two_equal_tiles(anovl, batch):
    method = anovl(tta_steps=0, views=[])
    wide, square = method.predict_wide(batch.images, batch.samples), method.predict_step(batch)
    assert torch.allclose(wide.score, square.score, atol=1e-6)
    assert torch.allclose(wide.map, square.map, atol=1e-6)


def test_two_squares_side_by_side(anovl, batch):
    method = anovl(tta_steps=0, views=[])
    pair, square = some(batch, [0, 2]), method.predict_step(some(batch, [0, 2]))
    wide = method.predict_wide(torch.cat(list(pair.images), -1)[None], pair.samples[:1])
    assert float(wide.score) == pytest.approx(float(square.score.mean()), abs=1e-6)
    assert torch.allclose(wide.map[0], torch.cat(list(square.map), -1), atol=1e-6)


@pytest.mark.parametrize("adapter", ["text", "linear"])
def test_a_wide_image_is_adapted_by_itself(anovl, batch, adapter):
    images = random_batch(64, 2).images[:, :, :48]
    assert images.shape[-2:] == (48, 64)
    method, samples = anovl(adapter=adapter), batch.samples[:2]
    together = method.predict_wide(images, samples)
    assert together.map.shape == (2, 48, 64)
    alone = method.predict_wide(images[1:], samples[1:])
    assert torch.allclose(together.map[1], alone.map[0], atol=1e-6)
    unadapted = anovl(adapter=adapter, tta_steps=0).predict_wide(images, samples)
    assert not torch.allclose(together.map, unadapted.map, atol=1e-4)
    assert torch.equal(together.score, unadapted.score)


@pytest.mark.parametrize("shape", [(48, 40), (48, 97), (40, 48)])
def test_images_of_another_form_are_no_wide_images(anovl, batch, shape):
    height, width = shape
    with pytest.raises(UsageError, match=rf"wide images 48 px high and once to twice as wide, these are {width} x"):
        anovl().predict_wide(torch.zeros(1, 3, height, width), batch.samples[:1])


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 0.0}, r"AnoVL: temperature=0\.0; expected more than 0"),
        ({"lr": 0.0}, r"AnoVL: lr=0\.0; expected more than 0"),
        ({"tta_steps": -1}, r"AnoVL: tta_steps=-1; expected 0 or more"),
        ({"noise_std": -0.1}, r"AnoVL: noise_std=-0\.1; expected 0 or more"),
        ({"mix": 1.5}, r"AnoVL: mix=1\.5; expected 0 to 1"),
        ({"view_batch": 0}, r"AnoVL: view_batch=0; expected 1 or more"),
        ({"views": ["zoom"]}, r"anovl: views=\['zoom'\] does not fit"),
        ({"image_size": 50}, r"image size 50x50: mini needs multiples of 8"),
    ],
)
def test_numbers_that_no_run_can_have(anovl, settings, said):
    with pytest.raises(UsageError, match=said):
        anovl(**settings)


def test_a_block_that_is_not_there(anovl):
    with pytest.raises(BackboneError, match=r"first_vv_block 9: mini has blocks 1\.\.4"):
        _ = anovl(first_vv_block=9).encoder_spec


def test_the_native_size_is_the_default(anovl):
    method = anovl(image_size=None)
    assert method.config.image_size == 32, "the miniature's own"
    assert json.loads(json.dumps(method.resolved_config()))["views"] == list(N_VIEWS)
    assert "view_batch" not in method.resolved_config(), "it changes no number"
