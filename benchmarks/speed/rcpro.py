"""CPU time of RCPRO and AUPIMO against the plain way of computing them: `python benchmarks/speed/rcpro.py --help`.

RCPRO at 200 thresholds: ours (one sort and one union-find per image) against labelling every image at every threshold
with scipy. AUPIMO: ours against anomalib's, where that is installed. Both sides must give the same number, or nothing
is printed. Ours stops where every region is covered, as RCPRO does not depend on thresholds below; the worst case
follows, and what finding the events of one image costs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from _suite import Benchmark, Claim, Found, Spent, alternate, main, median, ratio, seconds
from numpy.typing import NDArray
from scipy import ndimage

from zsad_bench.errors import UsageError, ZsadError
from zsad_bench.metrics.functional.aupimo import aupimo
from zsad_bench.metrics.functional.rcpro import even_grid, image_events, rcpro

QUICK = (4, 64)  # images and size
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


def check_values(what: str, ours: float, plain: float, tolerance: float) -> None:
    """Raises ZsadError where the two sides differ."""
    if not abs(ours - plain) <= tolerance:
        raise ZsadError(f"{what}: ours {ours!r}, plain {plain!r}; their times cannot be compared")


def measure(options: argparse.Namespace) -> Found:
    n_images, size = QUICK if options.quick else (options.images, options.size)
    if n_images < 2 or size < 32:
        raise UsageError(f"found --images {n_images} --size {size}; expected --images 2 or more, --size 32 or more")
    maps, masks = draw_category(n_images, size)
    last = masks.copy()
    last.flat[maps.argmin()] = True  # the worst case: the last pixel to enter is a region of its own
    thresholds = even_grid(maps, options.thresholds).ascending
    pairs: dict[str, tuple[Callable[[], float], Callable[[], float], float]] = {
        f"RCPRO at {options.thresholds} thresholds": (
            lambda: rcpro(maps, masks, exact=False, bins=options.thresholds),
            lambda: relabelled_rcpro(maps, masks, thresholds),
            1e-9,
        ),
        "the same, a region at the lowest score": (
            lambda: rcpro(maps, last, exact=False, bins=options.thresholds),
            lambda: relabelled_rcpro(maps, last, thresholds),
            1e-9,
        ),
    }
    peer = peer_aupimo(maps, masks)
    if not isinstance(peer, str):
        pairs["AUPIMO, against anomalib at 300,000 thresholds"] = (lambda: aupimo(maps, masks)[0], peer, 5e-3)
    lines: list[Sequence[str]] = []
    claims, raw = [], {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "aupimo: .* normal pixels are too few")  # of a miniature
        for name, (ours, plain, tolerance) in pairs.items():
            check_values(name, ours(), plain(), tolerance)
            spent = alternate({"ours": ours, "plain": plain}, options.repeats, warm_up=False)
            raw[name] = spent
            times = ratio(spent["plain"], spent["ours"])
            lines.append([name, *(_each(spent[way], n_images) for way in ("ours", "plain")), str(times)])
            claims.append(Claim(f"{name}: the usual way over ours", times))
    normal = [i for i in range(n_images) if not masks[i].any()]
    anomalous = [i for i in range(n_images) if masks[i].any()]
    alone: dict[str, tuple[Callable[[], object], int]] = {
        "RCPRO at 4,096 thresholds": (lambda: rcpro(maps, masks, exact=False), n_images),
        "RCPRO at every distinct score": (lambda: rcpro(maps, masks), n_images),
        "its events, of a normal image": (lambda: [image_events(maps[i], masks[i]) for i in normal], len(normal)),
        "its events, of an anomalous image": (
            lambda: [image_events(maps[i], masks[i]) for i in anomalous],
            len(anomalous),
        ),
    }
    spent = alternate({name: work for name, (work, _) in alone.items()}, options.repeats)
    raw["alone"] = spent
    lines += [[name, _each(spent[name], count), "–", "–"] for name, (_, count) in alone.items()]
    left_out = f" AUPIMO is not compared: {peer}." if isinstance(peer, str) else ""
    text = (
        f"{n_images} images of {size}x{size}, every second one anomalous. The usual way labels every image at every "
        "threshold with scipy; both sides give the same number. Ours stops where every region is covered, as RCPRO "
        "does not depend on thresholds below; a region at the lowest score is the worst case. Events are what a test "
        "run computes of each image as it comes: all that RCPRO at every distinct score of the category needs."
    )
    head = ("what", "ours, CPU ms per image", "the usual way", "usual way over ours")
    return Found(head, lines, claims, text + left_out, raw)


def _each(spent: Sequence[Spent], n_images: int) -> str:
    return seconds(1000 * median(spent).cpu / n_images)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--size", type=int, default=518, help="pixels per side")
    parser.add_argument("--thresholds", type=int, default=200)


BENCHMARK = Benchmark("RCPRO and AUPIMO", measure, add_options, on_gpu=False)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
