# pytest tests/runner/test_computation.py
"""The parameters that a method trains and the operations of an image are counted, and counting changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.cells import run
from tests.miniature import MINI
from zsad_bench.methods._prediction import predict
from zsad_bench.planning.configure import build
from zsad_bench.runner.computation import NOMINAL, Operations, gflops, trained_parameters
from zsad_bench.types import EncoderSpec

SIZE = 32


def counted(work) -> int:
    operations = Operations()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), operations:
        work()
    return operations.flops


def test_a_tower_counts_as_by_hand(mini):
    c = MINI["vision_cfg"]
    width, n_patches = c["width"], (SIZE // c["patch_size"]) ** 2
    rows = n_patches + 1
    embedding = 2 * 3 * c["patch_size"] ** 2 * width * n_patches
    block = 2 * rows * width * (3 + 1 + 4 + 4) * width + 2 * 2 * rows**2 * width  # projections and MLP, then attention
    projection = 2 * width * MINI["embed_dim"]
    spec = EncoderSpec(mini.forward_spec(SIZE), frozenset(), frozenset({"cls"}))
    images = torch.zeros(1, 3, SIZE, SIZE)
    found = counted(lambda: mini.encode_image(images, spec))
    assert found == embedding + c["layers"] * block + projection


def test_what_a_backward_pass_does_counts_too():
    a, b = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7, requires_grad=True)
    operations = Operations()
    with operations:
        (a @ b).sum().backward()
    assert operations.flops == 3 * (2 * 3 * 5 * 7), "a product, and one for the gradient of each factor"


def methods(mini_for):
    for name in ("clip", "cocoop", "anomalyclip", "winclip", "dive", "april_gan", "anovl"):
        yield name, build(name, mini_for(name), {"image_size": SIZE}, seed=0).eval()


def test_counting_changes_nothing_and_is_repeatable(mini_for):
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for name, method in methods(mini_for):
        own = {key: value.clone() for key, value in method.own_state().items()}
        encoder, drawn = method.encoder, torch.get_rng_state()
        first = gflops(method)
        assert torch.equal(torch.get_rng_state(), drawn), f"{name}: others would draw other numbers"
        with torch.inference_mode():
            assert gflops(method) == first > 0, f"{name}: another number under inference mode, as tests run"
        assert method.encoder is encoder, name
        assert encoder.n_images == 0, f"{name}: the counted image is among those of the encoder"
        assert all(torch.equal(own[key], value) for key, value in method.own_state().items()), name
        assert not method.training, name
        with torch.no_grad():
            method.encode(image, [NOMINAL])  # still works


def test_texts_are_cached_but_for_those_that_depend_on_the_image(mini_for):
    found = {name: gflops(method) for name, method in methods(mini_for)}
    assert found["cocoop"] > 1.05 * found["clip"], "CoCoOp encodes its texts anew for each image"
    assert found["winclip"] > 2 * found["clip"], "WinCLIP's windows are encoded one by one"
    clip, image = build("clip", mini_for("clip"), {"image_size": SIZE}, seed=0).eval(), torch.zeros(1, 3, SIZE, SIZE)
    first, again = (counted(lambda: predict(clip, clip.encode(image, [NOMINAL]), [NOMINAL])) for _ in range(2))
    assert first > again, "the first image of a category pays for its texts"
    assert gflops(clip) == again / 1e9


def test_what_trains_is_counted_once(mini_for):
    found = {name: trained_parameters(method) for name, method in methods(mini_for)}
    assert found["clip"] == found["winclip"] == found["anovl"] == 0
    coop = build("coop", mini_for("coop"), {"image_size": SIZE}, seed=0)
    (own,) = coop.own_parameters().values()
    assert trained_parameters(coop) == own.numel() > 0
    assert trained_parameters(build("coop", mini_for("coop"), {"image_size": SIZE, "epochs": 0}, seed=0)) == 0
    filo = build("filo", mini_for("filo"), {"image_size": SIZE}, seed=0)
    named = {name: p.numel() for stage in filo.stages() for name, p in filo.trainables(stage).items()}
    assert trained_parameters(filo) == sum(named.values())


def test_rows_say_it(group_in, tmp_path, quiet):
    rows = run(group_in(tmp_path, methods=("clip", "anomalyclip", "random")), quiet).rows
    found = {row.method: (row.trained_parameters, row.gflops) for row in rows}
    assert len({(row.method, row.trained_parameters, row.gflops) for row in rows}) == 3, "one of each method"
    assert found["random"] == (0, 0.0)
    assert found["clip"][0] == 0
    assert found["clip"][1] > 0
    assert found["anomalyclip"][0] > 0
    assert found["anomalyclip"][1] > found["clip"][1], "its V-V path is a second attention"


def test_a_method_that_cannot_be_asked_has_no_number_and_a_line(group_in, tmp_path, quiet, monkeypatch):
    from zsad_bench.methods.clip import Clip

    usual = Clip.score

    def knows_only_its_own(self, features, samples):
        if samples == [NOMINAL]:
            raise FileNotFoundError("no such class\nand more")
        return usual(self, features, samples)

    monkeypatch.setattr(Clip, "score", knows_only_its_own)
    rows = run(group_in(tmp_path, methods=("clip",), prior="none"), quiet).rows
    assert {(row.trained_parameters, row.gflops) for row in rows} == {(0, None)}
    said = " ".join(quiet.file.getvalue().split())
    assert "CLIP: the operations of an image are not counted: no such class" in said
    assert "and more" not in said


@pytest.mark.parametrize("name", ["clip", "anomalyclip"])
def test_the_size_of_the_image_is_that_of_the_method(mini_for, name):
    small, large = (gflops(build(name, mini_for(name), {"image_size": size}, seed=0).eval()) for size in (32, 48))
    assert 2 < large / small < 4, "2.25 times the patches, and more than that of attention"
