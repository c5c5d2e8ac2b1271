"""How far bf16 towers or float16 features move the demo's metrics: python benchmarks/precision.py --methods clip,dive

    python benchmarks/precision.py --methods clip,clip_ac                                      # bf16 towers
    python benchmarks/precision.py --methods coop --prior limited --seeds 0,1,2                # and beside other seeds
    python benchmarks/precision.py --methods clip,coop --prior limited --feature-type float16  # stored features

Each method is trained, where it learns, and tested twice by `bench`: as usual, and in the other precision of the
towers, or with features that are stored as float16, for training and test alike. Printed are the largest changes in
points (a point is 0.01), of the number of a dataset, which is the mean over its categories and what tables show, and of
a single category's. The latter have few images: where 20 normal and 20 anomalous ones change places once, image AUROC
moves by 0.25 points. With several seeds, all pairs of them are compared as well, in float32: what another seed changes
is chance, and what changes less than that is no finding.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
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
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--precision", default="bf16", help="of the towers, compared with float32")
    other.add_argument("--feature-type", choices=("float16",), help="of stored features, compared with none stored")
    parser.add_argument("--seeds", default="0", help="of training, separated by commas")
    parser.add_argument("--epochs", help="instead of the methods' own")
    parser.add_argument("--data", action="append", default=[], metavar="KEY=VALUE", help="as bench takes it")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        usual = measured(asked, ["--features", "off"] if asked.feature_type else [], place / "usual")
        changed = measured(asked, _change(asked, place), place / "changed")
    for name, numbers in (("dataset", means), ("category", single)):
        found = changes(numbers(usual), numbers(changed))
        for method in asked.methods.split(","):
            print(f"{method}, a {name}: {max(each for each in found if each.place[0] == method)}", flush=True)
        for metric in sorted({each.place[2] for each in found}):
            print(f"{metric}, a {name}: {max(each for each in found if each.place[2] == metric)}", flush=True)
        print(f"all, a {name}: {max(found)}, median {_median(found):.3f}", flush=True)
        if by_chance := between_seeds(numbers(usual)):
            print(f"another seed, a {name}: {max(by_chance)}, median {_median(by_chance):.3f}", flush=True)
    return 0


def _change(asked: argparse.Namespace, folder: Path) -> list[str]:
    """The words of `bench` that the second run has besides."""
    if asked.feature_type:
        return ["--feature-type", asked.feature_type, "--features", str(folder / "features")]
    return ["--precision", asked.precision]


def measured(asked: argparse.Namespace, words: Sequence[str], folder: Path) -> list[Row]:
    """The rows of all methods, targets and seeds."""
    command = [
        "zsad-bench", "bench", "--suite", "demo", "--method", asked.methods, "--targets", asked.targets,
        "--prior", asked.prior, "--seed", asked.seeds, "--track", "off", "--executor", "serial",
        "--out", str(folder), "--runs", str(folder / "runs"), *(f"--data={each}" for each in asked.data), *words,
        *(["--epochs", asked.epochs] if asked.epochs else []),
    ]  # fmt: skip
    with patch.object(sys, "argv", command):
        code = cli.main()
    if code:
        raise SystemExit(code)
    return store.load(folder / "demo" / "rows")


Numbers = Mapping[int, Mapping[Place, float]]  # seed -> place -> value


def single(rows: Iterable[Row]) -> dict[int, dict[Place, float]]:
    """The value of each category, where it is defined, by seed."""
    values: dict[int, dict[Place, float]] = {}
    for row in rows:
        if row.value is not None:
            values.setdefault(row.seed, {})[row.method, f"{row.target}/{row.category}", row.metric] = row.value
    return values


def means(rows: Iterable[Row]) -> dict[int, dict[Place, float]]:
    """The mean over the categories of each dataset, by seed."""
    found: dict[int, dict[Place, float]] = {}
    for seed, of in single(rows).items():
        values: dict[Place, list[float]] = {}
        for (method, place, metric), value in of.items():
            values.setdefault((method, place.partition("/")[0], metric), []).append(value)
        found[seed] = {place: statistics.fmean(each) for place, each in values.items()}
    return found


def changes(before: Numbers, after: Numbers) -> list[Change]:
    """The change at each place of each seed. ValueError: they are not of the same places."""
    one, other = _flat(before), _flat(after)
    if one.keys() != other.keys():
        raise ValueError(f"{len(one)} and {len(other)} numbers, of other places")
    return [Change(100 * abs(other[seed, place] - value), place) for (seed, place), value in one.items()]


def between_seeds(numbers: Numbers) -> list[Change]:
    """The change at each place from one seed to another, for all pairs of seeds that have it.

    A method that learns nothing has one seed, and so no pairs.
    """
    return [
        Change(100 * abs(other[place] - one[place]), place)
        for one, other in combinations([numbers[seed] for seed in sorted(numbers)], 2)
        for place in one
        if place in other
    ]


def _flat(numbers: Numbers) -> dict[tuple[int, Place], float]:
    return {(seed, place): value for seed, of in numbers.items() for place, value in of.items()}


def _median(found: Sequence[Change]) -> float:
    return statistics.median(each.points for each in found)


if __name__ == "__main__":
    sys.exit(main())
