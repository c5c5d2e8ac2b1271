"""Many methods, one pass: images are encoded once for all methods whose forward pass is the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from lightning import LightningModule
from torch import Tensor, nn

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
        self.unions = self._unions()

    def _unions(self) -> dict[ForwardSpec, EncoderSpec]:
        shared = [m.encoder for m in self.methods if _shares(m)]
        by_forward: dict[ForwardSpec, list[EncoderSpec]] = {}
        for spec in shared:
            by_forward.setdefault(spec.forward, []).append(spec)
        return {forward: reduce(EncoderSpec.merge, specs) for forward, specs in by_forward.items()}

    def features(self, images: Tensor, samples: list[SampleInfo]) -> list[Features]:
        """One Features a method; those that share a forward pass get the same object."""
        encoded: dict[ForwardSpec, Features] = {}
        found = []
        for method in self.methods:
            if not _shares(method):
                found.append(method.encode(images, samples))
                continue
            forward = method.encoder.forward
            if forward not in encoded:
                encoded[forward] = method.encode_under(images, self.unions[forward])
            found.append(encoded[forward])
        return found

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Prediction]:
        features = self.features(batch.images, batch.samples)
        pairs = zip(self.labels, self.methods, features, strict=True)
        return {label: method.score(found, batch.samples) for label, method, found in pairs}


def _shares(method: ZeroShotMethod) -> bool:
    """A method that overrides `encode` changes what is encoded, and goes alone."""
    return type(method).encode is ZeroShotMethod.encode
