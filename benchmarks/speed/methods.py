"""Time and memory of every method on a full-size backbone: `python benchmarks/speed/methods.py --help`.

ViT-L/14-336 with seeded random weights (nothing is downloaded), each method with its own defaults, images and masks
drawn at random. Every test image and every training stage is measured in a process of its own, one after the other,
so that peak memory is that method's alone. A run of all methods writes its table into docs/speed_methods.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsad_bench import registry
from zsad_bench.errors import UsageError, ZsadError

if TYPE_CHECKING:
    from zsad_bench.backbones.clip import Backbone
    from zsad_bench.types import Batch, Category

# torch is imported inside functions: on Linux a process starts with the peak of the one that started it.

BACKBONE = "ViT-L-14-336-quickgelu"
SMALL: dict[str, Any] = {  # --small: shows that the script runs, its numbers say nothing
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}
SMALL_SIZE = 48
PAGE = Path(__file__).parents[2] / "docs" / "speed_methods.md"
COMMAND = "OMP_NUM_THREADS=2 nice -n 10 python benchmarks/speed/methods.py"
TEST = "test"  # the job that is no training stage
REPEATS, TRAIN_BATCH = 3, 2
MOST_LOAD = 0.1  # of the CPU time, by other processes: beyond it the page says that its times are not to be trusted
MIB = 2**20
# Classes of the auxiliary data: some methods read the names of all of them at every step (here MVTec AD's fifteen).
CLASSES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
).split()


# --- one measurement, in its own process ------------------------------------------------------------------------------


def measure(name: str, job: str, device: str, small: bool, repeats: int) -> dict[str, Any]:
    """What one process finds: the job's numbers, and what they were measured with."""
    import torch

    from zsad_bench.sweep.build import configure

    overrides = {"image_size": SMALL_SIZE} if small else {}
    configure(name, overrides)  # its imports are no part of what the method needs
    backbone = random_backbone(small).to(device)
    found = (
        measure_test(name, backbone, device, overrides, repeats)
        if job == TEST
        else measure_step(name, job, backbone, device, overrides)
    )
    where = torch.cuda.get_device_name() if device == "cuda" else f"{_cpu()}, {torch.get_num_threads()} threads"
    return found | {"where": where, "torch": torch.__version__, "backbone": backbone.name}


def random_backbone(small: bool = False) -> Backbone:
    """ViT-L/14-336 (or a miniature) as open_clip initialises it from seed 0."""
    import torch
    from open_clip.model import CLIP

    from zsad_bench.backbones.architecture import named_config
    from zsad_bench.backbones.clip import Backbone

    torch.manual_seed(0)
    return Backbone(CLIP(**(SMALL if small else named_config(BACKBONE))), "miniature" if small else BACKBONE)


def measure_test(
    name: str, backbone: Backbone, device: str, overrides: dict[str, Any], repeats: int = REPEATS
) -> dict[str, Any]:
    """Seconds of one test image (median, after a warm-up, texts cached), of its texts alone, and of building.

    Raises:
        ValueError: a score or a map that is not finite.
    """
    import torch

    from zsad_bench.sweep.build import build

    loaded = reset_peak(device)
    built, method = timed(lambda: build(name, backbone, overrides, seed=0).eval().to(device), device)
    size = method.config.image_size
    batch = random_batches(size, batch_size=1, count=1)[0].to(device)
    with torch.inference_mode(not method.needs_grad_at_test):

        def whole():
            return method.score(method.encode(batch.images, batch.samples), batch.samples)

        features = method.encode(batch.images, batch.samples)
        prediction = method.score(features, batch.samples)
        maps = prediction.score.new_zeros(()) if prediction.map is None else prediction.map
        if not (prediction.score.isfinite().all() and maps.isfinite().all()):
            raise ValueError(f"{name}: the score or the map of a random image is not finite")
        seconds = [timed(whole, device)[0] for _ in range(repeats)]
        cached = [timed(lambda: method.score(features, batch.samples), device)[0] for _ in range(repeats)]
        method.forget_texts()
        first, _ = timed(lambda: method.score(features, batch.samples), device)
    return {
        "title": method.title,
        "stages": [stage.name for stage in method.stages()],
        "image_size": size,
        "build_s": built,
        "text_s": max(0.0, first - statistics.median(cached)),
        "seconds": statistics.median(seconds),
        "repeats": repeats,
        "loaded_mib": loaded,
        "peak_mib": peak(device),
    }


