# pytest tests/backbones/test_weights.py
"""Weight files: every accepted form gives the same values, every kind of bad file one clear line."""

from __future__ import annotations

import zipfile

import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import nn

from zsad_bench.backbones.families._open_clip import MARKS, build_model, fit
from zsad_bench.backbones.weights import OtherWeights, read_state, unset, without_values
from zsad_bench.errors import BackboneError


@pytest.fixture(scope="module")
def state(mini_clip):
    return {k: v.detach().clone() for k, v in mini_clip.state_dict().items()}


@pytest.fixture
def model(mini_config):
    return build_model(mini_config, "mini")


def rewrapped(state, form):
    """The same parameters as other programs would save them."""
    match form:
        case "wrapped":
            return {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
        case "text tower apart":
            own = ("visual.", "logit_scale")
            return {k if k.startswith(own) else f"text.{k}": v for k, v in state.items()}
        case "openai":
            extras = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
            return state | {k: torch.tensor(v) for k, v in extras.items()}
        case "traced":
            return state | {"attn_mask": torch.zeros(77, 77)}
        case "vector scale":
            return state | {"logit_scale": state["logit_scale"].reshape(1)}
    return state


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_every_format_gives_the_same_weights(tmp_path, state, model, mini, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    fit(model, read_state(path, MARKS), "mini", path.name)
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers())), "a tensor has no values"
    for name, values in model.state_dict().items():
        assert torch.equal(values, state[name]), f"{name} changed: rounded, resized or lost"
    ids = mini.text_tower.tokenize(["a photo of a nut"])
    with torch.no_grad():  # open_clip's own forward uses the causal mask, which is no part of the state
        torch.testing.assert_close(model.encode_text(ids), mini.encode_prompts(["a photo of a nut"]))


@pytest.mark.parametrize("form", ["wrapped", "text tower apart", "openai", "traced", "vector scale"])
def test_every_wrapping_gives_the_same_weights(tmp_path, state, model, form):
    torch.save(rewrapped(state, form), tmp_path / "w.pt")
    fit(model, read_state(tmp_path / "w.pt", MARKS), "mini", "w.pt")
    for name, values in model.state_dict().items():
        assert torch.equal(values, state[name]), f"{name} changed"


def test_half_precision_is_cast_up_once(tmp_path, state, model):
    torch.save({k: v.half() for k, v in state.items()}, tmp_path / "w.pt")
    fit(model, read_state(tmp_path / "w.pt", MARKS), "mini", "w.pt")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.visual.proj, state["visual.proj"].half().float())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"visual.positional_embedding": torch.zeros(26, 64)},
            r"visual\.positional_embedding is \(26, 64\), expected \(17, 64\)",
        ),
        ({"visual.proj": None}, r"visual\.proj \(64, 48\) is missing"),
        ({"visual.extra": torch.zeros(2)}, r"visual\.extra \(2,\) is not part of it"),
    ],
)
def test_another_architecture_is_named(state, model, change, said):
    changed = {k: v for k, v in (state | change).items() if v is not None}
    with pytest.raises(BackboneError, match=f"w.pt does not fit mini: .*{said}"):
        fit(model, changed, "mini", "w.pt")


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_weights_of_another_kind_are_named(tmp_path, prefix):
    torch.save({f"{prefix}vision_model.embeddings.class_embedding": torch.zeros(2)}, tmp_path / "hf.pt")
    said = r"hf\.pt: its keys are those of a model of the transformers library; .*weights convert hf\.pt --out hf-open_"
    with pytest.raises(BackboneError, match=said):
        read_state(tmp_path / "hf.pt", MARKS)
    torch.save({f"{prefix}conv.weight": torch.zeros(2)}, tmp_path / "cnn.pt")
    with pytest.raises(OtherWeights, match=r"cnn\.pt has no visual\.conv1\.weight, but .*conv\.weight, …") as caught:
        read_state(tmp_path / "cnn.pt", MARKS)
    assert caught.value.has("conv.weight")
    assert not caught.value.has("onv.weight")


