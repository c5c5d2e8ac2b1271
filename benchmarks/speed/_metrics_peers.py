"""What `metrics.py` measures: a generated category, and every implementation of the pixel metrics as one function.

Ours, plainly written references, and other packages; those import their package when called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BATCH = 8
SOME, FEW = 24, 10  # images for what would take minutes with all of them; with fewer than SOME, AUPIMO has no budget
STEPS = 200
STRUCTURE = np.ones((3, 3), int)  # 8-connected


class Category(NamedTuple):
    """maps: (B,H,W) float32. masks: (B,H,W) bool; every second image is anomalous."""

    maps: NDArray
    masks: NDArray

    def first(self, n: int) -> Category:
        return Category(self.maps[:n], self.masks[:n])


class Peer(NamedTuple):
    """One implementation: what it computes, what runs it, on how many images, what it needs, which one is its 1."""

    name: str
    computes: str
    run: Callable[[Category], dict[str, float]]
    images: int | None = None
    package: str | None = None
    against: str = "ours, exact, 24 images"


def generated(images: int, size: int) -> Category:
    """Maps as a CLIP method gives: smooth noise of a patch grid and blurred responses, squashed into (0, 1)."""
    rng = np.random.default_rng(0)
    maps, masks = np.empty((images, size, size), np.float32), np.zeros((images, size, size), bool)
    grid = max(2, size // 14)
    for i in range(images):
        for _ in range(rng.integers(1, 4) if i % 2 else 0):
            height, width = rng.integers(max(2, size // 64), max(4, size // 9), 2)
            top, left = rng.integers(0, size - height), rng.integers(0, size - width)
            masks[i, top : top + height, left : left + width] = True
        noise = ndimage.zoom(rng.standard_normal((grid, grid)), size / grid, order=1)
        response = ndimage.gaussian_filter(masks[i].astype(np.float32), size / 86)
        logits = ndimage.gaussian_filter(noise + 3 * response, size / 130) * 2 - 4
        maps[i] = 1 / (1 + np.exp(-logits))
    return Category(maps, masks)


# --- ours -------------------------------------------------------------------------------------------------------------


def ours(mode: str) -> Callable[[Category], dict[str, float]]:
    def run(category: Category) -> dict[str, float]:
        import torch

        from zsad_bench.metrics.pixel_state import PixelMetrics

        metric = PixelMetrics(mode=mode, local=False)  # RCPRO and AUPIMO have lines of their own
        for start in range(0, len(category.maps), BATCH):
            at = slice(start, start + BATCH)
            metric.update(torch.from_numpy(category.maps[at]), torch.from_numpy(category.masks[at]))
        values, bounds, _ = metric.kept_result()
        found = {key.removeprefix("pixel_"): value.value for key, value in values.items() if value.reason is None}
        return found | ({"aupro bound": bounds["pixel_aupro"]} if bounds else {})

    return run


def our_ten(category: Category) -> dict[str, float]:
    """All ten metrics as a run computes them, without intervals; an image's score is the highest of its map."""
    import torch

    from zsad_bench.metrics.category import CategoryMetrics

    state = CategoryMetrics("both", intervals=False)
    for start in range(0, len(category.maps), BATCH):
        maps, masks = (part[start : start + BATCH] for part in category)
        scores, labels = torch.tensor([each.max() for each in maps]), torch.tensor([each.any() for each in masks])
        state.update(scores, labels, torch.from_numpy(maps), torch.from_numpy(masks))
    return {key: value.value for key, value in state.compute().items()}


def argsorts(category: Category) -> dict[str, float]:
    """A yardstick: one stable argsort of the pixels of each image."""
    for map_HW in category.maps:
        np.argsort(map_HW.ravel(), kind="stable")
    return {}


def our_rcpro(category: Category) -> dict[str, float]:
    from zsad_bench.metrics.functional.rcpro import rcpro

    return {"rcpro": rcpro(*category, exact=False, bins=STEPS)}


