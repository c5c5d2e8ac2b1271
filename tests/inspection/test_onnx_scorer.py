# pytest tests/inspection/test_onnx_scorer.py
"""A file as a scorer: what it says of itself, and one line for each file that is none of ours."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.inspection.graphs import BOTTLE, HEADER, batch_of, pixels, write_means
from tests.test_house import ROOT
from zsad_bench.errors import OnnxError, UsageError
from zsad_bench.inspection.onnx_scorer import OnnxScorer
from zsad_bench.inspection.scorer import Scorer

SIDE = HEADER.image_size


def refusal(path) -> str:
    """The one line on a file."""
    with pytest.raises(OnnxError) as error:
        OnnxScorer(path)
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"ONNX file {path}")
    return line


def test_it_is_a_scorer(handmade):
    path, header = handmade
    scorer = OnnxScorer(path)
    as_declared: Scorer = scorer
    assert (as_declared.title, as_declared.image_size) == ("Means", SIDE)
    assert as_declared.normalisation == header.normalisation
    assert as_declared.identity == header.identity
    assert scorer.header == header
    assert scorer.category == BOTTLE


@pytest.mark.parametrize("count", [1, 3, 5])
def test_what_the_graph_says(handmade, count):
    images = pixels(count, SIDE)
    found = OnnxScorer(handmade[0])(batch_of(images))
    expected = images.float().mean(1)
    assert (found.score.dtype, found.map.dtype) == (torch.float32, torch.float32)
    assert torch.allclose(found.map, expected)
    assert torch.allclose(found.score, expected.mean((1, 2)))


def test_no_image_is_an_empty_answer(handmade):
    found = OnnxScorer(handmade[0])(batch_of(pixels(0, SIDE)))
    assert (tuple(found.score.shape), tuple(found.map.shape)) == ((0,), (0, SIDE, SIDE))


def test_images_of_another_size_or_type_are_refused(handmade):
    scorer = OnnxScorer(handmade[0])
    for images in (pixels(2, SIDE + 1), pixels(2, SIDE).float(), pixels(2, SIDE)[:, :1]):
        with pytest.raises(UsageError, match="reads images"):
            scorer(batch_of(images))


def test_threads_change_no_number(handmade):
    images = batch_of(pixels(3, SIDE))
    one, two = OnnxScorer(handmade[0], threads=1)(images), OnnxScorer(handmade[0], threads=2)(images)
    assert torch.allclose(one.score, two.score)


def test_files_that_are_none_of_ours_are_one_line(handmade, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    for name, content in {"empty": b"", "text": b"not a graph", "long": bytes(5000)}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        assert "is not one that `zsad-bench export onnx` wrote" in refusal(path)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "theirs", info[:1], info[1:])
    onnx.save(helper.make_model(graph), tmp_path / "theirs.onnx")
    assert "is not one that `zsad-bench export onnx` wrote" in refusal(tmp_path / "theirs.onnx")
    assert "no such file" in refusal(tmp_path / "nothing.onnx")
    assert "no such file" in refusal(tmp_path)


def test_damaged_and_cut_off_files_are_one_line(handmade, tmp_path):
    content = handmade[0].read_bytes()
    path = tmp_path / "it.onnx"
    for cut in (1, 100, len(content) // 2):
        path.write_bytes(content[:-cut])
        assert "its end is missing" in refusal(path)
    for place in (0, 100, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert "was changed or damaged since it was exported" in refusal(path)
    path.write_bytes(content)
    OnnxScorer(path)  # the copy itself is not the reason


def test_what_onnxruntime_cannot_open_is_one_line(tmp_path):
    from zsad_bench.inspection import onnx_file

    pytest.importorskip("onnxruntime")
    path = tmp_path / "it.onnx"
    content = b"sealed, and no graph"
    path.write_bytes(content + onnx_file.seal(content))
    assert "onnxruntime cannot open it" in refusal(path)


def test_another_format_is_one_line(handmade, tmp_path):
    path, whole = tmp_path / "it.onnx", HEADER.metadata()
    write_means(path, HEADER, whole | {"format": "zsad-bench onnx 9"})
    assert "its format is 'zsad-bench onnx 9', this version reads 'zsad-bench onnx 1'" in refusal(path)
    write_means(path, HEADER, {key: value for key, value in whole.items() if key != "category"})
    assert "its metadata is incomplete" in refusal(path)
    write_means(path, HEADER, whole | {"image_size": "many"})
    assert "its metadata is incomplete" in refusal(path)


def test_weights_that_should_lie_beside_a_file_are_looked_at(handmade, tmp_path):
    path, name = tmp_path / "it.onnx", f"it.onnx.{'a' * 16}.data"
    write_means(path, replace(HEADER, data=name, data_sha256="0" * 64))
    assert f"its weights are missing; put {name} beside it" in refusal(path)
    (tmp_path / name).write_bytes(b"others")
    assert f"{name} beside it is damaged or of another export" in refusal(path)
    write_means(path, replace(HEADER, data="../elsewhere", data_sha256="0" * 64))
    assert "cannot be a file beside it" in refusal(path)


def test_a_missing_runtime_is_one_line(handmade, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert refusal(handmade[0]).endswith(" needs onnxruntime, not installed here; pip install 'zsad-bench[onnx]'")


@pytest.mark.slow
def test_no_method_and_no_backbone_is_loaded(handmade):
    """The weights of torch are not needed, nor what reads them."""
    code = (
        "import sys, torch\n"
        "from zsad_bench.inspection.onnx_scorer import OnnxScorer\n"
        f"scorer = OnnxScorer({str(handmade[0])!r})\n"
        f"scorer.run(torch.zeros(1, 3, {SIDE}, {SIDE}, dtype=torch.uint8).numpy())\n"
        "names = ('open_clip', 'lightning', 'zsad_bench.methods.base', 'zsad_bench.backbones.base')\n"
        "print(*[name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
