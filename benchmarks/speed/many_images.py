"""Time and peak memory against the number of images, binned metrics, each in a fresh process: `--help`.

CLIP on the package's tiny backbone, from files of a folder through a plain `Trainer.test` with the callback of the
metrics in binned mode: 100 to 5,000 images. A line is fitted through the CPU time of the passes. Memory is the peak of
the whole process, and what of it came after it was ready to start. The usual way keeps every map to the end and asks
scikit-learn; its memory is measured at the same two numbers as ours, once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _methods_measured import peak
from _photographs import data_of, read_plainly
from _suite import Benchmark, Claim, Found, Ratio, main, seconds, spread
from check import write

from zsad_bench.errors import UsageError, ZsadError

COUNTS, QUICK = (100, 500, 1000, 2000, 5000), (8, 16, 32)
FROM = 1  # memory is compared from this place of the counts to the last: the bins themselves are there by then
SIDE = 256  # of a photograph, in pixels
ROOT = Path(__file__).parents[2]


def child(way: str, folder: Path, count: int, device: str) -> dict[str, float]:
    """One pass in this process: `cpu` and `wall` of the pass, `before` and `peak` of the process in MiB."""
    from zsad_bench.backbones.load import load_backbone
    from zsad_bench.planning.configure import build

    if way == "ours":  # takes 90 MiB once, by itself only where so many pixels are counted that it pays
        from zsad_bench.metrics.functional import pixel_loops  # noqa: F401
    backbone = load_backbone("tiny")
    method = build("clip", backbone, {"image_size": backbone.image_size}, seed=0).eval()
    data = data_of(folder, backbone, method.config.image_size, count)
    run = {"ours": ours, "usual": usual}[way]
    before, cpu, wall = peak("cpu"), time.process_time(), time.perf_counter()
    run(method, data, device)
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {**spent, "before": before, "peak": peak("cpu")}


def ours(method: Any, data: Any, device: str) -> None:
    from lightning import Trainer

    from zsad_bench.metrics.callback import CategoryMetricsCallback
    from zsad_bench.runner.train import trainer_options

    options = trainer_options() | {"accelerator": "gpu" if device == "cuda" else "cpu"}
    metrics = CategoryMetricsCallback(mode="binned")
    Trainer(logger=False, callbacks=[metrics], enable_progress_bar=False, **options).test(
        method, datamodule=data, verbose=False
    )
    (result,) = metrics.results.values()
    if result.n_images != len(data.samples()):
        raise ZsadError(f"{result.n_images} of {len(data.samples())} images were counted")


def usual(method: Any, data: Any, device: str) -> None:
    """All maps and masks in two lists, and the metrics at the end."""
    import numpy as np
    import torch
    from _metrics_peers import Category, scikit_learn

    method, maps, masks = method.to(device), [], []
    with torch.inference_mode():
        for sample, image, mask in read_plainly(data, device):
            info = data.info(sample)
            maps.append(method.score(method.encode(image, [info]), [info]).map[0].cpu().numpy())
            masks.append(mask)
    scikit_learn(Category(np.stack(maps), np.stack(masks)))


def in_process(way: str, folder: Path, count: int, device: str) -> dict[str, float]:
    """What `child` found in a fresh process.

    Raises:
        ZsadError: the process failed; with its last line.
    """
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--count", str(count)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--device", device], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        raise ZsadError(f"the process with {count} images ended with exit code {done.returncode}: {last}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def fitted(counts: Sequence[int], times: Sequence[float]) -> tuple[float, float, float]:
    """Seconds at no image, seconds per image, and R² of the line through the points, by least squares."""
    slope, start = statistics.linear_regression(counts, times)
    mean = statistics.fmean(times)
    off = sum((time - start - slope * count) ** 2 for count, time in zip(counts, times, strict=True))
    return start, slope, 1 - off / sum((time - mean) ** 2 for time in times)


def measure(options: argparse.Namespace) -> Found:
    counts = QUICK if options.quick else tuple(options.counts)
    if len(counts) < 3 or sorted(set(counts)) != list(counts):
        raise UsageError(f"--counts {counts}: expected three numbers of images or more, the smallest first")
    found: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photographs"
        write(folder, counts[-1], 96 if options.quick else SIDE)
        in_process("ours", folder, counts[0], options.device)  # files and tables are read once
        for turn in range(options.repeats):
            for count in counts[:: (-1) ** turn]:
                found[count].append(in_process("ours", folder, count, options.device))
                print(f"turn {turn + 1}, {count} images: {found[count][-1]}", file=sys.stderr, flush=True)
        compared = (counts[FROM], counts[-1])
        plain = {count: in_process("usual", folder, count, options.device) for count in compared}
    turns = [[found[count][turn]["cpu"] for count in counts] for turn in range(options.repeats)]
    fits = [fitted(counts, times) for times in turns]
    middle = {count: {key: statistics.median(one[key] for one in of) for key in of[0]} for count, of in found.items()}
    growth = spread([big["peak"] / small["peak"] for small, big in zip(*(found[c] for c in compared), strict=True)])
    usual_growth = plain[compared[1]]["peak"] / plain[compared[0]]["peak"]
    lines = [_line(f"{count:,} images", count, one) for count, one in middle.items()]
    lines += [_line(f"{count:,} images, the usual way", count, one) for count, one in plain.items()]
    _, slope, _ = fitted(counts, [middle[count]["cpu"] for count in counts])
    return Found(
        ("binned metrics", "CPU, s", "CPU, ms per image", "wall, s", "peak, MiB", "of it after the start, MiB"),
        lines,
        [
            Claim("Time against the number of images, R² of the line", spread([fit[2] for fit in fits]),
                  "at least", 0.99),
            Claim(f"Peak memory, {compared[1]:,} images over {compared[0]:,}", growth, "at most", 1.1),
            Claim("The same of the usual way", Ratio(usual_growth, usual_growth, usual_growth)),
        ],
        f"CLIP on the tiny backbone at its own size, photographs of {SIDE} px, batches of 8 decoded in the process, "
        "numba loaded from the start, which a run does only where it pays: "
        f"{1000 * slope:.3g} ms of CPU time per image by the line through the medians. Each number of images has a "
        f"fresh process in each turn; a line is fitted in each turn. The usual way keeps every map and ends with "
        "scikit-learn; it was run once.",
        {"ours": found, "usual": plain},
    )  # fmt: skip


def _line(name: str, count: int, one: dict[str, float]) -> list[str]:
    each = 1000 * one["cpu"] / count
    after = one["peak"] - one["before"]
    return [name, seconds(one["cpu"]), seconds(each), seconds(one["wall"]), f"{one['peak']:,.0f}", f"{after:,.0f}"]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of images")
    parser.add_argument("--way", choices=("ours", "usual"), help=argparse.SUPPRESS)  # how a process asks another
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)


# On a GPU starting the processes would take most of the time.
ON_GPU = ("--repeats", "1", "--counts", "100", "500", "1000")
BENCHMARK = Benchmark("Many images", measure, add_options, gpu_options=ON_GPU)

if __name__ == "__main__":
    if "--way" in sys.argv:
        from _suite import parser_of

        asked = parser_of(BENCHMARK, __doc__).parse_args()
        print(json.dumps(child(asked.way, asked.folder, asked.count, asked.device)))
        raise SystemExit(0)
    raise SystemExit(main(BENCHMARK))
