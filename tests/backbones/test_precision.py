# pytest tests/backbones/test_precision.py
"""bf16 and TF32 are of the towers' blocks alone: what goes in and comes out is float32, and float32 means float32."""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch

from zsad_bench.backbones import precision
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.errors import BackboneError, UsageError
from zsad_bench.types import EncoderSpec, ForwardSpec, Tap

TAPS = frozenset({Tap(2), Tap(4, 2), Tap(3, raw=True), Tap(4, 2, vv="value_value"), Tap(2, raw=True, attended=True)})
CUDA = torch.device("cuda")


@pytest.fixture
def half(mini) -> Backbone:
    """The miniature with its blocks in bf16."""
    backbone = copy.copy(mini)
    backbone.precision = "bf16"
    return backbone


def encoded(backbone: Backbone, images, **more):
    return backbone.encode_image(
        images, EncoderSpec(backbone.forward_spec(32), TAPS, frozenset({"cls", "mean"})), **more
    )


def close(found: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether they differ, and by no more than products with eight bits do."""
    off = (found - exact).norm() / exact.norm()
    return 1e-5 < float(off) < 2e-2


def test_what_leaves_the_visual_tower_is_float32_and_little_off(mini, half, images):
    found, exact = encoded(half, images), encoded(mini, images)
    for tap in TAPS:
        assert found.rows[tap].dtype == torch.float32, tap
        assert close(found.rows[tap], exact.rows[tap]), tap
    for name in ("cls", "mean"):
        assert found.pooled(name).dtype == torch.float32
        assert close(found.pooled(name), exact.pooled(name)), name
    rows = half.embed_patches(images)
    assert torch.equal(rows, mini.embed_patches(images)), "patches and positions are float32 in every precision"
    assert close(half.run_blocks(rows), mini.run_blocks(rows))


def test_edits_compute_in_float32_and_gradients_reach_them(mini, half, images):
    gradients = []
    for backbone in (mini, half):
        step, seen = torch.zeros(mini.vision.width, requires_grad=True), []

        def edit(block, rows, step=step, seen=seen):
            seen.append((rows.dtype, (rows @ rows.mT).dtype))
            return rows + step

        for checkpoint_blocks in (False, True):
            found = encoded(backbone, images, edit=edit, checkpoint_blocks=checkpoint_blocks)
            sum(rows.square().mean() for rows in found.rows.values()).backward()
        assert set(seen) == {(torch.float32, torch.float32)}, "an edit runs under the tower's precision"
        gradients.append(step.grad)
    assert close(*reversed(gradients))


def test_texts_are_float32_and_little_off(mini, half):
    texts = ["a photo of a nut", "a photo of a damaged nut"]
    found, exact = half.encode_prompts(texts), mini.encode_prompts(texts)
    assert found.dtype == torch.float32
    assert close(found, exact)


def test_the_spec_says_it_and_fits_no_other(mini, half, images):
    assert mini.forward_spec(32).precision == "float32"
    assert half.forward_spec(32).precision == "bf16"
    assert half.forward_spec(32) != mini.forward_spec(32), "one pass would serve both"
    with pytest.raises(BackboneError, match=r"made for float32, but mini@.* runs in bf16"):
        half.encode_image(images, EncoderSpec(mini.forward_spec(32), pooled=frozenset({"cls"})))
    assert ForwardSpec("it", 32) == ForwardSpec("it", 32, precision="float32"), "keys of float32 would change"


def test_it_is_asked_for_when_weights_are_loaded():
    assert load_backbone("tiny").precision == "float32"
    assert load_backbone("tiny", precision="bf16").precision == "bf16"
    with pytest.raises(UsageError, match=r"unknown precision 'fp16'.*") as error:
        load_backbone("tiny", precision="fp16")
    assert "\n" not in str(error.value)


class Gpu(NamedTuple):
    name: str
    bf16: bool
    capability: tuple[int, int]


@pytest.mark.parametrize(
    ("gpu", "able"),
    [(Gpu("Tesla T4", False, (7, 5)), set()), (Gpu("NVIDIA A100", True, (8, 0)), {"bf16", "tf32"})],
    ids=lambda value: value.name if isinstance(value, Gpu) else "",
)
def test_what_a_gpu_computes_with(gpu, able, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu.bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpu.capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu.name)
    for asked in precision.PRECISIONS:
        precision.check_device.cache_clear()
        if asked in ("float32", *able):
            precision.check_device(asked, CUDA)
            continue
        with pytest.raises(
            UsageError, match=f"precision {asked}: {gpu.name} does not compute with it, .*float32"
        ) as no:
            precision.check_device(asked, CUDA)
        assert "\n" not in str(no.value)
    precision.check_device.cache_clear()


def test_a_cpu_computes_bf16_and_no_tf32(mini, images):
    precision.check_device("bf16", torch.device("cpu"))
    backbone = copy.copy(mini)
    backbone.precision = "tf32"
    with pytest.raises(UsageError, match="precision tf32: cpu does not compute with it, which NVIDIA GPUs from Ampere"):
        encoded(backbone, images)


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def switches():
    """As PyTorch starts; afterwards as they were."""
    before = allowed()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("switches")
def test_tf32_is_on_in_blocks_that_ask_for_it_and_nowhere_else():
    """PyTorch's default allows it in convolutions; no GPU is needed to see the switches."""
    with precision.tf32(False, CUDA):
        assert allowed() == (False, False), "float32 does not mean float32"
        with precision.tf32(True, CUDA):
            assert allowed() == (True, True)
        assert allowed() == (False, False)
    assert allowed() == (False, True), "a user's own switches are put back"
    with precision.tf32(True, torch.device("cpu")):
        assert allowed() == (False, True)
    precision.forbid_tf32()
    assert allowed() == (False, False)
