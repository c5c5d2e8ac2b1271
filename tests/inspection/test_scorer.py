# pytest tests/inspection/test_scorer.py
"""A method as a scorer: its identity is of everything that decides a score, and it scores as `zb.predict` does."""

import numpy as np
import pytest
import torch

from zsad_bench import api
from zsad_bench.data.images import category_of
from zsad_bench.errors import UsageError
from zsad_bench.inspection import opening
from zsad_bench.inspection.scorer import MethodScorer, identity, require_single_images
from zsad_bench.types import ImageBatch, SampleInfo


def test_the_identity_is_of_all_that_decides_a_score():
    coop = api.load_method("coop", backbone="tiny")
    known = identity(coop)
    assert identity(api.load_method("coop", backbone="tiny")) == known
    assert identity(api.load_method("coop", backbone="tiny", temperature=0.5)) != known
    assert identity(api.load_method("cocoop", backbone="tiny")) != known
    parameter = next(iter(coop.own_parameters().values()))
    with torch.no_grad():
        parameter.view(-1)[0] += 1e-6
    assert identity(coop) != known


def test_scores_are_those_of_predict():
    method = api.load_method("clip", backbone="tiny")
    images = np.random.default_rng(0).integers(0, 255, (3, 96, 96, 3), np.uint8)
    expected = api.predict(method, list(images), name="bolt")
    scorer = MethodScorer(method)
    samples = [SampleInfo(f"images[{i}]", category_of("bolt", "object", "industrial")) for i in range(3)]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    found = scorer(ImageBatch(pixels, samples, [(96, 96)] * 3, scorer.normalisation))
    np.testing.assert_allclose(found.score.numpy(), expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.map.numpy(), expected.maps, atol=1e-6)


def test_a_method_that_scores_sets_is_refused():
    method = api.load_method("aa_clip", backbone="tiny", fidelity="official")
    assert method.transductive
    with pytest.raises(UsageError, match="cannot score a single image"):
        require_single_images(method)


def test_the_papers_backbone_is_taken_where_its_weights_are(monkeypatch):
    monkeypatch.setattr(opening, "weights_at_hand", lambda name, tag: False)
    assert opening._usual_backbone("clip", None, None) == ("tiny", None)
    assert opening._usual_backbone("clip", None, "clip.safetensors") == ("ViT-L-14-336-quickgelu", "clip.safetensors")
    monkeypatch.setattr(opening, "weights_at_hand", lambda name, tag: True)
    assert opening._usual_backbone("clip", None, None) == ("ViT-L-14-336-quickgelu", "openai")
    assert opening._usual_backbone("blip", None, None)[0] == "blip-itm-base-coco"


def opened(name):
    return opening.open_method(opening.load_method(opening.choose_method(name, None, "tiny", None, {})), "cpu")


def test_on_the_tiny_clip_a_score_comes_with_a_warning():
    clip = opened("clip")
    assert "never seen a photograph" in clip.warning
    assert clip.about["identity"] == clip.scorer.identity


def test_the_shipped_checkpoint_is_used_alone_where_nothing_else_is_asked_for():
    assert opened("dive").about["checkpoint"] == opening.SHIPPED
    with pytest.raises(UsageError, match="give --checkpoint FILE"):
        opening.require_learned(opening.choose_method("dive", None, "tiny", None, {"gamma": 0.2}))
