# pytest tests/backbones/test_clip_layouts.py
"""CLIP's parameters under other names: the same values come back, and what does not belong there is named."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.backbones.miniatures import as_transformers
from zsad_bench.backbones.clip_layouts import to_open_clip
from zsad_bench.backbones.families._open_clip import build_model, fit, from_model
from zsad_bench.errors import BackboneError


@pytest.fixture(scope="module")
def state(mini_clip):
    return {name: tensor.detach().clone() for name, tensor in mini_clip.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.clip."])
def test_transformers_layout_comes_back_exactly(state, prefix):
    made = to_open_clip({prefix + name: tensor for name, tensor in as_transformers(state).items()}, "w.bin")
    assert (made.layout, made.prefix, made.widened) == ("transformers", prefix, 0)
    assert made.left_out == ("vision_model.embeddings.position_ids",)
    assert made.state.keys() == state.keys()
    assert all(torch.equal(made.state[name], state[name]) for name in state)
    assert all(tensor.is_contiguous() for tensor in made.state.values()), "safetensors holds rows"


def test_openais_layout(state):
    extras = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
    norms = (".ln_", "ln_", "logit_scale", "positional", "class_emb", "token_emb")
    mixed = {name: tensor if any(part in name for part in norms) else tensor.half() for name, tensor in state.items()}
    made = to_open_clip(mixed | {name: torch.tensor(value) for name, value in extras.items()}, "ViT.pt")
    assert made.layout == "open_clip"
    assert set(made.left_out) == set(extras)
    assert made.widened == sum(tensor.dtype is torch.float16 for tensor in mixed.values()) > 0
    assert {tensor.dtype for tensor in made.state.values()} == {torch.float32}
    assert all(torch.equal(made.state[name], mixed[name].float()) for name in state), "a value was rounded"


def test_a_text_tower_apart_and_a_scale_in_a_list(state):
    own = ("visual.", "logit_scale")
    apart = {name if name.startswith(own) else f"text.{name}": tensor for name, tensor in state.items()}
    made = to_open_clip(apart | {"logit_scale": state["logit_scale"].reshape(1)}, "w.pt")
    assert made.state.keys() == state.keys()
    assert made.state["logit_scale"].shape == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision_model.encoder.layers.1.self_attn.k_proj.weight": None}, r"1\.attn\.in_proj_weight lacks k_proj"),
        ({"vision_model.encoder.layers.0.self_attn.rel.weight": torch.zeros(2)}, r"rel\.weight is not a parameter"),
        ({"vision_model.head.weight": torch.zeros(2)}, r"vision_model\.head\.weight is not a parameter of tr"),
        ({"logit_scale": None}, "logit_scale: found nothing, expected one number"),
        ({"logit_scale": torch.zeros(2)}, r"logit_scale: found \(2,\), expected one number"),
    ],
)
def test_what_does_not_belong_is_named(state, change, said):
    broken = {name: tensor for name, tensor in (as_transformers(state) | change).items() if tensor is not None}
    with pytest.raises(BackboneError, match=f"w.bin: .*{said}"):
        to_open_clip(broken, "w.bin")


def test_something_else_and_two_that_differ(state):
    with pytest.raises(BackboneError, match=r"w\.pt is not a CLIP with a vision transformer: .* found conv\.weight"):
        to_open_clip({"conv.weight": torch.zeros(2)}, "w.pt")
    two = {f"a.{k}": v for k, v in state.items()} | {f"b.{k}": v + 1 for k, v in state.items()}
    with pytest.raises(BackboneError, match="two sets of parameters that differ"):
        to_open_clip(two, "w.pt")


@pytest.mark.slow
def test_features_are_those_of_the_transformers_library(mini_config, images):
    """A random model of that library, converted: an independent reference of names, order and joined projections."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra `transformers`)")
    vision, text = mini_config["vision_cfg"], mini_config["text_cfg"]
    heads = {"num_attention_heads": vision["width"] // vision["head_width"]}
    config = transformers.CLIPConfig(
        projection_dim=mini_config["embed_dim"],
        vision_config={"hidden_size": vision["width"], "intermediate_size": 4 * vision["width"],
                       "num_hidden_layers": vision["layers"], "image_size": 32, "patch_size": 8,
                       "projection_dim": mini_config["embed_dim"], **heads},
        text_config={"hidden_size": text["width"], "intermediate_size": 4 * text["width"],
                     "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"], "vocab_size": 49408,
                     "max_position_embeddings": 77, "projection_dim": mini_config["embed_dim"], "eos_token_id": 49407,
                     "bos_token_id": 49406, "pad_token_id": 0},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        reference = transformers.CLIPModel(config).eval()
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    made = to_open_clip(reference.state_dict(), "model.bin")
    model = build_model(copy.deepcopy(mini_config), "mini")
    fit(model, made.state, "mini", "model.bin")
    backbone = from_model(model, "mini")
    ids = backbone.text_tower.tokenize(["a photo of a nut", "a damaged transistor"])
    with torch.no_grad():
        seen = reference.vision_model(pixel_values=images).pooler_output
        read = reference.text_model(input_ids=ids).pooler_output
        torch.testing.assert_close(model.encode_image(images), reference.visual_projection(seen), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.encode_text(ids), reference.text_projection(read), rtol=1e-4, atol=1e-5)
    assert torch.equal(backbone.logit_scale, reference.logit_scale.detach())
