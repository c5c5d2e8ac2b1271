"""A scorer whose answers are known, photos, and graphs: one that the exporter wrote, and one made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zsad_bench.types import ImageBatch, Normalisation, Prediction


class Brightness:
    """A photo's map is its brightness in [0, 1], its score the highest value of that."""

    title, identity, image_size = "Brightness", "brightness", 32
    normalisation = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self, maps: bool = True) -> None:
        self.maps = maps
        self.sizes: list[int] = []  # of the batches that it was given

    def __call__(self, batch: ImageBatch) -> Prediction:
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape[1:] == (3, 32, 32)
        self.sizes.append(len(batch))
        map_ = batch.images.float().mean(1) / 255
        return Prediction(map_.amax((1, 2)), map_ if self.maps else None)


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


@pytest.fixture
def save(tmp_path):
    """save("a.png", array): a photo of an array (H,W) or (H,W,3) uint8; its path."""

    def write(name: str, array: np.ndarray) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array.astype(np.uint8)).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def exported(mini, tmp_path_factory):
    """(method, what `export` returned): CLIP on the miniature at 48 px, for bottles. Shared: do not change it."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from tests.inspection.graphs import BOTTLE
    from zsad_bench.inspection.onnx_export import export
    from zsad_bench.planning.configure import build

    method = build("clip", mini, {"image_size": 48}, 0).eval()
    return method, export(method, BOTTLE, Path(tmp_path_factory.mktemp("onnx")) / "bottle.onnx")


@pytest.fixture
def handmade(tmp_path):
    """(path, header) of a file in our form whose map is the mean of the colours, and whose score is the map's mean."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    from tests.inspection.graphs import HEADER, write_means

    return write_means(tmp_path / "means.onnx", HEADER), HEADER
