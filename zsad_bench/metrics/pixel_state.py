"""Pixel-level metrics of one category as a torchmetrics class: one state for all of them, exact or of constant size."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from zsad_bench.metrics import PIXEL_KEYS
from zsad_bench.metrics.functional.aupimo import FPR_BOUNDS, aupimo_of
from zsad_bench.metrics.functional.aupro import check_fpr_limit
from zsad_bench.metrics.functional.binned import (
    BINS,
    BinnedValues,
    Histogram,
    binned_values,
    check_bins,
    check_score_range,
    merged,
    sort_keys,
)
from zsad_bench.metrics.functional.bootstrap import image_pairs, pixel_auroc_interval
from zsad_bench.metrics.functional.checks import as_array, maps_and_masks
from zsad_bench.metrics.functional.compiled import has_numba
from zsad_bench.metrics.functional.component_events import RcproEvents
from zsad_bench.metrics.functional.component_tree import Matching
from zsad_bench.metrics.functional.pixel import FURTHER_LIMITS, further_values, pixel_values
from zsad_bench.metrics.functional.rcpro import image_events, rcpro_of_events
from zsad_bench.metrics.functional.regions import Regions, check_connectivity, find_regions
from zsad_bench.metrics.functional.sorted_pixels import SortedPixels, sort_parts, split_pixels
from zsad_bench.metrics.state import ListStateMetric
from zsad_bench.metrics.sweep_pool import SweepPool
from zsad_bench.metrics.values import Interval, MetricValue, by_key, undefined

Mode = Literal["auto", "exact", "binned"]
PIXEL_BUDGET = 2**28  # a thousand images of 518x518: 1 GiB of kept scores per method, twice that while computing
FOLD = 2**22  # pixels kept before they are counted: 16 MiB, so that copying the bins costs little beside it
LOOSE = 1e-3  # an AUPRO that may be off by more than the last printed digit is worth a warning


class PixelResult(NamedTuple):
    """values: by key. error_bounds: of the binned mode's defined values, else empty. intervals: if asked for."""

    values: dict[str, MetricValue]
    error_bounds: dict[str, float]
    intervals: dict[str, Interval]


