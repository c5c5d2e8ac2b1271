# pytest tests/methods/test_winclip.py
"""What is special to WinCLIP; parity with public re-implementations is in tests/golden."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from zsad_bench.errors import UsageError
from zsad_bench.methods.winclip import harmonic_map, window_members
from zsad_bench.types import Category, EncoderSpec

NUT = Category("made_up", "metal_nut", "steel nut", "object", "industrial")
GRID = (6, 6)  # of the miniature at 48 px


@pytest.fixture
def winclip(make):
    return lambda **settings: make("winclip", **settings)


@pytest.fixture
def encode(batch):
    return lambda method: method.encode(batch.images, batch.samples)


# --- sentences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("templates", "counts"), [("paper22", (154, 88)), ("public21", (147, 84))])
def test_every_state_in_every_template(winclip, templates, counts):
    normal, anomalous = winclip(template_set=templates).sentences(NUT)
    assert (len(normal), len(anomalous)) == counts
    assert all("metal nut" in sentence and "{}" not in sentence for sentence in normal + anomalous)
    assert "a blurry photo of the unblemished metal nut." in normal
    assert "a photo of a metal nut with defect for anomaly detection." in anomalous
    assert not set(normal) & set(anomalous), "a sentence is on both sides"


def test_the_public_list_is_the_papers_with_one_slip(winclip):
    paper, public = (Counter(winclip(template_set=name).sentences(NUT)[0]) for name in ("paper22", "public21"))
    assert set(paper.values()) == {1}, "the paper's list repeats a sentence"
    missing = {sentence.partition(" photo")[0] for sentence in paper - public}
    doubled = {sentence.partition(" photo")[0] for sentence in public - paper}
    assert (missing, doubled) == ({"a cropped", "a jpeg corrupted"}, {"a jpeg corrupted"})


def test_fidelity_sets_templates_and_class_names(winclip):
    paper, official = winclip().config, winclip(fidelity="official").config
    assert (paper.template_set, paper.class_names) == ("paper22", "raw")
    assert (official.template_set, official.class_names) == ("public21", "folder")
    own = winclip(fidelity="official", template_set="paper22").config
    assert own.template_set == "paper22", "an option that is given wins over the preset"


@pytest.mark.parametrize(("how", "name"), [("raw", "metal nut"), ("folder", "metal_nut"), ("prompt_name", "steel nut")])
def test_how_a_class_is_called(winclip, how, name):
    assert f"a photo of a damaged {name}." in winclip(class_names=how).sentences(NUT)[1]


@pytest.mark.parametrize("first", [False, True])
def test_text_pair_by_hand(winclip, mini, first):
    method = winclip(normalize_before_mean=first)
    with torch.no_grad():
        found = method.text_features([NUT])[0].numpy()
        for state, sentences in enumerate(method.sentences(NUT)):
            features = np.stack([mini.encode_prompts([sentence])[0].double().numpy() for sentence in sentences])
            if first:
                features /= np.linalg.norm(features, axis=1, keepdims=True)
            mean = features.mean(0)
            assert np.allclose(found[state], mean / np.linalg.norm(mean), atol=1e-6), f"text of state {state}"


# --- windows ----------------------------------------------------------------------------------------------------------


def test_windows_and_members_are_row_major():
    assert window_members(3, 4, 2).tolist() == [
        [0, 1, 4, 5], [1, 2, 5, 6], [2, 3, 6, 7], [4, 5, 8, 9], [5, 6, 9, 10], [6, 7, 10, 11]
    ]  # fmt: skip
    for side, count in {2: 196, 3: 169}.items():
        assert window_members(15, 15, side).shape == (count, side * side)


def test_a_window_sees_its_patches_alone(winclip, mini, batch):
    """Fails when attention mixes windows, as code for open_clip's old token layout does on a new release."""
    method, patch = winclip(), 14  # row 2, column 2
    with torch.no_grad():
        tokens = mini.embed_patches(batch.images)
        other = tokens.clone()
        other[1, 1 + patch] += torch.randn(other.shape[-1], generator=torch.Generator().manual_seed(0))
        for side in (2, 3):
            before, after = (method.encode_windows(t, GRID, side) for t in (tokens, other))
            moved = (before - after).abs().amax(-1) > 1e-4
            still = (before - after).abs().amax(-1) < 1e-6
            covering = torch.zeros_like(moved)
            covering[1] = (window_members(*GRID, side) == patch).any(1)
            assert torch.equal(moved, covering), f"side {side}: not exactly the windows over the patch changed"
            assert torch.equal(still, ~covering), f"side {side}: a window changed with a patch outside of it"


def test_a_window_by_hand(winclip, mini, mini_clip, batch, encode):
    """One window at a time through open_clip's own blocks."""
    features, visual = encode(winclip()), mini_clip.visual
    with torch.no_grad():
        tokens = mini.embed_patches(batch.images)
        for side, places in {2: (0, 7, 24), 3: (5, 15)}.items():
            for window in places:
                members = [1 + int(p) for p in window_members(*GRID, side)[window]]
                x = visual.transformer(tokens[:, [0, *members]])
                expected = visual.ln_post(x[:, 0]) @ visual.proj
                off = float((features.extra["windows"][side][:, window] - expected).abs().max())
                assert off < 1e-5, f"window {window} of side {side} is off by {off:.1e}"


