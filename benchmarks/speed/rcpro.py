"""CPU time of RCPRO and AUPIMO against the plain way of computing them: `python benchmarks/speed/rcpro.py --help`.

RCPRO at 200 thresholds: ours (one sort and one union-find per image) against labelling every image at every threshold
with scipy. AUPIMO: ours against anomalib's, where that is installed. Both sides run alternately in one process, on the
same generated images, and the ratio of CPU times is taken pair by pair, so that other work on the machine matters
little; the median is printed, with its extremes. Both sides must give the same number, or nothing is printed.
Ours stops where every region is covered, as RCPRO does not depend on thresholds below; the worst case follows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from zsad_bench.metrics.functional.aupimo import aupimo
from zsad_bench.metrics.functional.rcpro import even_grid, rcpro

EIGHT = np.ones((3, 3), np.int8)
TAU, THETA = 0.05, 2.0


def draw_category(n_images: int, size: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Maps (N,H,W) float32 in [0, 1] and masks (N,H,W) bool, every second image with one to three defects.

    Maps are a patch grid's noise and the blurred defects, resized as ZSAD methods do, then smoothed with sigma 4.
    """
    rng = np.random.default_rng(seed)
    maps, masks = np.zeros((n_images, size, size), np.float32), np.zeros((n_images, size, size), bool)
    rows, columns = np.mgrid[:size, :size]
    for i in range(n_images):
        for _ in range(int(rng.integers(1, 4)) if i % 2 else 0):
            y, x = rng.uniform(0.1 * size, 0.9 * size, 2)
            high, wide = rng.uniform(0.01 * size, 0.06 * size, 2)
            masks[i] |= ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 < 1
        coarse = ndimage.zoom(rng.standard_normal((37, 37)), size / 37, order=1)
        evidence = ndimage.gaussian_filter(masks[i].astype(np.float64), 0.02 * size) * rng.uniform(0, 3)
        maps[i] = ndimage.gaussian_filter(1 / (1 + np.exp(2.5 - coarse - 2 * evidence)), 4)
    return maps, masks


def relabelled_rcpro(maps: NDArray, masks: NDArray, thresholds: NDArray) -> float:
    """RCPRO by labelling every image at every threshold: the plain way, each step in vectorised numpy."""
    regions = [ndimage.label(mask, EIGHT) for mask in masks]
    areas = [np.bincount(labels.ravel(), minlength=n + 1)[1:] for labels, n in regions]
    by_size = [np.argsort(area, kind="stable") for area in areas]  # argmax takes the first, which is to be the smallest
    n_regions = sum(n for _, n in regions)
    xs, rcs = [0.0], []
    for threshold in thresholds[::-1]:
        quality, judged, covered = 0.0, 0, 0.0
        for map_HW, mask, (labels, n), area, order in zip(maps, masks, regions, areas, by_size, strict=True):
            parts, n_parts = ndimage.label(map_HW >= threshold, EIGHT)
            judged += n_parts
            if not n or not n_parts:
                continue
            table = np.bincount(parts[mask] * (n + 1) + labels[mask], minlength=(n_parts + 1) * (n + 1))
            table = table.reshape(n_parts + 1, n + 1)[1:, 1:]
            covered += float((table.sum(axis=0) / area).sum())
            best = order[table[:, order].argmax(axis=1)]
            overlap, size = table.max(axis=1), area[best]
            beyond = np.bincount(parts.ravel(), minlength=n_parts + 1)[1:] - overlap
            fit = np.minimum(1.0, THETA * size / np.maximum(beyond, 1))
            quality += float(fit[(overlap > 0) & (overlap >= TAU * size)].sum())
        if judged:
            xs.append(covered / n_regions)
            rcs.append(quality / judged)
    rcs = [rcs[0], *rcs]
    return float(np.trapezoid(rcs, xs))


def peer_aupimo(maps: NDArray, masks: NDArray) -> Callable[[], float] | str:
    """anomalib's AUPIMO on the same images, or why it cannot be had."""
    try:
        import torch
        from anomalib.metrics.pimo.functional import aupimo_scores
    except ImportError as error:
        return str(error)
    tensors = torch.from_numpy(maps), torch.from_numpy(masks)

    def run() -> float:
        found = aupimo_scores(*tensors, num_thresholds=300_000, fpr_bounds=(1e-5, 1e-4), force=True)
        return float(torch.nanmean(found[-2]))

    return run


def compare(ours: Callable[[], float], plain: Callable[[], float], repeats: int, tolerance: float) -> dict[str, Any]:
    """Ratios of CPU time, plain over ours, and ours in seconds. Raises SystemExit where the numbers differ."""
    mine, other = ours(), plain()  # also loads and compiles what is loaded and compiled once
    if not abs(mine - other) <= tolerance:
        sys.exit(f"the two sides differ: ours {mine!r}, plain {other!r}; their times cannot be compared")
    pairs = [(_cpu_seconds(ours), _cpu_seconds(plain)) for _ in range(repeats)]
    ratios = sorted(plain / mine for mine, plain in pairs)
    return {"ratios": ratios, "seconds": statistics.median(mine for mine, _ in pairs), "value": mine}


def _cpu_seconds(run: Callable[[], float]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def line(name: str, found: dict[str, Any], n_images: int) -> str:
    ratios = found["ratios"]
    return (
        f"{name}: {statistics.median(ratios):.1f}x less CPU time (median of {len(ratios)} pairs, "
        f"{ratios[0]:.1f} to {ratios[-1]:.1f}); ours {1e3 * found['seconds'] / n_images:.1f} ms per image; "
        f"value {found['value']:.6f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--thresholds", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    maps, masks = draw_category(options.images, options.size)
    print(f"{options.images} images of {options.size}x{options.size}, one of {os.cpu_count()} cores", flush=True)
    all_masks = masks.copy()
    all_masks.flat[maps.argmin()] = True  # the worst case: the last pixel to enter is a region of its own
    for some in (masks, all_masks):
        found = compare(
            lambda some=some: rcpro(maps, some, exact=False, bins=options.thresholds),
            lambda some=some: relabelled_rcpro(maps, some, even_grid(maps, options.thresholds).ascending),
            options.repeats,
            1e-9,
        )
        entered = f"{(maps >= maps[some].min()).mean():.0%} of the pixels enter"
        print(line(f"RCPRO, {options.thresholds} thresholds, {entered}, against relabelling", found, options.images))
    for name, arguments_ours in (("4096 thresholds", {"exact": False}), ("every distinct score", {})):
        seconds = statistics.median(
            _cpu_seconds(lambda extra=arguments_ours: rcpro(maps, masks, **extra)) for _ in range(options.repeats)
        )
        print(f"RCPRO, {name}: {1e3 * seconds / options.images:.1f} ms per image", flush=True)
    peer = peer_aupimo(maps, masks)
    if isinstance(peer, str):
        seconds = statistics.median(_cpu_seconds(lambda: aupimo(maps, masks)[0]) for _ in range(options.repeats))
        print(f"AUPIMO: {1e3 * seconds / options.images:.2f} ms per image; against anomalib: skipped ({peer})")
        return
    found = compare(lambda: aupimo(maps, masks)[0], peer, max(1, options.repeats // 2), 5e-3)
    print(line("AUPIMO, against anomalib at 300000 thresholds", found, options.images))


if __name__ == "__main__":
    main()