def our_aupimo(category: Category) -> dict[str, float]:
    from zsad_bench.metrics.functional.aupimo import aupimo

    return {"aupimo": aupimo(*category)[0]}


# --- slow references, written plainly ---------------------------------------------------------------------------------


def two_hundred_steps(category: Category) -> dict[str, float]:
    """AUPRO as the routine of the papers goes about it: at each of 200 thresholds, every mask is labelled again."""
    maps, masks = category
    low, high = maps.min(), maps.max()
    normal = ~masks
    n_normal = normal.sum()
    fpr, pro = [], []
    for threshold in np.arange(low, high, (high - low) / STEPS):
        above = maps > threshold
        overlaps = []
        for hit, mask in zip(above, masks, strict=True):
            labels, n_regions = ndimage.label(mask, STRUCTURE)
            boxes = ndimage.find_objects(labels) if n_regions else []
            for region, box in enumerate(boxes, 1):
                overlaps.append(hit[box][labels[box] == region].mean())
        pro.append(np.mean(overlaps))
        fpr.append((above & normal).sum() / n_normal)
    kept = np.array(fpr) < 0.3
    x, y = np.array(fpr)[kept][::-1], np.array(pro)[kept][::-1]
    return {"aupro_legacy200": float(np.trapezoid(y, (x - x.min()) / (x.max() - x.min())))}


def relabelled_rcpro(category: Category) -> dict[str, float]:
    """RCPRO at 200 equal steps: at each, every image's prediction is labelled anew."""
    maps, masks = category
    truths = [ndimage.label(mask, STRUCTURE)[0] for mask in masks]
    areas = [np.bincount(truth.ravel()) for truth in truths]
    xs, qs = [], []
    for threshold in np.linspace(float(maps.min()), float(maps.max()), STEPS)[::-1]:
        good, n_parts, overlap, n_regions = 0.0, 0, 0.0, 0
        for map_HW, truth, area in zip(maps, truths, areas, strict=True):
            parts, n = ndimage.label(map_HW >= threshold, STRUCTURE)
            table = np.bincount((parts * area.size + truth).ravel(), minlength=(n + 1) * area.size)
            table = table.reshape(n + 1, area.size)
            n_parts, n_regions = n_parts + n, n_regions + area.size - 1
            overlap += (table[1:, 1:].sum(0) / area[1:]).sum()
            for part in table[1:] if area.size > 1 else ():
                best = min(range(1, area.size), key=lambda r: (-part[r], area[r]))
                excess = (part.sum() - part[best]) / area[best]
                if part[best] and part[best] >= 0.05 * area[best]:
                    good += 2 / excess if excess > 2 else 1
        if n_parts:
            xs.append(overlap / n_regions)
            qs.append(good / n_parts)
    return {"rcpro": float(np.trapezoid([qs[0], *qs], [0.0, *xs]))}


# --- other packages ---------------------------------------------------------------------------------------------------


def scikit_learn(category: Category) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    scores, labels = category.maps.ravel(), category.masks.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return {"auroc": roc_auc_score(labels, scores), "ap": average_precision_score(labels, scores), "f1max": f1.max()}


def torchmetrics_exact(category: Category) -> dict[str, float]:
    import torch
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

    found = {}
    for name, metric in (("auroc", BinaryAUROC()), ("ap", BinaryAveragePrecision())):
        for map_HW, mask in zip(*map(torch.from_numpy, category), strict=True):
            metric.update(map_HW, mask.long())
        found[name] = float(metric.compute())
    return found


def pyaupro_exact(category: Category) -> dict[str, float]:
    import torch
    from pyaupro import PerRegionOverlap, auc_compute

    metric = PerRegionOverlap(thresholds=None)
    metric.update(torch.from_numpy(category.maps), torch.from_numpy(category.masks).long())
    return {"aupro": float(auc_compute(*metric.compute(), limit=0.3))}


