# pytest tests/methods/test_clip.py
"""What is special to zero-shot CLIP: its two sentences, and a score and map that can be recomputed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.float32 import assert_close
from zsad_bench.errors import BackboneError
from zsad_bench.types import Category, Tap


@pytest.fixture
def clip(make):
    return lambda **settings: make("clip", **settings)


def normalised(x: torch.Tensor) -> np.ndarray:
    values = x.detach().double().numpy()
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_prompts_name_the_object_as_people_do(clip, mini, batch, monkeypatch):
    asked = []
    monkeypatch.setattr(
        mini, "encode_prompts", lambda texts, activation: asked.extend(texts) or torch.ones(len(texts), 48)
    )
    method = clip()
    with torch.no_grad():
        method.text_for(batch.samples)
        method.text_for(batch.samples)
    assert asked == [
        "A photo of a normal metal nut",
        "A photo of an anomalous metal nut",
        "A photo of a normal carpet",
        "A photo of an anomalous carpet",
    ], "each category is encoded once, by its prompt name (`metal nut`, not `metal_nut`)"


def test_prompts_are_options(clip, mini):
    method = clip(normal_prompt="fine {}", anomalous_prompt="damage")
    nut = Category("made_up", "metal_nut", "metal nut", "object", "industrial")
    with torch.no_grad():
        found = method.text_features([nut])[0]
        expected = mini.encode_prompts(["fine metal nut", "damage"])
    assert np.allclose(found, normalised(expected), atol=1e-6), "normal first, then anomalous, both of length one"


def test_score_by_hand(clip, mini, predict, batch):
    method = clip()
    found = predict(method, batch)
    with torch.no_grad():
        features = method.encode(batch.images, batch.samples)
        for i, name in enumerate(s.category.prompt_name for s in batch.samples):
            texts = normalised(mini.encode_prompts([f"A photo of a normal {name}", f"A photo of an anomalous {name}"]))
            normal, anomalous = np.exp(texts @ normalised(features.pooled("cls")[i]) / 0.07)
            expected = anomalous / (normal + anomalous)
            assert float(found.score[i]) == pytest.approx(expected, abs=1e-5), f"score of image {i}"


def test_temperature_sharpens_and_does_not_reorder(clip, predict, batch):
    same = replace(batch, samples=[replace(s, category=batch.samples[0].category) for s in batch.samples])
    scores = [predict(clip(temperature=t), same).score for t in (0.01, 0.07, 1.0)]
    orders = [score.argsort().tolist() for score in scores]
    assert orders[0] == orders[1] == orders[2], (
        f"images are ranked by their cosines, whatever the temperature: {orders}"
    )
    spreads = [float(score.max() - score.min()) for score in scores]
    assert spreads[0] > spreads[1] > spreads[2], f"a higher temperature flattens, found spreads {spreads}"


def test_ln_post_is_an_option_of_the_score_alone(clip, predict, batch):
    with_ln, without = clip(), clip(global_ln_post=False)
    assert (with_ln.encoder_spec.pooled, without.encoder_spec.pooled) == ({"cls"}, {"cls_raw"})
    one, other = predict(with_ln, batch), predict(without, batch)
    assert not torch.allclose(one.score, other.score), "the global feature has ln_post either way"
    assert torch.equal(one.map, other.map), "patches always pass ln_post"


def test_maps_come_from_the_block_asked_for(clip, predict, batch):
    assert clip().config.block == 4, "unset is the last block"
    assert clip(block=2).encoder_spec.taps == {Tap(2)}
    assert not torch.allclose(predict(clip(block=2), batch).map, predict(clip(), batch).map)
    with pytest.raises(BackboneError, match=r"block 5: mini has blocks 1\.\.4"):
        predict(clip(block=5), batch)


def test_map_by_hand(clip, predict, batch):
    """With aligned corners the four corner pixels are the four corner patches, exactly."""
    method = clip(gaussian_sigma=0.0)
    rough = predict(method, batch).map
    with torch.no_grad():
        patches = method.encode(batch.images, batch.samples).patches(Tap(4))
        texts = method.text_for(batch.samples)
    for corner, patch in {(0, 0): 0, (0, -1): 5, (-1, 0): 30, (-1, -1): 35}.items():
        cosines = np.einsum("bsd,bd->bs", normalised(texts), normalised(patches[:, patch]))
        expected = 1 / (1 + np.exp((cosines[:, 0] - cosines[:, 1]) / 0.07))
        assert np.allclose(rough[:, *corner], expected, atol=1e-5), f"the pixel at {corner} is not patch {patch}"
    assert not torch.allclose(predict(clip(gaussian_sigma=0.0, align_corners=False), batch).map, rough)


def test_class_names_are_readable_raw_or_none(clip):
    board = Category("visa", "pcb_1", "printed circuit board", "object", "industrial")
    said = {"prompt_name": "printed circuit board", "raw": "pcb 1", "object": "object"}
    for how, words in said.items():
        method, plain = clip(class_names=how), clip(normal_prompt=f"A photo of a normal {words}")
        with torch.no_grad():
            # The other sentence of the pair is longer in one of them, and with it the rows that both are read among.
            assert_close(
                method.text_features([board])[0, 0], plain.text_features([board])[0, 0], f"{how} is not '{words}'"
            )
