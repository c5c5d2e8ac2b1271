"""A frozen encoder: a backbone, the outputs requested from it, the time that it took, and what is kept of it.

The shared test pass and every training hold one. With a store of features (`feature_store.py`) an image is encoded when
it is first asked for, and read from then on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.feature_store import FeatureStore, Kept, Output, can_be_kept, size_of
from zsad_bench.backbones.fitting import Fitting
from zsad_bench.backbones.forward import Edit, rows_below
from zsad_bench.types import EncoderSpec, Features, Pooled, SampleInfo, Tap, sent


class Encoder:
    """Images to features under one spec.

    trains: whether gradients flow through it where they are on.
    first_edit: the first block whose rows an edit changes; all below it is as frozen as an unedited pass. None: not
    known, so that nothing of an edited pass is kept.
    store: where features are kept and looked up, of samples that say what their pixels are (`SampleInfo.content`).
    n_images: how many it was given to encode, without those that were read. seconds: wall-clock time of all its calls,
    device included; of a run with gradients the forward part alone. timed: whether it is measured, for which the host
    waits for the device.

    Raises:
        BackboneError: the spec is of other weights, or asks for what the backbone does not have.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: EncoderSpec,
        trains: bool = False,
        first_edit: int | None = None,
        store: FeatureStore | None = None,
        timed: bool = True,
    ) -> None:
        backbone.check_spec(spec)
        self.backbone, self.spec, self.trains, self.timed = backbone, spec, trains, timed
        self.first_edit, self.store = first_edit, store
        self.fitting = Fitting(backbone.name, backbone.vision)
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

        Where nothing is asked for, nothing is run, and the features are empty. A batch that does not fit into memory
        is encoded in parts, where nothing that is learned is on the way.

        Raises:
            UsageError: one image alone does not fit.
        """
        if torch.compiler.is_compiling():  # a graph for batches of any size: nothing is stored, counted or taken apart
            if not (self.spec.taps or self.spec.pooled):
                return _nothing(images)
            return self.backbone.encode_image(images, self.spec, edit)
        if len(images) != len(samples):
            raise ValueError(f"{len(images)} images, but {len(samples)} samples")
        if not (self.spec.taps or self.spec.pooled):
            return _nothing(images)
        started = device_clock(images.device) if self.timed else 0.0
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            features = self._features(images, samples, edit, checkpoint_blocks)
        if self.timed:
            self.seconds += device_clock(images.device) - started
        return features

    def kept(self, edited: bool) -> EncoderSpec | None:
        """What is kept of a pass, edited or not; None: nothing can be, or nothing is worth it."""
        if not edited:
            return self.spec if can_be_kept(self.spec) else None
        if self.first_edit is None or self.first_edit <= 1:
            return None
        below = EncoderSpec(self.spec.forward, rows_below(self.spec.taps, self.first_edit))
        return below if can_be_kept(below) else None

    def _features(
        self, images: Tensor, samples: Sequence[SampleInfo], edit: Edit | None, checkpoint_blocks: bool
    ) -> Features:
        kept = self.kept(edit is not None) if self.store is not None and _known(samples) else None
        if kept is None:
            self.n_images += len(images)
            return self._encode(images, edit, checkpoint_blocks)
        features = self._stored(images, samples, kept)
        if edit is None:
            return features
        assert self.first_edit is not None  # else nothing was kept
        return self.backbone.encode_image(
            images, self.spec, edit, checkpoint_blocks, first_block=self.first_edit, below=features.rows
        )

    @torch.no_grad()
    def _stored(self, images: Tensor, samples: Sequence[SampleInfo], spec: EncoderSpec) -> Features:
        """What the store has of each image; what it lacks is encoded, and kept."""
        store = self.store
        assert store is not None
        outputs: list[Output] = [*sorted(spec.taps), *sorted(spec.pooled)]
        places = {output: store.place(self.backbone, spec.forward, output) for output in outputs}
        found = {output: [store.read(places[output], s.content) for s in samples] for output in outputs}
        absent = [i for i in range(len(samples)) if any(of[i] is None for of in found.values())]
        store.n_read += len(samples) - len(absent)
        if absent:
            self._fill(images, samples, spec, absent, found, places)
        device = images.device

        def batch(output: Output) -> Tensor:
            rows = torch.stack([kept.rows for kept in found[output] if kept is not None])
            return sent(rows, device).float()

        side = self.backbone.vision.patch_size
        return Features(
            rows={tap: batch(tap) for tap in spec.taps},
            vectors={name: batch(name) for name in spec.pooled},
            grid=(images.shape[2] // side, images.shape[3] // side),
            image_size=(images.shape[2], images.shape[3]),
            n_prefix=self.backbone.vision.n_prefix,
        )

    def _encode(self, images: Tensor, edit: Edit | None, checkpoint_blocks: bool) -> Features:
        whole = edit is not None or torch.is_grad_enabled() or not can_be_kept(self.spec)
        if whole:  # an edit may be of these images, and of a batch that mixes them each part would be another one
            return self.backbone.encode_image(images, self.spec, edit, checkpoint_blocks)
        return self.fitting(lambda some: self.backbone.encode_image(some, self.spec), images)

    def _fill(
        self,
        images: Tensor,
        samples: Sequence[SampleInfo],
        spec: EncoderSpec,
        absent: list[int],
        found: dict[Output, list[Kept | None]],
        places: dict[Output, str],
    ) -> None:
        """Encodes the absent images, for those outputs that any of them lacks; fills in `found`.

        What others will ask for is encoded along with it.
        """
        assert self.store is not None
        lacking = {output for output, of in found.items() if any(of[i] is None for i in absent)}
        along = self._along(spec, [samples[i] for i in absent])
        places = places | {output: self.store.place(self.backbone, spec.forward, output) for output in along}
        lacking |= along
        asked = _request(spec, lacking)
        started = device_clock(images.device)
        these = images if len(absent) == len(images) else images[absent]
        fresh = self.fitting(lambda some: self.backbone.encode_image(some, asked), these)
        each = (device_clock(images.device) - started) / len(absent) / len(lacking)
        batches: dict[Output, Tensor] = {
            output: batch.to("cpu", self.store.torch_dtype, copy=True)
            for output, batch in chain(fresh.rows.items(), fresh.vectors.items())
        }
        for row, i in enumerate(absent):
            kept = {output: Kept(batch[row], each) for output, batch in batches.items()}
            self.store.keep(samples[i].content, {places[output]: of for output, of in kept.items()})
            for output, of in kept.items():
                if output in found:
                    found[output][i] = of
        self.store.n_encoded += len(absent)
        self.n_images += len(absent)

    def _along(self, spec: EncoderSpec, samples: Sequence[SampleInfo]) -> set[Output]:
        """What of the outputs that the store is told to expect is missing of any of these images, and has room."""
        store = self.store
        assert store is not None
        coming = store.coming.get(spec.forward)
        others: set[Output] = set() if coming is None else {*coming.taps, *coming.pooled} - {*spec.taps, *spec.pooled}
        places = {output: store.place(self.backbone, spec.forward, output) for output in others}
        missing = {o for o, place in places.items() if not all(store.holds(place, s.content) for s in samples)}
        if not missing:
            return missing
        size = size_of(self.backbone, _request(spec, missing).merge(spec), store.dtype)
        return missing if store.room_for(len(samples) * size) else set()


def _request(spec: EncoderSpec, outputs: Iterable[Output]) -> EncoderSpec:
    """A request for these outputs of the same forward pass."""
    taps: set[Tap] = set()
    pooled: set[Pooled] = set()
    for output in outputs:
        if isinstance(output, Tap):
            taps.add(output)
        else:
            pooled.add(output)
    return EncoderSpec(spec.forward, frozenset(taps), frozenset(pooled))


def _nothing(images: Tensor) -> Features:
    return Features({}, {}, (0, 0), (images.shape[2], images.shape[3]), 0)


def _known(samples: Sequence[SampleInfo]) -> bool:
    return all(sample.content for sample in samples)


def device_clock(device: torch.device) -> float:
    """Seconds of a clock that only goes forward, read once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
