"""Batches that do not fit into a GPU's memory: encoded in parts, the same features."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from zsad_bench.errors import UsageError
from zsad_bench.types import Features


class Fitting:
    """Encodes in batches that fit, and remembers how large those are.

    at_once: the most images that are encoded together; None until a batch did not fit.
    name: of the backbone, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.at_once: int | None = None

    def __call__(self, encode: Callable[[Tensor], Features], images: Tensor) -> Features:
        """`encode` of images (B,3,H,W), in halves as often as it runs out of memory; a warning says so once.

        Raises:
            UsageError: one image alone does not fit.
        """
        while True:
            parts: list[Features] = []
            try:
                for some in images.split(self.at_once or len(images)):
                    parts.append(encode(some))
            except torch.OutOfMemoryError:
                pass  # what the error refers to has to be gone before the next try
            else:
                return parts[0] if len(parts) == 1 else Features.joined(parts)
            del parts
            self._halve(images)

    def _halve(self, images: Tensor) -> None:
        tried, device = min(self.at_once or len(images), len(images)), images.device
        size = f"{images.shape[3]} x {images.shape[2]} pixels"
        if tried == 1:
            raise UsageError(
                f"one image of {size} does not fit into the memory of {device} with {self.name}; take a smaller "
                "--set image_size, --precision bf16, or a smaller --backbone"
            )
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if self.at_once is None:
            warnings.warn(
                f"{tried} images of {size} do not fit into the memory of {device} with {self.name}; they are encoded "
                "in parts",
                stacklevel=2,
            )
        self.at_once = tried // 2
