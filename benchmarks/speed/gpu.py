"""Everything that is measured here, on a GPU, in one command of under eight minutes: `python benchmarks/speed/gpu.py`.

First each method with its own defaults on ViT-L/14-336 (BLIP on its own) with random weights, in each precision that
the program has: images per second from images on the device to scores and maps, peak memory of tensors, and the share
of that time in which no kernel ran, that is, in which the GPU waited for this process. Then each benchmark of this
folder that runs on a GPU, in wall time. What does not fit into the time is named and left out. On a real GPU all of it
is written into docs/speed_gpu.md; elsewhere nothing is written but what `--json` asks for.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _methods_measured import (
    CATEGORY,
    SMALL_SIZE,
    fill_memory,
    peak,
    random_batches,
    random_of,
    reset_peak,
    seeded_backbone,
)
from _suite import Ratio, claims_of, conditions, parser_of, record_of, seconds, show, show_table, spend, where
from suite import declared

from zsad_bench import registry
from zsad_bench.errors import UsageError, ZsadError

if TYPE_CHECKING:
    from zsad_bench.backbones.base import Backbone

PAGE = Path(__file__).parents[2] / "docs" / "speed_gpu.md"
MINUTES, BATCH, REPEATS = 8.0, 8, 5
RESERVE = 3.0  # minutes for the benchmarks behind the methods, whatever the methods take
LONGEST = 1.0  # minutes that one of them may take
HEAD = ("method", "precision", "px", "images per second", "lowest-highest", "peak, MiB", "GPU waits")


def precisions() -> tuple[str, ...]:
    """Those that the program has; float32 alone before it had a choice."""
    try:
        module = importlib.import_module("zsad_bench.backbones.precision")
    except ImportError:
        return ("float32",)
    return tuple(module.PRECISIONS)


@contextmanager
def computing_in(backbone: Backbone, precision: str) -> Iterator[None]:
    """The backbone in this precision while it holds.

    Raises:
        UsageError: its device does not compute with it.
    """
    if precision == "float32":
        yield
        return
    module = importlib.import_module("zsad_bench.backbones.precision")
    module.check_device(precision, backbone.device)
    backbone.precision = precision
    try:
        yield
    finally:
        backbone.precision = "float32"


# --- methods ----------------------------------------------------------------------------------------------------------


def measure_method(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """`rates` in images per second, turn by turn, `peak_mib`, `image_size`, and `waits`: a share, or None on a CPU.

    Raises:
        ValueError: a score or a map is not finite. UsageError: a precision that the device does not have.
    """
    import torch

    from zsad_bench.methods._prediction import predict, predict_set
    from zsad_bench.planning.configure import build

    device = options.device
    backbone = seeded_backbone(options.quick, random_of(name)).to(device)
    with computing_in(backbone, precision):
        method = build(name, backbone, {"image_size": SMALL_SIZE} if options.quick else {}, seed=0).to(device)
        fill_memory(method, device)
        method.freeze()
        count = CATEGORY if method.transductive else options.batch
        batch = random_batches(method.config.image_size, count, 1)[0].to(device)
        samples = [batch.samples[0]] * count  # one category: of its texts each method encodes one pair
        score = predict_set if method.transductive else predict

        def work() -> Any:
            return score(method, method.encode(batch.images, samples), samples)

        with torch.no_grad():
            reset_peak(device)
            found = work()
            if not (found.score.isfinite().all() and (found.map is None or found.map.isfinite().all())):
                raise ValueError("the score or the map of a random image is not finite")
            walls = [spend(work, device)[0].wall for _ in range(options.repeats)]
            peak_mib = peak(device)  # the profiler's own tensors come after it
            busy = busy_on_gpu(work) if device == "cuda" else None
    waits = None if busy is None else max(0.0, 1 - busy / statistics.median(walls))
    rates = [count / wall for wall in walls]
    return {"rates": rates, "peak_mib": peak_mib, "image_size": method.config.image_size, "waits": waits}


def busy_on_gpu(work: Callable[[], Any]) -> float:
    """Seconds in which at least one kernel or copy ran on the GPU; a profiler slows the process, not the kernels."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ]
    return covered(spans) / 1e6  # of microseconds


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def measure_methods(names: Sequence[str], options: argparse.Namespace, until: float) -> list[dict[str, Any]]:
    """A record per method and precision; `failed` says why one was not measured. Methods on one backbone together."""
    records = []
    for name in sorted(names, key=lambda name: (random_of(name), name)):
        for precision in precisions():
            record: dict[str, Any] = {"name": name, "title": registry.load("methods", name).title,
                                      "precision": precision}  # fmt: skip
            records.append(record)
            if time.perf_counter() > until:
                record["failed"] = "no time was left"
                continue
            try:
                record |= measure_method(name, precision, options)
                print(f"{name}, {precision}: {statistics.median(record['rates']):.3g} images/s", file=sys.stderr)
            except Exception as error:  # whatever a method raises is that method's; also out of memory
                record["failed"] = _last_line(error)
                print(f"{name}, {precision} failed: {record['failed']}", file=sys.stderr)
            _forget(options.device)
    return records


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _forget(device: str) -> None:
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()


# --- benchmarks -------------------------------------------------------------------------------------------------------


