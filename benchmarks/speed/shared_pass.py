"""K methods in one pass, for K from 1 to 12, against a pass for each: `python benchmarks/speed/shared_pass.py --help`.

ViT-L/14-336 with seeded random weights, random images at 518 px. The methods are those of the forward pass that most
methods share, the dearest first, and then second seeds of those that learn, up to twelve. Behind these come methods
with a network of their own on top of the features (`LAST`), which no sharing makes cheaper. The plain way, which is
what every method's own repository does, encodes and scores the images for each method by itself. In every turn the
dearest method is run alone, and then the first K together, for each K. Scores and maps must be the same together as
alone, or nothing is shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from _methods_measured import SMALL_SIZE, fill_memory, random_batches, seeded_backbone
from _suite import Benchmark, Claim, Found, Spent, clock_of, main, median, ratio, seconds, spend, spread

from zsad_bench.errors import UsageError, ZsadError

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.types import Batch, Prediction

TOGETHER = 12
LAST = ("af_clip",)  # its adapter attends over all patches for twelve sets of tokens: a seventh of ViT-L's own work
TOLERANCE = 1e-5  # of scores and maps, between one pass and another


def sharing(small: bool, device: str) -> dict[str, ZeroShotMethod]:
    """The methods that share the commonest forward pass, by name.

    Left out are those that never look at the picture, change what is encoded, or ask for more of an image.
    """
    from zsad_bench import registry
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.runner.shared_encoder import shares

    backbone = seeded_backbone(small).to(device)
    by_forward: dict[Any, dict[str, ZeroShotMethod]] = {}
    for name in registry.names("methods"):
        cls = registry.load("methods", name)
        if not cls.needs or not cls.needs <= backbone.offers:
            continue
        method = _built(name, small, device)
        if shares(method) and type(method).extra_features is ZeroShotMethod.extra_features and not method.transductive:
            by_forward.setdefault(method.encoder_spec.forward, {})[name] = method
    return max(by_forward.values(), key=len)


def with_seeds(
    methods: dict[str, ZeroShotMethod], count: int, small: bool, device: str, fill: Sequence[str] = ()
) -> dict[str, ZeroShotMethod]:
    """The methods, and further seeds of some until there are `count`, named `coop, seed 1`.

    fill: those some; by default all that learn, and something else under another seed.

    Raises:
        UsageError: one of `fill` is none of the methods, or its seeds learn nothing else.
    """
    from zsad_bench import registry
    from zsad_bench.planning.configure import trains

    able = [n for n in methods if trains(n) and registry.load("methods", n).stochastic_in_training]
    learning = list(fill) or able
    for name in learning:
        if name not in able:
            raise UsageError(registry.did_you_mean("method that learns in this pass", name, able))
    found = dict(methods)
    for number, name in enumerate(cycle(learning)):
        if len(found) >= count:
            break
        seed = 1 + number // len(learning)
        found[f"{name}, seed {seed}"] = _built(name, small, device, seed)
    return dict(list(found.items())[:count])


def _built(name: str, small: bool, device: str, seed: int = 0) -> ZeroShotMethod:
    from zsad_bench.planning.configure import build

    overrides = {"image_size": SMALL_SIZE} if small else {}
    method = build(name, seeded_backbone(small), overrides, seed).to(device)
    fill_memory(method, device)
    method.freeze()  # as after a training: it keeps its texts from one pass to the next
    return method


def alone(method: ZeroShotMethod, batch: Batch) -> Prediction:
    """The plain way: the method encodes the images for itself and scores them."""
    from zsad_bench.methods._prediction import predict

    return predict(method, method.encode(batch.images, batch.samples), batch.samples)


def compare(groups: Sequence[dict[str, ZeroShotMethod]], device: str, repeats: int, n_images: int) -> dict[str, Any]:
    """`order`, by name; `alone`, what each took by itself; `together`, by K what the first K took, by turn.

    groups: of methods, which follow each other whatever they cost; within each the dearest comes first.
    `dearest`: what the first of all took alone, by turn. The others were run alone twice.

    Raises:
        ZsadError: a prediction in company is another one than alone.
    """
    import torch

    from zsad_bench.runner.shared_encoder import SharedPass

    methods = {name: method for group in groups for name, method in group.items()}
    (batch,) = random_batches(next(iter(methods.values())).config.image_size, n_images, 1)
    batch = batch.to(device)

    def together(names: Sequence[str]) -> SharedPass:
        return SharedPass({name: methods[name] for name in names}).eval()

    with torch.inference_mode():
        expected = {name: alone(method, batch) for name, method in methods.items()}  # caches texts
        by_itself = {name: [spend(lambda m=method: alone(m, batch), device)[0]] for name, method in methods.items()}
        cost = {name: getattr(spent[0], clock_of(device)) for name, spent in by_itself.items()}
        order = [name for group in groups for name in sorted(group, key=lambda name: cost[name], reverse=True)]
        passes = [together(order[: k + 1]) for k in range(len(order))]
        for name, found in passes[-1].test_step(batch, 0).items():
            if not (_same(found.score, expected[name].score) and _same(found.map, expected[name].map)):
                raise ZsadError(f"{name} predicts something else in company; the times cannot be compared")
        dearest: list[Spent] = []
        of_k: list[list[Spent]] = [[] for _ in order]
        for turn in range(repeats):
            dearest.append(spend(lambda: alone(methods[order[0]], batch), device)[0])
            for k in range(len(order))[:: (-1) ** turn]:
                of_k[k].append(spend(lambda k=k: passes[k].test_step(batch, 0), device)[0])
            print(f"turn {turn + 1}: {dearest[-1].cpu:.2f} s of CPU alone", file=sys.stderr, flush=True)
        for name, method in methods.items():
            by_itself[name].append(spend(lambda m=method: alone(m, batch), device)[0])
    by_itself[order[0]] = dearest
    return {"order": order, "alone": by_itself, "dearest": dearest, "together": of_k}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool((one - other).abs().max() <= TOLERANCE)


def measure(options: argparse.Namespace) -> Found:
    device, small = options.device, options.quick
    distinct = sharing(small, device)
    last = [name for name in options.last.split(",") if name]
    if unknown := [name for name in last if name not in distinct]:
        raise UsageError(f"--last {','.join(unknown)}: the methods are {', '.join(distinct)}")
    first = {name: method for name, method in distinct.items() if name not in last}
    count = max(len(first), 3 if small else TOGETHER)
    seeded = with_seeds(first, count, small, device, [name for name in options.fill.split(",") if name])
    seeds = {name: method for name, method in seeded.items() if name not in first}
    behind = {name: distinct[name] for name in last}
    found = compare([first, seeds, behind], device, options.repeats, options.images)
    order, of_k, clock = found["order"], found["together"], clock_of(device)
    over_dearest = [ratio(spent, found["dearest"], device) for spent in of_k]
    sums = [sum(getattr(median(found["alone"][name]), clock) for name in order[: k + 1]) for k in range(len(order))]
    over_sum = [spread([getattr(one, clock) / total for one in spent]) for spent, total in zip(of_k, sums, strict=True)]
    lines = [
        [
            f"{k + 1}: {'and ' if k else ''}{name}",
            seconds(getattr(median(found["alone"][name]), clock) / options.images),
            seconds(getattr(median(of_k[k]), clock) / options.images),
            str(over_dearest[k]),
            str(over_sum[k]),
        ]
        for k, name in enumerate(order)
    ]
    what = "CPU" if clock == "cpu" else "wall"
    of_last = [Claim(f"and {', '.join(last)}", over_dearest[-1])] if last else []
    return Found(
        ("methods in one pass", f"alone, {what} s per image", "together", "over the dearest alone", "over one by one"),
        lines,
        [
            Claim(f"{len(first)} methods of one forward pass, over the dearest alone",
                  over_dearest[len(first) - 1], "at most", 1.1),
            Claim(f"{len(seeded)} methods and seeds in one pass, over the dearest alone",
                  over_dearest[len(seeded) - 1], "at most", 1.15),
            *of_last,
        ],
        f"{options.images} image(s) of {next(iter(distinct.values())).config.image_size} px in a batch on "
        f"{seeded_backbone(small).name}. The dearest method, {order[0]}, ran alone in each turn, the others twice "
        f"in all. Scores and maps are the same together as alone to {TOLERANCE:g}."
        + (f" {', '.join(last)}: a network of its own on top of the features, which no sharing saves." if last else ""),
        {"order": order, **{key: found[key] for key in ("alone", "together")}},
    )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=1, help="in a batch")
    parser.add_argument("--last", default=",".join(LAST), help="methods behind the others and their seeds")
    parser.add_argument("--fill", default="", help="methods whose further seeds fill up; default: all that learn")


BENCHMARK = Benchmark("Methods in one pass", measure, add_options, gpu_options=("--images", "8"))

if __name__ == "__main__":
    raise SystemExit(main(BENCHMARK))
