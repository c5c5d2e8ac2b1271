# pytest tests/backbones/test_tiny.py
"""Saving and loading the tiny CLIP: half precision, only the trained token rows, and a hash that notices damage."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from zsad_bench.backbones.families.tiny import filler_table, load_tiny, save_tiny
from zsad_bench.backbones.load import load_backbone, weights_at_hand
from zsad_bench.errors import BackboneError

USED = [49406, 49407, 320, 1125, 320]  # start, end, "a", "photo"; twice the same


@pytest.fixture(scope="module")
def trained(mini_clip):
    """The miniature with the token table a pretraining would leave: filler, and a few trained rows."""
    model = copy.deepcopy(mini_clip)
    with torch.no_grad():
        rows = model.token_embedding.weight[USED].clone()
        model.token_embedding.weight.copy_(filler_table(49408, 32))
        model.token_embedding.weight[USED] = rows
    return model


@pytest.fixture(scope="module")
def config(mini_config):
    return {
        "model_cfg": mini_config,
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]},
        "provenance": {"note": "random"},
    }


@pytest.fixture
def folder(tmp_path, trained, config):
    save_tiny(trained, tmp_path / "tiny", USED, config)
    return tmp_path / "tiny"


def test_round_trip(folder, trained, mini_config):
    loaded = load_tiny(folder)
    for name, values in trained.state_dict().items():
        found = loaded.model.state_dict()[name]
        expected = values if name == "token_embedding.weight" else values.half().float()
        if name == "token_embedding.weight":
            expected = expected.clone()
            expected[USED] = expected[USED].half().float()
        assert torch.equal(found, expected), f"{name} changed by more than half precision"
    assert loaded.name == "tiny"
    assert loaded.mean == (0.5, 0.4, 0.3)
    texts = ["a photo", "a photo of an unheard-of transistor"]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = loaded.run_blocks(loaded.embed_patches(images))
        for found, expected in (
            (loaded.encode_prompts(texts), trained.encode_text(loaded.text_tower.tokenize(texts))),
            (loaded.vision.project(rows[:, 0]), trained.encode_image(images)),
        ):
            cosine = torch.nn.functional.cosine_similarity(found, expected)
            assert cosine.min() > 0.9999, f"half precision cost more than rounding: cosine {cosine.min():.5f}"


def test_only_used_rows_are_stored_and_the_rest_is_the_frozen_stream(folder):
    stored = load_file(folder / "weights.safetensors")
    assert stored["token_rows"].tolist() == sorted(set(USED))
    assert stored["token_rows"].dtype == torch.int32
    assert {v.dtype for k, v in stored.items() if k != "token_rows"} == {torch.float16}
    assert "token_embedding.weight" not in stored, "the whole table was written"
    table = load_tiny(folder).model.token_embedding.weight
    expected = (np.random.RandomState(0).standard_normal((49408, 32)) * 0.02).astype(np.float32)
    assert np.array_equal(table[5000].numpy(), expected[5000]), "unknown words are not the documented draw"
    assert not np.array_equal(table[320].numpy(), expected[320]), "a trained row was lost"


def test_saving_again_gives_the_same_files(folder, tmp_path, config):
    save_tiny(load_tiny(folder), tmp_path / "again", USED, config)
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), f"{name} differs"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "weights.safetensors"], "files left behind"


def test_named_and_found(folder):
    assert load_backbone("tiny", folder).id == load_tiny(folder).id
    assert weights_at_hand("tiny", folder), "both files are there"
    (folder / "config.json").unlink()
    assert not weights_at_hand("tiny", folder), "a file is gone"


def test_what_cannot_be_saved(tmp_path, trained, mini_clip, config):
    with pytest.raises(ValueError, match="lacks start or end of text"):
        save_tiny(trained, tmp_path / "t", [320], config)
    with pytest.raises(ValueError, match="rows of the token table are neither stored nor"):
        save_tiny(mini_clip, tmp_path / "t", USED, config)
    huge = copy.deepcopy(trained)
    with torch.no_grad():
        huge.visual.proj[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"visual\.proj does not fit half precision"):
        save_tiny(huge, tmp_path / "t", USED, config)
    assert not (tmp_path / "t").exists(), "a refused save left something behind"


def test_damage_is_noticed(folder):
    path = folder / "weights.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(BackboneError, match=r"weights\.safetensors cannot be read .*truncated"):
        load_tiny(folder)
    path.write_bytes(good[:-2] + bytes([good[-2] ^ 1, good[-1]]))
    with pytest.raises(BackboneError, match="are damaged: hash"):
        load_tiny(folder)
    state = load_file(path)
    save_file({k: v for k, v in state.items() if k != "token_rows"}, path)
    with pytest.raises(BackboneError, match=r"weights\.safetensors has no token_rows"):
        load_tiny(folder)
    save_file(state | {"token_rows": state["token_rows"] + 49400}, path)
    with pytest.raises(BackboneError, match="token_values is"):
        load_tiny(folder)
    path.unlink()
    with pytest.raises(BackboneError, match="weights not found"):
        load_tiny(folder)


def test_a_broken_configuration(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in config.items() if k != "weights_hash"}))
    with pytest.raises(BackboneError, match=r"config\.json of the tiny CLIP .* is damaged: KeyError\('weights_hash'\)"):
        load_tiny(folder)
    path.write_text("{")
    with pytest.raises(BackboneError, match="is damaged"):
        load_tiny(folder)
    path.unlink()
    with pytest.raises(BackboneError, match=r"the tiny CLIP is missing: no config\.json"):
        load_tiny(folder)
