"""Many methods, one pass: images are encoded once for all methods whose forward pass is the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from lightning import LightningModule
from torch import Tensor, nn

from zsad_bench.backbones.encoder import Encoder
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.types import Batch, EncoderSpec, Features, ForwardSpec, Prediction, SampleInfo


class SharedPass(LightningModule):
    """Tests several methods on the same images. `test_step` returns a Prediction for each label.

    methods: label -> method, all on the same device. A single method is a mapping of one.
    """

    def __init__(self, methods: Mapping[str, ZeroShotMethod]) -> None:
        super().__init__()
        self.labels = list(methods)
        self.methods = nn.ModuleList(methods.values())
        self.encoders = self._encoders()

    def _encoders(self) -> dict[ForwardSpec, Encoder]:
        sharing = [method for method in self.methods if _shares(method)]
        by_forward: dict[ForwardSpec, list[EncoderSpec]] = {}
        for method in sharing:
            by_forward.setdefault(method.encoder_spec.forward, []).append(method.encoder_spec)
        return {
            forward: Encoder(sharing[0].backbone, reduce(EncoderSpec.merge, specs))
            for forward, specs in by_forward.items()
        }

    def features(self, images: Tensor, samples: list[SampleInfo]) -> list[Features]:
        """One Features a method; those that share a forward pass get the same object."""
        encoded = {forward: encoder(images, samples) for forward, encoder in self.encoders.items()}
        return [
            encoded[method.encoder_spec.forward] if _shares(method) else method.encode(images, samples)
            for method in self.methods
        ]

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Prediction]:
        features = self.features(batch.images, batch.samples)
        pairs = zip(self.labels, self.methods, features, strict=True)
        return {label: method.score(found, batch.samples) for label, method, found in pairs}


def _shares(method: ZeroShotMethod) -> bool:
    """A method that overrides `encode` changes what is encoded, and goes alone."""
    return type(method).encode is ZeroShotMethod.encode