def test_values_that_are_not_finite(state, model):
    broken = state | {"visual.proj": torch.full((64, 48), float("nan"))}
    with pytest.raises(BackboneError, match=r"w\.pt is damaged: visual\.proj has values that are not finite"):
        fit(model, broken, "mini", "w.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["half", "empty", "text", "tail"])
def test_damaged_files(tmp_path, suffix, damage):
    path = tmp_path / f"w{suffix}"
    state = {"a": torch.arange(1000.0)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    good = path.read_bytes()
    bad = {"half": good[: len(good) // 2], "empty": b"", "text": b"<html>404 not found</html>", "tail": good[:-1]}
    path.write_bytes(bad[damage])
    with pytest.raises(BackboneError, match=rf"w\{suffix} cannot be read \(\d+ bytes\): truncated, corrupt") as caught:
        read_state(path, MARKS)
    assert "\n" not in str(caught.value), "one line"


class Payload:
    def __reduce__(self):
        return (print, ("this would have been executed",))


def test_files_that_are_not_plain_weights(tmp_path, capsys):
    torch.save({"a": Payload()}, tmp_path / "code.pt")
    with pytest.raises(
        BackboneError, match=r"code\.pt holds more than tensors, .* zsad-bench weights convert code\.pt --trust"
    ):
        read_state(tmp_path / "code.pt", MARKS)
    assert "executed" not in capsys.readouterr().out, "code in a weight file was run"
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BackboneError, match=r"list\.pt holds no state dict"):
        read_state(tmp_path / "list.pt", MARKS)
    torch.save({"learned": {"ctx": torch.zeros(2)}}, tmp_path / "nested.pt")
    with pytest.raises(OtherWeights, match=r"nested\.pt has no visual\.conv1\.weight, but learned\.ctx"):
        read_state(tmp_path / "nested.pt", MARKS)
    with zipfile.ZipFile(tmp_path / "ViT-L-14-336px.pt", "w") as archive:
        archive.writestr("ViT-L-14-336px/code/__torch__/model.py", "")
    said = r"TorchScript archive.*: zsad-bench weights convert ViT-L-14-336px\.pt --out ViT-L-14-336px\.safetensors"
    with pytest.raises(BackboneError, match=said):
        read_state(tmp_path / "ViT-L-14-336px.pt", MARKS)
    with pytest.raises(BackboneError, match=r"weights not found: .*none\.pt"):
        read_state(tmp_path / "none.pt", MARKS)
    (tmp_path / "w.npz").write_bytes(b"x")
    with pytest.raises(BackboneError, match=r"w\.npz: weights must be one of \.safetensors, \.pt"):
        read_state(tmp_path / "w.npz", MARKS)


# --- modules without values -------------------------------------------------------------------------------------------


def shapes(module: nn.Module) -> dict[str, tuple]:
    return {name: (value.shape, value.dtype) for name, value in module.state_dict().items()}


def test_what_is_built_without_values_has_the_same_shapes(mini_config):
    """Of a CLIP, and of what PyTorch's own initialisation does to a layer; those with values are the reference."""
    for build in (lambda: CLIP(**mini_config), lambda: nn.MultiheadAttention(8, 2), lambda: nn.Embedding(3, 4)):
        drawn = torch.get_rng_state()
        with without_values():
            built = build()
        assert torch.equal(torch.get_rng_state(), drawn), "random numbers were drawn"
        assert all(parameter.is_meta for parameter in built.parameters())
        assert shapes(built) == shapes(build())


def test_outside_nothing_is_left_out():
    with without_values():
        pass
    assert nn.init.normal_(torch.zeros(9)).abs().sum() > 0
    assert (2 * torch.ones(3)).tolist() == [2, 2, 2]


@pytest.mark.parametrize(("layer", "sizes"), [(nn.Linear, (5, 3)), (nn.Conv2d, (2, 3, 5))])
def test_an_unset_layer_is_the_layer_without_its_draws(layer, sizes):
    drawn = torch.get_rng_state()
    made = unset(layer, *sizes)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert type(made) is layer
    assert shapes(made) == shapes(layer(*sizes))
    assert all(p.requires_grad and p.device.type == "cpu" for p in made.parameters())
    assert unset(nn.Linear, 5, 3, bias=False).bias is None
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(1.0)
    images = torch.ones(1, 2, 5, 5) if layer is nn.Conv2d else torch.ones(1, 5)
    made(images).sum().backward()
    assert all(p.grad is not None for p in made.parameters())
