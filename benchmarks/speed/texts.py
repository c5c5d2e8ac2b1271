"""Cost of texts that follow the image, against each sentence by itself: `python benchmarks/speed/texts.py --help`.

The embedded tiny CLIP with the settings of the demo suite, random images of two classes, one thread. The plain way is
the same method on a text tower that cannot run the rows of a tree: every sentence of every image has all of its rows
run in every block, with padding, which is how the methods' own code does it. Both ways take turns; ratios are of CPU
time within a turn, and the median is printed with its extremes. Scores, maps and losses must be the same both ways, or
nothing is printed.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import processor
from _methods_measured import random_batches

if TYPE_CHECKING:
    from zsad_bench.backbones.base import Backbone
    from zsad_bench.backbones.towers import TextTower
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.types import Batch

METHODS = ("filo", "adaclip", "faprompt", "cocoop")  # those with texts of each image
TOLERANCE = 1e-5  # of scores, maps and losses, between one way and the other
SCORING = "score of an image"


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


def measure(names: Sequence[str], repeats: int, n_images: int) -> list[dict[str, Any]]:
    """A record for each method and kind of work: `seconds` of both ways by turn, and `images` of a batch.

    Raises:
        SystemExit: both ways do not give the same.
    """
    from zsad_bench.backbones.families.tiny import load_tiny
    from zsad_bench.planning.configure import build
    from zsad_bench.planning.suite import DEMO

    backbone = load_tiny()
    records = []
    for name in names:
        ways = {
            "shared": build(name, backbone, DEMO.overrides_for(name), seed=0),
            "plain": build(name, plain(backbone), DEMO.overrides_for(name), seed=0),
        }
        works = {SCORING: {way: scoring(method.eval(), n_images) for way, method in ways.items()}}
        records += [_measured(name, what, both, repeats, n_images) for what, both in works.items()]
        for number, stage in enumerate(ways["plain"].stages()):
            both = {way: step(method, number) for way, method in ways.items()}
            records.append(_measured(name, f"step, {stage.name}", both, repeats, stage.batch_size))
    return records


def _measured(
    name: str, what: str, works: dict[str, Callable[[], list[float]]], repeats: int, n_images: int
) -> dict[str, Any]:
    """`works` return numbers that are to be equal; the first turn warms up and is not counted."""
    seconds: dict[str, list[float]] = {way: [] for way in works}
    for turn in range(repeats + 1):
        numbers: dict[str, list[float]] = {}
        for way, work in works.items():
            started = time.process_time()
            numbers[way] = work()
            if turn:
                seconds[way].append(time.process_time() - started)
        pairs = zip(*numbers.values(), strict=True)
        if not all(abs(one - other) <= TOLERANCE * max(1, abs(one)) for one, other in pairs):
            sys.exit(f"{name}, {what}: the two ways do not give the same; the times cannot be compared")
    return {"method": name, "work": what, "images": n_images, "seconds": seconds}


def scoring(method: ZeroShotMethod, n_images: int) -> Callable[[], list[float]]:
    """Encodes and scores a batch; gives its scores and the extremes of its maps."""
    import torch

    from zsad_bench.methods._prediction import predict

    batch = batch_of(method, n_images)

    def work() -> list[float]:
        with torch.inference_mode():
            found = predict(method, method.encode(batch.images, batch.samples), batch.samples)
        assert found.map is not None
        return [*found.score.tolist(), *found.map.amax((1, 2)).tolist(), *found.map.amin((1, 2)).tolist()]

    return work


def step(method: ZeroShotMethod, number: int) -> Callable[[], list[float]]:
    """Takes a step of a stage, from images to the optimiser; gives the loss."""
    import torch

    stage = method.stages()[number]
    batch, optimizer = batch_of(method, stage.batch_size), None

    def work() -> list[float]:
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
        return [loss.item()]

    return work


def batch_of(method: ZeroShotMethod, n_images: int) -> Batch:
    """Random images, the first half of one class and the second of another, as a target comes class by class."""
    (batch,) = random_batches(method.config.image_size, n_images, 1)
    first, last = batch.samples[0], batch.samples[-1]
    chosen = [first if 2 * i < n_images else last for i in range(n_images)]
    samples = [replace(one, category=of.category) for one, of in zip(batch.samples, chosen, strict=True)]
    return replace(batch, samples=samples)


def table(records: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each record: milliseconds of both ways, per image of a score and per step, and their ratio."""
    lines = [f"{'method':<10} {'work':<28} {'images':>6} {'plain, ms':>10} {'shared, ms':>11}  plain / shared"]
    for record in records:
        one, other = (record["seconds"][way] for way in ("plain", "shared"))
        ratios = [a / b for a, b in zip(one, other, strict=True)]
        per = record["images"] if record["work"] == SCORING else 1
        times = [1e3 * statistics.median(seconds) / per for seconds in (one, other)]
        lines.append(
            f"{record['method']:<10} {record['work']:<28} {record['images']:>6} {times[0]:>10.1f} {times[1]:>11.1f}  "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"registered names; {', '.join(METHODS)} when none is given")
    parser.add_argument("--repeats", type=int, default=5, help="turns that count")
    parser.add_argument("--images", type=int, default=8, help="in a batch that is scored")
    parser.add_argument("--json", type=Path, help="a file for the seconds of each turn")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    records = measure(options.methods or METHODS, options.repeats, options.images)
    print(f"tiny CLIP, {options.repeats} turns, CPU time of one thread, {processor()}, torch {torch.__version__}")
    print("\n".join(table(records)))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
