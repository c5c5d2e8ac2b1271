# pytest tests/metrics/test_ranks.py
"""Three gloo processes, one of them without an image, give what one process gives."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from zsad_bench.metrics.category import CategoryMetrics, CategoryResult

RANKS = 3
SHARES = ((0, 3, 4), (1, 2), ())  # images of each rank


def category() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(5, 16, 12, dtype=torch.bool)
    masks[1, 3:7, 2:5] = masks[1, 12, 9] = masks[4, 8:, 6:] = True
    maps = torch.rand(masks.shape, generator=generator) * 9 + masks
    labels = masks.any(2).any(1).long()
    labels[3] = 1  # its mask has vanished
    return maps.amax((1, 2)), labels, maps, masks


def result_of(images: list[int]) -> CategoryResult:
    metrics = CategoryMetrics("both")
    for image in images:
        metrics.update(*(part[image : image + 1] for part in category()))
    return metrics.result()


def work(rank: int, rendezvous: str, answers: multiprocessing.Queue) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # no name of this machine needs to resolve
    torch.set_num_threads(1)  # a forked process must not start OpenMP threads again
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS)
    answers.put((rank, result_of(SHARES[rank])))
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks, so that torch is not imported once more for each rank")
def test_ranks_agree_with_one_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    ranks = [context.Process(target=work, args=(rank, rendezvous, answers), daemon=True) for rank in range(RANKS)]
    try:
        for process in ranks:
            process.start()
        results = dict(answers.get(timeout=300) for _ in ranks)
    finally:
        for process in ranks:
            process.join(timeout=10)
            process.kill()
    alone = result_of(range(5))
    order = [image for share in SHARES for image in share]
    for rank, result in results.items():
        assert (result.n_images, result.n_anomalous, result.n_regions, result.n_vanished) == (5, 3, 3, 1), (
            f"rank {rank} counts differently"
        )
        assert result.scores.tolist() == alone.scores[order].tolist(), f"rank {rank} has other image scores"
        for key, (value, _) in alone.values.items():
            found = result.values[key].value
            assert found == pytest.approx(value, abs=1e-12, nan_ok=True), f"{key} on rank {rank} of {RANKS}"
