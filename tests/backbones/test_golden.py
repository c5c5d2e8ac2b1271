# pytest tests/backbones/test_golden.py
"""Features of the fixed image and sentence: the same where weights are, others where an activation differs."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from zsad_bench.backbones import golden
from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.backbones.load import load_backbone
from zsad_bench.errors import BackboneError


def test_the_image_is_its_formula():
    image = golden.fixed_image(48)
    assert (image.shape, image.dtype) == ((3, 48, 48), torch.float32)
    assert torch.equal(image[0, 5], torch.tensor([255 * x // 47 for x in range(48)]) / 255)
    assert torch.equal(image[1, :, 5], image[0, 5])
    assert [int(image[2, y, x]) for y, x in ((0, 0), (0, 16), (15, 31), (16, 16), (16, 0))] == [0, 1, 1, 0, 1]
    assert golden.fixed_image(1).tolist() == [[[0.0]], [[0.0]], [[0.0]]]


def test_the_tiny_clip_gives_what_was_recorded():
    tiny = load_backbone("tiny")
    (shipped,) = golden.read_records(golden.SHIPPED)
    assert (shipped.title, shipped.weights_hash) == ("tiny", tiny.weights_hash)
    assert golden.difference(golden.golden(tiny), shipped.features) < 1e-4


def test_they_are_the_models_own_features(mini, mini_clip):
    found = golden.golden(mini)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mini.mean, mini.std))
    with torch.no_grad():
        image = mini_clip.encode_image(((golden.fixed_image(32) - mean) / std)[None])[0]
        text = mini_clip.encode_text(mini.text_tower.tokenize([golden.SENTENCE]))[0]
    torch.testing.assert_close(found.image, image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.text, text, rtol=1e-4, atol=1e-5)


def test_the_other_activation_is_far_outside_the_tolerance(mini, mini_clip):
    model = copy.deepcopy(mini_clip)
    for block in (*model.visual.transformer.resblocks, *model.transformer.resblocks):
        block.mlp.gelu = torch.nn.GELU()
    other = from_model(model, "mini")
    assert other.weights_hash == mini.weights_hash, "no hash can see it"
    assert golden.difference(golden.golden(other), golden.golden(mini)) > 3 * golden.TOLERANCE


def test_difference():
    one = golden.Golden(torch.tensor([1.0, -2.0]), torch.tensor([4.0]), 3.0)
    assert golden.difference(one, one) == 0
    assert golden.difference(one._replace(image=torch.tensor([1.0, -2.2])), one) == pytest.approx(0.1)
    assert golden.difference(one._replace(logit_scale=3.3), one) == pytest.approx(0.1)
    for other in (one._replace(text=None), one._replace(image=torch.zeros(3)), one._replace(logit_scale=None)):
        assert golden.difference(other, one) == golden.difference(one, other) == float("inf")


def test_records_are_kept_and_replaced(tmp_path):
    place = tmp_path / "new" / "golden.json"
    assert golden.read_records(place) == []
    features = golden.Golden(torch.tensor([0.1, 1 / 3]), None, None)
    for title, values in (("a", "h1"), ("b", "h2"), ("a", "h3")):
        golden.add_record(place, golden.GoldenRecord(values, title, features, {"torch": "torch 2"}))
    records = golden.read_records(place)
    assert [(one.title, one.weights_hash) for one in records] == [("b", "h2"), ("a", "h3")]
    assert golden.difference(records[0].features, features) < 1e-6
    assert golden.matching(records, "h3", "b").title == "a", "the same values come first"
    assert golden.matching(records, "other", "b").title == "b"
    assert golden.matching(records, "other", "c") is None


def test_a_file_that_is_none(tmp_path):
    place = tmp_path / "golden.json"
    for content in ("[]", "{", '{"rule": "image 1", "records": [{"title": "a"}]}'):
        place.write_text(content)
        with pytest.raises(BackboneError, match=r"golden\.json is not a file of recorded features"):
            golden.read_records(place)
    place.write_text(json.dumps({"rule": "image 0", "records": []}))
    with pytest.raises(BackboneError, match="recorded with image 0, this is image 1; record again"):
        golden.read_records(place)
