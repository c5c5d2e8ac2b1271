"""From features to predictions, as every run takes them: image by image where a method adapts, and held to its word.

What is cheap to look at is looked at in each batch: shapes, types, finite numbers, and that scoring left the method as
it was. That no image's score depends on others of its batch is for the contract tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from zsad_bench.errors import PromiseError, UsageError
from zsad_bench.methods._pending import Pending
from zsad_bench.types import Features, Prediction, SampleInfo


class Scorer(Protocol):
    """The part of `ZeroShotMethod` that scores, which is all that this module needs."""

    @property
    def adapts_at_test(self) -> bool: ...

    title: ClassVar[str]

    @property
    def fewest_images(self) -> int: ...

    @property
    def pending(self) -> Pending: ...

    @classmethod
    def registry_name(cls) -> str: ...

    def score(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction: ...

    def score_set(self, features: Features, samples: Sequence[SampleInfo]) -> Prediction: ...

    def adaptation(self) -> AbstractContextManager[None]: ...

    def is_own(self, name: str) -> bool: ...

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]: ...

    def named_buffers(self) -> Iterable[tuple[str, Tensor]]: ...


def predict(method: Scorer, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
    """The prediction of a method that is not transductive for a batch, detached.

    Raises:
        PromiseError: what came back, or what became of the method, is not what the interface promises. That numbers of
            a GPU are finite is looked at with the next batch, and by `method.pending.finish()`.
    """
    before, size = _versions(method), features.image_size
    if method.adapts_at_test:
        parts = []
        for row, sample in enumerate(samples):
            with method.adaptation():  # `select` copies: what was made in inference mode can take no part in a gradient
                parts.append(_detached(method, method.score(features.select([row]), [sample])))
                _check(method, parts[-1], 1, size)
        prediction = _joined(parts)
    else:
        prediction = _detached(method, method.score(features, samples))
    _check_untouched(method, before)
    _check(method, prediction, len(samples), size)
    return prediction


def predict_set(method: Scorer, features: Features, samples: Sequence[SampleInfo]) -> Prediction:
    """The prediction of a transductive method for all images of one category, detached.

    Raises:
        PromiseError: as of `predict`. UsageError: fewer images than the method needs.
    """
    if samples:
        check_count(method, f"{samples[0].category.dataset}/{samples[0].category.name}", len(samples))
    before = _versions(method)
    prediction = _detached(method, method.score_set(features, samples))
    _check_untouched(method, before)
    _check(method, prediction, len(samples), features.image_size)
    return prediction


def check_count(method: Scorer, category: str, count: int) -> None:
    """Nothing, when a transductive method can score so many images of a category together.

    Raises:
        UsageError: they are too few; says how many it needs.
    """
    if count < method.fewest_images:
        found = f"{count} image{'s' * (count != 1)}"
        raise UsageError(
            f"{method.title} scores the images of a category by one another and needs at least {method.fewest_images}; "
            f"{category} has {found}; leave it out, or take another method"
        )


def _detached(method: Scorer, made: object) -> Prediction:
    if not isinstance(made, Prediction):  # only a plug-in can come to this
        raise _broken(method, f"a Prediction for each batch; found {type(made).__name__}")
    return Prediction(made.score.detach(), None if made.map is None else made.map.detach())


def _joined(parts: Sequence[Prediction]) -> Prediction:
    maps = [part.map for part in parts if part.map is not None]
    return Prediction(torch.cat([part.score for part in parts]), torch.cat(maps) if maps else None)


def _check(method: Scorer, prediction: Prediction, count: int, size: tuple[int, int]) -> None:
    named = (("score", prediction.score, (count,)), ("map", prediction.map, (count, *size)))
    finite = {}
    for name, tensor, shape in named:
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            meaning = "one number per image" if name == "score" else "one number per pixel of the images as they came"
            raise _broken(method, f"{name} of shape {shape}, {meaning}; found {tuple(tensor.shape)}")
        if tensor.dtype != torch.float32:
            raise _broken(method, f"{name} in float32; found {str(tensor.dtype).removeprefix('torch.')}")
        finite[name] = tensor.isfinite().all()
    names = list(finite)
    method.pending.put(torch.stack(list(finite.values())), lambda found: _check_finite(method, names, found))


def _check_finite(method: Scorer, names: Sequence[str], found: Sequence[float]) -> None:
    for name, is_finite in zip(names, found, strict=True):
        if not is_finite:
            raise _broken(method, f"a finite {name}; found nan or an infinity")


def _versions(method: Scorer) -> dict[str, tuple[int, int]]:
    """Which tensor each parameter and buffer is, and how often it was written to.

    What adaptation puts back is left out.
    """
    named = {**dict(method.named_parameters()), **dict(method.named_buffers())}
    own = method.is_own if method.adapts_at_test else lambda name: False
    return {name: _version(tensor) for name, tensor in named.items() if not own(name)}


def _version(tensor: Tensor) -> tuple[int, int]:
    return id(tensor), 0 if tensor.is_inference() else tensor._version


def _check_untouched(method: Scorer, before: dict[str, tuple[int, int]]) -> None:
    after = _versions(method)
    for name, version in before.items():
        if after.get(name) != version:
            hint = "" if method.adapts_at_test else "; one that adapts to each image says adapts_at_test = True"
            raise _broken(method, f"no image knows of another, but `{name}` was changed while it scored{hint}")


def _broken(method: Scorer, promise: str) -> PromiseError:
    return PromiseError(f"method {method.registry_name()} breaks a promise of the interface: {promise}")