def measure_benchmarks(names: Sequence[str], options: argparse.Namespace, until: float) -> list[dict[str, Any]]:
    """The record of each benchmark that runs on a GPU; `failed` says why one has none."""
    records = []
    for name in names:
        module = importlib.import_module(name)
        if not module.BENCHMARK.on_gpu:
            continue
        if time.perf_counter() > until:
            records.append({"name": name, "title": module.BENCHMARK.title, "failed": "no time was left"})
            continue
        words = [
            "--device",
            options.device,
            "--repeats",
            str(options.repeats),
            *(["--quick"] if options.quick else module.BENCHMARK.gpu_options),
        ]
        try:
            asked = parser_of(module.BENCHMARK, None).parse_args(words)
            records.append(record_of(name, module.BENCHMARK, asked))
            show(records[-1])
        except Exception as error:  # as above
            records.append({"name": name, "title": module.BENCHMARK.title, "failed": _last_line(error)})
            print(f"{name} failed: {records[-1]['failed']}", file=sys.stderr)
        _forget(options.device)
    return records


# --- the page ---------------------------------------------------------------------------------------------------------


def cells(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The lines of the table under `HEAD`; what failed is shown as that."""
    lines = []
    for record in records:
        start = [record["title"], record["precision"]]
        if "failed" in record:
            lines.append([*start, "–", "not measured", "–", "–", "–"])
            continue
        rates = Ratio(statistics.median(record["rates"]), min(record["rates"]), max(record["rates"]))
        waits = "–" if record["waits"] is None else f"{record['waits']:.0%}"
        lines.append(
            [*start, str(record["image_size"]), seconds(rates.median), f"{seconds(rates.low)}-{seconds(rates.high)}",
             f"{record['peak_mib']:,.0f}", waits]
        )  # fmt: skip
    return lines


def page_of(record: Mapping[str, Any]) -> str:
    """The page of a run."""
    from zsad_bench.leaderboard.tables.render import padded

    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    missing = [
        f"- {each['title']}{', ' + each['precision'] if 'precision' in each else ''}: {each['failed']}"
        for each in [*record["methods"], *record["benchmarks"]]
        if "failed" in each
    ]
    found = [each for each in record["benchmarks"] if "failed" not in each]
    overview = [[claim.what, str(claim.value), claim.goal] for each in found for claim in claims_of(each)]
    parts = [
        "# Speed on a GPU",
        f"{record['device']}, {record['processor']}; {versions}. Measured in {record['seconds'] / 60:.1f} minutes on "
        f"{record['date']} by `python benchmarks/speed/gpu.py`, which writes this page.",
        "## Methods",
        f"Images per second, median of {record['repeats']} turns after a warm-up, from a batch of {record['batch']} "
        f"images on the GPU to scores and maps ({CATEGORY} for a transductive method); texts are cached. Each method "
        "has its own image size. `peak` is of tensors, weights included. `GPU waits` is the share of the median turn "
        "in which no kernel ran. Precisions: " + ", ".join(record["precisions"]) + "; float32 is without TF32.",
        padded([HEAD, *cells(record["methods"])], [True, True, *[False] * (len(HEAD) - 2)]),
        "## Benchmarks",
        "The benchmarks of [speed.md](speed.md) on this GPU. Ratios are of wall time.",
        padded([["what", "measured", "goal on a CPU"], *overview], [True, False, False]),
    ]
    for each in found:
        table = padded([each["head"], *each["lines"]], [i == 0 for i in range(len(each["head"]))])
        parts += [f"### {each['title']}", each["text"], table, conditions(each)]
    parts += ["## Not measured", "\n".join(missing)] if missing else []
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="registered names; all when none is given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a miniature: does the script still run?")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns, of which the median counts")
    parser.add_argument("--batch", type=int, default=BATCH, help="images at once")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="what does not start before that is left out")
    parser.add_argument("--benchmarks", help="names separated by commas, or 'none'; default: all")
    parser.add_argument("--json", type=Path, help="file to write all of it to")
    parser.add_argument("--page", type=Path, help=f"page to write; {PAGE.name} when all of it runs on a GPU")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        return _measure(options, started)
    except ZsadError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return error.exit_code


def _measure(options: argparse.Namespace, started: float) -> int:
    import torch

    from zsad_bench.atomic import write_whole

    known, there = registry.names("methods"), list(declared())
    asked = there if options.benchmarks is None else [name for name in options.benchmarks.split(",") if name != "none"]
    for what, names, of in (("method", options.methods, known), ("benchmark", asked, there)):
        for name in names:
            if name not in of:
                raise UsageError(registry.did_you_mean(what, name, of))
    if options.repeats < 1 or options.batch < 1:
        raise UsageError("expected --repeats 1 or more and --batch 1 or more")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here; --device cpu --quick shows whether the script runs")
    if options.device == "cuda":  # float32 means float32, also where the program does not see to it
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    end = started + 60 * options.minutes
    methods = measure_methods(options.methods or known, options, end - 60 * min(RESERVE, options.minutes / 2))
    benchmarks = measure_benchmarks(asked, options, end - 60 * min(LONGEST, options.minutes / 4))
    record = {
        **where(options.device),
        "date": f"{time.strftime('%Y-%m-%d', time.gmtime())}",
        "seconds": time.perf_counter() - started,
        "repeats": options.repeats,
        "batch": options.batch,
        "precisions": list(precisions()),
        "methods": methods,
        "benchmarks": benchmarks,
    }
    if options.json:
        write_whole(options.json, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    whole = not (options.methods or options.quick) and options.benchmarks is None and options.device == "cuda"
    page = options.page or (PAGE if whole else None)
    if page and options.device == "cuda":
        write_whole(page, page_of(record).encode())
    elif page:
        raise UsageError(f"{page.name} is for a GPU's figures; it is not written with --device cpu")
    show_table(HEAD, cells(methods), 110)
    return 1 if any("failed" in each for each in [*methods, *benchmarks]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
