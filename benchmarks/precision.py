"""How far a precision of the towers moves the demo's metrics: python benchmarks/precision.py --methods clip,dive

Each method is trained, where it learns, and tested twice by `bench`: in float32, and in the other precision. Printed
are the largest changes in points (a point is 0.01), of the number of a dataset, which is the mean over its categories
and what tables show, and of a single category's. The latter have few images: where 20 normal and 20 anomalous ones
change places once, image AUROC moves by 0.25 points.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from zsad_bench import cli
from zsad_bench.results import rows as store
from zsad_bench.results.row import Row

Place = tuple[str, str, str]  # method, dataset (with its category, of a single one), metric


class Change(NamedTuple):
    """In points. place: where it is largest."""

    points: float
    place: Place

    def __str__(self) -> str:
        return f"{self.points:.3f} points ({' · '.join(self.place)})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="clip,clip_ac,winclip")
    parser.add_argument("--targets", default="demo_objects,demo_textures,demo_medical")
    parser.add_argument("--prior", default="rich")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--data", action="append", default=[], metavar="KEY=VALUE", help="as bench takes it")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = {each: measured(asked, each, Path(folder) / each) for each in ("float32", asked.precision)}
    for name, values in (("dataset", means(rows["float32"])), ("category", single(rows["float32"]))):
        others = means(rows[asked.precision]) if name == "dataset" else single(rows[asked.precision])
        found = changes(values, others)
        for method in asked.methods.split(","):
            print(f"{method}, a {name}: {max(each for each in found if each.place[0] == method)}", flush=True)
        for metric in sorted({each.place[2] for each in found}):
            print(f"{metric}, a {name}: {max(each for each in found if each.place[2] == metric)}", flush=True)
        print(f"all, a {name}: {max(found)}", flush=True)
    return 0


def measured(asked: argparse.Namespace, precision: str, folder: Path) -> list[Row]:
    """The rows of both methods and targets in a precision."""
    command = [
        "zsad-bench", "bench", "--suite", "demo", "--method", asked.methods, "--targets", asked.targets,
        "--prior", asked.prior, "--precision", precision, "--track", "off", "--executor", "serial",
        "--out", str(folder), "--runs", str(folder / "runs"), *(f"--data={each}" for each in asked.data),
    ]  # fmt: skip
    with patch.object(sys, "argv", command):
        code = cli.main()
    if code:
        raise SystemExit(code)
    return store.load(folder / "demo" / "rows")


def single(rows: Iterable[Row]) -> dict[Place, float]:
    """The value of each category, where it is defined."""
    return {(r.method, f"{r.target}/{r.category}", r.metric): r.value for r in rows if r.value is not None}


def means(rows: Iterable[Row]) -> dict[Place, float]:
    """The mean over the categories of each dataset."""
    values: dict[Place, list[float]] = {}
    for (method, place, metric), value in single(rows).items():
        values.setdefault((method, place.partition("/")[0], metric), []).append(value)
    return {place: statistics.fmean(of) for place, of in values.items()}


def changes(before: Mapping[Place, float], after: Mapping[Place, float]) -> list[Change]:
    """The change at each place. ValueError: they are not of the same places."""
    if before.keys() != after.keys():
        raise ValueError(f"{len(before)} and {len(after)} numbers, of other places")
    return [Change(100 * abs(after[place] - value), place) for place, value in before.items()]


if __name__ == "__main__":
    sys.exit(main())
