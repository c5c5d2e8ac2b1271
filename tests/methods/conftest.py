"""Methods on the random miniature, and what they say of a batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.miniature import random_batch
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import build
from zsad_bench.types import Batch, Prediction

SIZE = 48  # 6 x 6 patches: not the native grid, so that positions are interpolated as in real runs


@pytest.fixture(scope="session")
def batch() -> Batch:
    """Five images of two categories. Shared: do not change it."""
    return random_batch(SIZE)


@pytest.fixture
def make(mini) -> Callable[..., ZeroShotMethod]:
    """make(name, seed=3, **settings): a method of its own for this test, at 48 px."""

    def made(name: str, seed: int = 3, **settings) -> ZeroShotMethod:
        return build(name, mini, {"image_size": SIZE, **settings}, seed).eval()

    return made


@pytest.fixture(scope="session")
def predict() -> Callable[[ZeroShotMethod, Batch], Prediction]:
    """predict(method, batch), as a test run does it."""

    def predicted(method: ZeroShotMethod, batch: Batch) -> Prediction:
        with torch.set_grad_enabled(method.needs_grad_at_test):
            return method.score(method.encode(batch.images, batch.samples), batch.samples)

    return predicted
