"""What tests of graphs have in common: a category, images, and both answers beside each other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zsad_bench.inspection import onnx_file
from zsad_bench.inspection.onnx_file import Header
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.types import Category, ImageBatch, Normalisation, Prediction, SampleInfo

BOTTLE = Category("images", "bottle", "bottle", "object", "industrial")
HEADER = Header(
    method="means", title="Means", version="1", config={"image_size": 8, "taps": [1, 2]}, backbone="none@0123",
    weights_hash="0123", licence="unknown", training={"auxiliary": ["demo_rich"]}, identity="0123456789abcdef",
    image_size=8, normalisation=Normalisation((0.5, 0.25, 0.125), (1.0, 2.0, 3.0)), category=BOTTLE, opset=18,
    package="0.1.0", torch="2.14",
)  # fmt: skip


def pixels(count: int, size: int, seed: int = 1) -> Tensor:
    """(count,3,S,S) uint8: noise over rectangles of one colour, each image another one."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 1, 1), generator=generator).expand(-1, -1, size, size).clone()
    images[:, :, size // 4 : size // 2, size // 3 :] = torch.randint(0, 256, (count, 3, 1, 1), generator=generator)
    noise = torch.randint(-40, 41, images.shape, generator=generator)
    return (images + noise).clamp(0, 255).to(torch.uint8)


def batch_of(images: Tensor, method: ZeroShotMethod | None = None, category: Category = BOTTLE) -> ImageBatch:
    """Images as a loader gives them; for a method with the mean and standard deviation of its backbone."""
    samples = [SampleInfo(f"images[{i}]", category) for i in range(len(images))]
    by = None if method is None else Normalisation(tuple(method.backbone.mean), tuple(method.backbone.std))
    return ImageBatch(images, samples, [tuple(images.shape[2:])] * len(images), by)


def of_torch(method: ZeroShotMethod, images: Tensor, category: Category = BOTTLE) -> Prediction:
    """By the code of a real run."""
    with torch.no_grad():
        return method.predict_step(batch_of(images, method, category))


def off(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference."""
    return float((one - other).abs().max())


def write_means(path: Path, header: Header, metadata: dict[str, str] | None = None) -> Path:
    """The path, with a graph made by hand: `map` is the mean of the colours, `score` the mean of the map.

    metadata: instead of the header's.
    """
    from onnx import TensorProto, helper

    side = header.image_size
    nodes = [
        helper.make_node("Cast", ["images"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colours", "first"], ["map"], keepdims=0),
        helper.make_node("ReduceMean", ["map", "rest"], ["score"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, side, side])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", side, side]),
        ],
        [
            helper.make_tensor("first", TensorProto.INT64, [1], [1]),
            helper.make_tensor("rest", TensorProto.INT64, [2], [1, 2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, header.metadata() if metadata is None else metadata)
    content = model.SerializeToString()
    path.write_bytes(content + onnx_file.seal(content))
    return path