def adeval_strips(category: Category) -> dict[str, float]:
    """adeval 1.1 asks numpy for `trapz`, which numpy 2.4 calls `trapezoid` only: the old name is lent to it."""
    from adeval import EvalAccumulator

    lent = not hasattr(np, "trapz")
    if lent:
        np.trapz = np.trapezoid
    try:
        accumulator = EvalAccumulator(0.0, 1.0, float(category.maps.min()), float(category.maps.max()))
        for map_HW, mask in zip(*category, strict=True):
            accumulator.add_anomap(map_HW, mask.astype(np.uint8))
            accumulator.add_image(float(map_HW.max()), int(mask.any()))
        found = accumulator.summary()
    finally:
        if lent:
            del np.trapz
    return {"auroc": found["p_auroc"], "ap": found["p_aupr"], "aupro": found["p_aupro"]}


def anomalib_aupro(category: Category) -> dict[str, float]:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    metric = _AUPRO()
    metric.update(torch.from_numpy(category.maps), torch.from_numpy(category.masks).long())
    return {"aupro": float(metric.compute())}


def anomalib_aupimo(category: Category) -> dict[str, float]:
    import torch
    from anomalib.metrics.pimo.pimo import _AUPIMO

    metric = _AUPIMO(num_thresholds=300_000, return_average=True)
    metric.update(torch.from_numpy(category.maps), torch.from_numpy(category.masks).long())
    return {"aupimo": float(metric.compute())}


PEERS = (
    Peer("one stable argsort per image", "none", argsorts, against="one stable argsort per image"),
    Peer("ours, all ten", "the ten metrics", our_ten, against="one stable argsort per image"),
    Peer("ours, exact", "AUROC, AP, F1-max, AUPRO, legacy200", ours("exact"), against="one stable argsort per image"),
    Peer("ours, binned", "AUROC, AP, F1-max, AUPRO, bounds", ours("binned"), against="ours, binned"),
    Peer("adeval, 1000 strips", "AUROC, AP, AUPRO", adeval_strips, package="adeval", against="ours, binned"),
    Peer("ours, exact, 24 images", "AUROC, AP, F1-max, AUPRO, legacy200", ours("exact"), SOME),
    Peer("200-step routine, 24 images", "AUPRO (legacy200)", two_hundred_steps, SOME),
    Peer("scikit-learn, 24 images", "AUROC, AP, PR curve", scikit_learn, SOME, "sklearn"),
    Peer("torchmetrics, exact, 24 images", "AUROC, AP", torchmetrics_exact, SOME, "torchmetrics"),
    Peer("pyaupro, exact, 24 images", "AUPRO", pyaupro_exact, SOME, "pyaupro"),
    Peer("ours, AUPIMO, 24 images", "AUPIMO", our_aupimo, SOME, against="ours, AUPIMO, 24 images"),
    Peer("anomalib, AUPIMO, 24 images", "AUPIMO, 300,000 thresholds", anomalib_aupimo, SOME, "anomalib",
         "ours, AUPIMO, 24 images"),
    Peer("ours, exact, 10 images", "AUROC, AP, F1-max, AUPRO, legacy200", ours("exact"), FEW,
         against="ours, exact, 10 images"),
    Peer("anomalib, exact, 10 images", "AUPRO", anomalib_aupro, FEW, "anomalib", "ours, exact, 10 images"),
    Peer("ours, RCPRO, 10 images", "RCPRO at 200 thresholds", our_rcpro, FEW, against="ours, RCPRO, 10 images"),
    Peer("relabelling, 10 images", "RCPRO at 200 thresholds", relabelled_rcpro, FEW,
         against="ours, RCPRO, 10 images"),
)  # fmt: skip
# Two that compute the same, the values of both, and how far apart they may be.
SAME = (
    ("ours, exact, 24 images", "scikit-learn, 24 images", ("auroc", "ap", "f1max"), 1e-9),
    ("ours, exact, 24 images", "200-step routine, 24 images", ("aupro_legacy200",), 1e-6),
    ("ours, RCPRO, 10 images", "relabelling, 10 images", ("rcpro",), 1e-9),
)
