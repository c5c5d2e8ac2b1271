"""What judges images: a method on its device, or a graph in an ONNX file (`onnx_scorer.py`)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Protocol

import torch

from zsad_bench.backbones.precision import tf32
from zsad_bench.errors import UsageError
from zsad_bench.types import ImageBatch, Normalisation, Prediction

if TYPE_CHECKING:
    from zsad_bench.methods.base import ZeroShotMethod


class Scorer(Protocol):
    """Scores batches of images; higher is more anomalous, in a range of its own.

    title: the printed name of the method. identity: a hash of everything that decides a score (weights, configuration,
    learned parameters), so that a threshold of one scorer is not used for another. image_size: S, the side of the
    squares that it reads. normalisation: mean and standard deviation of its backbone.
    """

    title: str
    identity: str
    image_size: int
    normalisation: Normalisation

    def __call__(self, batch: ImageBatch) -> Prediction:
        """score (B,) and map (B,S,S) or None, float32 on the CPU; of images (B,3,S,S) uint8, not yet normalised."""
        ...


class MethodScorer:
    """A method that is ready to score, on a device: the CPU, or "cuda"."""

    def __init__(self, method: ZeroShotMethod, device: str = "cpu") -> None:
        require_single_images(method)
        self.method = method.to(device).eval()
        self.title = method.title
        self.image_size: int = method.config.image_size
        self.normalisation = Normalisation(tuple(method.backbone.mean), tuple(method.backbone.std))
        self.identity = identity(method)

    def __call__(self, batch: ImageBatch) -> Prediction:
        with tf32(False, self.method.device):
            found = self.method.predict_step(batch.to(self.method.device), 0)
            self.method.pending.finish()
        return Prediction(found.score.float().cpu(), None if found.map is None else found.map.float().cpu())


def identity(method: ZeroShotMethod, *more: Any) -> str:
    """16 hex digits of all that decides the scores of a method: its configuration, weights and learned parameters.

    more: what else does, as JSON.
    """
    backbone, config = method.backbone, method.resolved_config()
    known = [
        method.registry_name(), method.version, config, backbone.name, backbone.weights_hash, backbone.precision,
        method.frozen_networks, *more,
    ]  # fmt: skip
    content = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name, tensor in sorted(method.own_state().items()):
        content.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        content.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:16]


def require_single_images(method: ZeroShotMethod) -> None:
    """Raises UsageError for a method that scores a set of images together.

    Its score of an image would change with the images that happen to lie beside it.
    """
    if method.transductive:
        raise not_single_images(method.title)


def not_single_images(title: str) -> UsageError:
    """What is said of a method that scores a set of images together."""
    return UsageError(
        f"{title} scores all images of a category together and cannot score a single image; use `zsad-bench bench` "
        "on a dataset (your own is folder:PATH; zsad_bench.evaluate from Python), or another method"
    )