class PixelMetrics(ListStateMetric):
    """The metrics of `PIXEL_KEYS`, of raw maps.

    RCPRO (as `functional.rcpro` defines it) is counted image by image as maps come, where numba is installed: plain
    Python would take a second per image. RCPRO and AUPIMO need every pixel: in binned mode they are undefined.

    Which images are normal is what their labels say. An anomalous image whose mask has no pixel (its defect is thinner
    than the resize keeps) is not a normal image: AUPIMO counts no false positives on it, RCPRO judges no component of
    it, and a bootstrap draws it among its like. Its pixels are normal pixels, like all that no mask marks: the pooled
    metrics count them, as the published evaluations do.

    fpr_limit: of AUPRO, in (0, 1]. connectivity: of the ground-truth regions, 8 or 4.
    check_finite: raise ValueError at `update` when a score is nan or infinite.
    dtype: torch.float32, or torch.float64 to keep float64 maps as they are (in exact mode).
    mode: "exact", "binned", or "auto": exact up to `budget` pixels over all ranks, and binned beyond.
    bins, score_range: of the binned mode, as in `functional.binned`.
    intervals: give pixel AUROC a bootstrap interval; exact mode only, seconds per category.
    further: keys of `FURTHER_LIMITS` whose values are given as well.
    local: compute RCPRO and AUPIMO, which look at one image at a time; at 518 px some 0.6 s of CPU time per 100 images.
    pool: threads that RCPRO's sweeps run on while `update` returns; None: each runs in `update`. The values are the
    same. What a sweep raises is raised by a later `update`, by `settle`, or where values are asked for.
    Memory: exact, 4 bytes per pixel (8 for float64) and for RCPRO 16 per event, some 2 MB per anomalous image of
    518 px, and while computing twice that; binned, 24 bytes per bin and the scores of `FOLD` pixels and a batch.
    """

    n_regions: Tensor  # () int64, as the two below
    n_pixels: Tensor
    n_vanished: Tensor

    def __init__(
        self,
        fpr_limit: float = 0.3,
        connectivity: int = 8,
        check_finite: bool = True,
        dtype: torch.dtype = torch.float32,
        mode: Mode = "auto",
        budget: int = PIXEL_BUDGET,
        bins: int = BINS,
        score_range: tuple[float, float] | None = None,
        intervals: bool = False,
        local: bool = True,
        further: Sequence[str] = (),
        pool: SweepPool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fpr_limit(fpr_limit)
        check_connectivity(connectivity)
        check_bins(bins)
        check_score_range(score_range)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, found {dtype}")
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, found {mode!r}")
        if unknown := sorted(set(further) - set(FURTHER_LIMITS)):
            raise ValueError(f"further must be of {', '.join(FURTHER_LIMITS)}, found {', '.join(unknown)}")
        if intervals and mode == "binned":
            raise ValueError("intervals of pixel metrics need every score, found mode='binned'; use mode='exact'")
        self.fpr_limit, self.connectivity, self.check_finite = fpr_limit, connectivity, check_finite
        self.mode, self.budget, self.bins, self.score_range, self.intervals = mode, budget, bins, score_range, intervals
        self.local, self.further = local, tuple(further)
        self._pool = pool
        self._coming: deque[Future[RcproEvents]] = deque()  # in the order of their images
        self._map_dtype = np.float32 if dtype == torch.float32 else np.float64
        self._warned_budget = False
        self.add_vector("negatives", dtype)
        self.add_vector("positives", dtype)
        self.add_vector("areas", torch.int32)
        self.add_vector("counted", torch.int64)  # packed histograms, end to end
        self.add_vector("n_neg", torch.int64)  # of each image, in the order of `negatives`
        self.add_vector("n_pos", torch.int64)
        self.add_vector("labels", torch.uint8)
        self.add_vector("event_scores", dtype)  # of RCPRO
        self.add_vector("event_quality", torch.float64)
        self.add_vector("event_judged", torch.int32)
        self.add_state("n_regions", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("n_pixels", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("n_vanished", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, maps: ArrayLike, masks: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Add images. maps: (B,H,W) or (B,1,H,W) float, any range. masks: the same size, > 0 (floats: > 0.5).

        labels: (B,) 0 normal, 1 anomalous; without them an image is anomalous where its mask has a pixel.

        Raises:
            ValueError: a score is not finite, shapes differ, or a normal image's mask has a pixel.
        """
        self.settle(wait=False)
        maps_BHW, masks_BHW = maps_and_masks(
            maps, masks, "pixel metrics", finite=self.check_finite, dtype=self._map_dtype
        )
        n_pos = np.array([np.count_nonzero(mask) for mask in masks_BHW], np.int64)
        anomalous = n_pos > 0 if labels is None else _labels(labels, n_pos)
        regions = [find_regions(mask, self.connectivity) for mask in masks_BHW]
        pixels = split_pixels(maps_BHW, masks_BHW, self.connectivity, regions)
        self.append("negatives", pixels.negatives)
        self.append("positives", pixels.positives)
        self.append("areas", pixels.areas)
        self.append("n_pos", n_pos)
        self.append("labels", anomalous.astype(np.uint8))
        self.append("n_neg", masks_BHW.shape[1] * masks_BHW.shape[2] - n_pos)
        self.n_regions = self.n_regions + pixels.n_regions
        self.n_pixels = self.n_pixels + maps_BHW.size
        vanished = anomalous & (n_pos == 0)
        self.n_vanished = self.n_vanished + int(vanished.sum())
        if self.local and has_numba() and not self.is_binned():
            for i in np.flatnonzero(~vanished):
                self._sweep(maps_BHW[i], masks_BHW[i], regions[i])
        if self.is_binned() and self._n_kept() >= FOLD:
            self._fold()
        elif self.mode == "exact" and int(self.n_pixels) > self.budget and not self._warned_budget:
            self._warned_budget = True
            warnings.warn(
                f"pixel metrics: {int(self.n_pixels)} pixels are kept for mode='exact', more than {self.budget}; "
                "mode='binned' takes constant memory and says how exact it is",
                stacklevel=2,
            )

    def compute(self) -> dict[str, MetricValue]:
        """The values by key, over all pixels of all images of all ranks."""
        return self.kept_result().values

    def kept_result(self) -> PixelResult:
        """Values, error bounds and intervals, over what the state holds now; for use inside a `sync_context`."""
        if not int(self.n_pixels):
            return PixelResult(dict.fromkeys((*PIXEL_KEYS, *self.further), undefined("no image")), {}, {})
        if self.is_binned():
            histogram = self._histogram()
            binned = binned_values(histogram, self.fpr_limit)
            _warn_if_loose(binned)
            why = "binned: needs every pixel (mode exact)" if int(self.n_regions) else "no anomalous pixel"
            unknown = dict.fromkeys(PIXEL_KEYS, undefined(why))
            values, bounds = by_key(PIXEL_KEYS, unknown | binned.values), dict(binned.error_bounds)
            for key in self.further:
                at_limit = binned_values(histogram, FURTHER_LIMITS[key])
                values[key] = at_limit.values["pixel_aupro"]
                if (bound := at_limit.error_bounds.get("pixel_aupro")) is not None:
                    bounds[key] = bound
            return PixelResult(values, bounds, {})
        intervals = self._intervals() if self.intervals else {}
        local = {
            key: metric(self) if self.local else undefined("not asked for (local=False)")
            for key, metric in LOCAL.items()
        }
        pixels = self._sorted()
        values = by_key(PIXEL_KEYS, pixel_values(pixels, self.fpr_limit) | local)
        return PixelResult(values | further_values(pixels, self.further), {}, intervals)

    def is_binned(self, n_pixels: int | None = None) -> bool:
        """Whether `n_pixels` (so many as the state holds) are more than are kept one by one."""
        n_pixels = int(self.n_pixels) if n_pixels is None else n_pixels
        return self.mode == "binned" or (self.mode == "auto" and n_pixels > self.budget)

    def reset(self) -> None:
        """As torchmetrics; sweeps that are not done are forgotten."""
        self._coming.clear()
        super().reset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.settle()  # the state is put aside while the values of the batch are computed
        return super().forward(*args, **kwargs)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """As torchmetrics; of a metric, the sweeps that are not done are waited for."""
        for metric in (self, incoming_state):
            if isinstance(metric, PixelMetrics):
                metric.settle()
        super().merge_state(incoming_state)

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return super().__getstate__() | {"_pool": None}  # threads are not copied: a copy sweeps in `update`

    def sync(
        self,
        dist_sync_fn: Callable | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable | None = None,
    ) -> None:
        """As torchmetrics; ranks whose pixels together exceed the budget count them first, and gather the counts.

        Sweeps that are not done are waited for.
        """
        self.settle()
        available = distributed_available or self.distributed_available_fn
        if should_sync and not self._is_synced and callable(available) and available():
            gather = dist_sync_fn or gather_all_tensors
            ranks = gather(self.n_pixels, group=process_group or self.process_group)
            if self.is_binned(sum(int(n) for n in ranks)):
                self._fold()
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def _n_kept(self) -> int:
        return sum(part.numel() for name in ("negatives", "positives") for part in getattr(self, name))

    def _histogram(self) -> Histogram:
        """Everything the state holds, counted; the state stays as it is."""
        histogram = merged(self.vector("counted"), self.bins)
        for part in self.parts("negatives"):
            histogram.add_normal(sort_keys(part, self.score_range))
        for part, areas in zip(self.parts("positives"), self.parts("areas"), strict=True):
            histogram.add_anomalous(sort_keys(part, self.score_range), areas)
        return histogram

    def _fold(self) -> None:
        """Count the kept pixels and forget them."""
        packed = self._histogram().packed()
        self._coming.clear()  # without every pixel there is no RCPRO
        for name in self._dtypes:
            setattr(self, name, [])
        self.append("counted", packed)

    def settle(self, wait: bool = True) -> None:
        """Keeps what sweeps found; waits for those that are not done, or leaves them. Raises what one of them did."""
        while self._coming and (wait or self._coming[0].done()):
            self._keep(self._coming[0].result())  # one that failed stays first: no value is computed without it
            self._coming.popleft()

    def _sweep(self, map_HW: NDArray, mask_HW: NDArray, regions: Regions) -> None:
        """Finds the events of an image, now or soon."""
        matching = Matching(connectivity=self.connectivity)
        if self._pool is None:
            self._keep(image_events(map_HW, mask_HW, matching, regions=regions))
            return
        self._coming.append(self._pool.submit(map_HW, mask_HW, matching, regions))

    def _keep(self, events: RcproEvents) -> None:
        self.append("event_scores", events.scores)
        self.append("event_quality", events.quality)
        self.append("event_judged", events.judged)

    def _rcpro(self) -> MetricValue:
        if not int(self.n_regions):
            return undefined("no anomalous pixel")
        if not has_numba():
            return undefined("numba is not installed: pip install 'zsad-bench[fast]'")
        events = RcproEvents(*(self.vector(f"event_{name}") for name in ("scores", "quality", "judged")))
        return rcpro_of_events(events, self.vector("positives"), self.vector("areas"), int(self.n_regions))

    def _aupimo(self) -> MetricValue:
        n_neg, n_pos = self.vector("n_neg"), self.vector("n_pos")
        if not n_pos.any():
            return undefined("no anomalous pixel")
        of_normal = self.vector("labels") == 0
        if not of_normal.any():
            return undefined("no normal image")
        n_normal = int(n_neg[of_normal].sum())
        if n_normal * FPR_BOUNDS[0] < 1:
            return undefined(f"{n_normal} pixels of normal images are too few for an FPR of {FPR_BOUNDS[0]:g}")
        inside = np.split(self.vector("positives"), np.cumsum(n_pos)[:-1])
        kept = zip(*(self.parts(name) for name in ("negatives", "n_neg", "labels")), strict=True)
        images = [(scores, label) for part, sizes, labels in kept
                  for scores, label in zip(np.split(part, np.cumsum(sizes))[:-1], labels, strict=True)]  # fmt: skip
        normal = [scores for scores, label in images if label == 0]
        return aupimo_of(normal, [scores for scores in inside if scores.size])[0]

    def _sorted(self) -> SortedPixels:
        return sort_parts(self.parts("negatives"), self.vector("positives"), self.vector("areas"))

    def _intervals(self) -> dict[str, Interval]:
        negatives, positives, n_neg, n_pos, labels = (
            self.vector(name) for name in ("negatives", "positives", "n_neg", "n_pos", "labels")
        )
        interval = pixel_auroc_interval(image_pairs(negatives, positives, n_neg, n_pos, labels > 0))
        return {"pixel_auroc": interval} if interval else {}


# Key -> function of the state, of metrics that look at one image at a time.
LOCAL: dict[str, Callable[[PixelMetrics], MetricValue]] = {
    "pixel_rcpro": PixelMetrics._rcpro,
    "pixel_aupimo": PixelMetrics._aupimo,
}


def _labels(labels: ArrayLike, n_pos: NDArray) -> NDArray:
    """Which images are anomalous, (B,) bool. Raises ValueError unless labels are as many and agree with masks."""
    anomalous = as_array(labels) > 0
    if anomalous.shape != n_pos.shape:
        raise ValueError(
            f"pixel metrics: found labels {anomalous.shape} for {n_pos.size} images; one per image is needed"
        )
    wrong = np.flatnonzero((n_pos > 0) & ~anomalous)
    if wrong.size:
        raise ValueError(f"pixel metrics: image {wrong[0]} is labelled normal but its mask marks anomalous pixels")
    return anomalous


def _warn_if_loose(binned: BinnedValues) -> None:
    bound = binned.error_bounds.get("pixel_aupro", 0.0)
    if bound > LOOSE:
        warnings.warn(
            f"binned pixel_aupro may be off by {bound:.1e}: more bins, the true score_range, or mode='exact' tell more",
            stacklevel=4,
        )
