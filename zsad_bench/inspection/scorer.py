"""What judges images: a method on its device, or a graph in an ONNX file (`onnx_scorer.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

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


def single_image_only(method: ZeroShotMethod) -> None:
    """Raises UsageError for a method that scores a set of images together: its score of one image alone means nothing.

    Such a score would change with the images that happen to lie beside it.
    """
    if method.transductive:
        raise UsageError(
            f"{method.title} scores all images of a category together and cannot score a single image; use another "
            "method"
        )