def test_the_full_image_is_the_plain_feature(winclip, mini, batch, encode):
    method = winclip(scales=(2, 6))
    features = encode(method)
    spec = EncoderSpec(mini.forward_spec(48), frozenset(), frozenset({"cls"}))
    with torch.no_grad():
        plain = mini.encode_image(batch.images, spec).pooled("cls")
    assert torch.allclose(features.pooled("cls"), plain, atol=1e-5), "differs from encode_image"
    assert torch.allclose(features.extra["windows"][6][:, 0], plain, atol=1e-5), "a window over the whole grid differs"


def test_chunks_change_nothing(winclip, encode):
    whole, chunked = encode(winclip(window_batch=1000)), encode(winclip(window_batch=7))
    for side in (2, 3):
        one, other = whole.extra["windows"][side], chunked.extra["windows"][side]
        assert torch.allclose(one, other, atol=1e-5), f"side {side}: off by {(one - other).abs().max():.1e}"


# --- harmonic means ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_harmonic_map_against_a_double_loop(side):
    members = window_members(5, 7, side)
    scores = 0.01 + 0.98 * torch.rand(2, len(members), generator=torch.Generator().manual_seed(side))
    found = harmonic_map(scores, members)
    for image in range(2):
        for patch in range(35):
            over = [float(s) for s, window in zip(scores[image], members, strict=True) if patch in window]
            expected = len(over) / sum(1 / s for s in over)
            assert float(found[image, patch]) == pytest.approx(expected, rel=1e-9), f"patch {patch}"


def test_harmonic_map_of_a_constant_is_that_constant():
    members = window_members(6, 6, 3)
    assert torch.allclose(harmonic_map(torch.full((1, 16), 0.3), members).float(), torch.tensor(0.3))
    scores = torch.full((1, 16), 0.3)
    scores[0, 5] = 0.0  # an underflowed softmax
    found = harmonic_map(scores, members)
    assert found.isfinite().all(), "a score of 0 gave a map that is not finite"
    assert (found[0, members[5]] < 1e-10).all(), "a score of 0 pulls every patch of its window to 0"


def test_map_by_hand(winclip, predict, batch, encode):
    method = winclip()
    found, features = predict(method, batch), encode(method)
    with torch.no_grad():
        text = method.text_for(batch.samples)
    parts = [found.score.double()[:, None].expand(-1, 36)]
    for side in (2, 3):
        parts.append(
            harmonic_map(method.probabilities(features.extra["windows"][side], text), window_members(*GRID, side))
        )
    expected = 3 / sum(1 / part for part in parts)
    assert torch.allclose(method.patch_map(features, found.score, text), expected)
    # With aligned corners the corner pixels are the corner patches.
    aligned = predict(winclip(align_corners=True), batch).map
    for corner, patch in {(0, 0): 0, (0, -1): 5, (-1, 0): 30, (-1, -1): 35}.items():
        assert torch.allclose(aligned[:, *corner], expected[:, patch].float(), atol=1e-6), f"the pixel at {corner}"
    assert not torch.allclose(found.map, aligned, atol=1e-6), "corners are not aligned by default"


def test_windows_and_smoothing_are_for_maps_alone(winclip, predict, batch):
    usual = predict(winclip(), batch)
    for settings in ({"scales": (2,)}, {"scales": (1, 4)}, {"gaussian_sigma": 2.0}):
        other = predict(winclip(**settings), batch)
        assert torch.equal(other.score, usual.score), f"{settings} changed the image score"
        assert not torch.allclose(other.map, usual.map, atol=1e-6), f"{settings} did not change the map"


def test_a_low_temperature_keeps_maps_finite(winclip, predict, batch):
    found = predict(winclip(temperature=1e-5), batch)
    assert found.map.isfinite().all()
    assert ((found.map >= 0) & (found.map <= 1)).all()


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scales": (2, 7)}, r"windows of 7x7 patches do not fit mini's 6x6 grid at 48 px; take --set image_size=56"),
        ({"scales": ()}, r"scales=\[\]"),
        ({"scales": (0, 2)}, r"scales=\[0, 2\]"),
        ({"scales": (2, 2)}, r"scales=\[2, 2\]"),
        ({"image_size": 50}, r"image size 50x50: mini needs multiples of 8, such as --set image_size=48"),
        ({"temperature": 0.0}, r"WinCLIP: temperature=0\.0; expected more than 0"),
        ({"window_batch": 0}, r"WinCLIP: window_batch=0; expected 1 or more"),
    ],
)
def test_numbers_that_no_run_can_have(winclip, settings, said):
    with pytest.raises(UsageError, match=said):
        winclip(**settings)


def test_images_of_another_size_are_refused(winclip, batch):
    method = winclip(image_size=32)
    with pytest.raises(UsageError, match="images are 48x48, WinCLIP is set to 32"):
        method.encode(batch.images, batch.samples)


def test_the_native_size_is_the_default(winclip):
    config = winclip(image_size=None).config
    assert config.image_size == 32, "the miniature's own"
    assert winclip(image_size=None, scales=(4,)).config.scales == (4,), "the whole 4x4 grid is a window"
