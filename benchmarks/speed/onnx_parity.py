"""How near exported graphs come to torch, how large and fast they are: `python benchmarks/speed/onnx_parity.py --help`.

Each method that can be exported is exported as it starts, untrained where it learns (what is learned is a few tensors
more, and no other operation). Images are noise over rectangles. Printed is a table for docs/onnx.md: the largest
absolute differences of scores and maps over batches of 1, 3 and 5 images, the largest value of a map, the size of the
file, and the seconds of a batch of 4, the median of `--repeats`, of torch and of onnxruntime with equally many threads.

A backbone without weights here gets random ones: --random ViT-B-16 takes an architecture of open_clip, --random
blip-itm-base-coco one of BLIP (with a vocabulary that spells). Methods that a backbone cannot carry are named.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from _methods_measured import fill_memory, random_backbone

from zsad_bench import registry
from zsad_bench.backbones.base import Backbone
from zsad_bench.backbones.load import load_backbone
from zsad_bench.errors import BackboneError, UsageError, ZsadError
from zsad_bench.inspection.onnx_export import export
from zsad_bench.inspection.onnx_scorer import OnnxScorer
from zsad_bench.methods.base import ZeroShotMethod
from zsad_bench.planning.configure import build
from zsad_bench.planning.suite import DEMO
from zsad_bench.types import Category, ImageBatch, Normalisation, SampleInfo

CATEGORY = Category("images", "bottle", "bottle", "object", "industrial")
BATCHES, TIMED = (1, 3, 5), 4


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--random", metavar="NAME", help="an architecture of open_clip or of BLIP, with random weights")
    parser.add_argument("--methods", default="", help="names with commas; default: all that can be exported")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    try:
        compare(asked)
    except ZsadError as error:
        print(f"onnx_parity.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def compare(asked: argparse.Namespace) -> None:
    """Prints the table, and what is left out."""
    known = registry.names("methods")
    names = [each for each in asked.methods.split(",") if each] or known
    for name in names:
        if name not in known:
            raise UsageError(registry.did_you_mean("method", name, known))
    backbone = random_backbone(asked.random) if asked.random else load_backbone(asked.backbone, asked.weights)
    print(f"{backbone.id}, {asked.threads} threads, torch {torch.__version__}")
    print("| method | pixels | score | map | largest of a map | MB | torch, s | onnxruntime, s | torch / onnxruntime |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    left_out = []
    for name in names:
        try:
            method = made(name, backbone, asked.image_size)
        except BackboneError as error:
            left_out.append(str(error))
            continue
        if method.not_exportable:
            left_out.append(f"{method.title}: {method.not_exportable}")
        else:
            print(line(method, asked.threads, asked.repeats), flush=True)
    for why in left_out:
        print(f"left out: {why}")


def made(name: str, backbone: Backbone, image_size: int | None) -> ZeroShotMethod:
    """A method as it starts, ready to score."""
    settings = DEMO.overrides_for(name) if backbone.name == DEMO.backbone else {}
    if image_size is not None:
        settings = {**settings, "image_size": image_size}
    method = build(name, backbone, settings, 0)
    fill_memory(method, "cpu")
    if method.own_state():
        method.load_own_state(method.own_state())  # as if it had been learned
    method.freeze()
    return method


def line(method: ZeroShotMethod, threads: int, repeats: int) -> str:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        done = export(method, CATEGORY, Path(folder) / "graph.onnx")
        scorer = OnnxScorer(done.files[0], threads)
        scores, maps, largest = [], [0.0], 0.0
        for count in BATCHES:
            batch = images(method, count)
            with torch.no_grad():
                expected = method.predict_step(batch)
            found = scorer(batch)
            scores.append(float((found.score - expected.score).abs().max()))
            if expected.map is not None and found.map is not None:
                maps.append(float((found.map - expected.map).abs().max()))
                largest = max(largest, float(expected.map.abs().max()))
        batch = images(method, TIMED)
        with torch.no_grad():
            of_torch, of_onnx = seconds(repeats, lambda: method.predict_step(batch), lambda: scorer(batch))
    return (
        f"| {method.title} | {method.config.image_size} | {max(scores):.1e} | {max(maps):.1e} | {largest:.3g} | "
        f"{done.size / 1e6:.1f} | {of_torch:.3f} | {of_onnx:.3f} | {of_torch / of_onnx:.2f} |"
    )


def images(method: ZeroShotMethod, count: int) -> ImageBatch:
    """A batch as a loader gives it."""
    size, generator = method.config.image_size, torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, 3, 1, 1), generator=generator).expand(-1, -1, size, size).clone()
    pixels[:, :, size // 4 : size // 2, size // 3 :] = torch.randint(0, 256, (count, 3, 1, 1), generator=generator)
    pixels = (pixels + torch.randint(-40, 41, pixels.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    by = Normalisation(tuple(method.backbone.mean), tuple(method.backbone.std))
    return ImageBatch(pixels, [SampleInfo(str(i), CATEGORY) for i in range(count)], [(size, size)] * count, by)


def seconds(repeats: int, *runs: Callable[[], object]) -> list[float]:
    """The median of each, taken in turns, so that another load on the machine meets all of them."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    raise SystemExit(main())
