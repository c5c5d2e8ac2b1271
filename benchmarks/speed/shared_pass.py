"""Cost of several methods in one pass, against a pass for each: `python benchmarks/speed/shared_pass.py --help`.

ViT-L/14-336 with seeded random weights, random images. A repeat scores the images by each method alone, which is the
plain way and what every method's own repository does, and then by the first K methods together, for each K. Methods
whose forward pass is the same share it; by default those of the forward pass that most methods share, the dearest
first. Ratios are taken within a repeat, so that other work on the machine matters little; the median is printed, with
its extremes. Scores and maps must be the same together as alone, or nothing is printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from _machine import processor
from _methods_measured import SMALL_SIZE, now, random_backbone, random_batches, random_of

if TYPE_CHECKING:
    from torch import Tensor

    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.types import Prediction

TOLERANCE = 1e-5  # of scores and maps, between one pass and another


def sharing(small: bool, device: str) -> dict[str, ZeroShotMethod]:
    """The methods that share the commonest forward pass, by name.

    Left out are those that never look at the picture, change what is encoded, or ask for more of an image.
    """
    from zsad_bench import registry
    from zsad_bench.methods.base import ZeroShotMethod
    from zsad_bench.planning.configure import build
    from zsad_bench.runner.shared_encoder import shares

    backbone = random_backbone(random_of("clip"), small).to(device)
    by_forward: dict[Any, dict[str, ZeroShotMethod]] = {}
    for name in registry.names("methods"):
        cls = registry.load("methods", name)
        if not cls.needs or not cls.needs <= backbone.offers:
            continue
        method = build(name, backbone, {"image_size": SMALL_SIZE} if small else {}, seed=0).eval().to(device)
        if shares(method) and type(method).extra_features is ZeroShotMethod.extra_features and not method.transductive:
            by_forward.setdefault(method.encoder_spec.forward, {})[name] = method
    return max(by_forward.values(), key=len)


def measure(methods: dict[str, ZeroShotMethod], device: str, repeats: int, n_images: int) -> dict[str, Any]:
    """`order`, the dearest first; `alone`, seconds by method; for each K `over_dearest` and `over_sum`, by repeat.

    Raises:
        SystemExit: a prediction in company is another one than alone.
    """
    import torch

    from zsad_bench.runner.shared_encoder import SharedPass

    (batch,) = random_batches(next(iter(methods.values())).config.image_size, n_images, 1)
    batch = batch.to(device)

    def scored(names: Sequence[str]) -> tuple[float, dict[str, Prediction]]:
        shared = SharedPass({name: methods[name] for name in names}).eval()
        with torch.inference_mode():
            started = now(device)
            found = shared.test_step(batch, 0)
            return now(device) - started, found

    expected = {name: scored([name])[1][name] for name in methods}  # a warm-up, which also caches texts
    first = {name: scored([name])[0] for name in methods}
    order = sorted(methods, key=first.__getitem__, reverse=True)
    for name, found in scored(order)[1].items():
        if not (_same(found.score, expected[name].score) and _same(found.map, expected[name].map)):
            sys.exit(f"{name} predicts something else in company; the times cannot be compared")
    alone: dict[str, list[float]] = {name: [] for name in order}
    over_dearest: list[list[float]] = [[] for _ in order]
    over_sum: list[list[float]] = [[] for _ in order]
    for _ in range(repeats):
        once = {name: scored([name])[0] for name in order}
        for name, seconds in once.items():
            alone[name].append(seconds)
        for k in range(len(order)):
            together = scored(order[: k + 1])[0]
            over_dearest[k].append(together / max(once[name] for name in order[: k + 1]))
            over_sum[k].append(together / sum(once[name] for name in order[: k + 1]))
    return {
        "order": order,
        "alone": {name: statistics.median(seconds) / n_images for name, seconds in alone.items()},
        "over_dearest": over_dearest,
        "over_sum": over_sum,
    }


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool((one - other).abs().max() <= TOLERANCE)


def table(found: dict[str, Any]) -> list[str]:
    """One line per K."""
    lines = ["methods in one pass       alone, s per image   of the dearest alone     of all one by one"]
    for k, name in enumerate(found["order"]):
        ratios = [_ratio(found[key][k]) for key in ("over_dearest", "over_sum")]
        label = name if k == 0 else f"{k + 1}: and {name}"
        lines.append(f"{label:<25} {found['alone'][name]:>17.3f} {ratios[0]:>23} {ratios[1]:>21}")
    return lines


def _ratio(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=1, help="in a batch")
    parser.add_argument("--small", action="store_true", help="on a miniature, in seconds: does the script still run?")
    options = parser.parse_args(arguments)
    import torch

    methods = sharing(options.small, options.device)
    found = measure(methods, options.device, options.repeats, options.images)
    where = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    print(f"{options.images} image(s) per batch, {options.repeats} repeats, {torch.get_num_threads()} threads, {where}")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
