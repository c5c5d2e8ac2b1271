"""CPU time of the pixel metrics beside other implementations: `python benchmarks/speed/metrics.py --help`.

One generated category: 120 maps of 518x518, 60 of them anomalous; what would take minutes has the first 24 or 10. All
of them run in this process, in turns, and two that compute the same must agree. The yardstick of all ten metrics is one
stable argsort of each image's pixels. Peak memory is taken in a process of its own. Packages that are not installed are
named and left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from _metrics_peers import PEERS, SAME, Category, Peer, generated, our_ten, ours
from _suite import MIB, Benchmark, Claim, Found, Spent, alternate, main, median, ratio, seconds

from zsad_bench.errors import UsageError, ZsadError

IMAGES, SIZE = 120, 518
QUICK = (10, 64)  # images and size
WARM_UP = (4, 256)  # with fewer normal pixels anomalib finds no budget of AUPIMO
QUICK_WARM_UP = (4, 48)
PACKAGES = ("torchmetrics", "pyaupro", "adeval", "anomalib")
# What is claimed: the numerator, the denominator, and the goal.
CLAIMS = (
    ("All ten metrics over one stable argsort per image", "ours, all ten", "one stable argsort per image",
     "at most", 0.33),
    ("200-step routine over the exact ones", "200-step routine, 24 images", "ours, exact, 24 images", "at least", 120),
    ("adeval over the binned ones", "adeval, 1000 strips", "ours, binned", "at least", 2.5),
)  # fmt: skip


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_all(
    category: Category, repeats: int, warm_up: tuple[int, int] = WARM_UP
) -> tuple[dict[str, list[Spent]], dict[str, dict[str, float]], dict[str, str]]:
    """By name of a peer: what its turns took, what it computed, and why it was left out, of those that were.

    Raises:
        ZsadError: two that should compute the same differ.
    """
    small = generated(*warm_up)  # a first small call of each pays for imports and compiling
    skipped = {peer.name: reason for peer in PEERS if (reason := _trouble(peer, small))}
    values: dict[str, dict[str, float]] = {}

    def run(peer: Peer) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values[peer.name] = peer.run(category.first(peer.images) if peer.images else category)

    ways = {peer.name: lambda peer=peer: run(peer) for peer in PEERS if peer.name not in skipped}
    spent = alternate(ways, repeats, warm_up=False)
    for one, other, keys, tolerance in SAME:
        for key in keys if {one, other} <= values.keys() else ():
            if not abs(values[one][key] - values[other][key]) <= tolerance:
                raise ZsadError(
                    f"{key}: {values[one][key]!r} of {one!r} is not the {values[other][key]!r} of {other!r}; "
                    "their times cannot be compared"
                )
    return spent, values, skipped


def _trouble(peer: Peer, warm_up: Category) -> str:
    """Why this peer cannot be measured here, or ""."""
    try:
        if peer.package:
            importlib.import_module(peer.package)
    except ImportError:
        return f"{peer.package} is not installed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.run(warm_up)
    except Exception as error:  # another package's failure is a line of the table, not the end of the run
        if not peer.package:
            raise
        return f"{peer.package} fails here ({type(error).__name__}: {str(error).splitlines()[0][:80]})"
    return ""


def peak_mib(mode: str, folder: Path) -> float:
    """Peak memory of one exact or binned computation above that of a process that holds its input."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, "--peak", mode, "--input", str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ZsadError(f"the process that measures the memory of {mode} ended with: {done.stderr.strip()[-300:]}")
    return float(done.stdout)


def measure_peak(mode: str, folder: Path) -> float:
    run = ours(mode)
    our_ten(generated(*WARM_UP))  # loads numba and the compiled loops, which are no part of it
    run(generated(*WARM_UP))
    category = Category(np.load(folder / "maps.npy"), np.load(folder / "masks.npy"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(category)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MIB


def measure(options: argparse.Namespace) -> Found:
    images, size = QUICK if options.quick else (options.images, options.size)
    if images < 4 or size < 32:
        raise UsageError(f"found --images {images} --size {size}; expected --images 4 or more, --size 32 or more")
    category = generated(images, size)
    peaks: dict[str, float] = {}
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            for name, array in category._asdict().items():
                np.save(Path(folder) / f"{name}.npy", array)
            peaks = {mode: peak_mib(mode, Path(folder)) for mode in ("exact", "binned")}
    spent, values, skipped = measure_all(category, options.repeats, QUICK_WARM_UP if options.quick else WARM_UP)
    return Found(
        ("what", "values", "CPU, s", "as a multiple of", "ratio"),
        lines_of(spent, skipped),
        [Claim(what, ratio(spent[over], spent[under]), bound, limit)
         for what, over, under, bound, limit in CLAIMS if {over, under} <= spent.keys()],
        text_of(category, peaks, skipped),
        {"spent": spent, "values": values, "peaks": peaks},
    )  # fmt: skip


# --- showing ----------------------------------------------------------------------------------------------------------


def lines_of(spent: Mapping[str, Sequence[Spent]], skipped: Mapping[str, str]) -> list[Sequence[str]]:
    """A line for each peer, those that were left out as well."""
    lines: list[Sequence[str]] = []
    for peer in PEERS:
        if peer.name in skipped:
            lines.append([peer.name, peer.computes, "–", "", f"skipped: {skipped[peer.name]}"])
            continue
        of = "" if peer.name == peer.against else peer.against
        shown = str(ratio(spent[peer.name], spent[of])) if of else "–"
        lines.append([peer.name, peer.computes, seconds(median(spent[peer.name]).cpu), of, shown])
    return lines


def text_of(category: Category, peaks: Mapping[str, float], skipped: Mapping[str, str]) -> str:
    images, height, width = category.maps.shape
    size = (category.maps.nbytes + category.masks.nbytes) / MIB
    memory = ", ".join(f"{mode} {peak:.0f} MiB ({peak / size:.1f}x)" for mode, peak in peaks.items())
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    parts = [
        f"{images} images of {height}x{width}, {int(category.masks.any((1, 2)).sum())} anomalous, "
        f"{category.masks.mean():.2%} anomalous pixels; {size:.0f} MiB of input. Two that compute the same agree.",
        f"Peak memory above the input: {memory}." if memory else "",
        f"Left out: {'; '.join(sorted(set(skipped.values())))}." if skipped else "",
        f"Compared with {', '.join(versions)}." if versions else "",
    ]
    return " ".join(part for part in parts if part)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels per side")
    parser.add_argument("--peak", choices=("exact", "binned"), help=argparse.SUPPRESS)  # how a process asks another
    parser.add_argument("--input", type=Path, help=argparse.SUPPRESS)


BENCHMARK = Benchmark("Metrics", measure, add_options, on_gpu=False)

if __name__ == "__main__":
    if "--peak" in sys.argv:
        from _suite import parser_of

        asked = parser_of(BENCHMARK, __doc__).parse_args()
        print(measure_peak(asked.peak, asked.input))
        raise SystemExit(0)
    raise SystemExit(main(BENCHMARK))
