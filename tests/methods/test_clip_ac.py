# pytest tests/methods/test_clip_ac.py
"""What is special to CLIP-AC: its sentences, their average, and that CLIP's visual pass serves it too."""

from __future__ import annotations

import pytest
import torch
from open_clip import build_zero_shot_classifier
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

from zsad_bench.errors import UsageError
from zsad_bench.prompts.load import read
from zsad_bench.runner.shared_encoder import SharedPass
from zsad_bench.types import Category

NUT = Category("made_up", "metal_nut", "metal nut", "object", "industrial")


@pytest.fixture
def clip_ac(make):
    return lambda **settings: make("clip_ac", **settings)


def test_the_templates_are_the_80_of_imagenet():
    assert read("clip_ac")["templates"] == [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]


def test_sentences_hold_the_labels(clip_ac):
    normal, anomalous = clip_ac().sentences(NUT)
    assert (len(normal), len(anomalous)) == (80, 80), "160 sentences a category"
    assert normal[0] == "a bad photo of a normal metal nut."
    assert anomalous[-1] == "a tattoo of the anomalous metal nut."
    (_, damaged) = clip_ac(labels=("flawless {}", "damaged {}"), templates=("see {}",)).sentences(NUT)
    assert damaged == ["see damaged metal nut"], "labels and templates are options"


def test_texts_are_those_of_open_clips_zero_shot_classifier(clip_ac, mini, mini_clip):
    expected = build_zero_shot_classifier(
        mini_clip, mini.text_tower.tokenize, ["normal metal nut", "anomalous metal nut"], OPENAI_IMAGENET_TEMPLATES
    )
    with torch.no_grad():
        found = clip_ac().text_features([NUT, NUT])
    assert found.shape == (2, 2, 48), "categories, states, joint width"
    off = (found - expected.T).abs().max()
    assert off < 1e-5, f"off by {off:.1e} from open_clip's classifier of the two labels"


def test_one_template_is_clip(clip_ac, make, predict, batch):
    ensemble = clip_ac(labels=("normal {}", "an odd {}"), templates=("A photo of {}",))
    plain = make("clip", normal_prompt="A photo of normal {}", anomalous_prompt="A photo of an odd {}")
    one, other = predict(ensemble, batch), predict(plain, batch)
    assert torch.allclose(one.score, other.score, atol=1e-6), "scores differ from those of the same two sentences"
    assert torch.allclose(one.map, other.map, atol=1e-6), "maps differ from those of the same two sentences"


def test_clip_and_its_prompt_learners_share_one_visual_pass(make, mini, batch, predict, monkeypatch):
    methods = {name: make(name) for name in ("clip", "clip_ac", "coop", "cocoop")}
    assert methods["clip"].encoder_spec == methods["clip_ac"].encoder_spec, "two requests"
    alone = {name: predict(method, batch) for name, method in methods.items()}
    encode, calls = mini.encode_image, []
    monkeypatch.setattr(mini, "encode_image", lambda *a, **k: calls.append(a) or encode(*a, **k))
    with torch.no_grad():
        together = SharedPass(methods).eval().test_step(batch, 0)
    assert len(calls) == 1, f"encoded {len(calls)} times for {len(methods)} methods"
    for name in methods:
        assert torch.equal(together[name].map, alone[name].map), f"{name}: another map in company"


def test_a_template_without_a_place_for_the_label_is_an_error(clip_ac):
    with pytest.raises(UsageError, match=r"template 'a photo' has no \{\}"):
        clip_ac(templates=("a {}", "a photo"))
