"""Many methods, one pass: images are encoded once for all methods whose forward pass is the same."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple, cast

import torch
from lightning import LightningModule
from torch import Tensor, nn

from zsad_bench.backbones.encoder import Encoder, device_clock
from zsad_bench.backbones.feature_store import FeatureStore
from zsad_bench.errors import UsageError
from zsad_bench.methods._prediction import predict, predict_set
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import encodes_alone
from zsad_bench.runner.kept_sets import KeptSet, SetRoom
from zsad_bench.types import Batch, Category, EncoderSpec, Features, ForwardSpec, Prediction, SampleInfo


@dataclass
class Cost:
    """Wall-clock seconds on some images. encode: of the pass that the method's features came from, shared or not, also
    where they were kept from an earlier one; nan where they came from disk.

    score: what the method alone took, from those features to predictions.
    """

    encode: float = 0.0
    score: float = 0.0


class Extra(NamedTuple):
    """What `extra_features` gave for a batch, and the seconds that it took."""

    features: dict[str, Tensor]
    seconds: float


class SharedPass(LightningModule):
    """Tests several methods on the same images.

    `test_step` returns a Prediction for each label, but for transductive methods: their features are kept until
    `finish(category)` has them scored. `costs` says what each (category, label) took so far.

    methods: label -> method, all on the same device. A single method is a mapping of one.
    due: label -> names of the categories that a transductive method is to score; others are encoded and given up, since
    a resumed run may see a part of them only. None: all.
    room: where features of methods with `host_features` wait for the last image of their category.
    store: where features are kept. Without a folder it serves methods that encode by themselves and begin alike, within
    a batch: nothing else is encoded twice here.
    """

    def __init__(
        self,
        methods: Mapping[str, ZeroShotMethod],
        store: FeatureStore | None = None,
        due: Mapping[str, Collection[str]] | None = None,
        room: SetRoom | None = None,
    ) -> None:
        super().__init__()
        self.labels = list(methods)
        self.methods = nn.ModuleList(methods.values())
        alone = [method for method in methods.values() if not shares(method)]
        self.store = store if store is not None and (store.folder or len(alone) > 1) else None
        for method in methods.values():
            method.store = self.store
        self.encoders = self._shared_encoders()
        self.costs: dict[Category, dict[str, Cost]] = {}
        self.due, self.room = due, room or SetRoom()
        self._kept: dict[Category, dict[str, KeptSet]] = {}
        self._samples: dict[Category, list[SampleInfo]] = {}

    @property
    def by_label(self) -> dict[str, ZeroShotMethod]:
        methods = cast("list[ZeroShotMethod]", list(self.methods))
        return dict(zip(self.labels, methods, strict=True))

    @property
    def transductive(self) -> list[str]:
        """Labels whose predictions come with `finish`."""
        return [label for label, method in self.by_label.items() if method.transductive]

    def _shared_encoders(self) -> dict[ForwardSpec, Encoder]:
        by_forward: dict[ForwardSpec, list[ZeroShotMethod]] = {}
        for method in self.by_label.values():
            if shares(method):
                by_forward.setdefault(method.encoder_spec.forward, []).append(method)
        return {
            forward: Encoder(
                of[0].backbone,
                reduce(EncoderSpec.merge, [method.encoder_spec for method in of]),
                store=self.store if self.store is not None and self.store.folder else None,
            )
            for forward, of in by_forward.items()
        }

    def _clock(self, device: torch.device) -> float:
        """Seconds that only go forward: those of the device, and those that features took which were read instead."""
        return device_clock(device) + (self.store.seconds_saved if self.store is not None else 0.0)

    def on_test_start(self) -> None:
        if self.transductive and self.trainer.world_size > 1:
            raise UsageError(
                f"{self.by_label[self.transductive[0]].title} needs all images of a category at once, and "
                f"{self.trainer.world_size} processes share them; test it with one process"
            )

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Prediction]:
        images, samples = batch.normalised().images, batch.samples
        shared, seconds = self._encode(images, samples)
        extras: dict[Hashable, Extra] = {}
        predictions = {}
        for label, method in self.by_label.items():
            if shares(method):
                forward = method.encoder_spec.forward
                extra = self._extra(method, extras, images, samples)
                features = shared[forward].with_extra(extra.features)
                encode = seconds[forward] + extra.seconds
            else:
                started = self._clock(images.device)
                features = method.encode(images, samples)
                encode = self._clock(images.device) - started
            encoded = device_clock(images.device)
            if method.transductive:
                self._keep(label, only(features, method.encoder_spec), samples)
            else:
                predictions[label] = predict(method, features, samples)
            self._account(label, samples, Cost(encode, device_clock(images.device) - encoded))
        if self.store is not None:
            self.store.forget()
        return predictions

    def on_test_epoch_end(self) -> None:
        for method in self.by_label.values():
            method.pending.finish()

    def _encode(
        self, images: Tensor, samples: Sequence[SampleInfo]
    ) -> tuple[dict[ForwardSpec, Features], dict[ForwardSpec, float]]:
        """By forward pass: the features of all that share it, and how long it took."""
        features, seconds = {}, {}
        for forward, encoder in self.encoders.items():
            before = self._clock(images.device)
            features[forward] = encoder(images, samples)
            seconds[forward] = self._clock(images.device) - before
        return features, seconds

    def _extra(
        self, method: ZeroShotMethod, extras: dict[Hashable, Extra], images: Tensor, samples: Sequence[SampleInfo]
    ) -> Extra:
        """What the method needs beside the pass; from `extras` where a method before it had the same key."""
        own = method.extra_key()
        key = None if own is None else (type(method), own)
        if key in extras:
            return extras[key]
        started = device_clock(images.device)
        features = method.extra_features(images, samples)
        extra = Extra(features, device_clock(images.device) - started)
        if key is not None:
            extras[key] = extra
        return extra

    def _account(self, label: str, samples: Sequence[SampleInfo], cost: Cost) -> None:
        """A batch of several categories costs each of them its share."""
        for category, rows in by_category(samples).items():
            total = self.costs.setdefault(category, {}).setdefault(label, Cost())
            total.encode += cost.encode * len(rows) / len(samples)
            total.score += cost.score * len(rows) / len(samples)

    def _keep(self, label: str, features: Features, samples: Sequence[SampleInfo]) -> None:
        first, host = label == self.transductive[0], self.by_label[label].host_features
        for category, rows in by_category(samples).items():
            if self.due is None or category.name in self.due[label]:
                kept = self._kept.setdefault(category, {}).setdefault(label, KeptSet(self.room, bounded=bool(host)))
                part = features.select(rows)
                kept.add(part if host is None else part.on_host(host))
            if first:
                self._samples.setdefault(category, []).extend(samples[row] for row in rows)

    def finish(self, category: Category) -> dict[str, Prediction]:
        """Predictions of the transductive methods that are due, for all images of a category, in the order they came.

        Their features are given up.
        """
        samples, predictions = self._samples.pop(category, []), {}
        for label, kept in self._kept.pop(category, {}).items():
            features, method = kept.whole(), self.by_label[label]
            device = method.backbone.device  # where features may lie in `extra` alone, at any depth
            started = device_clock(device)
            with torch.no_grad():
                predictions[label] = predict_set(method, features, samples)
            self.costs[category][label].score += device_clock(device) - started
        return predictions


def shares(method: ZeroShotMethod) -> bool:
    """Whether it takes its features from a pass that other methods may share."""
    return not encodes_alone(type(method))


def by_category(samples: Iterable[SampleInfo]) -> dict[Category, list[int]]:
    """Category -> places in the batch."""
    places: dict[Category, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(sample.category, []).append(place)
    return places


def only(features: Features, spec: EncoderSpec) -> Features:
    """The features without what a spec does not ask for."""
    return replace(
        features,
        rows={tap: rows for tap, rows in features.rows.items() if tap in spec.taps},
        vectors={name: vector for name, vector in features.vectors.items() if name in spec.pooled},
    )