def measure_step(
    name: str, stage_name: str, backbone: Backbone, device: str, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Seconds of the second training step of a stage as Lightning takes it: forward, losses, backward, optimiser.

    Raises:
        TrainingError: from the method itself, when a loss is not finite.
    """
    from lightning import Callback, Trainer
    from torch.utils.data import DataLoader

    from zsad_bench.sweep.build import build
    from zsad_bench.sweep.train import trainer_options

    class Clock(Callback):
        started, seconds = 0.0, 0.0

        def on_train_batch_start(self, trainer, method, batch, batch_idx):
            self.started = now(device)

        def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
            self.seconds = now(device) - self.started  # the last step is the one that counts

    loaded = reset_peak(device)
    method = build(name, backbone, overrides, seed=0)
    method.enter(next(stage for stage in method.stages() if stage.name == stage_name))
    clock = Clock()
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        callbacks=[clock],
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        **trainer_options() | {"accelerator": "gpu" if device == "cuda" else "cpu"},
    )
    trainer.fit(method, DataLoader(RandomTable(method.config.image_size, steps=2), batch_size=None))
    losses = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return {"seconds": clock.seconds, "loaded_mib": loaded, "peak_mib": peak(device), "losses": losses}


class RandomTable:
    """Training batches, and the categories that methods read off an auxiliary dataset."""

    def __init__(self, size: int, steps: int) -> None:
        self.batches = random_batches(size, TRAIN_BATCH, steps)

    def present(self) -> list[Category]:
        return [_category(name) for name in CLASSES]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index]


def random_batches(size: int, batch_size: int, count: int) -> list[Batch]:
    """Normal and anomalous images in turn, of one category each; anomalous ones have a square mask."""
    import torch

    from zsad_bench.types import Batch, SampleInfo

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch_size) % 2
    masks = torch.zeros(batch_size, size, size, dtype=torch.bool)
    masks[labels == 1, size // 4 : size // 2, size // 3 : size // 2] = True
    samples = [SampleInfo(f"random/{i}.png", _category(CLASSES[i % len(CLASSES)])) for i in range(batch_size)]
    return [
        Batch(torch.randn(batch_size, 3, size, size, generator=generator), labels, masks, samples) for _ in range(count)
    ]


def _category(name: str) -> Category:
    from zsad_bench.types import Category

    return Category("random", name, name.replace("_", " "), "object", "industrial")


def timed(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds, and what the work returned."""
    started = now(device)
    result = work()
    return now(device) - started, result


def now(device: str) -> float:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak(device: str) -> float:
    """MiB in use; `peak` counts from here. On a CPU only Linux can forget: elsewhere the peak of loading stays."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # loading has a peak of its own: hashing copies each matrix
    return peak(device)


def peak(device: str) -> float:
    """MiB: resident memory of this process, or on a GPU what tensors took."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / MIB
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / MIB if sys.platform == "darwin" else used / 1024


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return f"{next(models, platform.machine())}, {os.cpu_count()} cores"


# --- all of them, one process after the other -------------------------------------------------------------------------


def measure_all(names: Sequence[str], device: str, small: bool, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """One record a method: `test`, `steps` by stage, and `others`, the share of the cores that other processes took.

    A job that fails leaves its last line under `failed`.
    """
    records = []
    for name in names:
        record: dict[str, Any] = {"name": name, "steps": {}, "failed": {}}
        before, own = _busy(), _children()
        started, jobs = time.perf_counter(), [TEST]
        while jobs:
            job = jobs.pop(0)
            found = _in_process(name, job, device, small, repeats)
            if isinstance(found, str):
                record["failed"][job] = found
            elif job == TEST:
                record["test"] = found
                jobs += found["stages"]
            else:
                record["steps"][job] = found
            said = found if isinstance(found, str) else f"{found['seconds']:.2f} s, {found['peak_mib']:,.0f} MiB"
            print(f"{name}, {job}: {said}", file=sys.stderr, flush=True)
        spent = (time.perf_counter() - started) * (os.cpu_count() or 1)
        record["others"] = None if before is None else max(0.0, _busy() - before - (_children() - own)) / spent
        records.append(record)
    return records


def _in_process(name: str, job: str, device: str, small: bool, repeats: int) -> dict[str, Any] | str:
    """What `measure` finds in a fresh process, or the last line that it said."""
    command = [sys.executable, __file__, name, "--job", job, "--device", device, "--repeats", str(repeats)]
    command += ["--small"] if small else []
    # What the Makefile gives every run: else glibc returns each large tensor to the kernel and asks for it again.
    memory = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
    done = subprocess.run(command, env=memory | os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"ended with exit code {done.returncode} (-9: out of memory)"
    return json.loads(done.stdout.splitlines()[-1])


def _busy() -> float | None:
    """Seconds that all cores have worked so far, for whom ever (stolen ones too); None where it is not known."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(n) for n in stat.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- what is shown ----------------------------------------------------------------------------------------------------

HEAD = (
    "method", "px", "test image, s", "× CLIP", "texts once, s", "build, s", "peak, MiB", "above",
    "training step, s", "step peak, MiB", "step above",
)  # fmt: skip

HOW_TO_READ = f"""\
How to read it: absolute times belong to this machine, so compare the column "× CLIP", one test image relative to plain
CLIP's. A test image is the median of {{repeats}} after a warm-up: encoding, scoring, up-sampling and smoothing, texts
cached. "Texts once" is what the cache saves: paid once a category, or once a checkpoint where prompts name no object;
texts that depend on the image are in the test image. "Build" makes the method from a loaded backbone. A training step
is the second one, on a batch of {TRAIN_BATCH} and with {len(CLASSES)} auxiliary classes: forward (the images are
encoded anew), losses, backward and optimiser; "–" is training-free. "Peak" is the largest memory of the process (on a
GPU: of its tensors), and "above" what of it was not there when the backbone had been loaded. Image sizes are each
method's own default: WinCLIP's is the backbone's native one, and on its grid there are more windows than on the one
that WinCLIP was published with."""


def cells(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The lines of the table under `HEAD`; a method of several stages has a line for each further one."""
    clip = next((r["test"]["seconds"] for r in records if r["name"] == "clip" and "test" in r), None)
    lines = []
    for record in records:
        test, failed = record.get("test"), record["failed"]
        if test is None:
            lines.append([record["name"], "failed", *["–"] * (len(HEAD) - 2)])
            continue
        shown = [_seconds(test["seconds"]), f"{test['seconds'] / clip:.2f}" if clip else "–"]
        start = [test["title"], str(test["image_size"]), *shown, _seconds(test["text_s"]), _seconds(test["build_s"])]
        start += _memory(test)
        for stage in test["stages"] or [None]:
            step = record["steps"].get(stage)
            if len(test["stages"]) > 1:
                start[0] = f"{test['title']}, {stage}"
            end = ["failed" if stage in failed else "–", "–", "–"]
            lines.append([*start, *([_seconds(step["seconds"]), *_memory(step)] if step else end)])
            start = [test["title"], *[""] * (len(start) - 1)]
    return lines


def _seconds(value: float) -> str:
    return "<0.01" if value < 0.01 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _memory(found: dict[str, Any]) -> list[str]:
    return [f"{found['peak_mib']:,.0f}", f"{found['peak_mib'] - found['loaded_mib']:,.0f}"]


def conditions(records: Sequence[dict[str, Any]]) -> str:
    """What the numbers were measured with, whether others were at work, and which methods are missing."""
    test = next((r["test"] for r in records if "test" in r), None)
    if test is None:
        return "Nothing could be measured."
    said = [f"{test['backbone']} with random weights, float32, on {test['where']}; torch {test['torch']}."]
    known = [r["others"] for r in records if r["others"] is not None]
    most = max(known, default=0.0)
    said += [f"Other processes took up to {most:.0%} of the machine's CPU time."] if known else []
    if most > MOST_LOAD:
        said.append(
            "**Under such load seconds and ratios say little: measure again on a quiet machine.** Memory holds."
        )
    missing = sorted(set(registry.names("methods")) - {r["name"] for r in records})
    said += [f"Not measured: {', '.join(missing)}."] if missing else []
    return " ".join(said)


def section(records: Sequence[dict[str, Any]], device: str) -> str:
    """The generated part of the page, between its markers."""
    from zsad_bench.leaderboard.markdown import grid

    begin, end = _markers(device)
    repeats = next((r["test"]["repeats"] for r in records if "test" in r), REPEATS)
    options = "" if device == "cpu" else f" --device {device}"
    options += "" if repeats == REPEATS else f" --repeats {repeats}"
    return "\n\n".join(
        [
            begin,
            f"## {device.upper()}",
            conditions(records),
            grid([HEAD, *cells(records)], left=1),
            HOW_TO_READ.format(repeats=repeats),
            f"Measured by `{COMMAND}{options}`, which writes this section anew.",
            end,
        ]
    )


def write_page(page: Path, records: Sequence[dict[str, Any]], device: str) -> None:
    """Puts the section in the place of the device's earlier one; everything else on the page stays.

    Raises:
        UsageError: the earlier section has lost its last line, so that nobody knows where it ends.
    """
    from zsad_bench.leaderboard.files import write_whole

    begin, end = _markers(device)
    text = page.read_text(encoding="utf-8") if page.exists() else "# Time and memory of the methods\n"
    head, _, rest = text.partition(begin)
    if rest and end not in rest:
        raise UsageError(f"{page.name}: '{end}' is missing behind the section of {device}; put it back")
    parts = [head.strip(), section(records, device), rest.partition(end)[2].strip()]
    write_whole(page, ("\n\n".join(part for part in parts if part) + "\n").encode())


def _markers(device: str) -> tuple[str, str]:
    return f"<!-- generated by benchmarks/speed/methods.py, {device}: do not edit -->", f"<!-- end of {device} -->"


def show(records: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 150)  # eleven columns; a log file has no width of its own
    table = Table(*HEAD[:1])
    for title in HEAD[1:]:
        table.add_column(title, justify="right")
    for line in cells(records):
        table.add_row(*line)
    console.print(table)
    console.print(conditions(records), soft_wrap=True)
    for record in records:
        for job, reason in record["failed"].items():
            console.print(f"{record['name']}, {job}: failed: {reason}", markup=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="registered names; all when none is given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="test images, of which the median counts")
    parser.add_argument("--small", action="store_true", help="on a miniature, in seconds: does the script still run?")
    parser.add_argument("--out", type=Path, help=f"page to write; {PAGE.name} when all methods run at full size")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # how a process asks another for one measurement
    args = parser.parse_args()
    known = registry.names("methods")
    try:
        for name in args.methods:
            if name not in known:
                raise UsageError(registry.did_you_mean("method", name, known))
        if args.repeats < 1:
            raise UsageError(f"--repeats {args.repeats}: expected 1 or more")
        if args.job:
            print(json.dumps(measure(*args.methods, args.job, args.device, args.small, args.repeats)))
            return 0
        records = measure_all(args.methods or known, args.device, args.small, args.repeats)
        show(records)
        page = args.out or (None if args.methods or args.small else PAGE)
        failed = any(record["failed"] for record in records)
        if page and failed:
            print(f"methods.py: {page.name} stays as it was, since a job failed", file=sys.stderr)
        elif page:
            write_page(page, records, args.device)
    except ZsadError as error:
        print(f"methods.py: {error}", file=sys.stderr)
        return error.exit_code
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
