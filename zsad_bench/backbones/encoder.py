"""A frozen encoder: a backbone, the outputs requested from it, and the time that it took.

The shared test pass and every training hold one. A store of features takes its place by having the same call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.forward import Edit
from zsad_bench.types import EncoderSpec, Features, SampleInfo


class Encoder:
    """Images to features under one spec.

    n_images: how many it was given to encode. seconds: wall-clock time of that, device included; of a run with
    gradients the forward part alone.
    trains: whether gradients flow through it where they are on.

    Raises:
        BackboneError: the spec is of other weights, or asks for what the backbone does not have.
    """

    def __init__(self, backbone: Backbone, spec: EncoderSpec, trains: bool = False) -> None:
        backbone.check_spec(spec)
        self.backbone, self.spec, self.trains = backbone, spec, trains
        self.n_images = 0
        self.seconds = 0.0

    def __call__(
        self,
        images: Tensor,
        samples: Sequence[SampleInfo],
        edit: Edit | None = None,
        checkpoint_blocks: bool = False,
    ) -> Features:
        """Features of a batch; images (B,3,H,W), samples B of them. The rest as `Backbone.encode_image` takes it.

        Where nothing is asked for, nothing is run, and the features are empty.
        """
        if len(images) != len(samples):
            raise ValueError(f"{len(images)} images, but {len(samples)} samples")
        if not (self.spec.taps or self.spec.pooled):
            return Features({}, {}, (0, 0), (images.shape[2], images.shape[3]), 0)
        started = device_clock(images.device)
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            features = self.backbone.encode_image(images, self.spec, edit, checkpoint_blocks)
        self.seconds += device_clock(images.device) - started
        self.n_images += len(images)
        return features


def device_clock(device: torch.device) -> float:
    """Seconds of a clock that only goes forward, read once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
