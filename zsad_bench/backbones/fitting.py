"""Batches that are encoded in parts, with the same features: what a GPU has no memory for, what a CPU is slower with.

glibc maps a block above 32 MiB anew each time, and the kernel fills it with zeros, page by page; below that, it keeps
what was freed (`process.MEMORY`). So a CPU encodes as many images together as keep the largest tensor of a block below
it: one of 518 px with ViT-L, and every batch of a small tower.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from zsad_bench.backbones.towers import VisionTower
from zsad_bench.errors import UsageError
from zsad_bench.types import Features

KEPT_BYTES = 2**25  # of a freed block, at most, that glibc keeps


class Fitting:
    """Encodes in batches that fit, and remembers how large those are.

    at_once: the most images that are encoded together; None until a batch did not fit.
    name: of the backbone, for messages.
    """

    def __init__(self, name: str, vision: VisionTower) -> None:
        self.name, self.vision = name, vision
        self.at_once: int | None = None

    def __call__(self, encode: Callable[[Tensor], Features], images: Tensor) -> Features:
        """`encode` of images (B,3,H,W), in halves as often as it runs out of memory; a warning says so once.

        Raises:
            UsageError: one image alone does not fit.
        """
        while True:
            parts: list[Features] = []
            try:
                for some in images.split(self.at_once or self._wanted(images)):
                    parts.append(encode(some))
            except torch.OutOfMemoryError:
                pass  # what the error refers to has to be gone before the next try
            else:
                return parts[0] if len(parts) == 1 else Features.joined(parts)
            del parts
            self._halve(images)

    def _wanted(self, images: Tensor) -> int:
        """How many to encode together where memory sets no limit."""
        if images.device.type != "cpu":
            return len(images)
        height, width = (side // self.vision.patch_size for side in images.shape[2:])
        widest = (self.vision.n_prefix + height * width) * 4 * self.vision.width  # inside the block's MLP
        return max(1, KEPT_BYTES // (4 * widest))

    def _halve(self, images: Tensor) -> None:
        tried, device = min(self.at_once or self._wanted(images), len(images)), images.device
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
