# pytest tests/backbones/test_clip.py
"""What a Backbone is: frozen, always in eval, identified by its weights, proportional in depth."""

from __future__ import annotations

import copy
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from zsad_bench.backbones.clip import Backbone
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError


def test_frozen_and_always_in_eval(mini_clip):
    backbone = Backbone(copy.deepcopy(mini_clip), "mini")
    parent = torch.nn.ModuleList([backbone]).train()
    assert parent.training, "the parent trains"
    assert not any(m.training for m in backbone.modules()), "a frozen tower woke up"
    assert not any(p.requires_grad for p in backbone.parameters()), "a weight would train"


def test_properties(mini):
    found = (mini.n_blocks, mini.n_text_blocks, mini.embed_dim, mini.vision_width, mini.vision_heads, mini.text_width)
    assert found == (4, 3, 48, 64, 2, 32)
    assert (mini.patch_size, mini.native_grid, mini.image_size, mini.context_length) == (8, (4, 4), 32, 77)
    assert mini.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert mini.id == f"mini@{mini.weights_hash[:12]}"


def test_depth_scales_in_proportion(mini):
    assert [mini.scale_block(k) for k in (1, 6, 12, 18, 24)] == [1, 1, 2, 3, 4], "4 blocks for ViT-L's 24"
    assert [mini.scale_block(k, reference=12) for k in (3, 12)] == [1, 4]
    assert [mini.scale_text_block(k) for k in (1, 8, 12)] == [1, 2, 3], "3 text blocks for 12"


def test_hash_is_that_of_names_shapes_and_float32_bytes(mini_clip):
    small = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor(0.5)}
    expected = hashlib.sha256(
        b"a()" + np.float32(0.5).tobytes() + b"b(1, 2)" + np.array([1, 2], np.float32).tobytes()
    ).hexdigest()
    assert hash_weights(small) == expected
    assert hash_weights({k: v.half() for k, v in small.items()}) == expected, "the stored precision does not matter"
    assert hash_weights(small | {"a": torch.tensor(0.25)}) != expected, "a value matters"
    assert hash_weights(mini_clip.state_dict()) == hash_weights(copy.deepcopy(mini_clip).state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision_cfg": {"pool_type": "avg"}}, "class token"),
        ({"vision_cfg": {"qk_norm": True}}, "attention blocks"),
        ({"text_cfg": {"no_causal_mask": True}}, "not causal"),
        ({"text_cfg": {"vocab_size": 100}}, "vocabulary has 100 tokens"),
        ({"text_cfg": {"proj_bias": True}}, "not a matrix"),
    ],
)
def test_other_kinds_of_clip_are_refused(mini_config, change, said):
    from zsad_bench.backbones.architecture import build_model

    config = copy.deepcopy(mini_config)
    for part, values in change.items():
        config[part] |= values
    with pytest.raises(BackboneError, match=f"odd cannot be used as a backbone: .*{said}"):
        build_model(config, "odd")


def test_naming_the_package_does_not_import_torch():
    code = "import sys, zsad_bench.backbones; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, f"importing zsad_bench.backbones brought torch along: {done.stderr.decode()}"
