# pytest tests/backbones/test_wrappers.py
"""A state dict reads the same whatever a trainer put around it, and a file of two is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.official import faprompt_file
from zsad_bench.backbones.families._open_clip import MARKS as CLIP_MARKS
from zsad_bench.backbones.families._open_clip import fit
from zsad_bench.backbones.weights import read_state
from zsad_bench.backbones.wrappers import Ambiguous, NotFound, find_state
from zsad_bench.errors import BackboneError, CheckpointError
from zsad_bench.methods._official_file import find_released, open_files
from zsad_bench.methods.faprompt import FaPrompt

LEARNER = faprompt_file(16, 16, deep=1)
MARKS = ("ctx_pos", "ctx_neg")
WRAPPERS = ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module")  # of data parallelism and compilers
NAMES = (*WRAPPERS, "model", "state_dict", "prompt_learner", "ema", "net", "student.0", "a b", "backbone")
BESIDE = {
    "epoch": 3,
    "note": "best",
    "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
    "lr": [1e-3],
    "none": None,
}


def wrap(state, name: str, nested: bool):
    """One more layer around a state or a file: a dictionary, or a prefix of every name."""
    return {name: state} if nested else {f"{name}.{key}": value for key, value in state.items()}


def same(found, expected=LEARNER) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=6),
    st.booleans(),
    st.sampled_from((None, *WRAPPERS)),
)
def test_any_stack_of_prefixes_reads_the_same(stack, trainer, inside):
    """inside: around a layer of the learner, as `torch.compile` of that layer alone leaves it."""
    content = LEARNER
    if inside:
        content = {key.replace("patch_meta_net.", f"patch_meta_net.{inside}."): value for key, value in content.items()}
    for name, nested in stack:
        content = wrap(content, name, nested)
    if trainer and any(nested for _, nested in stack[-1:]):  # beside what is wrapped, never in it
        content = BESIDE | content
    found = find_state(content, MARKS)
    assert same(found.state)
    assert found.prefix == "".join(f"{name}." for name, _ in reversed(stack)), "the prefix is not the one in the file"


@pytest.mark.parametrize("others", [("ema", "model"), ("module", "state_dict"), ("", "ema"), ("module", "")])
def test_two_that_differ_are_refused_and_two_that_are_equal_are_one(others):
    second = {**LEARNER, "ctx_pos": LEARNER["ctx_pos"] + 1}

    def file(one, other):
        return {
            (f"{name}." if name else "") + key: value
            for name, state in zip(others, (one, other), strict=True)
            for key, value in state.items()
        }

    with pytest.raises(Ambiguous, match="two sets of parameters that differ, at '") as caught:
        find_state(file(LEARNER, second), MARKS)
    assert all(f"'{name}" in str(caught.value) for name in others if name), str(caught.value)
    if "" not in others or "module" in others:  # below "" lies all that is in a file
        assert same(find_state(file(LEARNER, dict(LEARNER)), MARKS).state)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"model": {"visual.conv1.weight": torch.zeros(2), "b": torch.zeros(1)}},
            "found model.visual.conv1.weight, model.b; ",
        ),
        ({f"k{i}": torch.zeros(1) for i in range(9)}, "found k0, k1, k2, k3, …; expected ctx_pos, under any prefix"),
        ({"not_ctx_pos": torch.zeros(2)}, "found not_ctx_pos"),
        ({"epoch": 3, "ctx_pos": 4}, "no tensors but epoch, ctx_pos"),
        ([torch.zeros(2)], "no tensors but list"),
        ({}, "found nothing"),
    ],
)
def test_what_holds_none_is_named(content, says):
    with pytest.raises(NotFound) as caught:
        find_state(content, MARKS)
    assert says in str(caught.value)


def test_a_loop_of_dictionaries_ends():
    loop: dict = {"a": torch.zeros(1)}
    loop["self"] = loop
    with pytest.raises(NotFound):
        find_state(loop, MARKS)


def opened(path):
    return find_released(open_files([path]), "faprompt", {"faprompt": FaPrompt.official})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_learners_file_is_opened_through_its_prefixes(tmp_path, suffix):
    path = tmp_path / f"last{suffix}"
    content = {f"module.prompt_learner.{key}": value.contiguous() for key, value in LEARNER.items()}
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(content, path)
    else:
        torch.save({"state_dict": content, **BESIDE}, path)
    found = opened(path)
    assert same(found.state)
    assert found.prefix == ("" if suffix == ".safetensors" else "state_dict.") + "module.prompt_learner."


def test_a_learners_file_of_two_is_refused(tmp_path):
    torch.save({"student": LEARNER, "teacher": {**LEARNER, "ctx_neg": torch.zeros(1, 10, 2, 16)}}, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match=r"two\.pth: found two sets .* 'student\.' and at 'teacher\.'"):
        opened(tmp_path / "two.pth")


@pytest.mark.parametrize("stack", [("module", "_orig_mod"), ("model", "module"), ("clip", "_forward_module", "net")])
def test_a_backbone_is_read_through_the_same_prefixes(tmp_path, mini_clip, mini_config, stack):
    from zsad_bench.backbones.families._open_clip import build_model

    state = {key: value.detach().clone() for key, value in mini_clip.state_dict().items()}
    content = {".".join((*stack, key)): value for key, value in state.items()}
    torch.save({"state_dict": content, **BESIDE}, tmp_path / "w.pt")
    model = build_model(mini_config, "mini")
    fit(model, read_state(tmp_path / "w.pt", CLIP_MARKS), "mini", "w.pt")
    assert all(torch.equal(values, state[name]) for name, values in model.state_dict().items())
    torch.save({"a": state, "b": state | {"logit_scale": torch.tensor(1.0)}}, tmp_path / "two.pt")
    with pytest.raises(BackboneError, match=r"two\.pt: found two sets of parameters that differ"):
        read_state(tmp_path / "two.pt", CLIP_MARKS)
