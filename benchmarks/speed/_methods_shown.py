"""What was measured of the methods, as a table on the terminal and as a section of a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _methods_measured import CATEGORY, CLASSES, REPEATS, TRAIN_BATCH
from _suite import show_table

from zsad_bench import registry
from zsad_bench.errors import UsageError

COMMANDS = {
    "cpu": "OMP_NUM_THREADS=2 nice -n 10 python benchmarks/speed/methods.py",
    "cuda": "python benchmarks/speed/methods.py --device cuda",
}
MOST_LOAD = 0.1  # of the CPU time, by other processes: beyond it the page says that its times are not to be trusted
HEAD = (
    "method", "px", "test image, s", "× CLIP", "texts once, s", "build, s", "peak, MiB", "above",
    "training step, s", "step peak, MiB", "step above",
)  # fmt: skip

HOW_TO_READ = f"""\
How to read it: absolute times belong to this machine, so compare the column "× CLIP", one test image relative to plain
CLIP's. A test image is the median of {{repeats}} after a warm-up: encoding, scoring, up-sampling and smoothing, texts
cached. "Texts once" is what the cache saves: paid once per category, or once per checkpoint where prompts name no
object; texts that depend on the image are in the test image, and so is what a method learns from it. A transductive
method's test image is its share of a category of {CATEGORY} images. "Build" makes the method from a loaded backbone. A
training step is the second one, on a batch of {TRAIN_BATCH} and with {len(CLASSES)} auxiliary classes: forward (the
images are encoded anew), losses, backward and optimiser; "–" is training-free. "Peak" is the largest memory of the
process (on a GPU: of its tensors), and "above" is the part beyond the memory after loading the backbone. Image sizes
are each method's own default: WinCLIP's is the backbone's native one, and on its grid there are more windows than on
the one that WinCLIP was published with."""


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
    for below, digits in ((0.1, 3), (10, 2)):
        if value < below:
            return "<0.001" if value < 0.0005 else f"{value:.{digits}f}"
    return f"{value:.1f}"


def _memory(found: dict[str, Any]) -> list[str]:
    return [f"{found['peak_mib']:,.0f}", f"{found['peak_mib'] - found['loaded_mib']:,.0f}"]


def conditions(records: Sequence[dict[str, Any]]) -> str:
    """What the numbers were measured with, whether others were at work, and which methods are missing."""
    test = next((r["test"] for r in records if "test" in r), None)
    if test is None:
        return "Nothing could be measured."
    others = [f"{r['test']['title']} on {r['test']['backbone']}" for r in records
              if "test" in r and r["test"]["backbone"] != test["backbone"]]  # fmt: skip
    backbones = ", ".join([test["backbone"], *others])
    said = [f"{backbones}, with random weights, float32, on {test['where']}; torch {test['torch']}."]
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
    from zsad_bench.leaderboard.tables.render import padded

    begin, end = _markers(device)
    repeats = next((r["test"]["repeats"] for r in records if "test" in r), REPEATS)
    options = "" if repeats == REPEATS else f" --repeats {repeats}"
    return "\n\n".join(
        [
            begin,
            f"## {device.upper()}",
            conditions(records),
            padded([HEAD, *cells(records)], [i == 0 for i in range(len(HEAD))]),
            HOW_TO_READ.format(repeats=repeats),
            f"Measured by `{COMMANDS[device]}{options}`, which writes this section anew.",
            end,
        ]
    )


def write_page(page: Path, records: Sequence[dict[str, Any]], device: str) -> None:
    """Puts the section in the place of the device's earlier one; everything else on the page stays.

    Raises:
        UsageError: the earlier section has lost its last line, so that nobody knows where it ends.
    """
    from zsad_bench.atomic import write_whole

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
    console = show_table(HEAD, cells(records), 150)
    console.print(conditions(records), soft_wrap=True)
    for record in records:
        for job, reason in record["failed"].items():
            console.print(f"{record['name']}, {job}: failed: {reason}", markup=False, soft_wrap=True)
