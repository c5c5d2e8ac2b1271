# pytest tests/metrics/test_sweep_pool.py
"""Sweeps on threads change nothing but the time: events and values, their order, errors, and what is held of maps."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from zsad_bench.metrics import sweep_pool
from zsad_bench.metrics.category import CategoryMetrics
from zsad_bench.metrics.functional.component_events import RcproEvents
from zsad_bench.metrics.pixel_state import PixelMetrics
from zsad_bench.metrics.sweep_pool import SweepPool, spare_threads

pytest.importorskip("numba", reason="without numba RCPRO is not computed from the state")
EVENTS = ("event_scores", "event_quality", "event_judged")
WAIT = 30  # seconds until a test gives up


@pytest.fixture
def pool() -> Iterator[SweepPool]:
    pool = SweepPool(3)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def category() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(9, 20, 24, dtype=torch.bool)
    masks[0, 2:6, 3:9] = masks[2, 10:, 10:14] = masks[5, 7, :] = True
    return torch.rand(masks.shape, generator=generator) + masks * 0.3, masks


def fed(category: tuple[Tensor, Tensor], size: int, pool: SweepPool | None, settle: bool = False) -> PixelMetrics:
    metric = PixelMetrics(pool=pool)
    for maps, masks in zip(*(part.split(size) for part in category), strict=True):
        metric.update(maps, masks)
        if settle:
            metric.settle()
    return metric


class Slow:
    """Sweeps that wait until they may go on; how many maps are held at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.lock = threading.Event(), threading.Lock()
        self.seen: list[np.ndarray] = []
        monkeypatch.setattr(sweep_pool, "image_events", self.events)

    def events(self, map_HW: np.ndarray, *_: object, **__: object) -> RcproEvents:
        with self.lock:
            self.seen.append(map_HW)
        assert self.go.wait(WAIT)
        if map_HW[0, 0] < 0:
            raise ArithmeticError(f"a sweep failed: {map_HW[0, 0]:g}")
        return RcproEvents(map_HW[0, :1].copy(), np.ones(1), np.ones(1, np.int32))


@pytest.mark.parametrize("settle", [False, True])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_events_and_values_are_those_without_threads(category, pool, size, settle):
    plain, ours = fed(category, size, None), fed(category, size, pool, settle)
    values = ours.compute()
    for name in EVENTS:
        assert np.array_equal(ours.vector(name), plain.vector(name)), f"{name}: other events, or another order"
    assert str(values) == str(plain.compute())


def test_order_is_that_of_images_whichever_sweep_ends_first(pool, monkeypatch):
    slow = Slow(monkeypatch)
    first = threading.Event()

    def events(map_HW, *_, **__):
        if map_HW[0, 0] == 0:
            assert first.wait(WAIT), "the first sweep was to end last"
        elif map_HW[0, 0] == 2:
            first.set()
        return RcproEvents(map_HW[0, :1].copy(), np.ones(1), np.ones(1, np.int32))

    monkeypatch.setattr(sweep_pool, "image_events", events)
    slow.go.set()
    metric = PixelMetrics(pool=pool)
    metric.update(torch.arange(3.0)[:, None, None].expand(3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.bool))
    metric.settle()
    assert metric.vector("event_scores").tolist() == [0, 1, 2]


def test_update_returns_before_the_sweep_and_its_maps_are_copies(pool, monkeypatch):
    slow = Slow(monkeypatch)
    maps, metric = torch.full((1, 4, 4), 3.0), PixelMetrics(pool=pool)
    metric.update(maps, torch.zeros(1, 4, 4, dtype=torch.bool))
    maps.fill_(7.0)
    slow.go.set()
    metric.settle()
    assert metric.vector("event_scores").tolist() == [3.0], "the sweep saw what its caller did to the map later"


def test_no_more_maps_are_held_than_was_said(monkeypatch):
    slow, pool = Slow(monkeypatch), SweepPool(1, maps=2)
    metric, returned = PixelMetrics(pool=pool), []

    def feed() -> None:
        for i in range(3):
            metric.update(torch.full((1, 4, 4), float(i)), torch.zeros(1, 4, 4, dtype=torch.bool))
            returned.append(i)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        until = time.monotonic() + WAIT
        while (len(returned) < 2 or not slow.seen) and time.monotonic() < until:
            time.sleep(0.01)
        feeder.join(0.2)
        assert returned == [0, 1], "there is room for two maps, and the third has to wait"
        assert len(slow.seen) == 1, "one thread sweeps one map"
    finally:
        slow.go.set()
        feeder.join(WAIT)
        metric.settle()
        pool.close()
    assert metric.vector("event_scores").tolist() == [0, 1, 2]


def test_a_sweep_that_fails_is_an_error_whenever_values_are_asked_for(pool, monkeypatch):
    slow = Slow(monkeypatch)
    slow.go.set()
    state = CategoryMetrics("both", pool=pool)
    maps = torch.tensor([1.0, -5.0, 2.0])[:, None, None].expand(3, 4, 4)
    state.update(torch.rand(3), torch.zeros(3), maps, torch.zeros(3, 4, 4, dtype=torch.bool))
    for _ in range(2):
        with pytest.raises(ArithmeticError, match="a sweep failed: -5"):
            state.result()
    with pytest.raises(ArithmeticError, match="a sweep failed: -5"):
        state.settle()
    with pytest.raises(ArithmeticError, match="a sweep failed: -5"):
        state.update(torch.rand(3), torch.zeros(3), maps, torch.zeros(3, 4, 4, dtype=torch.bool))
    state.reset()
    state.settle()


def test_copies_and_merged_states_have_all_events(category, pool):
    whole = fed(category, 9, None)
    for copied in (copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))):
        twin = copied(fed(category, 4, pool))
        assert np.array_equal(twin.vector("event_scores"), whole.vector("event_scores"))
        twin.update(*(part[:1] for part in category))  # without the threads, which stayed where they were
    left, right = (fed(tuple(part[at] for part in category), 2, pool) for at in (slice(4), slice(4, 9)))
    left.merge_state(right)
    assert sorted(left.vector("event_scores")) == sorted(whole.vector("event_scores"))
    metric = PixelMetrics(pool=pool)
    for maps, masks in zip(*(part.split(3) for part in category), strict=True):
        metric(maps, masks)  # the values of each batch, and the state of all
    metric.settle()
    assert sorted(metric.vector("event_scores")) == sorted(whole.vector("event_scores"))


def test_binned_metrics_forget_sweeps(category, pool, monkeypatch):
    slow = Slow(monkeypatch)
    metric = PixelMetrics(pool=pool, budget=3000)
    monkeypatch.setattr("zsad_bench.metrics.pixel_state.FOLD", 1)
    for maps, masks in zip(*(part.split(3) for part in category), strict=True):
        slow.go.set()
        metric.update(maps, masks)
    assert metric.is_binned()
    metric.settle()
    assert not metric.vector("event_scores").size


@pytest.mark.parametrize(
    ("cores", "threads", "beside", "expected"),
    [(1, 8, True, 0), (8, 1, True, 0), (1, 1, False, 0), (2, 2, True, 1), (2, 2, False, 2), (16, 16, True, 4),
     (16, 16, False, 4), (16, 3, True, 2)],
)  # fmt: skip
def test_threads_that_are_spare(cores, threads, beside, expected, monkeypatch):
    monkeypatch.setattr(sweep_pool.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert spare_threads(beside) == expected


def test_a_pool_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="found threads=0, maps=0"):
        SweepPool(0)
