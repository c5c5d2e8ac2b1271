"""A graph in an ONNX file as a scorer: onnxruntime on the CPU, without a method and without weights of torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zsad_bench.errors import OnnxError, UsageError
from zsad_bench.inspection import onnx_file
from zsad_bench.types import ImageBatch, Prediction

if TYPE_CHECKING:
    import numpy as np


class OnnxScorer:
    """A `Scorer` from a file that `zsad-bench export onnx` wrote; `onnx_export.py` says what is in it.

    header: what the file says of itself. category: what its texts call the images, whatever a batch says.
    threads: of onnxruntime; None is one per core.

    Raises:
        OnnxError: onnxruntime is not installed, or the file is missing, damaged, incomplete or another program's.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.path = Path(path)
        onnx_file.require((onnx_file.RUNTIME,), f"ONNX file {path}")
        onnx_file.check_sealed(self.path)
        self.header, self._session = _opened(self.path, threads)
        self.title, self.identity = self.header.title, self.header.identity
        self.image_size, self.normalisation = self.header.image_size, self.header.normalisation
        self.category = self.header.category
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, batch: ImageBatch) -> Prediction:
        """score (B,) and map (B,S,S) or None, float32; of images (B,3,S,S) uint8, not yet normalised.

        Raises:
            UsageError: images of another type or size.
        """
        expected = (len(batch), 3, self.image_size, self.image_size)
        if batch.images.dtype != torch.uint8 or tuple(batch.images.shape) != expected:
            found = f"{tuple(batch.images.shape)} of {str(batch.images.dtype).removeprefix('torch.')}"
            raise UsageError(f"ONNX file {self.path}: reads images {expected} of uint8, found {found}")
        found_arrays = self.run(batch.images.cpu().contiguous().numpy())
        tensors = {name: torch.from_numpy(array) for name, array in found_arrays.items()}
        return Prediction(tensors[onnx_file.SCORE], tensors.get(onnx_file.MAP))

    def run(self, images: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Name -> array of each output, for images (B,3,S,S) uint8."""
        found: list[Any] = self._session.run(self._outputs, {onnx_file.IMAGES: images})
        return dict(zip(self._outputs, found, strict=True))


def _opened(path: Path, threads: int | None) -> tuple[onnx_file.Header, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone, which are raised as well
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's have no base class of their own
        # Weights that lie beside the file are the likely cause, and its metadata cannot be read without a session.
        said = " ".join(str(error).split())
        hint = "the file with its weights has to lie beside it" if "external" in said.lower() else "export it again"
        raise OnnxError(f"ONNX file {path}: onnxruntime cannot open it ({said}); {hint}") from None
    header = onnx_file.Header.of(session.get_modelmeta().custom_metadata_map, path)
    onnx_file.check_data(path, header)
    return header, session
