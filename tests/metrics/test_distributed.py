# pytest tests/metrics/test_distributed.py
"""Two and three gloo processes with shares that do not divide: integer states bitwise those of one, floats to 1e-12."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from zsad_bench.metrics.category import CategoryMetrics

IMAGES, SIZE = 7, 16 * 12
OBJECTS = (3, 3, 8, 8, 5, 5, 3)  # of which each image is a view; their views are on different ranks
SHARES = {2: ((0, 2, 4, 6), (1, 3, 5)), 3: ((0, 3, 6), (), (1, 2, 4, 5))}
# The last one: no rank alone has more pixels than the budget, all of them together have.
OPTIONS = {
    "exact": {"mode": "exact", "intervals": True, "grouped": True},
    "binned": {"mode": "binned", "bins": 2**12},
    "beyond the budget together": {"budget": 5 * SIZE, "bins": 2**12},
}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks, so that torch is not imported once more for each rank"),
    pytest.mark.filterwarnings("ignore:binned pixel_aupro may be off"),  # few bins for such ranges, on purpose
]


def category() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(IMAGES, 16, 12, dtype=torch.bool)
    masks[1, 3:7, 2:5] = masks[1, 12, 9] = masks[4, 8:, 6:] = masks[6, 0] = True
    scale = torch.tensor([1.0, 40, -3, 1e-3, 9, 1, 2])[:, None, None]  # every rank sees another range
    maps = torch.randn(masks.shape, generator=generator) * scale + masks
    labels = masks.any(2).any(1).long()
    labels[5] = 1  # its mask has vanished
    return maps.amax((1, 2)), labels, maps, masks


def outcome(images: list[int], options: dict[str, Any]) -> dict[str, Any]:
    """Everything that a rank knows after a sync, and that its own state is what it was before."""
    options = dict(options)
    pixel_intervals, grouped = options.pop("intervals", False), options.pop("grouped", False)
    metrics = CategoryMetrics("both", grouped=grouped, **options)
    if pixel_intervals:
        metrics.pixel = type(metrics.pixel)(intervals=True, **options)
    for image in images:
        groups = [OBJECTS[image]] if grouped else None
        metrics.update(*(part[image : image + 1] for part in category()), groups=groups)
    own = int(metrics.pixel.n_pixels)
    result = metrics.result()
    with metrics.pixel.sync_context():
        pixel = metrics.pixel
        state = {"n_regions": int(pixel.n_regions), "n_pixels": int(pixel.n_pixels), "binned": pixel.is_binned()}
        if pixel.is_binned():
            histogram = pixel._histogram()
            state |= {name: getattr(histogram, name) for name in ("lowest", "highest", "shift", "normal", "anomalous")}
        else:
            state |= {name: np.sort(pixel.vector(name)) for name in ("negatives", "positives", "areas")}
    assert int(metrics.pixel.n_pixels) == own, "a rank kept the pixels of the others"
    return {"result": result, "state": state}


def work(rank: int, world: int, rendezvous: str, answers: multiprocessing.Queue) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # no name of this machine needs to resolve
    torch.set_num_threads(1)  # a forked process must not start OpenMP threads again
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    answers.put((rank, {name: outcome(SHARES[world][rank], options) for name, options in OPTIONS.items()}))
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("world", SHARES)
def test_ranks_agree_with_one_process(world: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    ranks = [context.Process(target=work, args=(r, world, rendezvous, answers), daemon=True) for r in range(world)]
    try:
        for process in ranks:
            process.start()
        found = dict(answers.get(timeout=300) for _ in ranks)
    finally:
        for process in ranks:
            process.join(timeout=10)
            process.kill()
    assert len(found) == world
    for name, options in OPTIONS.items():
        alone = outcome(list(range(IMAGES)), options)
        assert alone["state"]["binned"] == (name != "exact"), f"{name}: this case tests something else"
        for rank, outcomes in found.items():
            same(outcomes[name], alone, f"{name}, rank {rank} of {world}")


def same(ours: dict[str, Any], alone: dict[str, Any], where: str) -> None:
    for name, value in alone["state"].items():
        assert np.array_equal(ours["state"][name], value), f"{where}: {name} is not bitwise that of one process"
    left, right = ours["result"], alone["result"]
    assert (left.n_images, left.n_anomalous, left.n_regions) == (right.n_images, right.n_anomalous, right.n_regions)
    assert np.array_equal(np.sort(left.scores), np.sort(right.scores)), f"{where}: other image scores"
    assert left.intervals == right.intervals, f"{where}: other intervals, though the images are the same"
    assert set(left.error_bounds) == set(right.error_bounds)
    for key, (value, reason) in right.values.items():
        assert left.values[key].reason == reason, f"{where}: {key} is undefined for another reason"
        if key.endswith("auroc"):
            assert left.values[key].value == value, f"{where}: {key} is a ratio of integers and differs"
        elif reason is None:
            assert abs(left.values[key].value - value) < 1e-12, f"{where}: {key} differs"
        if key in right.error_bounds:
            assert abs(left.error_bounds[key] - right.error_bounds[key]) < 1e-12, f"{where}: bound of {key} differs"
