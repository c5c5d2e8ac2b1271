"""One category from files to metrics, and where its time goes: `--help`.

AnomalyCLIP with random prompts on generated photographs, half of them with a mask: on ViT-L/14-336 with random weights
at 518 px, and on the tiny CLIP of the package at its own size. Ours is the test pass of every run, with the metrics of
every row. Its shares are of wall time: images (decoded here, or waited for where a worker decodes them), encode, score,
metrics (confidence intervals too), and the rest, which is the Trainer. The usual way, written out below, decodes,
encodes and scores one image after the other, keeps all maps, and ends with scikit-learn and the 200-step AUPRO. Both
must have the same image scores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _methods_measured import SMALL_SIZE, now, seeded_backbone
from _photographs import data_of, read_plainly
from _suite import Benchmark, Claim, Found, Spent, alternate, check_same, main, median, ratio, seconds
from check import write
from lightning import Callback

if TYPE_CHECKING:
    from zsad_bench.backbones.base import Backbone
    from zsad_bench.data.base import ZeroShotDataModule
    from zsad_bench.methods.base import ZeroShotMethod

SIDE = 700  # of a photograph, in pixels
FEW, MANY = 4, 80  # images on the large backbone and on the tiny one
PARTS = ("images", "encode", "score", "metrics", "rest")
TOLERANCE = 1e-4


class Clock(Callback):
    """Around the Collector, one in front and one behind: when batches came and when they were done with."""

    def __init__(self, device: str) -> None:
        self.device, self.began, self.marks = device, 0.0, {"images": 0.0, "metrics": 0.0}
        self.last = 0.0

    def on_test_start(self, trainer, pl_module) -> None:
        self.began = self.last = now(self.device)

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self.marks["images"] += now(self.device) - self.last

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self.last = now(self.device)


class Behind(Callback):
    """The second half of `Clock`: what passed between the two is the Collector's."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self.clock.marks["metrics"] += now(self.clock.device) - self.clock.last
        self.clock.last = now(self.clock.device)


def ours(method: ZeroShotMethod, data: ZeroShotDataModule, device: str) -> dict[str, Any]:
    """One test pass; `scores` by id, and the `seconds` of each of `PARTS`."""
    from zsad_bench.runner.metric_collector import Collector
    from zsad_bench.runner.test_pass import run_pass

    ended: list[Any] = []
    clock = Clock(device)
    collector = Collector(data, lambda label, category, finished: ended.append(finished))
    started = time.perf_counter()
    run_pass({"it": method}, data, [clock, collector, Behind(clock)])
    total = time.perf_counter() - started
    parts = {**clock.marks, "encode": ended[0].seconds_encode, "score": ended[0].seconds_score}
    parts["rest"] = max(0.0, total - sum(parts.values()))
    scores = dict(zip(ended[0].ids, ended[0].result.scores, strict=True))
    return {"scores": scores, "seconds": {name: parts[name] for name in PARTS}}


def usual(method: ZeroShotMethod, data: ZeroShotDataModule, device: str) -> dict[str, Any]:
    """Image after image, as released evaluation scripts go about it; `scores` by id."""
    import torch
    from _metrics_peers import Category, scikit_learn, two_hundred_steps
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores, labels, maps, masks = {}, [], [], []
    with torch.inference_mode():
        for sample, image, mask in read_plainly(data, device):
            info = data.info(sample)
            prediction = method.score(method.encode(image, [info]), [info])
            scores[info.id] = float(prediction.score)
            labels.append(sample.label)
            maps.append(prediction.map[0].cpu().numpy())
            masks.append(mask)
    category, values = Category(np.stack(maps), np.stack(masks)), list(scores.values())
    for metrics in (scikit_learn, two_hundred_steps):
        metrics(category)
    for metric in (roc_auc_score, average_precision_score):
        metric(labels, values)
    return {"scores": scores}


def settings(options: argparse.Namespace) -> list[tuple[Backbone, int, int]]:
    """Backbone, image size and number of images of each setting."""
    from zsad_bench.backbones.load import load_backbone

    if options.quick:
        return [(seeded_backbone(True), SMALL_SIZE, 6)]
    return [(seeded_backbone(), 518, options.images), (load_backbone("tiny"), 96, MANY)]


def measure(options: argparse.Namespace) -> Found:
    import torch

    from zsad_bench.planning.configure import build

    device, lines, claims, raw = options.device, [], [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photographs"
        chosen = settings(options)
        write(folder, max(count for _, _, count in chosen), 96 if options.quick else SIDE)
        for backbone, size, count in chosen:
            method = build("anomalyclip", backbone.to(device), {"image_size": size}, seed=0).eval().to(device)
            modules = {workers: data_of(folder, backbone, size, count, workers) for workers in (0, 1)}
            shares: dict[int, list[dict[str, float]]] = {0: [], 1: []}

            def pass_with(workers: int, method=method, modules=modules, shares=shares) -> dict[str, Any]:
                found = ours(method, modules[workers], device)
                shares[workers].append(found["seconds"])
                return found

            one, other = pass_with(0)["scores"], usual(method, modules[0], device)["scores"]
            check_same("image scores", *(torch.tensor([each[i] for i in one]) for each in (one, other)), TOLERANCE)
            spent = alternate(
                {
                    "ours": lambda run=pass_with: run(0),
                    "ours, a worker decodes": lambda run=pass_with: run(1),
                    "one image at a time": lambda method=method, data=modules[0]: usual(method, data, device),
                },
                options.repeats,
                device,
                warm_up=False,
            )
            del shares[0][0]  # the warm-up
            alone, _, plain = spent.values()
            title = f"{backbone.name}, {size} px"
            for workers, (name, each) in enumerate(list(spent.items())[:2]):
                lines.append([f"{title}: {name}", *_seconds_of(each, count), *_shares(shares[workers]), "1"])
            gain = ratio(plain, alone, device)
            lines.append([f"{title}: one image at a time", *_seconds_of(plain, count), *["–"] * len(PARTS), str(gain)])
            claims.append(Claim(f"A category on {title}, one image at a time over ours", gain))
            raw[title] = {"spent": spent, "shares": shares}
    sizes = " and ".join(f"{count} on {backbone.name}" for backbone, _, count in chosen)
    return Found(
        ("way", "CPU, s per image", "wall, s per image", *PARTS, "ratio"),
        lines,
        claims,
        f"AnomalyCLIP on one category of generated photographs ({sizes}), from files to metrics. Shares are of wall "
        "time; where a worker decodes, `images` is what the pass waited for them, its start included, and CPU time is "
        "without the worker's. `rest` is the Trainer. Ours computes all ten metrics and their confidence intervals; "
        f"the usual way has no RCPRO and no AUPIMO. Image scores are the same to {TOLERANCE:g}.",
        raw,
    )


def _seconds_of(spent: list[Spent], count: int) -> list[str]:
    middle = median(spent)
    return [seconds(middle.cpu / count), seconds(middle.wall / count)]


def _shares(turns: list[dict[str, float]]) -> list[str]:
    """Of all turns together."""
    total = sum(sum(turn.values()) for turn in turns)
    return [f"{sum(turn[name] for turn in turns) / total:.1%}" for name in PARTS]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=FEW, help="on the large backbone")


BENCHMARK = Benchmark("A category from end to end", measure, add_options)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
