# pytest tests/backbones/test_base.py
"""What a Backbone is: frozen, always in eval, identified by its weights, proportional in depth."""

from __future__ import annotations

import copy
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from zsad_bench.backbones.families._open_clip import from_model
from zsad_bench.backbones.weights import hash_weights
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec


def test_frozen_and_always_in_eval(mini_clip):
    backbone = from_model(copy.deepcopy(mini_clip), "mini")
    parent = torch.nn.ModuleList([backbone]).train()
    assert parent.training, "the parent trains"
    assert not any(m.training for m in backbone.modules()), "a frozen tower woke up"
    assert not any(p.requires_grad for p in backbone.parameters()), "a weight would train"


def test_properties(mini):
    vision, text = mini.vision, mini.text_tower
    assert (vision.n_blocks, vision.joint_width, vision.width, vision.n_heads) == (4, 48, 64, 2)
    assert (vision.patch_size, vision.native_grid, vision.n_prefix, mini.image_size) == (8, (4, 4), 1, 32)
    assert (text.n_blocks, text.width, text.context_length) == (3, 32, 77)
    assert (vision.activation, text.activation) == ("quickgelu", "quickgelu")
    assert mini.offers == {"text", "vv", "logit_scale", "cls", "tokens"}
    assert (mini.nearest_size(518), mini.nearest_size(20), mini.nearest_size(1)) == (520, 16, 8)
    assert mini.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert mini.id == f"mini@{mini.weights_hash[:12]}"


def test_pixels_that_were_not_normalised_are_refused(mini):
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    spec = EncoderSpec(mini.forward_spec(32), pooled=frozenset({"cls"}))
    for encode in (lambda: mini.encode_image(pixels, spec), lambda: mini.embed_patches(pixels)):
        with pytest.raises(UsageError, match=r"images of uint8, as a loader gives them; .*batch\.normalised\(\)"):
            encode()


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
    from zsad_bench.backbones.families._open_clip import build_model

    config = copy.deepcopy(mini_config)
    for part, values in change.items():
        config[part] |= values
    with pytest.raises(BackboneError, match=f"odd cannot be used as a backbone: .*{said}"):
        build_model(config, "odd")


def test_naming_the_package_does_not_import_torch():
    code = "import sys, zsad_bench.backbones; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, f"importing zsad_bench.backbones brought torch along: {done.stderr.decode()}"
