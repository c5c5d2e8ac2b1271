"""Cost of texts that follow the image, against each sentence by itself: `python benchmarks/speed/texts.py --help`.

The embedded tiny CLIP with the settings of the demo suite, random images of two classes. The plain way is the same
method on a text tower that cannot run the rows of a tree: every sentence of every image has all of its rows run in
every block, with padding, which is how the methods' own code does it. Scores, maps and losses must be the same both
ways, before and after they are timed.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from _methods_measured import random_batches
from _suite import Benchmark, Claim, Found, alternate, check_same, clock_of, main, median, ratio, seconds

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.backbones.base import Backbone
    from zsad_bench.backbones.towers import TextTower
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.types import Batch

METHODS = ("filo", "adaclip", "faprompt", "cocoop")  # with texts of each image; Bayes-PFL amplifies rounding too soon
TOLERANCE = 1e-5  # of scores, maps and losses, between one way and the other
SCORING = "score of an image"
IMAGES = 8  # in a batch that is scored


class OneByOne:
    """A text tower that cannot run the rows of a tree; all else is the tower's own."""

    def __init__(self, tower: TextTower) -> None:
        self.tower = tower

    def __getattr__(self, name: str) -> Any:
        if name == "tree_block":
            raise AttributeError(name)
        return getattr(self.tower, name)


def plain(backbone: Backbone) -> Backbone:
    """The backbone with a text tower that reads each sentence by itself; the weights are shared."""
    other = copy.copy(backbone)
    other.text = OneByOne(backbone.text_tower)
    return other


def measure(options: argparse.Namespace) -> Found:
    from zsad_bench.backbones.families.tiny import load_tiny
    from zsad_bench.planning.configure import build
    from zsad_bench.planning.suite import DEMO

    backbone = load_tiny().to(options.device)
    n_images = 2 if options.quick else options.images
    lines, claims, raw = [], [], {}
    for name in options.methods or (METHODS[-1:] if options.quick else METHODS):
        ways = {
            "shared": build(name, backbone, DEMO.overrides_for(name), seed=0).to(options.device),
            "plain": build(name, plain(backbone), DEMO.overrides_for(name), seed=0).to(options.device),
        }
        works = {SCORING: (n_images, {way: scoring(method.eval(), n_images) for way, method in ways.items()})}
        for number, stage in enumerate(ways["plain"].stages()):
            steps = {way: step(method, number) for way, method in ways.items()}
            works[f"step, {stage.name}"] = (stage.batch_size, steps)
        for what, (count, both) in works.items():
            spent = _timed(f"{name}, {what}", both, options)
            times = ratio(spent["plain"], spent["shared"], options.device)
            per, clock = count if what == SCORING else 1, clock_of(options.device)
            each = (seconds(1e3 * getattr(median(spent[way]), clock) / per) for way in ("plain", "shared"))
            lines.append([name, what, str(count), *each, str(times)])
            claims.append(Claim(f"Texts of {name}, {what}: each sentence by itself over a tree of them", times))
            raw[f"{name}, {what}"] = spent
    return Found(
        ("method", "work", "images", "plain, ms", "shared, ms", "plain / shared"),
        lines,
        claims,
        "Methods whose texts follow the image, on the tiny CLIP with the demo's settings; visual tower, head and "
        f"optimiser included. Milliseconds are of an image that is scored, and of a step. Scores and maps, and the "
        f"losses of all steps, are the same both ways to {TOLERANCE:g}.",
        raw,
    )


def _timed(what: str, works: dict[str, Callable[[], Tensor]], options: argparse.Namespace) -> dict[str, Any]:
    """What both ways took by turns; ZsadError where they give something else, before or behind the turns."""

    def check() -> None:
        one, other = (work() for work in works.values())
        scale = max(1.0, float(one.abs().max()))
        check_same(what, one / scale, other / scale, TOLERANCE)

    check()  # warms up, too
    spent = alternate(works, options.repeats, options.device, warm_up=False)
    check()
    return spent


def scoring(method: ZeroShotMethod, n_images: int) -> Callable[[], Tensor]:
    """Encodes and scores a batch; gives its scores and maps, as one row."""
    import torch

    from zsad_bench.methods._prediction import predict

    batch = batch_of(method, n_images)

    def work() -> Tensor:
        with torch.inference_mode():
            found = predict(method, method.encode(batch.images, batch.samples), batch.samples)
        assert found.map is not None
        return torch.cat([found.score, found.map.flatten()])

    return work


def step(method: ZeroShotMethod, number: int) -> Callable[[], Tensor]:
    """Takes a step of a stage, from images to the optimiser; gives the loss."""
    import torch

    stage = method.stages()[number]
    batch, optimizer = batch_of(method, stage.batch_size), None

    def work() -> Tensor:
        nonlocal optimizer
        if optimizer is None:
            method.begin_training(list(dict.fromkeys(sample.category for sample in batch.samples)))
            method.begin_stage(stage)
            method.train()
            optimizer = method.optimizer_for(stage)
        terms = method.losses(method.encode(batch.images, batch.samples), batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return work


def batch_of(method: ZeroShotMethod, n_images: int) -> Batch:
    """Random images, the first half of one class and the second of another, as a target comes class by class."""
    (batch,) = random_batches(method.config.image_size, n_images, 1)
    batch = batch.to(method.backbone.device)
    first, last = batch.samples[0], batch.samples[-1]
    chosen = [first if 2 * i < n_images else last for i in range(n_images)]
    samples = [replace(one, category=of.category) for one, of in zip(batch.samples, chosen, strict=True)]
    return replace(batch, samples=samples)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="+", help=f"registered names; {', '.join(METHODS)} when none is given")
    parser.add_argument("--images", type=int, default=IMAGES, help="in a batch that is scored")


BENCHMARK = Benchmark("Texts that follow the image", measure, add_options)

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
