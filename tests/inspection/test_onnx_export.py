# pytest tests/inspection/test_onnx_export.py
"""A method's scoring as an ONNX graph: the numbers of onnxruntime are torch's, for each method that says it can."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from PIL import Image
from torch import fx, nn

import zsad_bench as zb
from tests.inspection.graphs import BOTTLE, batch_of, of_torch, off, pixels
from tests.methods.conftest import fill_memory
from tests.miniature import random_batch
from tests.test_house import ROOT
from zsad_bench import registry
from zsad_bench.backbones.load import load_backbone
from zsad_bench.errors import OnnxError, UsageError
from zsad_bench.methods.clip import Clip, ClipConfig
from zsad_bench.planning.configure import build
from zsad_bench.planning.suite import DEMO
from zsad_bench.types import Category, Prediction

needs_onnx = pytest.mark.usefixtures("onnx_installed")
PAGE = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
LIMIT = 1e-4  # what the project promises: absolute, of maps in units of their largest value where that is above one
# Configurations of methods whose usual one follows the image.
STATIC = {
    "adaclip": {"prompts": "static", "fusion_weight": 0.0},
    "anovl": {"tta_steps": 0},
    "faprompt": {"prior_from": "none"},
}
OTHERS = {
    "dive": {"patch_attention": "vv", "disentangle": False},
    "anomalyclip": {"ensemble": "seeds", "members": 2},
    "winclip": {"gaussian_sigma": 2.0},
    "april_gan": {"gaussian_sigma": 1.5},
}


@pytest.fixture
def onnx_installed() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def tiny():
    return load_backbone("tiny")


@pytest.fixture
def ready(tiny, mini_for):
    """ready(name, **settings): a method as if it had learned, on the tiny CLIP or the miniature that it needs."""

    def made(name: str, **settings):
        needs = registry.load("methods", name).needs
        backbone = tiny if needs <= tiny.offers else mini_for(name)
        demo = DEMO.overrides_for(name) if backbone is tiny else {"image_size": 48}
        method = build(name, backbone, {**demo, **settings}, 0)
        fill_memory(method, random_batch(method.config.image_size))
        if method.own_state():
            method.load_own_state(method.own_state())
        method.freeze()
        return method

    return made


def assert_near(scorer, method, count: int, category: Category = BOTTLE) -> None:
    images = pixels(count, method.config.image_size, seed=count)
    expected, found = of_torch(method, images, category), scorer(batch_of(images))
    assert (found.score.dtype, tuple(found.score.shape)) == (torch.float32, (count,))
    assert off(found.score, expected.score) <= LIMIT
    assert (found.map is None) == (expected.map is None)
    if expected.map is not None:
        assert (found.map.dtype, found.map.shape) == (torch.float32, expected.map.shape)
        assert off(found.map, expected.map) <= LIMIT * max(1.0, float(expected.map.abs().max()))


# --- one graph --------------------------------------------------------------------------------------------------------


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 5])
def test_batches_of_any_size_have_torchs_numbers(exported, count):
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    method, done = exported
    assert_near(OnnxScorer(done.files[0]), method, count)


@needs_onnx
@pytest.mark.slow
def test_an_image_is_scored_by_itself(exported):
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    method, done = exported
    scorer, images = OnnxScorer(done.files[0]), pixels(4, method.config.image_size)
    together = scorer(batch_of(images))
    alone = [scorer(batch_of(images[i : i + 1])) for i in range(4)]
    assert off(together.score, torch.cat([each.score for each in alone])) <= 1e-6
    assert float(together.score.std()) > 0, "the images are scored alike, and the comparison says nothing"


@needs_onnx
@pytest.mark.slow
def test_what_is_in_the_file(exported):
    import onnx

    method, done = exported
    (path,) = done.files
    model = onnx.load(path)
    onnx.checker.check_model(model)
    metadata = {each.key: each.value for each in model.metadata_props}
    assert metadata["format"] == "zsad-bench onnx 1"
    assert (metadata["method"], metadata["title"], metadata["version"]) == ("clip", "CLIP", method.version)
    assert (metadata["backbone"], metadata["weights_hash"]) == (method.backbone.id, method.backbone.weights_hash)
    assert json.loads(metadata["config"]) == json.loads(json.dumps(method.resolved_config()))
    assert json.loads(metadata["category"])["prompt_name"] == "bottle"
    assert json.loads(metadata["image_size"]) == 48
    assert tuple(json.loads(metadata["mean"])) == method.backbone.mean
    assert tuple(json.loads(metadata["std"])) == method.backbone.std
    assert metadata["licence"] == "unknown"  # nobody published the weights of the miniature
    assert json.loads(metadata["opset"]) == 18 == model.opset_import[0].version
    (images,) = model.graph.input
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    first, *rest = images.type.tensor_type.shape.dim
    assert first.dim_param
    assert [each.dim_value for each in rest] == [3, 48, 48]
    assert [each.name for each in model.graph.output] == ["score", "map"]
    assert all(each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for each in model.graph.output)


@needs_onnx
@pytest.mark.slow
def test_the_text_tower_and_paths_of_this_machine_stay_out(exported):
    method, done = exported
    content = done.files[0].read_bytes()
    visual = sum(p.nbytes for name, p in method.backbone.named_parameters() if ".visual." in name)
    whole = sum(p.nbytes for p in method.backbone.parameters())
    assert visual < len(content) < visual + 0.1 * (whole - visual), f"{len(content)} bytes, {visual} of them visual"
    assert b"zsad_bench/" not in content
    assert b".py" not in content


@needs_onnx
@pytest.mark.slow
def test_of_another_name_other_texts_and_another_identity(exported, tmp_path):
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    method, done = exported
    screw = Category("images", "screw", "screw", "object", "industrial")
    other = export(method, screw, tmp_path / "screw.onnx")
    assert other.header.identity != done.header.identity
    assert_near(OnnxScorer(tmp_path / "screw.onnx"), method, 2, screw)
    images = pixels(2, method.config.image_size)
    assert off(of_torch(method, images, screw).score, of_torch(method, images).score) > 1e-3


@needs_onnx
@pytest.mark.slow
def test_weights_beside_the_graph(exported, tmp_path):
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    method, _ = exported
    path = tmp_path / "large.onnx"
    stale = tmp_path / f"large.onnx.{'0' * 16}.data"
    stale.write_bytes(b"of an export before")
    done = export(method, BOTTLE, path, in_one_file=1000)
    graph, weights = done.files
    assert sorted(tmp_path.iterdir()) == sorted([graph, weights]), "what an export before left is still there"
    assert graph.stat().st_size < weights.stat().st_size
    assert done.size == graph.stat().st_size + weights.stat().st_size
    assert_near(OnnxScorer(path), method, 3)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(OnnxError, match=f"{weights.name} beside it is damaged or of another export"):
        OnnxScorer(path)
    weights.unlink()
    with pytest.raises(OnnxError, match="weights"):
        OnnxScorer(path)


@needs_onnx
@pytest.mark.slow
def test_the_example_of_the_page_has_the_numbers_of_predict(exported, tmp_path, monkeypatch, capsys):
    method, done = exported
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copy(done.files[0], "nut.onnx")
    Image.fromarray(pixels(1, 70)[0, :, :50].permute(1, 2, 0).numpy()).save("photo.png")
    names: dict = {}
    exec(compile(code, "docs/onnx.md", "exec"), names)
    expected = zb.predict(method, "photo.png", name="bottle")
    assert names["score"] == pytest.approx(expected.scores, abs=LIMIT)
    assert names["anomaly_map"] == pytest.approx(expected.maps, abs=LIMIT)
    assert capsys.readouterr().out.startswith("CLIP bottle 0.")


def test_the_page_names_what_is_exported(ready):
    (row,) = re.findall(r"^\| exported \| (.*) \|$", PAGE, flags=re.MULTILINE)
    exported = {each.lower() for each in re.split(r", and the |, ", row)}
    methods = [ready(name) for name in registry.names("methods")]
    assert exported == {method.title.lower() for method in methods if not method.not_exportable}
    for method in methods:
        if why := method.not_exportable:
            (row,) = re.findall(rf"^\| {re.escape(why)} \| (.*) \|$", PAGE, flags=re.MULTILINE)
            assert method.title in row


# --- each method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_method_that_is_no_graph_of_an_image_says_why_in_one_line(name, ready):
    from zsad_bench.inspection.onnx_export import check_exportable

    method = ready(name)
    follows = (method.texts_follow_images, method.transductive, method.adapts_at_test, method.stochastic_at_test)
    if not any(follows):
        assert method.not_exportable == ""
        check_exportable(method)
        return
    with pytest.raises(UsageError) as error:
        check_exportable(method)
    assert str(error.value) == f"{method.title} cannot be exported as one graph: {method.not_exportable}"
    assert "\n" not in str(error.value)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *[(name, {}) for name in registry.names("methods")],
        *STATIC.items(),
        *OTHERS.items(),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_onnxruntime_has_torchs_numbers(name, settings, ready, tmp_path):
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    method = ready(name, **settings)
    if method.not_exportable:
        pytest.skip(f"{method.title}: {method.not_exportable}")
    done = export(method, BOTTLE, tmp_path / "it.onnx")
    scorer = OnnxScorer(tmp_path / "it.onnx")
    for count in (1, 3, 5):
        assert_near(scorer, method, count)
    assert scorer.identity == done.header.identity
    assert scorer.title == method.title


@needs_onnx
@pytest.mark.slow
def test_of_medical_images_aa_clip_smooths_and_scores_otherwise(ready, tmp_path):
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    organ = Category("images", "brain", "brain", "organ", "medical")
    method = ready("aa_clip")
    export(method, organ, tmp_path / "it.onnx")
    assert_near(OnnxScorer(tmp_path / "it.onnx"), method, 3, organ)


@pytest.mark.parametrize("name", sorted(STATIC))
def test_configurations_that_follow_no_image_can_be_exported(name, ready):
    assert ready(name).not_exportable
    assert not ready(name, **STATIC[name]).not_exportable


def test_adaclip_names_its_clusters(ready):
    assert "fusion_weight=0" in ready("adaclip", prompts="static").not_exportable


# --- what is refused --------------------------------------------------------------------------------------------------


class ImageByImage(Clip):
    """Scores one image for each sample that it is given; a graph gives it one sample for all images."""

    def score(self, features, samples) -> Prediction:
        parts = [super(ImageByImage, self).score(features.select([i]), [s]) for i, s in enumerate(samples)]
        return Prediction(torch.cat([p.score for p in parts]), torch.cat([p.map for p in parts]))


class NoMap(Clip):
    def score(self, features, samples) -> Prediction:
        return Prediction(super().score(features, samples).score, None)


class Sorts(Clip):
    """Has an operation that no exporter knows."""

    def score(self, features, samples) -> Prediction:
        found = super().score(features, samples)
        return Prediction(found.score * torch.linalg.svdvals(found.map)[:, 0], found.map)


@needs_onnx
@pytest.mark.slow
def test_a_graph_with_other_numbers_is_not_written(mini, tmp_path):
    from zsad_bench.inspection.onnx_export import export

    with pytest.raises(OnnxError, match="onnxruntime does not come to torch's numbers"):
        export(ImageByImage(mini, ClipConfig(image_size=48)), BOTTLE, tmp_path / "it.onnx")
    assert not list(tmp_path.iterdir()), "something was left"


@needs_onnx
@pytest.mark.slow
def test_an_operation_that_cannot_be_exported_is_one_line(mini, tmp_path):
    from zsad_bench.inspection.onnx_export import export

    with pytest.raises(OnnxError) as error:
        export(Sorts(mini, ClipConfig(image_size=48)), BOTTLE, tmp_path / "it.onnx")
    assert "CLIP cannot be written as ONNX" in str(error.value)
    assert "svd" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@needs_onnx
@pytest.mark.slow
def test_without_maps_there_is_one_output(mini, tmp_path):
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.inspection.onnx_scorer import OnnxScorer

    method = NoMap(mini, ClipConfig(image_size=48)).eval()
    done = export(method, BOTTLE, tmp_path / "it.onnx")
    assert done.map_error is None
    assert OnnxScorer(tmp_path / "it.onnx")(batch_of(pixels(3, 48))).map is None


def test_what_has_learned_nothing_is_not_exported(mini):
    from zsad_bench.inspection.onnx_export import check_exportable

    with pytest.raises(UsageError, match="AnomalyCLIP learns from auxiliary data and has learned nothing yet"):
        check_exportable(build("anomalyclip", mini, {"image_size": 48}, 0))


def test_another_precision_is_not_exported():
    from tests.backbones.miniatures import open_clip
    from zsad_bench.inspection.onnx_export import check_exportable

    backbone = open_clip()[0]
    backbone.precision = "bf16"
    with pytest.raises(UsageError, match="plain float32 backbone on the CPU; found precision bf16"):
        check_exportable(build("clip", backbone, {"image_size": 48}, 0))


def test_missing_packages_are_named_before_anything_is_loaded(monkeypatch, tmp_path):
    import sys

    from zsad_bench.inspection.onnx_export import export

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxError) as error:
        export(None, BOTTLE, tmp_path / "it.onnx")  # not looked at
    assert "onnxscript and onnxruntime, not installed here; pip install 'zsad-bench[onnx]'" in str(error.value)


# --- folding ----------------------------------------------------------------------------------------------------------


class Partly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).view(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.linspace(0, 1, 3).cos() * self.weight.sum(0)  # no input reaches it
        return (x * scale) @ self.weight.T + x.shape[0]


def test_what_no_input_reaches_is_a_value_of_the_graph():
    from zsad_bench.inspection.onnx_export import folded

    x = torch.rand(4, 3)
    with torch.no_grad():
        traced = torch.export.export(Partly(), (x,), dynamic_shapes={"x": {0: torch.export.Dim("n")}}, strict=False)
        module = traced.run_decompositions({}).module()
        expected = module(x)
        graph = folded(module)
    assert isinstance(graph, fx.GraphModule)
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert not [name for name in called if "cos" in name or "linspace" in name or "sum" in name], called
    assert torch.equal(graph(x), expected)
    y = torch.rand(2, 3)
    with torch.no_grad():
        assert torch.equal(graph(y), Partly()(y))


def test_random_numbers_are_not_folded():
    from zsad_bench.inspection.onnx_export import folded

    class Draws(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand(3)

    module = torch.export.export(Draws(), (torch.zeros(3),), strict=False).run_decompositions({}).module()
    graph = folded(module)
    assert not torch.equal(graph(torch.zeros(3)), graph(torch.zeros(3)))


def test_smoothing_by_matrices_is_scipys():
    from scipy.ndimage import gaussian_filter

    from zsad_bench.methods._scoring import _smooth_in_graph

    maps = torch.rand(2, 40, 30, generator=torch.Generator().manual_seed(2))
    for sigma in (0.4, 3.0, 12.0):  # the last one is wider than the map
        expected = torch.from_numpy(gaussian_filter(maps.numpy(), (0, sigma, sigma)))
        assert off(_smooth_in_graph(maps, sigma), expected) < 1e-6


def test_the_images_of_the_check_are_the_same_each_time():
    from zsad_bench.inspection.onnx_export import check_images

    images = check_images(60)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (3, 3, 60, 60))
    assert torch.equal(images, check_images(60))
    assert len({bytes(image.numpy().tobytes()) for image in images}) == 3
